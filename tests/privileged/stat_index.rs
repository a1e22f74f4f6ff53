//! The stat index never hides a change: what only root can do to a bundle.

use std::fs;
use std::path::Path;
use std::process::Command;

use oci_bundle::fs::{Access, Dir};
use oci_bundle::mtree::{Baseline, DiffOptions, Manifest, StatIndex, diff};

use crate::image::{Image, Layer};
use crate::machine::{Bounded, Scratch, Tmpfs, names_in};

/// A mount that goes away on drop, so that a failed test leaves none.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn bind(from: &Path, to: &'a Path) -> Self {
        Bounded::new("mount", 10)
            .args(&["--bind"])
            .arg(from)
            .arg(to)
            .succeed();
        Self(to)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// A bundle named `name` from an image with a few files and a device.
fn unpacked(scratch: &Scratch, name: &str) -> std::path::PathBuf {
    let layout = format!("{name}-image");
    let layer = Layer::new()
        .directory("d/", 0o755)
        .file("d/a", 0o644, b"one")
        .file("d/b", 0o644, b"two")
        .file("e", 0o644, b"one")
        .null_device("null");
    Image::new().layer(layer).write(&scratch.path(&layout));
    scratch.unpack(&layout, name)
}

/// The changes of a root by the index of a bundle, which must be the same as without it where `agree`; as lines.
#[track_caller]
fn changes(bundle: &Path, rootfs: &Path, agree: bool) -> Vec<String> {
    let dir = Dir::open(bundle, Access::Plain).unwrap();
    let names = names_in(bundle);
    let is_manifest = |name: &&String| name.strip_suffix(".mtree").is_some();
    let name = names.iter().find(is_manifest).unwrap();
    let index = StatIndex::load(&dir, name)
        .unwrap()
        .expect("there is an index");
    let manifest = Manifest::parse(fs::File::open(bundle.join(name)).unwrap()).unwrap();
    let root = Dir::open(rootfs, Access::Plain).unwrap();
    let lines = |baseline| {
        let options = DiffOptions {
            baseline,
            masks: &[],
            record: None,
        };
        let found = diff(&root, &options).unwrap();
        let line = |path: Vec<u8>| String::from_utf8(path).unwrap();
        let changes = found.changes.into_iter();
        changes
            .map(|change| format!("{:?} {}", change.kind, line(change.path)))
            .collect::<Vec<_>>()
    };
    let by_index = lines(Baseline::Index(&index));
    if agree {
        assert_eq!(by_index, lines(Baseline::Manifest(&manifest)));
    }
    by_index
}

/// Makes `to` a file of the same size and times as `like`.
fn write_like(to: &Path, like: &Path, content: &str) {
    fs::write(to, content).unwrap();
    Bounded::new("touch", 10)
        .arg(format!("--reference={}", like.display()))
        .arg(to)
        .succeed();
}

#[test]
#[ignore = "needs root: mounts"]
fn a_bind_mounted_rootfs_is_compared_with_what_is_there() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch, "b");
    let rootfs = bundle.join("rootfs");
    let elsewhere = scratch.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    {
        let _mount = Mount::bind(&rootfs, &elsewhere);
        assert_eq!(changes(&bundle, &elsewhere, true), [""; 0]);
    }
    // Another root over that of the bundle: the same image, but for one file of equal size and time.
    let other = unpacked(&scratch, "other");
    let edited = other.join("rootfs/d/a");
    let like = rootfs.join("d/a");
    write_like(&edited, &like, "ONE");
    {
        let _mount = Mount::bind(&other.join("rootfs"), &rootfs);
        assert_eq!(changes(&bundle, &rootfs, true), ["Modified d/a"]);
    }
    assert_eq!(changes(&bundle, &rootfs, true), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts"]
fn a_file_or_directory_mounted_into_the_rootfs_is_seen() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch, "b");
    let rootfs = bundle.join("rootfs");
    let file = scratch.path("file");
    write_like(&file, &rootfs.join("e"), "ONE");
    let target = rootfs.join("e");
    {
        let _mount = Mount::bind(&file, &target);
        assert_eq!(changes(&bundle, &rootfs, true), ["Modified e"]);
    }
    // A directory like the one below, from which only the content of one file differs.
    let target = rootfs.join("d");
    let copy = scratch.path("d");
    Bounded::new("cp", 10)
        .args(&["-a"])
        .arg(&target)
        .arg(&copy)
        .succeed();
    write_like(&copy.join("b"), &target.join("b"), "TWO");
    let _mount = Mount::bind(&copy, &target);
    assert_eq!(changes(&bundle, &rootfs, true), ["Modified d/b"]);
}

#[test]
#[ignore = "needs root: mounts"]
fn a_copy_of_the_rootfs_on_another_file_system_is_compared_by_content() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch, "b");
    let rootfs = bundle.join("rootfs");
    let tmpfs = Tmpfs::mount(scratch.path("tmpfs"), "size=8m");
    let copy = tmpfs.path().join("rootfs");
    Bounded::new("cp", 10)
        .args(&["-a"])
        .arg(&rootfs)
        .arg(&copy)
        .succeed();
    write_like(&copy.join("d/a"), &rootfs.join("d/a"), "ONE");
    let _mount = Mount::bind(&copy, &rootfs);
    let found = changes(&bundle, &rootfs, true);
    assert!(found.contains(&"Modified d/a".to_owned()), "{found:?}");
    assert!(!found.iter().any(|line| line.ends_with("d/b")), "{found:?}");
}

#[test]
#[ignore = "needs root: device nodes"]
fn another_device_number_is_seen_though_the_manifest_has_none() {
    let scratch = Scratch::new(&["mknod"]);
    let bundle = unpacked(&scratch, "b");
    let null = bundle.join("rootfs/null");
    let old = scratch.path("old");
    fs::rename(&null, &old).unwrap();
    Bounded::new("mknod", 10)
        .args(&["-m", "644"])
        .arg(&null)
        .args(&["c", "1", "5"])
        .succeed();
    fs::set_permissions(&null, fs::metadata(&old).unwrap().permissions()).unwrap();
    Bounded::new("touch", 10)
        .arg(format!("--reference={}", old.display()))
        .arg(&null)
        .succeed();
    let found = changes(&bundle, &bundle.join("rootfs"), false);
    assert!(found.contains(&"Modified null".to_owned()), "{found:?}");
}
