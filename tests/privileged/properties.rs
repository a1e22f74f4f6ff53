//! Any edit of any tree: the repacked image unpacks to the edited tree, and its layer is umoci's.
//!
//! What umoci cannot see, or a layer not say, is not done: extended attributes that are empty or have more than 1024
//! bytes, other device numbers, other names of an inode with as many links and the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use walkdir::WalkDir;

use crate::edit::{Tool, assert_unpacks_to, assert_valid, diff_ids, name, set_mtime, settle};
use crate::image::{Image, Layer};
use crate::machine::Scratch;
use crate::tree::Tree;

/// One step of an edit. What is impossible, as a file below a file, is not done, nor anything through a symbolic link,
/// which may lead anywhere.
#[derive(Clone, Debug)]
enum Step {
    Write(PathBuf, u8, usize),
    Directory(PathBuf),
    Symlink(PathBuf, String),
    Fifo(PathBuf),
    Device(PathBuf),
    Link(PathBuf, PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Mode(PathBuf, u32),
    Owner(PathBuf, u32, u32),
    Time(PathBuf, i64),
    Attribute(PathBuf, String, u8, usize),
}

impl Step {
    fn apply(&self, root: &Path) {
        let (Self::Write(path, ..)
        | Self::Directory(path)
        | Self::Symlink(path, _)
        | Self::Fifo(path)
        | Self::Device(path)
        | Self::Link(path, _)
        | Self::Rename(path, _)
        | Self::Remove(path)
        | Self::Mode(path, _)
        | Self::Owner(path, ..)
        | Self::Time(path, _)
        | Self::Attribute(path, ..)) = self;
        let second = match self {
            Self::Link(_, to) | Self::Rename(_, to) => to,
            _ => path,
        };
        if is_inside(root, path) && is_inside(root, second) {
            self.apply_inside(root);
        }
    }

    fn apply_inside(&self, root: &Path) {
        let at = |path: &PathBuf| root.join(path);
        // What fails has changed nothing, or as much as a step needs to.
        let _ = match self {
            Self::Write(path, byte, size) if is_plain(&at(path)) => {
                fs::write(at(path), vec![*byte; *size])
            }
            Self::Directory(path) => fs::create_dir(at(path)),
            Self::Symlink(path, target) => symlink(target, at(path)),
            Self::Fifo(path) => node(&at(path), FileType::Fifo),
            // One number only: umoci does not see another.
            Self::Device(path) => node(&at(path), FileType::CharacterDevice),
            Self::Link(from, to) => fs::hard_link(at(from), at(to)),
            Self::Rename(from, to) => fs::rename(at(from), at(to)),
            Self::Remove(path) if is_directory(&at(path)) => fs::remove_dir_all(at(path)),
            Self::Remove(path) => fs::remove_file(at(path)),
            Self::Mode(path, mode) if exists(&at(path)) && !at(path).is_symlink() => {
                fs::set_permissions(at(path), PermissionsExt::from_mode(*mode))
            }
            Self::Owner(path, uid, gid) if is_plain(&at(path)) || is_directory(&at(path)) => {
                chown(at(path), Some(*uid), Some(*gid))
            }
            Self::Time(path, seconds) if exists(&at(path)) => {
                set_mtime(&at(path), *seconds, 0);
                Ok(())
            }
            Self::Attribute(path, name, byte, size)
                if exists(&at(path)) && !at(path).is_symlink() =>
            {
                let flags = rustix::fs::XattrFlags::empty();
                let value = vec![*byte; *size];
                rustix::fs::lsetxattr(at(path), name, &value, flags).map_err(Into::into)
            }
            _ => Ok(()),
        };
    }
}

fn node(path: &Path, kind: FileType) -> std::io::Result<()> {
    let mode = Mode::from_raw_mode(0o600);
    mknodat(CWD, path, kind, mode, makedev(1, 3)).map_err(Into::into)
}

/// Whether everything above a path, up to the root, is a directory.
fn is_inside(root: &Path, path: &Path) -> bool {
    let above = path.ancestors().skip(1);
    above
        .filter(|parent| !parent.as_os_str().is_empty())
        .all(|parent| is_directory(&root.join(parent)))
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Whether a path is free or of a regular file: opening a FIFO would wait.
fn is_plain(path: &Path) -> bool {
    fs::symlink_metadata(path).map_or(true, |metadata| metadata.is_file())
}

/// Few names, so that steps meet; all in directories that other steps may make, replace and remove.
fn path() -> impl Strategy<Value = PathBuf> {
    let name = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["a-b", "a.b", "\u{e9}", "x y*\\", "wh."]).prop_map(str::to_owned),
        1 => Just("n".repeat(120)),
    ];
    vec(name, 1..4).prop_map(|names| names.iter().collect())
}

