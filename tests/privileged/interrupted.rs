//! An unpack that is killed, or runs out of room, leaves nothing that could be taken for a bundle and
//! touches nothing that was there.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::image::{Image, Layer};
use crate::machine::{Scratch, Tmpfs, names_in, said};
use crate::tree::Tree;

const KILLS: u32 = 20;

/// Bytes that gzip can't shrink, different for each seed.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// An image of `layers` times 32 MB in files big and small.
fn medium_image(layers: u64) -> Image {
    let mut image = Image::new();
    for number in 0..layers {
        let mut layer = Layer::new()
            .directory("./", 0o755)
            .directory(&format!("l{number}/"), 0o755);
        for file in 0..1000 {
            let size = if file % 2 == 0 { 500 } else { 64_000 };
            let content = noise(number * 1000 + file, size);
            layer = layer.file(&format!("l{number}/f{file}"), 0o644, &content);
        }
        image = image.layer(layer);
    }
    image
}

/// Whether a user, or a runtime, would take the directory for a finished bundle.
fn looks_like_a_bundle(path: &Path) -> bool {
    path.join("config.json").exists() && path.join("rootfs").exists()
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn killed_unpack_leaves_no_bundle_and_can_be_retried() {
    let scratch = Scratch::new(&[]);
    medium_image(3).write(&scratch.path("layout"));
    let layout = Tree::read(&scratch.path("layout"));
    let image = format!("{}:latest", scratch.path("layout").display());
    let started = Instant::now();
    let whole = Tree::read(&scratch.unpack("layout", "whole").join("rootfs"));
    let duration = started.elapsed();

    let mut killed = 0;
    for moment in 0..KILLS {
        let parent = scratch.path(&format!("parent{moment}"));
        let target = parent.join("b");
        fs::create_dir(&parent).unwrap();
        fs::write(parent.join("neighbour"), "untouched").unwrap();
        // Every other time the bundle's directory exists, with somebody's file in it.
        let existed = moment % 2 == 1;
        if existed {
            fs::create_dir(&target).unwrap();
            fs::write(target.join("notes"), "untouched").unwrap();
        }

        let mut child = Command::new(scratch.binary())
            .args(["unpack", "--image", &image])
            .arg(&target)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(duration * moment / KILLS + Duration::from_millis(2));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        killed += u32::from(!status.success());

        assert_eq!(
            fs::read_to_string(parent.join("neighbour")).unwrap(),
            "untouched"
        );
        if existed {
            assert_eq!(
                fs::read_to_string(target.join("notes")).unwrap(),
                "untouched"
            );
        }
        for name in names_in(&parent) {
            let path = parent.join(&name);
            if looks_like_a_bundle(&path) && !name.starts_with('.') {
                Tree::read(&path.join("rootfs")).assert_same(&whole, "what looks like a bundle");
            }
        }
        if !looks_like_a_bundle(&target) {
            let name = format!("parent{moment}/b");
            let retried = scratch.unpack("layout", &name).join("rootfs");
            Tree::read(&retried).assert_same(&whole, "the bundle of the retry");
        }
        fs::remove_dir_all(&parent).unwrap();
    }
    assert!(killed >= KILLS / 2, "only {killed} of {KILLS} were killed");
    Tree::read(&scratch.path("layout")).assert_same(&layout, "the layout after and before");
}

/// Unpacks on to a tmpfs that is too small, once without and once with an existing target directory.
#[track_caller]
fn assert_full_disk_leaves_nothing(options: &str) {
    let scratch = Scratch::new(&[]);
    medium_image(1).write(&scratch.path("layout"));
    let image = format!("{}:latest", scratch.path("layout").display());
    let small = Tmpfs::mount(scratch.path("small"), options);
    fs::write(small.path().join("neighbour"), "untouched").unwrap();
    fs::create_dir(small.path().join("existing")).unwrap();
    fs::write(small.path().join("existing/notes"), "untouched").unwrap();
    for target in ["new", "existing"] {
        let before = Tree::read(small.path());
        let output = scratch
            .tool(&["unpack", "--image", &image])
            .arg(small.path().join(target))
            .output();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.to_lowercase().contains("no space left"), "{said}");
        assert_eq!(
            names_in(small.path()),
            ["existing", "neighbour"],
            "{target}"
        );
        // The times of directories that staging went through may change.
        let directories = ["", "existing"];
        Tree::read(small.path())
            .without_times_of(&directories)
            .assert_same(
                &before.without_times_of(&directories),
                "the full disk after and before",
            );
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn disk_without_blocks_left_is_an_error_that_leaves_nothing() {
    assert_full_disk_leaves_nothing("size=8m");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn disk_without_inodes_left_is_an_error_that_leaves_nothing() {
    assert_full_disk_leaves_nothing("nr_inodes=200");
}
