//! Puts files into a content-addressed store and reads one of them back:
//!
//! ```text
//! cargo run --example store -- /tmp/store Cargo.toml README.md
//! ```

use std::error::Error;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use oci_bundle::cas::{Algorithm, DirStore, Store, StoreExt};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [directory, files @ ..] = &arguments[..] else {
        return Err("usage: store <directory> [<file>...]".into());
    };
    std::fs::create_dir_all(directory)?;
    let store = DirStore::create(File::open(directory)?.into())?;

    for file in files {
        // Hashed while it is written; it has no name in the store before `commit`.
        let mut blob = store.ingest(Algorithm::Sha256)?;
        io::copy(&mut File::open(file)?, &mut blob)?;
        let (digest, size) = blob.commit()?;
        println!("{digest}  {size:>9}  {}", file.display());
    }

    for digest in store.list()? {
        // Reading ends well only if the content is what its name says.
        let size = store.stat(&digest)?.ok_or("removed meanwhile")?;
        let mut blob = store.open_verified(&digest, size)?;
        io::copy(&mut blob, &mut io::sink())?;
        println!("{digest}  verified");
    }
    Ok(())
}