fn step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![1..4_usize, 400..600_usize];
    let id = || prop_oneof![0..3_u32, Just(2_097_151), Just(2_097_152)];
    prop_oneof![
        6 => (path(), any::<u8>(), prop_oneof![Just(0), size()])
            .prop_map(|(path, byte, size)| Step::Write(path, byte, size)),
        6 => path().prop_map(Step::Directory),
        2 => (path(), "[a-d/.]{1,9}").prop_map(|(path, target)| Step::Symlink(path, target)),
        1 => path().prop_map(Step::Fifo),
        1 => path().prop_map(Step::Device),
        2 => (path(), path()).prop_map(|(from, to)| Step::Link(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        4 => path().prop_map(Step::Remove),
        2 => (path(), 0..0o10000_u32).prop_map(|(path, mode)| Step::Mode(path, mode)),
        2 => (path(), id(), id()).prop_map(|(path, uid, gid)| Step::Owner(path, uid, gid)),
        1 => (path(), -5..2_000_000_000_i64).prop_map(|(path, time)| Step::Time(path, time)),
        2 => (path(), "user\\.[a-c]", any::<u8>(), size())
            .prop_map(|(path, name, byte, size)| Step::Attribute(path, name, byte, size)),
    ]
}

/// Two edits, the second of what the first makes of an empty image.
fn edits() -> impl Strategy<Value = (Vec<Step>, Vec<Step>)> {
    (vec(step(), 10..60), vec(step(), 0..30))
}

/// A bundle of the tag, edited at a time.
fn edited(scratch: &Scratch, tag: &str, steps: &[Step], time: i64) -> PathBuf {
    let bundle = Tool::Ours.unpack(scratch, &name(scratch, "layout", tag), "edited");
    let rootfs = bundle.join("rootfs");
    let before = link_sets(&rootfs);
    for step in steps {
        step.apply(&rootfs);
    }
    settle(&rootfs);
    for (inode, paths) in link_sets(&rootfs) {
        if before.get(&inode) != Some(&paths) {
            set_mtime(paths.first().unwrap(), time, 0);
        }
    }
    bundle
}

/// The inodes with more than one name, and the names.
fn link_sets(root: &Path) -> BTreeMap<u64, BTreeSet<PathBuf>> {
    let mut sets = BTreeMap::<_, BTreeSet<_>>::new();
    for entry in WalkDir::new(root) {
        let entry = entry.unwrap();
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        if !metadata.is_dir() && metadata.nlink() > 1 {
            let paths = sets.entry(metadata.ino()).or_default();
            paths.insert(entry.into_path());
        }
    }
    sets
}

/// Whether a symbolic link leads to a directory, or in a circle.
fn has_link_to_directory(root: &Path) -> bool {
    let links = WalkDir::new(root).into_iter().map(Result::unwrap);
    let mut links = links.filter(|entry| entry.file_type().is_symlink());
    links.any(|entry| {
        let target = fs::read_link(entry.path()).unwrap();
        // Inside of the root, a link may lead elsewhere than here.
        if target.is_absolute() || target.components().any(|part| part.as_os_str() == "..") {
            return true;
        }
        let found = fs::metadata(entry.path());
        found.map_or_else(
            |error| error.kind() != std::io::ErrorKind::NotFound,
            |found| found.is_dir(),
        )
    })
}

/// Packs two edits, one on top of the other.
fn check(first: &[Step], second: &[Step]) {
    let scratch = Scratch::new(&["umoci"]);
    let layout = scratch.path("layout");
    let root = Layer::new().directory("./", 0o755);
    Image::new().layer(root).write(&layout);
    for (from, to, steps) in [("latest", "one", first), ("one", "two", second)] {
        let time = 1_750_000_000 + i64::from(to == "two");
        let image = name(&scratch, "layout", to);
        let bundle = edited(&scratch, from, steps, time);
        let tree = Tree::read(&bundle.join("rootfs"));
        Tool::Ours.repack(&scratch, &image, &bundle, &[]);
        let ids = diff_ids(&layout, to);
        let theirs = name(&scratch, "layout", "theirs");
        Tool::Umoci.repack(&scratch, &theirs, &bundle, &[]);
        // Of a directory that became a link to another one, umoci takes what it had from where the link leads.
        if !has_link_to_directory(&bundle.join("rootfs")) {
            assert_eq!(ids, diff_ids(&layout, "theirs"), "{to}");
        }
        Tool::Ours.repack(&scratch, &image, &bundle, &["--refresh-bundle"]);
        assert_eq!(diff_ids(&layout, to), ids, "{to} refreshed");
        Tool::Ours.repack(&scratch, &theirs, &bundle, &["--verify"]);
        assert_eq!(diff_ids(&layout, "theirs"), ids, "{to} unchanged");
        fs::remove_dir_all(bundle).unwrap();
        assert_unpacks_to(&scratch, Tool::Ours, &image, &tree, to);
    }
    assert_valid(&layout);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_repacked_image_is_the_edited_tree() {
    let config = Config {
        cases: std::env::var("PROPTEST_CASES").map_or(24, |cases| cases.parse().unwrap()),
        max_shrink_iters: 100,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&edits(), |(first, second)| {
            check(&first, &second);
            Ok(())
        })
        .unwrap();
}
