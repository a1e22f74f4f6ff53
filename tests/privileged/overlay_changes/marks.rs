//! Layers with marks of all kinds: a stack shows what the kernel shows.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{XattrFlags, lsetxattr};

use super::model::{device, path};
use super::property::runner;
use super::view::assert_same_view;
use crate::machine::Scratch;

/// What a layer says of a path, marks and all.
#[derive(Clone, Debug)]
enum Entry {
    File(u8),
    Directory(u32),
    Opaque(&'static str),
    Symlink,
    Whiteout,
    AttributeWhiteout,
    Escaped,
}

fn put(root: &Path, path: &Path, entry: &Entry) {
    let at = root.join(path);
    // What is in the way, or has no way to it, stays as it is.
    if fs::create_dir_all(at.parent().unwrap()).is_err() {
        return;
    }
    let set = |name: &str, value: &str| {
        let _ = lsetxattr(&at, name, value.as_bytes(), XattrFlags::empty());
    };
    match entry {
        Entry::File(byte) => drop(fs::write(&at, [*byte])),
        Entry::Directory(mode) => {
            if fs::create_dir(&at).is_ok() {
                fs::set_permissions(&at, PermissionsExt::from_mode(*mode)).unwrap();
            }
        }
        Entry::Opaque(value) => {
            if at.is_dir() || fs::create_dir(&at).is_ok() {
                set("trusted.overlay.opaque", value);
            }
        }
        Entry::Symlink => drop(symlink("a/b", &at)),
        Entry::Whiteout => drop(device(&at, (0, 0))),
        Entry::AttributeWhiteout => {
            if !at.exists() && fs::write(&at, "").is_ok() {
                set("trusted.overlay.whiteout", "y");
            }
        }
        Entry::Escaped => {
            if at.exists() {
                set("trusted.overlay.overlay.opaque", "y");
                set("user.x", "1");
            }
        }
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        3 => any::<u8>().prop_map(Entry::File),
        3 => prop::sample::select(vec![0o755, 0o700, 0o1777]).prop_map(Entry::Directory),
        2 => prop::sample::select(vec!["y", "x"]).prop_map(Entry::Opaque),
        1 => Just(Entry::Symlink),
        3 => Just(Entry::Whiteout),
        1 => Just(Entry::AttributeWhiteout),
        1 => Just(Entry::Escaped),
    ]
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_stack_shows_what_the_kernel_shows() {
    let layers = vec(vec((path(), entry()), 0..12), 2..5);
    let scratch = Scratch::new(&[]);
    let check = |layers: Vec<Vec<(PathBuf, Entry)>>| {
        let place = scratch.place();
        let mut roots = Vec::new();
        for (number, entries) in layers.iter().enumerate() {
            let root = place.path().join(format!("layer{number}"));
            fs::create_dir(&root).unwrap();
            for (path, entry) in entries {
                put(&root, path, entry);
            }
            roots.push(root);
        }
        assert_same_view(place.path().join("mount"), &roots);
        Ok(())
    };
    runner(48).run(&layers, check).unwrap();
}
