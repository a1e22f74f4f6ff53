//! A layer by itself, and what it says about the layers below it.
//!
//! Layers are unpacked independent of each other, and stacked by overlayfs later. On disk, a layer has what its archive
//! has, whiteouts as the kernel wants them, and nothing of what the plain unpack takes from the layers below: the
//! attributes of directories without an entry, the targets of hard links, the way that a symbolic link takes a path. A
//! [`LowerDependencies`] is what must be known to put these right once it is known what is below.

use std::collections::{BTreeSet, HashMap};

use super::notes::{DESCRIBED, FRESH, IMPLIED, OPAQUE};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::InodeKind;
use crate::fs::tree::{InodeIndex, NodeId, Tree};

/// How many bytes the paths in the lists may have together. They are of what is on disk, but a path has all names above
/// it once more.
const MAX_NAMES_SIZE: usize = 256 << 20;

/// How many different users, and groups, may own something.
const MAX_OWNERS: usize = 65_536;

/// What a layer says about those below it.
///
/// Paths are below the root, clean, and lead through no symbolic links of the layer, unless said otherwise. All lists but
/// one are sorted by bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LowerDependencies {
    /// Whether it has an entry that means one thing or another, as the layers below decide: a hard link whose target may be
    /// below or come later, and whose place something else of the layer has; a path that leads in a circle or to nothing,
    /// unless there are symbolic links on its way below. What is on disk is the part before it; the layer must be applied
    /// to those below as a whole.
    pub needs_below: bool,
    /// Whether it has an entry for the root itself.
    pub root: bool,
    /// Whether the root is opaque: nothing below this layer is seen. It is not in `opaque`, because on the root of a lower
    /// layer the kernel sees no such mark; the layers below must be left out.
    pub root_opaque: bool,
    /// Every directory that was made without an entry of its own having come before.
    pub implied: Vec<ImpliedDir>,
    /// Directories that entries led through without one for the directory itself, and that the layer has replaced or removed
    /// later: where one is a symbolic link below, what these entries made is elsewhere.
    pub passed: Vec<Vec<u8>>,
    /// Directories that hide the children of those below, but are the same directory: an implied one has the attributes
    /// that it has below. Marked on disk.
    pub opaque: Vec<Vec<u8>>,
    /// Directories that hide what is below altogether, because it was hidden before they were made: nothing is inherited,
    /// neither by them nor by anything in them (which is not listed). Marked on disk.
    pub fresh: Vec<Vec<u8>>,
    /// Paths that are a whiteout on disk.
    pub whiteouts: Vec<Vec<u8>>,
    /// Hard links whose target was not in the layer when the link came, in the order of the layer. Those with a target
    /// below are links to that one, whatever the layer has. The others are made after all those, to what is there then;
    /// they are on disk already if that is in the layer. A name that is not is free, but has no whiteout.
    pub links_below: Vec<LinkBelow>,
    /// The names of each inode that has several.
    pub link_groups: Vec<Vec<Vec<u8>>>,
    /// The users that own something, as on disk.
    pub uids: Vec<u32>,
    /// The groups that own something, as on disk.
    pub gids: Vec<u32>,
    /// Number of inodes, with the root's and those of whiteouts.
    pub files: u64,
    /// Bytes of regular files, each inode counted once.
    pub size: u64,
}

/// A directory that was made without an entry of its own having come before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImpliedDir {
    /// Its path.
    pub path: Vec<u8>,
    /// Whether the layer has an entry for it later: its attributes are its own.
    pub described: bool,
    /// Whether it was made for whiteouts alone: nothing else of the layer is in it, and nothing but what is below makes it
    /// exist.
    pub only_marks: bool,
}

/// A hard link whose target was not in the layer when the link came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkBelow {
    /// The path of the link.
    pub path: Vec<u8>,
    /// The path of its target: clean, but perhaps through symbolic links of the layers below.
    pub target: Vec<u8>,
}

