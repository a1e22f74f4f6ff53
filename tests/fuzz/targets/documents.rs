//! Documents and names: any bytes are one, or an error; a digest is written as it is read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_bundle::cas::Digest;
use oci_bundle::image::{
    DiffId, INDEX, ImageConfig, Index, MANIFEST, Manifest, Platform, Reference,
};

fuzz_target!(|input: &[u8]| {
    let _ = Manifest::parse(input, MANIFEST);
    let _ = Index::parse(input, INDEX);
    let _ = ImageConfig::parse(input);
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let _ = text.parse::<Platform>();
    let _ = text.parse::<DiffId>();
    let _ = text.parse::<Reference>();
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
});
