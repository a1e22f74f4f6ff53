//! A layer of any bytes is unpacked below its directory, or refused: no file beside it appears, goes, or has other content.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use oci_bundle::fs::{Access, Root};
use oci_bundle::layer::{ApplyOptions, unpack_layer};
use oci_bundle::progress::Silent;

/// What is beside the root, and must stay.
fn beside(outer: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(outer).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name != "root" {
            found.push((name, std::fs::read(entry.path()).unwrap()));
        }
    }
    found.sort();
    found
}

fuzz_target!(|input: &[u8]| {
    // On a tmpfs, where there is one.
    let place = if Path::new("/dev/shm").is_dir() {
        "/dev/shm"
    } else {
        "."
    };
    let outer = tempfile::tempdir_in(place).unwrap();
    std::fs::write(outer.path().join("canary"), b"untouched").unwrap();
    std::fs::create_dir(outer.path().join("root")).unwrap();
    let before = beside(outer.path());
    let root = Root::open(&outer.path().join("root"), Access::Unprivileged).unwrap();
    let mut options = ApplyOptions::default();
    options.max_size = Some(1 << 20);
    options.map_options.rootless = true;
    let _ = unpack_layer(input, &root, &options, &Silent);
    assert_eq!(beside(outer.path()), before);
});
