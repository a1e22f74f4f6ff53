//! The layer store's functions by key, as the overlay graph driver has them.
//!
//! `contract` and `differences` are what every driver has to do, run with the overlay driver and with the one that knows
//! nothing but how to look at both sides; `overlay` is what only the first can do, and `deaths` what a death leaves.

/// Makes two tests of each function: with the overlay driver, and with the naive one around it.
macro_rules! contract {
    ($($name:ident)*) => {
        mod of_the_overlay_driver {
            $(
                #[test]
                #[ignore = "needs root: mounts"]
                fn $name() {
                    let scratch = crate::machine::Scratch::new(&[]);
                    super::$name(&crate::store_driver::overlay(&scratch), &scratch);
                }
            )*
        }

        mod of_the_naive_driver {
            $(
                #[test]
                #[ignore = "needs root: mounts"]
                fn $name() {
                    let scratch = crate::machine::Scratch::new(&[]);
                    super::$name(&crate::store_driver::naive(&scratch), &scratch);
                }
            )*
        }
    };
}

mod contract;
mod deaths;
mod differences;
mod overlay;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use oci_bundle::compat::driver::{
    CreateOptions, DiffDriver, Driver, DriverOptions, GetOptions, NaiveDiff, OverlayDriver,
};
use oci_bundle::store::{Key, StoreOptions};

use crate::machine::Scratch;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn plain() -> CreateOptions {
    CreateOptions::default()
}

fn overlay(scratch: &Scratch) -> OverlayDriver {
    open(&scratch.path("store"))
}

fn open(path: &Path) -> OverlayDriver {
    OverlayDriver::open(DriverOptions::new(StoreOptions::new(path))).unwrap()
}

fn naive(scratch: &Scratch) -> NaiveDiff<OverlayDriver> {
    NaiveDiff::new(overlay(scratch))
}

/// Does something in the mount of a layer.
fn inside<T>(driver: &dyn Driver, layer: &Key, work: impl FnOnce(&Path) -> T) -> T {
    let mounted = driver.get(layer, &GetOptions::default()).unwrap();
    let result = work(mounted.path());
    driver.put(&mounted).unwrap();
    result
}

/// Makes a layer, fills it through its mount, and commits it.
fn layer(driver: &dyn Driver, name: &str, parent: Option<&Key>, fill: impl FnOnce(&Path)) -> Key {
    let layer = key(name);
    driver.create(&layer, parent, &plain()).unwrap();
    inside(driver, &layer, |path| {
        fill(path);
        whole_seconds(path);
    });
    driver.commit(&layer).unwrap();
    layer
}

/// Streams have times in seconds: what was just made gets one, another one each time.
fn whole_seconds(path: &Path) {
    static NOW: AtomicI64 = AtomicI64::new(1_600_000_000);
    let now = filetime::FileTime::from_unix_time(NOW.fetch_add(1, Ordering::Relaxed), 0);
    for entry in walkdir::WalkDir::new(path).contents_first(true) {
        let path = entry.unwrap().into_path();
        if fs::symlink_metadata(&path).unwrap().mtime_nsec() != 0 {
            filetime::set_symlink_file_times(&path, now, now).unwrap();
        }
    }
}

fn stream(driver: &dyn DiffDriver, layer: &Key, parent: Option<&Key>) -> Vec<u8> {
    let mut out = Vec::new();
    driver.diff(layer, parent, &mut out).unwrap();
    out
}

/// Changes as lines: `A`, `C` or `D` and the path; without directories that only have other attributes.
fn lines(driver: &dyn DiffDriver, layer: &Key, parent: Option<&Key>) -> Vec<String> {
    use oci_bundle::fs::ChangeKind;
    let changes = driver.changes(layer, parent).unwrap();
    let lines = changes.iter().map(|change| {
        let letter = match change.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'C',
            ChangeKind::Deleted => 'D',
        };
        format!("{letter} {}", String::from_utf8_lossy(&change.path))
    });
    lines.filter(|line| line != "C .").collect()
}

/// Files, a directory, a link; owners and modes of their own.
fn fill(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(path.join("file"), "content").unwrap();
    fs::set_permissions(path.join("file"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::create_dir(path.join("dir")).unwrap();
    std::os::unix::fs::chown(path.join("dir"), Some(1), Some(2)).unwrap();
    fs::write(path.join("dir/inner"), "inner").unwrap();
    symlink("../file", path.join("dir/link")).unwrap();
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