impl LowerDependencies {
    /// Gathers what is noted in the record of a layer that the current layer of the record is.
    pub(super) fn of(
        tree: &Tree,
        whiteouts: Vec<Vec<u8>>,
        links_below: Vec<LinkBelow>,
    ) -> Result<Self> {
        let mut gathering = Gathering {
            tree,
            found: Self {
                root: tree.notes(Tree::ROOT) & DESCRIBED != 0,
                root_opaque: tree.notes(Tree::ROOT) & OPAQUE != 0,
                files: whiteouts.len() as u64,
                whiteouts,
                links_below,
                ..Self::default()
            },
            names_size: 0,
            groups: HashMap::new(),
            uids: BTreeSet::new(),
            gids: BTreeSet::new(),
        };
        gathering.walk()?;
        Ok(gathering.finish())
    }
}

/// A changeset under construction.
struct Gathering<'t> {
    tree: &'t Tree,
    found: LowerDependencies,
    names_size: usize,
    groups: HashMap<InodeIndex, Vec<Vec<u8>>>,
    uids: BTreeSet<u32>,
    gids: BTreeSet<u32>,
}

impl<'t> Gathering<'t> {
    /// Looks at every name once, however deep the tree is.
    fn walk(&mut self) -> Result<()> {
        let tree = self.tree;
        self.inode(Tree::ROOT)?;
        let mut path = Vec::new();
        let below = |parent_length: usize, dir: NodeId| {
            let children = tree.children(dir);
            children.map(move |(name, node)| (parent_length, name, node))
        };
        let mut pending: Vec<(usize, &'t [u8], NodeId)> = below(0, Tree::ROOT).collect();
        while let Some((parent_length, name, node)) = pending.pop() {
            path.truncate(parent_length);
            if parent_length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            if tree.inode(node).kind == InodeKind::Directory {
                self.directory(&path, node)?;
                pending.extend(below(path.len(), node));
            } else {
                self.other(&path, node)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: &[u8], node: NodeId) -> Result<()> {
        self.inode(node)?;
        let notes = self.tree.notes(node);
        if notes & IMPLIED != 0 {
            let path = self.keep(path)?;
            self.found.implied.push(ImpliedDir {
                path,
                described: notes & DESCRIBED != 0,
                only_marks: !self.tree.is_written(node),
            });
        }
        if notes & FRESH != 0 {
            let path = self.keep(path)?;
            self.found.fresh.push(path);
        } else if notes & OPAQUE != 0 {
            let path = self.keep(path)?;
            self.found.opaque.push(path);
        }
        Ok(())
    }

    fn other(&mut self, path: &[u8], node: NodeId) -> Result<()> {
        if self.tree.inode(node).nlink > 1 {
            let path = self.keep(path)?;
            let names = self.groups.entry(self.tree.inode_index(node)).or_default();
            names.push(path);
            if names.len() > 1 {
                return Ok(());
            }
        }
        self.inode(node)
    }

    /// Counts an inode.
    fn inode(&mut self, node: NodeId) -> Result<()> {
        let inode = self.tree.inode(node);
        self.found.files += 1;
        if inode.kind == InodeKind::File {
            self.found.size = self.found.size.saturating_add(inode.size);
        }
        self.uids.insert(inode.uid);
        self.gids.insert(inode.gid);
        if self.uids.len() > MAX_OWNERS || self.gids.len() > MAX_OWNERS {
            let message = format!("too many different owners; the limit is {MAX_OWNERS}");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(())
    }

    /// A path for one of the lists.
    fn keep(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        self.names_size += path.len();
        if self.names_size > MAX_NAMES_SIZE {
            let message = format!(
                "too many directories without entries, opaque directories and hard links; the limit is \
                 {MAX_NAMES_SIZE} bytes of paths"
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(path.to_vec())
    }

    fn finish(self) -> LowerDependencies {
        let mut found = self.found;
        found.implied.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        found.opaque.sort_unstable();
        found.fresh.sort_unstable();
        let groups = self.groups.into_values().map(|mut names| {
            names.sort_unstable();
            names
        });
        found.link_groups = groups.collect();
        found.link_groups.sort_unstable();
        found.uids = self.uids.into_iter().collect();
        found.gids = self.gids.into_iter().collect();
        found
    }
}
