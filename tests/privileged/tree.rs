//! Reads a directory tree as a map from path to everything that an image can say about it, and
//! compares two of them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

/// One file of any type.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    /// Nanoseconds since 1970.
    mtime: i128,
    device: u64,
    /// Digest of a regular file, target of a symbolic link.
    content: String,
    xattrs: BTreeMap<String, Vec<u8>>,
    /// The first path, in order, with this inode, and how many links the inode has; not for directories.
    link: (PathBuf, u64),
}

/// A directory tree in memory; paths are relative to its root, which is the empty path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, Node>);

impl Tree {
    /// Reads the tree below `root`, symbolic links not followed.
    pub fn read(root: &Path) -> Self {
        let mut nodes = BTreeMap::new();
        let mut inodes = HashMap::new();
        for entry in WalkDir::new(root).sort_by_file_name() {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(root).unwrap().to_owned();
            let node = Node::read(entry.path(), &path, &mut inodes);
            nodes.insert(path, node);
        }
        Self(nodes)
    }

    /// Forgets the times of the directories at `paths`: those that no layer has an entry for, whose
    /// times tools choose as they like.
    pub fn without_times_of(mut self, paths: &[&str]) -> Self {
        for path in paths {
            let node = self.0.get_mut(Path::new(path));
            node.unwrap_or_else(|| panic!("{path} is not in the tree"))
                .mtime = 0;
        }
        self
    }

    /// Whether there is something at `path`, of whatever type.
    pub fn contains(&self, path: &str) -> bool {
        self.0.contains_key(Path::new(path))
    }

    /// Fails the test, naming every difference, unless both trees are equal in type, mode, owner, time,
    /// device, extended attributes, links and content.
    #[track_caller]
    pub fn assert_same(&self, other: &Self, what: &str) {
        let differences = self.differences(other);
        assert!(differences.is_empty(), "{what}:\n{differences}");
    }

    /// In what two trees differ; empty if they are the same.
    pub fn differences(&self, other: &Self) -> String {
        let mut differences = String::new();
        for path in self.0.keys().chain(other.0.keys()) {
            match (self.0.get(path), other.0.get(path)) {
                (Some(one), Some(two)) if one == two => {}
                (Some(one), Some(two)) => {
                    let line = format!("{}:\n  {one:?}\n  {two:?}\n", path.display());
                    if !differences.contains(&line) {
                        differences += &line;
                    }
                }
                (Some(_), None) => {
                    writeln!(differences, "{}: only in the first", path.display()).unwrap();
                }
                (None, _) => {
                    writeln!(differences, "{}: only in the second", path.display()).unwrap();
                }
            }
        }
        differences
    }
}

impl Node {
    fn read(path: &Path, name: &Path, inodes: &mut HashMap<(u64, u64), PathBuf>) -> Self {
        let metadata = fs::symlink_metadata(path).unwrap();
        let file_type = metadata.file_type();
        let kind = match file_type {
            kind if kind.is_file() => "file",
            kind if kind.is_dir() => "directory",
            kind if kind.is_symlink() => "symlink",
            kind if kind.is_char_device() => "char device",
            kind if kind.is_block_device() => "block device",
            kind if kind.is_fifo() => "fifo",
            _ => "socket",
        };
        let content = match kind {
            "file" => hex::encode(Sha256::digest(fs::read(path).unwrap())),
            "symlink" => fs::read_link(path).unwrap().display().to_string(),
            _ => String::new(),
        };
        let link = if kind == "directory" {
            (PathBuf::new(), 0)
        } else {
            let first = inodes
                .entry((metadata.dev(), metadata.ino()))
                .or_insert_with(|| name.to_owned());
            (first.clone(), metadata.nlink())
        };
        Self {
            kind,
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            mtime: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
            device: metadata.rdev(),
            content,
            xattrs: xattrs(path),
            link,
        }
    }
}

/// All extended attributes of the file itself that an image can carry.
pub fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let size = llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut found = BTreeMap::new();
    for name in names[..size].split(|byte| *byte == 0) {
        // The kernel or its policy adds labels on its own.
        if name.is_empty() || name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0; 1 << 16];
        let name_text = OsStr::from_bytes(name);
        let size = lgetxattr(path, name_text, &mut value[..])
            .unwrap_or_else(|errno| panic!("{}: {}: {errno}", path.display(), name_text.display()));
        value.truncate(size);
        found.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    found
}
