//! The steps of edits.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{
    CWD, FileType, Mode, RenameFlags, XattrFlags, lremovexattr, lsetxattr, makedev, mknodat,
    renameat_with,
};
use walkdir::WalkDir;

use crate::edit::set_mtime;
use crate::machine::Bounded;

/// One step of an edit. What is impossible is not done.
#[derive(Clone, Debug)]
pub enum Step {
    Write(PathBuf, u8, usize),
    /// Opens a file for writing, and writes nothing.
    Open(PathBuf),
    /// Empties a file, and writes what was in it.
    Rewrite(PathBuf),
    Directory(PathBuf),
    Symlink(PathBuf, &'static str),
    Device(PathBuf),
    Fifo(PathBuf),
    Link(PathBuf, PathBuf),
    /// As `mv` does, which copies what the kernel does not rename. A directory may take the place of an empty one.
    Rename(PathBuf, PathBuf),
    /// Each of two names gets what the other had, unless the kernel refuses it for directories of lower layers.
    Exchange(PathBuf, PathBuf),
    Remove(PathBuf),
    Mode(PathBuf, u32),
    /// Changes the mode and changes it back.
    ModeAndBack(PathBuf),
    Owner(PathBuf, u32, u32),
    Time(PathBuf, i64, u32),
    /// Changes the time within its second.
    Moment(PathBuf, u32),
    Attribute(PathBuf, &'static str, Vec<u8>),
    NoAttribute(PathBuf, &'static str),
}

/// One or more steps: those that random ones seldom make of a single path.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![
        8 => step().prop_map(|step| vec![step]),
        // A type takes the place of another, or a directory that of itself, and hides what is below.
        2 => (path(), made()).prop_map(|(path, make)| vec![Step::Remove(path.clone()), make(path)]),
        1 => (path(), path(), made()).prop_map(|(path, below, make)| {
            let child = path.join(below);
            vec![Step::Remove(path.clone()), Step::Directory(path), make(child)]
        }),
        // Copied up, then gone.
        1 => path().prop_map(|path| vec![Step::Open(path.clone()), Step::Remove(path)]),
        1 => (path(), path()).prop_map(|(from, to)| vec![Step::Remove(to.clone()), Step::Link(from, to)]),
        1 => (path(), path(), path()).prop_map(|(from, over, to)| {
            vec![Step::Rename(from.clone(), over), Step::Link(to, from)]
        }),
    ]
}

/// A step that makes something at a path.
fn made() -> impl Strategy<Value = fn(PathBuf) -> Step> {
    let made: Vec<fn(PathBuf) -> Step> = vec![
        |path| Step::Write(path, b'a', 1),
        |path| Step::Write(path, b'b', 2),
        Step::Directory,
        |path| Step::Symlink(path, "a"),
        Step::Device,
        Step::Fifo,
    ];
    prop::sample::select(made)
}

fn step() -> impl Strategy<Value = Step> {
    let target = prop::sample::select(vec!["a/b", "a", "..", "/b", "none"]);
    // Two of them are like marks of overlayfs.
    let names = vec![
        "user.x",
        "user.y",
        "trusted.z",
        "trusted.overlay.opaque",
        "user.overlay.origin",
    ];
    let name = || prop::sample::select(names.clone());
    let byte = prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()];
    // `mv` gives directories that it copies into one that passes on its group the bit of that one.
    let mode = prop_oneof![0o100..0o1000_u32, 0..0o10000_u32];
    let mode = mode.prop_map(|mode| mode & !0o2000);
    prop_oneof![
        5 => (path(), byte, 0..3_usize).prop_map(|(path, byte, size)| Step::Write(path, byte, size)),
        2 => path().prop_map(Step::Open),
        1 => path().prop_map(Step::Rewrite),
        5 => path().prop_map(Step::Directory),
        1 => (path(), target).prop_map(|(path, target)| Step::Symlink(path, target)),
        1 => path().prop_map(Step::Device),
        1 => path().prop_map(Step::Fifo),
        5 => (path(), path()).prop_map(|(from, to)| Step::Link(from, to)),
        5 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        3 => (path(), path()).prop_map(|(one, other)| Step::Exchange(one, other)),
        4 => path().prop_map(Step::Remove),
        1 => (path(), mode).prop_map(|(path, mode)| Step::Mode(path, mode)),
        2 => path().prop_map(Step::ModeAndBack),
        1 => (path(), 0..3_u32, 0..3_u32).prop_map(|(path, uid, gid)| Step::Owner(path, uid, gid)),
        1 => (path(), 0..1_600_000_000_i64, 0..3_u32)
            .prop_map(|(path, time, moment)| Step::Time(path, time, moment)),
        1 => (path(), 0..1_000_000_000_u32).prop_map(|(path, moment)| Step::Moment(path, moment)),
        2 => (path(), name(), vec(0..3_u8, 0..2))
            .prop_map(|(path, name, value)| Step::Attribute(path, name, value)),
        1 => (path(), name()).prop_map(|(path, name)| Step::NoAttribute(path, name)),
    ]
}

