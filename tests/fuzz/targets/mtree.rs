//! The records of a bundle: any bytes are a record, or an error; no panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_bundle::mtree::{Manifest, OwnerNames, StatIndex, parse_keywords};

fuzz_target!(|input: &[u8]| {
    let _ = Manifest::parse(input);
    let _ = StatIndex::parse(input.to_vec(), &[0; 32]);
    let (passwd, group) = input.split_at(input.len() / 2);
    let _ = OwnerNames::parse(passwd, group);
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = parse_keywords(text);
    }
});
