//! The stat index from unpack to repack: whatever happens to a bundle, no change is missed, and none is made up.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::edit::{Tool, assert_valid, base, diff_ids, name, set_mtime, sh, top_names};
use crate::machine::{Scratch, names_in};

fn unpacked(scratch: &Scratch, bundle: &str) -> PathBuf {
    let layout = scratch.path("layout");
    if !layout.exists() {
        base().write(&layout);
    }
    scratch.unpack("layout", bundle)
}

/// Changes the content of a file, and neither its size nor its time.
fn swap_content(file: &Path, content: &str) {
    assert_eq!(fs::metadata(file).unwrap().len(), content.len() as u64);
    fs::write(file, content).unwrap();
    set_mtime(file, 1_600_000_000, 0);
}

/// Fails the test unless a repack of the bundle has exactly these entries, with the index and without.
#[track_caller]
fn assert_packs(scratch: &Scratch, bundle: &Path, expected: &[&str], what: &str) {
    let layout = scratch.path("layout");
    let image = name(scratch, "layout", "packed");
    for flags in [&[][..], &["--verify"]] {
        Tool::Ours.repack(scratch, &image, bundle, flags);
        if expected.is_empty() {
            let (old, new) = (diff_ids(&layout, "latest"), diff_ids(&layout, "packed"));
            assert_eq!(old, new, "{what} {flags:?}");
        } else {
            assert_eq!(top_names(&layout, "packed"), expected, "{what} {flags:?}");
        }
    }
    assert_valid(&layout);
}

fn index_of(bundle: &Path) -> PathBuf {
    let names = names_in(bundle);
    let name = names.iter().find(|name| name.contains(".stat"));
    bundle.join(name.expect("the bundle has a stat index"))
}

fn manifest_of(bundle: &Path) -> PathBuf {
    index_of(bundle).with_extension("mtree")
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn content_of_the_same_size_and_time_is_a_change() {
    let scratch = Scratch::new(&[]);
    // At once, in the tick of the unpack, and later.
    for (what, pause) in [("at once", 0), ("later", 60)] {
        let bundle = unpacked(&scratch, what);
        std::thread::sleep(Duration::from_millis(pause));
        swap_content(&bundle.join("rootfs/f"), "CONTENT");
        assert_packs(&scratch, &bundle, &["f"], what);
        // By way of another file, of an older inode.
        let other = bundle.join("other");
        fs::write(&other, "contenT").unwrap();
        set_mtime(&other, 1_600_000_000, 0);
        fs::rename(&other, bundle.join("rootfs/f")).unwrap();
        set_mtime(&bundle.join("rootfs"), 1_600_000_000, 0);
        assert_packs(&scratch, &bundle, &["f"], what);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn two_files_that_change_places_are_changes() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch, "b");
    std::thread::sleep(Duration::from_millis(60));
    sh(
        &bundle.join("rootfs/d"),
        "mv a x; mv b a; mv x b; touch -d @1600000000 .",
    );
    assert_packs(&scratch, &bundle, &["d/a", "d/b"], "swapped names");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_change_in_the_tick_of_a_refresh_is_seen() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch, "b");
    let layout = scratch.path("layout");
    let file = bundle.join("rootfs/f");
    let image = name(&scratch, "layout", "packed");
    for content in ["CONTENT", "Content", "cONTENT", "CoNtEnT"] {
        swap_content(&file, content);
        let count = {
            Tool::Ours.repack(&scratch, &image, &bundle, &["--refresh-bundle"]);
            assert_eq!(top_names(&layout, "packed"), ["f"], "{content}");
            diff_ids(&layout, "packed").len()
        };
        Tool::Ours.repack(&scratch, &image, &bundle, &[]);
        assert_eq!(diff_ids(&layout, "packed").len(), count, "{content}");
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_moved_or_copied_bundle_is_as_good() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch, "b");
    let moved = scratch.path("moved");
    fs::rename(&bundle, &moved).unwrap();
    assert_packs(&scratch, &moved, &[], "moved");
    sh(&scratch.path(""), "cp -a moved copied");
    let copied = scratch.path("copied");
    assert_packs(&scratch, &copied, &[], "copied");
    // What is changed in one is no change of the other.
    swap_content(&copied.join("rootfs/f"), "CONTENT");
    fs::remove_file(copied.join("rootfs/d/a")).unwrap();
    set_mtime(&copied.join("rootfs/d"), 1_600_000_000, 0);
    assert_packs(&scratch, &copied, &["d/.wh.a", "f"], "changed copy");
    assert_packs(&scratch, &moved, &[], "moved, and its copy changed");
    // The root of one in the place of the other's.
    fs::remove_dir_all(moved.join("rootfs")).unwrap();
    fs::rename(copied.join("rootfs"), moved.join("rootfs")).unwrap();
    assert_packs(&scratch, &moved, &["d/.wh.a", "f"], "another's root");
    // A refreshed copy has an index of its own inodes.
    let image = name(&scratch, "layout", "refreshed");
    sh(&scratch.path(""), "cp -a moved copied2");
    let second = scratch.path("copied2");
    Tool::Ours.repack(&scratch, &image, &second, &["--refresh-bundle"]);
    swap_content(&second.join("rootfs/f"), "Content");
    Tool::Ours.repack(&scratch, &image, &second, &[]);
    assert_eq!(top_names(&scratch.path("layout"), "refreshed"), ["f"]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_damaged_or_missing_index_changes_nothing() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch, "b");
    swap_content(&bundle.join("rootfs/f"), "CONTENT");
    let path = index_of(&bundle);
    let index = fs::read(&path).unwrap();
    let size = index.len();
    for length in [0, 1, 8, 16, size / 2, size - 33, size - 1] {
        fs::write(&path, &index[..length]).unwrap();
        let what = format!("{length} of {size} bytes");
        assert_packs(&scratch, &bundle, &["f"], &what);
    }
    for position in [0, 7, 12, 16, 40, size / 2, size - 90, size - 60, size - 1] {
        let mut damaged = index.clone();
        damaged[position] ^= 1;
        fs::write(&path, damaged).unwrap();
        let what = format!("byte {position} of {size}");
        assert_packs(&scratch, &bundle, &["f"], &what);
    }
    fs::write(&path, [&index[..], b"x"].concat()).unwrap();
    assert_packs(&scratch, &bundle, &["f"], "a byte more");
    fs::remove_file(&path).unwrap();
    assert_packs(&scratch, &bundle, &["f"], "missing");
    fs::create_dir(&path).unwrap();
    assert_packs(&scratch, &bundle, &["f"], "a directory");
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert_packs(&scratch, &bundle, &["f"], "a symbolic link to a device");
    fs::remove_file(&path).unwrap();
    sh(&bundle, &format!("mkfifo '{}'", path.display()));
    assert_packs(&scratch, &bundle, &["f"], "a fifo");
}

