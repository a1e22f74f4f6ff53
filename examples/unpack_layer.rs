//! Unpacks one layer, a tar file that may be compressed, onto a directory:
//!
//! ```text
//! cargo run --release --example unpack_layer -- layer.tar.gz /tmp/rootfs
//! ```

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;

use oci_bundle::archive::{Compression, Decoder};
use oci_bundle::fs::{Access, Root};
use oci_bundle::layer::{ApplyOptions, unpack_layer};
use oci_bundle::progress::{Event, Progress};

/// Prints warnings, and leaves out the rest.
struct Warnings;

impl Progress for Warnings {
    fn event(&self, event: Event<'_>) {
        if let Event::Message(message) = event {
            eprintln!("{}", message.text);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [layer, directory] = &arguments[..] else {
        return Err("usage: unpack_layer <layer> <directory>".into());
    };
    let compression = match layer.extension().and_then(|extension| extension.to_str()) {
        Some("gz" | "tgz") => Compression::Gzip,
        Some("zst") => Compression::Zstd,
        _ => Compression::None,
    };
    std::fs::create_dir_all(directory)?;
    let stream = Decoder::new(File::open(layer)?, compression)?;
    let root = Root::open(directory, Access::Plain)?;
    let applied = unpack_layer(stream, &root, &ApplyOptions::default(), &Warnings)?;
    println!("{} ({} bytes)", applied.digest, applied.size);
    Ok(())
}
