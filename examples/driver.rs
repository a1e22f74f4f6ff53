//! Layers by name: makes one, fills it, commits it, lays a container on it, and says what was changed there.
//! As root, or inside of `bundle unshare`:
//!
//! ```text
//! cargo run --example driver -- /tmp/store
//! ```

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use oci_bundle::compat::driver::{
    CreateOptions, DiffDriver, Driver, DriverOptions, GetOptions, OverlayDriver,
};
use oci_bundle::fs::ChangeKind;
use oci_bundle::store::{Key, StoreOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let store = std::env::args_os().nth(1).map(PathBuf::from);
    let store = store.ok_or("usage: driver <store>")?;
    let driver = OverlayDriver::open(DriverOptions::new(StoreOptions::new(store)))?;
    for (feature, answer) in driver.status()? {
        println!("{feature}: {answer}");
    }
    let (base, container) = (Key::unique(), Key::unique());

    // A layer to be committed: through a mount here, by a tar stream with `apply`.
    driver.create(&base, None, &CreateOptions::default())?;
    let mounted = driver.get(&base, &GetOptions::default())?;
    fs::write(mounted.path().join("greeting"), "hello\n")?;
    fs::write(mounted.path().join("unwanted"), "")?;
    driver.put(&mounted)?;
    println!("{base} is {}", driver.commit(&base)?);

    // A container on it.
    driver.create_read_write(&container, Some(&base), &CreateOptions::default())?;
    let mounted = driver.get(&container, &GetOptions::default())?;
    fs::write(mounted.path().join("greeting"), "hello, world\n")?;
    fs::remove_file(mounted.path().join("unwanted"))?;
    driver.put(&mounted)?;

    for change in driver.changes(&container, Some(&base))? {
        let letter = match change.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'C',
            ChangeKind::Deleted => 'D',
        };
        println!("{letter} {}", String::from_utf8_lossy(&change.path));
    }
    let mut stream = Vec::new();
    driver.diff(&container, Some(&base), &mut stream)?;
    println!("the stream of it has {} bytes", stream.len());

    driver.remove(&container)?;
    driver.remove(&base)?;
    Ok(())
}