impl Step {
    /// The paths that it is about.
    fn paths(&self) -> (&Path, Option<&Path>) {
        match self {
            Self::Link(path, other) | Self::Rename(path, other) | Self::Exchange(path, other) => {
                (path, Some(other))
            }
            Self::Write(path, ..)
            | Self::Open(path)
            | Self::Rewrite(path)
            | Self::Directory(path)
            | Self::Symlink(path, _)
            | Self::Device(path)
            | Self::Fifo(path)
            | Self::Remove(path)
            | Self::Mode(path, _)
            | Self::ModeAndBack(path)
            | Self::Owner(path, ..)
            | Self::Time(path, ..)
            | Self::Moment(path, _)
            | Self::Attribute(path, ..)
            | Self::NoAttribute(path, _) => (path, None),
        }
    }

    /// Whether it changes an inode under all of its names.
    fn is_in_place(&self) -> bool {
        matches!(
            self,
            Self::Write(..)
                | Self::Rewrite(_)
                | Self::Mode(..)
                | Self::Owner(..)
                | Self::Time(..)
                | Self::Moment(..)
                | Self::Attribute(..)
                | Self::NoAttribute(..)
        )
    }

    /// Whether it can be done without leaving the tree, and as `mv` does it.
    pub fn is_possible(&self, root: &Path) -> bool {
        let at = |path: &Path| fs::symlink_metadata(root.join(path)).ok();
        let is_inside = |path: &Path| {
            let mut above = path.ancestors().skip(1);
            above.all(|it| at(it).is_some_and(|it| it.is_dir()))
        };
        let (path, other) = self.paths();
        if !is_inside(path) || !other.is_none_or(is_inside) {
            return false;
        }
        let Self::Rename(from, to) = self else {
            return true;
        };
        match (at(from), at(to)) {
            (Some(_), None) => !to.starts_with(from),
            (Some(one), Some(other)) if one.is_dir() && other.is_dir() => {
                let is_empty = || fs::read_dir(root.join(to)).unwrap().next().is_none();
                !to.starts_with(from) && is_empty()
            }
            (Some(one), Some(other)) => {
                !one.is_dir() && !other.is_dir() && one.ino() != other.ino()
            }
            (None, _) => false,
        }
    }

    /// Whether a flat tree and an overlay with this upper directory are to be the same afterwards: not if a file is changed
    /// that overlayfs gives only some of its names, nor if what are two of its names in the flat tree change places.
    pub fn is_alike(&self, flat: &Path, upper: &Path) -> bool {
        let (path, other) = self.paths();
        let at = |path: &Path| fs::symlink_metadata(flat.join(path)).ok();
        let Some(found) = at(path).filter(|found| !found.is_dir() && found.nlink() > 1) else {
            return true;
        };
        if matches!(self, Self::Rename(..) | Self::Exchange(..)) {
            let other = other.and_then(at);
            return other.is_none_or(|other| other.ino() != found.ino());
        }
        !self.is_in_place() || names_of(flat, path) == names_of(upper, path)
    }

