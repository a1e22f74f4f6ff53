//! What is recorded of a tree that was just made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;

use super::entry::{Content, Entry, LinkSet};
use super::writer::RecordWriter;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::{join, split};
use crate::fs::tree::{InodeIndex, NodeId, Tree};
use crate::fs::xattr::is_masked;
use crate::fs::{InodeKind, XattrNamespace, escape_name};

/// What is known of a layer that was unpacked by itself.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// What was made. Attributes and times are those on disk.
    pub tree: &'a Tree,
    /// Paths of whiteouts; their directories are in the tree.
    pub whiteouts: Vec<&'a [u8]>,
    /// Paths of opaque directories.
    pub opaques: Vec<&'a [u8]>,
    /// The namespace that they are marked in.
    pub marks: XattrNamespace,
}

impl Record<'_> {
    /// Writes the record.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if a whiteout or an opaque directory has no place in the tree, or if that has sockets,
    /// which no layer has; [`ErrorKind::LimitExceeded`] for an inode with more attributes than a record holds; those of
    /// the output, which then has a part that readers refuse.
    pub fn write(&self, out: impl Write) -> Result<()> {
        let mut writer = RecordWriter::new(out, self.marks)?;
        let mut walk = Walk {
            record: self,
            whiteouts: self.whiteouts_by_directory()?,
            opaques: self.opaque_directories()?,
            name_counts: name_counts(self.tree),
            sets: HashMap::new(),
        };
        writer.append(&walk.entry(Vec::new(), Tree::ROOT)?)?;
        // Of all directories that the walk is in, their names are held; one path serves for all.
        let mut path = Vec::new();
        let mut levels = vec![(0, walk.names(Tree::ROOT)?.into_iter())];
        while let Some((above, names)) = levels.last_mut() {
            let Some((name, node)) = names.next() else {
                path.truncate(*above);
                levels.pop();
                continue;
            };
            let here = path.len();
            let child = join(&path, name);
            let Some(node) = node else {
                writer.append(&Entry::whiteout(child))?;
                continue;
            };
            let entry = walk.entry(child, node)?;
            writer.append(&entry)?;
            if matches!(entry.content, Content::Directory { .. }) {
                path = entry.path;
                levels.push((here, walk.names(node)?.into_iter()));
            }
        }
        writer.finish()
    }

    fn whiteouts_by_directory(&self) -> Result<HashMap<NodeId, Vec<&[u8]>>> {
        let mut found: HashMap<NodeId, Vec<&[u8]>> = HashMap::new();
        for &path in &self.whiteouts {
            let (dir, name) = split(path);
            found
                .entry(self.directory(dir, path)?)
                .or_default()
                .push(name);
        }
        Ok(found)
    }

    fn opaque_directories(&self) -> Result<HashSet<NodeId>> {
        let paths = self.opaques.iter();
        paths.map(|path| self.directory(path, path)).collect()
    }

    /// The directory at a path, for what is marked at another.
    fn directory(&self, path: &[u8], marked: &[u8]) -> Result<NodeId> {
        let found = if path == b"." {
            Some(Tree::ROOT)
        } else {
            self.tree.find(path)
        };
        found
            .filter(|&node| self.tree.inode(node).kind == InodeKind::Directory)
            .ok_or_else(|| {
                let message = format!("record {}: its directory is missing", escape_name(marked));
                Error::new(ErrorKind::InvalidInput, message)
            })
    }
}

struct Walk<'a> {
    record: &'a Record<'a>,
    whiteouts: HashMap<NodeId, Vec<&'a [u8]>>,
    opaques: HashSet<NodeId>,
    name_counts: HashMap<InodeIndex, u64>,
    /// Numbers of the sets of hard links that have come, in the order of their first names.
    sets: HashMap<InodeIndex, u64>,
}

impl<'a> Walk<'a> {
    /// The names in a directory, sorted; whiteouts have no node.
    fn names(&self, dir: NodeId) -> Result<BTreeMap<&'a [u8], Option<NodeId>>> {
        let tree = self.record.tree;
        let mut names: BTreeMap<_, _> = tree
            .children(dir)
            .map(|(name, node)| (name, Some(node)))
            .collect();
        for name in self.whiteouts.get(&dir).into_iter().flatten() {
            if let Some(Some(node)) = names.insert(name, None)
                && tree.inode(node).kind != InodeKind::CharDevice
            {
                let message = format!("record whiteout {}: the name is taken", escape_name(name));
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        }
        Ok(names)
    }

    fn entry(&mut self, path: Vec<u8>, node: NodeId) -> Result<Entry> {
        let inode = self.record.tree.inode(node);
        let number = inode.stat_stamp.map(|stat_stamp| stat_stamp.rdev);
        let content = match inode.kind {
            InodeKind::File => Content::File {
                size: inode.size,
                sha256: inode.sha256,
            },
            InodeKind::Directory => Content::Directory {
                opaque: self.opaques.contains(&node),
            },
            InodeKind::Symlink => Content::Symlink {
                target: inode.link.to_vec(),
            },
            InodeKind::CharDevice => Content::Device {
                block: false,
                number,
            },
            InodeKind::BlockDevice => Content::Device {
                block: true,
                number,
            },
            InodeKind::Fifo => Content::Fifo,
            InodeKind::Socket => {
                let message = format!("record {}: layers have no sockets", escape_name(&path));
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        };
        let opaque = self.record.marks.opaque();
        let kept = |name: &[u8]| !is_masked(name) && name != opaque;
        let mut xattrs = inode.xattrs.clone();
        xattrs.retain(|(name, _)| kept(name));
        xattrs.sort_unstable();
        Ok(Entry {
            path,
            content,
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            xattrs,
            links: self.link_set(node),
        })
    }

    fn link_set(&mut self, node: NodeId) -> Option<LinkSet> {
        let index = self.record.tree.inode_index(node);
        let count = *self.name_counts.get(&index).filter(|&&count| count > 1)?;
        let next = self.sets.len() as u64;
        let set = *self.sets.entry(index).or_insert(next);
        Some(LinkSet { set, count })
    }
}

/// How many names each inode has in the tree.
fn name_counts(tree: &Tree) -> HashMap<InodeIndex, u64> {
    let mut counts = HashMap::new();
    let mut pending = vec![Tree::ROOT];
    while let Some(dir) = pending.pop() {
        for (_, node) in tree.children(dir) {
            let inode = tree.inode(node);
            if inode.kind == InodeKind::Directory {
                pending.push(node);
            } else if inode.nlink > 1 {
                *counts.entry(tree.inode_index(node)).or_insert(0) += 1;
            }
        }
    }
    counts
}
