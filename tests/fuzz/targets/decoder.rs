//! The decoders: any bytes are content or an error, in bounded memory.

#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use oci_bundle::archive::{Compression, Decoder};

fuzz_target!(|input: &[u8]| {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        if let Ok(decoder) = Decoder::new(input, compression) {
            let mut out = Vec::new();
            let _ = decoder.take(1 << 22).read_to_end(&mut out);
        }
    }
});
