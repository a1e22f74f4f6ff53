//! The steps of edits.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};

use crate::edit::set_mtime;
use crate::machine::Bounded;

/// One step of an edit. What is impossible is not done.
#[derive(Clone, Debug)]
pub enum Step {
    Write(PathBuf, u8, usize),
    /// Opens a file for writing, and writes nothing.
    Open(PathBuf),
    Directory(PathBuf),
    Symlink(PathBuf),
    Device(PathBuf),
    Link(PathBuf, PathBuf),
    /// With `mv`, which copies what the kernel does not rename.
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Mode(PathBuf, u32),
    /// Changes the mode and changes it back.
    ModeAndBack(PathBuf),
    Owner(PathBuf, u32),
    Time(PathBuf, i64),
    Attribute(PathBuf, u8),
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (path(), any::<u8>(), 0..3_usize).prop_map(|(path, byte, size)| Step::Write(path, byte, size)),
        2 => path().prop_map(Step::Open),
        5 => path().prop_map(Step::Directory),
        1 => path().prop_map(Step::Symlink),
        1 => path().prop_map(Step::Device),
        5 => (path(), path()).prop_map(|(from, to)| Step::Link(from, to)),
        4 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        4 => path().prop_map(Step::Remove),
        1 => (path(), 0o100..0o1000_u32).prop_map(|(path, mode)| Step::Mode(path, mode)),
        2 => path().prop_map(Step::ModeAndBack),
        1 => (path(), 0..3_u32).prop_map(|(path, id)| Step::Owner(path, id)),
        1 => (path(), 0..1_600_000_000_i64).prop_map(|(path, time)| Step::Time(path, time)),
        1 => (path(), any::<u8>()).prop_map(|(path, byte)| Step::Attribute(path, byte)),
    ]
}

impl Step {
    /// Whether a flat tree and an overlay are to be the same afterwards: not if a file that has several names is changed
    /// under one of them, nor if one of its names is renamed to another, which does nothing.
    pub fn is_alike(&self, root: &Path) -> bool {
        let at = |path: &PathBuf| fs::symlink_metadata(root.join(path)).ok();
        let is_alone = |path| at(path).is_none_or(|it| it.is_dir() || it.nlink() == 1);
        let is_inside = |path: &PathBuf| {
            let mut above = path.ancestors().skip(1);
            above.all(|it| fs::symlink_metadata(root.join(it)).is_ok_and(|it| it.is_dir()))
        };
        match self {
            Self::Write(path, ..)
            | Self::Mode(path, _)
            | Self::Owner(path, _)
            | Self::Time(path, _)
            | Self::Attribute(path, _) => is_inside(path) && is_alone(path),
            Self::Rename(from, to) => {
                is_inside(from)
                    && is_inside(to)
                    && match (at(from), at(to)) {
                        (Some(_), None) => !to.starts_with(from),
                        (Some(from), Some(to)) => {
                            !from.is_dir() && !to.is_dir() && from.ino() != to.ino()
                        }
                        _ => false,
                    }
            }
            Self::Link(from, to) => is_inside(from) && is_inside(to),
            Self::Open(path)
            | Self::Directory(path)
            | Self::Symlink(path)
            | Self::Device(path)
            | Self::Remove(path)
            | Self::ModeAndBack(path) => is_inside(path),
        }
    }

    pub fn apply(&self, root: &Path) {
        let at = |path: &PathBuf| root.join(path);
        let kind = |path: &PathBuf| fs::symlink_metadata(at(path)).map(|it| it.file_type());
        let is_file = |path| kind(path).is_ok_and(|kind| kind.is_file());
        let is_dir = |path| kind(path).is_ok_and(|kind| kind.is_dir());
        let is_plain = |path| is_file(path) || is_dir(path);
        let chmod = |path: &PathBuf, mode| {
            fs::set_permissions(at(path), PermissionsExt::from_mode(mode)).unwrap();
        };
        // What fails changes nothing, in either tree.
        match self {
            Self::Write(path, byte, size) if is_file(path) || kind(path).is_err() => {
                let _ = fs::write(at(path), vec![*byte; *size]);
            }
            Self::Open(path) if is_file(path) => {
                fs::File::options().write(true).open(at(path)).unwrap();
            }
            Self::Directory(path) => drop(fs::create_dir(at(path))),
            Self::Symlink(path) => drop(symlink("a/b", at(path))),
            // With one number: a record has none.
            Self::Device(path) => drop(device(&at(path), (1, 3))),
            Self::Link(from, to) => drop(fs::hard_link(at(from), at(to))),
            Self::Rename(from, to) => {
                Bounded::new("mv", 10)
                    .args(&["--force", "--no-target-directory"])
                    .arg(at(from))
                    .arg(at(to))
                    .succeed();
            }
            Self::Remove(path) if is_dir(path) => fs::remove_dir_all(at(path)).unwrap(),
            Self::Remove(path) => drop(fs::remove_file(at(path))),
            Self::Mode(path, mode) if is_plain(path) => chmod(path, *mode),
            Self::ModeAndBack(path) if is_plain(path) => {
                let mode = fs::metadata(at(path)).unwrap().mode();
                chmod(path, mode ^ 0o100);
                chmod(path, mode);
            }
            Self::Owner(path, id) if is_plain(path) => chown(at(path), Some(*id), None).unwrap(),
            Self::Time(path, seconds) if kind(path).is_ok() => set_mtime(&at(path), *seconds, 0),
            Self::Attribute(path, byte) if is_plain(path) => {
                lsetxattr(at(path), "user.x", &[*byte], XattrFlags::empty()).unwrap();
            }
            _ => {}
        }
    }
}

pub fn device(path: &Path, (major, minor): (u32, u32)) -> std::io::Result<()> {
    let mode = Mode::from_raw_mode(0o600);
    let number = makedev(major, minor);
    mknodat(CWD, path, FileType::CharacterDevice, mode, number).map_err(Into::into)
}

pub fn path() -> impl Strategy<Value = PathBuf> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    vec(name, 1..4).prop_map(|names| names.iter().collect())
}