    /// Does it, unless what is there is of no type for it. `false` if the kernel refuses to, which changes nothing.
    pub fn apply(&self, root: &Path) -> bool {
        let at = |path: &PathBuf| root.join(path);
        let kind = |path: &PathBuf| fs::symlink_metadata(at(path)).map(|it| it.file_type());
        let is_file = |path| kind(path).is_ok_and(|kind| kind.is_file());
        let is_dir = |path| kind(path).is_ok_and(|kind| kind.is_dir());
        let is_plain = |path| is_file(path) || is_dir(path);
        let chmod =
            |path: &PathBuf, mode| fs::set_permissions(at(path), PermissionsExt::from_mode(mode));
        let flags = XattrFlags::empty();
        let done = match self {
            Self::Write(path, byte, size) if is_file(path) || kind(path).is_err() => {
                fs::write(at(path), vec![*byte; *size])
            }
            Self::Open(path) if is_file(path) => {
                fs::File::options().write(true).open(at(path)).map(drop)
            }
            Self::Rewrite(path) if is_file(path) => {
                fs::read(at(path)).and_then(|content| fs::write(at(path), content))
            }
            Self::Directory(path) => fs::create_dir(at(path)),
            Self::Symlink(path, target) => symlink(target, at(path)),
            // With one number: a record has none.
            Self::Device(path) => device(&at(path), (1, 3)),
            Self::Fifo(path) => special(&at(path), FileType::Fifo, (0, 0)),
            Self::Link(from, to) => fs::hard_link(at(from), at(to)),
            Self::Rename(from, to) => match fs::rename(at(from), at(to)) {
                Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
                    Bounded::new("mv", 10)
                        .args(&["--force", "--no-target-directory"])
                        .arg(at(from))
                        .arg(at(to))
                        .succeed();
                    Ok(())
                }
                done => done,
            },
            Self::Exchange(one, other) => {
                renameat_with(CWD, at(one), CWD, at(other), RenameFlags::EXCHANGE)
                    .map_err(Into::into)
            }
            Self::Remove(path) if is_dir(path) => fs::remove_dir_all(at(path)),
            Self::Remove(path) => fs::remove_file(at(path)),
            Self::Mode(path, mode) if is_plain(path) => chmod(path, *mode),
            Self::ModeAndBack(path) if is_plain(path) => {
                let mode = fs::metadata(at(path)).unwrap().mode();
                chmod(path, mode ^ 0o100).and_then(|()| chmod(path, mode))
            }
            Self::Owner(path, uid, gid) => lchown(at(path), Some(*uid), Some(*gid)),
            Self::Time(path, seconds, moment) if kind(path).is_ok() => {
                set_mtime(&at(path), *seconds, (*moment).into());
                Ok(())
            }
            Self::Moment(path, moment) if kind(path).is_ok() => {
                let seconds = fs::symlink_metadata(at(path)).unwrap().mtime();
                set_mtime(&at(path), seconds, (*moment).into());
                Ok(())
            }
            Self::Attribute(path, name, value) if is_plain(path) => {
                lsetxattr(at(path), *name, value, flags).map_err(Into::into)
            }
            Self::NoAttribute(path, name) if is_plain(path) => {
                lremovexattr(at(path), *name).map_err(Into::into)
            }
            _ => Ok(()),
        };
        done.is_ok()
    }
}

/// The paths in a tree that lead to the inode at one of them; none if it is not there.
fn names_of(root: &Path, path: &Path) -> BTreeSet<PathBuf> {
    let Ok(inode) = fs::symlink_metadata(root.join(path)) else {
        return BTreeSet::new();
    };
    let entries = WalkDir::new(root).into_iter().map(Result::unwrap);
    let names = entries.filter(|entry| entry.metadata().unwrap().ino() == inode.ino());
    names
        .map(|entry| entry.path().strip_prefix(root).unwrap().to_owned())
        .collect()
}

pub fn device(path: &Path, number: (u32, u32)) -> std::io::Result<()> {
    special(path, FileType::CharacterDevice, number)
}

fn special(path: &Path, kind: FileType, (major, minor): (u32, u32)) -> std::io::Result<()> {
    let mode = Mode::from_raw_mode(0o600);
    mknodat(CWD, path, kind, mode, makedev(major, minor)).map_err(Into::into)
}

/// Few, so that steps meet.
pub fn path() -> impl Strategy<Value = PathBuf> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    vec(name, 1..4).prop_map(|names| names.iter().collect())
}
