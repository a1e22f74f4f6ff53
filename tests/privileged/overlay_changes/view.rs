//! What a mount shows, and what a stack shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use oci_bundle::fs::{Access, Dir, InodeKind, XattrNamespace};
use oci_bundle::overlay::{Found, Stack};

use crate::machine::Bounded;
use crate::tree;

const MARKS: XattrNamespace = XattrNamespace::Trusted;

/// A mounted overlay, unmounted on drop.
pub struct Overlay(pub PathBuf);

/// Who mounts what is edited.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mounter {
    Kernel,
    Fuse,
}

impl Overlay {
    /// Mounts layers, the topmost first, to be looked at.
    pub fn view(at: PathBuf, layers: &[PathBuf]) -> Self {
        Self::mount(at, layers, None, Mounter::Kernel)
    }

    /// Mounts layers, the topmost first, writable with an upper directory.
    pub fn mount(
        at: PathBuf,
        layers: &[PathBuf],
        upper: Option<(&Path, &Path)>,
        mounter: Mounter,
    ) -> Self {
        fs::create_dir_all(&at).unwrap();
        let layers: Vec<_> = layers.iter().map(|it| it.to_str().unwrap()).collect();
        let mut options = format!("lowerdir={}", layers.join(":"));
        if let Some((upper, work)) = upper {
            let (upper, work) = (upper.display(), work.display());
            write!(options, ",upperdir={upper},workdir={work}").unwrap();
            if mounter == Mounter::Kernel {
                // What is copied up, and the unmount, need not wait for the disk.
                options += ",volatile";
            }
        }
        if mounter == Mounter::Fuse {
            Bounded::new("fuse-overlayfs", 10)
        } else {
            options += ",redirect_dir=off,metacopy=off,index=off";
            Bounded::new("mount", 10).args(&["-t", "overlay", "overlay"])
        }
        .args(&["-o", &options])
        .arg(&at)
        .succeed();
        Self(at)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // A command that another test starts at this moment has its files open until it runs.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

pub fn dir(path: &Path) -> Dir {
    Dir::open(path, Access::Plain).unwrap()
}

pub fn stack(layers: &[PathBuf]) -> Stack {
    Stack::new(layers.iter().map(|path| dir(path)).collect(), MARKS)
}

/// Attributes as an image has them, for people.
fn shown_xattrs<'a>(xattrs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> String {
    let shown = xattrs.into_iter().map(|(name, value)| {
        let (name, value) = (name.escape_ascii(), value.escape_ascii());
        format!("{name}={value}")
    });
    shown.collect::<Vec<_>>().join(",")
}

/// What a path is, as a mount shows it.
fn mounted(path: &Path) -> Option<String> {
    // The kernel lists dangling whiteouts, and does not find them.
    let metadata = fs::symlink_metadata(path).ok()?;
    let kind = metadata.file_type();
    let content = if kind.is_symlink() {
        fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()
    } else if kind.is_file() {
        fs::read(path).unwrap()
    } else {
        Vec::new()
    };
    let kind = match kind {
        kind if kind.is_file() => InodeKind::File,
        kind if kind.is_dir() => InodeKind::Directory,
        kind if kind.is_symlink() => InodeKind::Symlink,
        kind if kind.is_char_device() => InodeKind::CharDevice,
        _ => InodeKind::Fifo,
    };
    let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    let xattrs = tree::xattrs(path);
    let xattrs = xattrs
        .iter()
        .map(|(name, value)| (name.as_bytes(), &value[..]));
    Some(format!(
        "{kind:?} {mode:o} {uid}:{gid} {seconds}.{nanoseconds} {} {}",
        content.escape_ascii(),
        shown_xattrs(xattrs)
    ))
}

/// What a path is, as a stack shows it.
fn stacked(found: &Found) -> String {
    let stat = &found.stat;
    let content = match stat.kind {
        InodeKind::Symlink => found.read_link().unwrap(),
        InodeKind::File => {
            let mut buffer = vec![0; 1 << 16];
            found
                .open_file()
                .unwrap()
                .read(&mut buffer)
                .unwrap()
                .to_vec()
        }
        _ => Vec::new(),
    };
    let xattrs = found.xattrs().unwrap();
    let xattrs = xattrs.iter().map(|(name, value)| (&name[..], &value[..]));
    format!(
        "{:?} {:o} {}:{} {}.{} {} {}",
        stat.kind,
        stat.mode,
        stat.uid,
        stat.gid,
        stat.mtime.unix_seconds(),
        stat.mtime.nanoseconds(),
        content.escape_ascii(),
        shown_xattrs(xattrs)
    )
}

pub type Tree = BTreeMap<Vec<u8>, String>;

pub fn read_mount(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let Some(shown) = mounted(&path) else {
                continue;
            };
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
            tree.insert(name.to_vec(), shown);
            if !path.is_symlink() && path.is_dir() {
                pending.push(path);
            }
        }
    }
    tree
}

pub fn read_stack(stack: &Stack) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![Vec::new()];
    while let Some(directory) = pending.pop() {
        for found in stack.read_dir(&directory).unwrap().unwrap().into_values() {
            let path = found.path().to_vec();
            tree.insert(path.clone(), stacked(&found));
            let alone = stack.lookup(&path).unwrap().unwrap();
            assert_eq!(stacked(&alone), tree[&path]);
            if found.stat.is_dir() {
                pending.push(path);
            }
        }
    }
    tree
}

#[track_caller]
pub fn assert_same_view(at: PathBuf, layers: &[PathBuf]) {
    let overlay = Overlay::view(at, layers);
    assert_eq!(read_stack(&stack(layers)), read_mount(&overlay.0));
}