/// Whoever edits the manifest means it: the index is of the one before.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_index_of_another_manifest_is_ignored() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch, "b");
    let path = manifest_of(&bundle);
    let manifest = fs::read_to_string(&path).unwrap();
    let line = manifest
        .lines()
        .find(|line| line.starts_with("    f size=7 "))
        .unwrap();
    fs::write(
        &path,
        manifest.replace(line, &line.replace("size=7", "size=8")),
    )
    .unwrap();
    assert_packs(&scratch, &bundle, &["f"], "edited manifest");
}

/// An index that is sound, belongs to the manifest, and lies: made of the index of a later refresh.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn verify_asks_the_manifest_alone() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch, "b");
    let layout = scratch.path("layout");
    let manifest = (
        manifest_of(&bundle),
        fs::read(manifest_of(&bundle)).unwrap(),
    );
    let index_path = index_of(&bundle);
    let metadata = fs::read(bundle.join("umoci.json")).unwrap();
    swap_content(&bundle.join("rootfs/f"), "CONTENT");
    std::thread::sleep(Duration::from_millis(100));
    let image = name(&scratch, "layout", "refreshed");
    Tool::Ours.repack(&scratch, &image, &bundle, &["--refresh-bundle"]);

    let mut index = fs::read(index_of(&bundle)).unwrap();
    index.truncate(index.len() - 64);
    index.extend_from_slice(&Sha256::digest(&manifest.1));
    index.extend_from_slice(&Sha256::digest(index.clone()));
    fs::write(&index_path, index).unwrap();
    fs::write(&manifest.0, &manifest.1).unwrap();
    fs::write(bundle.join("umoci.json"), metadata).unwrap();

    let image = name(&scratch, "layout", "packed");
    Tool::Ours.repack(&scratch, &image, &bundle, &[]);
    let ids = diff_ids(&layout, "latest");
    assert_eq!(diff_ids(&layout, "packed"), ids, "the lie is believed");
    Tool::Ours.repack(&scratch, &image, &bundle, &["--verify"]);
    assert_eq!(top_names(&layout, "packed"), ["f"]);
}
