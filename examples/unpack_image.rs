//! Unpacks an image to a bundle and says when each layer is in place:
//!
//! ```text
//! cargo run --release --example unpack_image -- examples/sample-image:latest /tmp/hello
//! ```

use std::path::Path;

use oci_bundle::error::{Error, ErrorKind, Result};
use oci_bundle::image::Reference;
use oci_bundle::layout::LeasedLayout;
use oci_bundle::ops::{UnpackOptions, unpack_manifest};
use oci_bundle::progress::Silent;

fn main() {
    if let Err(error) = run() {
        // The chain says what was being done, to what, and why it failed.
        eprintln!("{}", error.chain());
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, bundle] = &arguments[..] else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "usage: unpack_image <layout>:<tag> <bundle>",
        ));
    };
    let image: Reference = image.parse()?;
    let layout = LeasedLayout::open(&image.layout)?;
    let path = layout.resolve(&image.name, None)?;
    let manifest = layout.manifest(path.target())?;

    let (count, mut done) = (manifest.layers.len(), 0);
    let options = UnpackOptions::default();
    unpack_manifest(
        &layout,
        Some(&path),
        &manifest,
        Path::new(bundle),
        &options,
        &Silent,
        &mut |_, layer| {
            done += 1;
            println!("{done}/{count} {}", layer.digest());
            Ok(())
        },
    )
}
