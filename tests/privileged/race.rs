//! Somebody changes the rootfs while it is being unpacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use walkdir::WalkDir;

use crate::image::{Image, Layer};
use crate::machine::{Scratch, said};
use crate::tree::Tree;

const DIRECTORIES: usize = 8;
const FILES: usize = 200;

/// An image that comes back to the same few directories again and again: new files, files replaced,
/// whiteouts, links.
fn image() -> Image {
    let mut image = Image::new();
    for round in 0..3 {
        let mut layer = Layer::new();
        for directory in 0..DIRECTORIES {
            layer = layer.directory(&format!("d{directory}/"), 0o711);
        }
        for file in 0..FILES {
            for directory in 0..DIRECTORIES {
                let name = format!("d{directory}/f{file}");
                layer = match (round + file) % 4 {
                    0 if round > 0 => layer.file(&format!("d{directory}/.wh.f{file}"), 0o644, b""),
                    1 => layer.symlink(&name, "nowhere"),
                    _ => layer.owner(7, 7).file(&name, 0o600, b"from the image"),
                };
            }
        }
        image = image.layer(layer);
    }
    image
}

/// The directories that unpack works on, wherever below `parent` it stages them.
fn targets(parent: &Path) -> Vec<PathBuf> {
    WalkDir::new(parent)
        .max_depth(4)
        .into_iter()
        .filter_entry(|entry| entry.file_type().is_dir())
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy();
            name.len() == 2 && name.starts_with('d')
        })
        .map(walkdir::DirEntry::into_path)
        .collect()
}

/// Until `stop`: exchanges each directory for a symbolic link to the canary, and back.
fn swap(parent: &Path, canary: &Path, stop: &AtomicBool, swaps: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        for directory in targets(parent) {
            let link = directory.with_extension("swap");
            let _ = std::os::unix::fs::symlink(canary, &link);
            for _ in 0..2 {
                if renameat_with(CWD, &directory, CWD, &link, RenameFlags::EXCHANGE).is_ok() {
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
                thread::yield_now();
            }
        }
    }
}

/// Ends the swapping also when the test panics: the scope waits for its thread.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn directories_swapped_for_links_during_unpack_lead_nowhere() {
    let scratch = Scratch::new(&[]);
    image().write(&scratch.path("layout"));
    // The canary has every name that the image has, so that a write, a chmod, a deletion would show.
    let canary = scratch.path("canary");
    fs::create_dir(&canary).unwrap();
    for file in 0..FILES {
        fs::write(canary.join(format!("f{file}")), "canary").unwrap();
    }
    let before = Tree::read(&canary);
    let image = format!("{}:latest", scratch.path("layout").display());
    let parent = scratch.path("work");
    fs::create_dir(&parent).unwrap();
    let swaps = AtomicUsize::new(0);
    for round in 0..10 {
        let stop = AtomicBool::new(false);
        let output = thread::scope(|scope| {
            scope.spawn(|| swap(&parent, &canary, &stop, &swaps));
            let _stop = StopOnDrop(&stop);
            scratch
                .tool(&["unpack", "--image", &image])
                .arg(parent.join(format!("b{round}")))
                .output()
        });
        // A refusal is fine, and so is success; a crash isn't.
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 1)), "{code:?}: {}", said(&output));
        Tree::read(&canary).assert_same(&before, "the canary after and before");
        for name in crate::machine::names_in(&parent) {
            fs::remove_dir_all(parent.join(name)).unwrap();
        }
    }
    let swaps = swaps.into_inner();
    assert!(swaps > 100, "only {swaps} swaps: the test proved nothing");
}
