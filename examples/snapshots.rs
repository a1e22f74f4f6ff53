//! Prepares a snapshot, mounts it, writes to it, commits it, and looks at the result. Needs root:
//!
//! ```text
//! cargo run --example snapshots -- /var/tmp/store
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use oci_bundle::snapshots::{Info, SnapshotOptions, Snapshotter, StoreSnapshots};
use oci_bundle::store::{Store, StoreOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(path), None) = (arguments.next(), arguments.next()) else {
        return Err("usage: snapshots <store>".into());
    };
    let store = Store::open(StoreOptions::new(path))?;
    let snapshots = StoreSnapshots::new(&store)?;
    let target = tempfile::tempdir()?;

    // Two layers, the second on the first.
    commit(&store, &snapshots, "base", None, target.path(), |root| {
        std::fs::write(root.join("hello"), "hello\n")
    })?;
    commit(
        &store,
        &snapshots,
        "top",
        Some("base"),
        target.path(),
        |root| std::fs::rename(root.join("hello"), root.join("goodbye")),
    )?;

    // A view cannot be written to.
    snapshots.view("look", Some("top"), &SnapshotOptions::default())?;
    snapshots.mount("look", target.path())?;
    let seen = names(target.path());
    store.unmount(target.path(), false)?;
    println!("top: {}", seen?.join(" "));

    // What others are laid on goes last.
    let mut tell = |info: &Info| {
        let parent = info.parent.as_deref().unwrap_or("-");
        println!("{:10} {:5} on {parent}", info.kind.word(), info.name);
        Ok(())
    };
    snapshots.walk(&[], &mut tell)?;
    for key in ["look", "top", "base"] {
        snapshots.remove(key)?;
    }
    Ok(())
}

/// Commits what is done on top of a parent.
fn commit(
    store: &Store,
    snapshots: &StoreSnapshots<'_>,
    name: &str,
    parent: Option<&str>,
    target: &Path,
    change: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<(), Box<dyn Error>> {
    let options = SnapshotOptions::default();
    snapshots.prepare("work", parent, &options)?;
    snapshots.mount("work", target)?;
    let changed = change(target);
    store.unmount(target, false)?;
    changed?;
    Ok(snapshots.commit(name, "work", &options)?)
}

fn names(directory: &Path) -> std::io::Result<Vec<String>> {
    let entries = std::fs::read_dir(directory)?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}
