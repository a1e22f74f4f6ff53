//! A directory tree in memory: the names that an extraction made, and what it knows of their inodes.
//!
//! It serves three ends without looking at the disk again: which names the current layer has written (whiteouts spare
//! them), the record of the finished tree (mtree and stat index), and the link counts of hard-link sets. A name is a
//! [`NodeId`]; several names may share an inode. About 250 bytes a file.

use std::collections::BTreeMap;

use filetime::FileTime;

use super::stat::InodeKind;
use super::xattr::Xattrs;

/// A name in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InodeIndex(u32);

/// What is known of an inode. Ids are those on disk.
#[derive(Clone, Debug)]
pub struct Inode {
    /// Type.
    pub kind: InodeKind,
    /// 12 bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes; for a directory what the file system says.
    pub size: u64,
    /// Number of names; for a directory what the file system says.
    pub nlink: u64,
    /// Time of modification.
    pub mtime: FileTime,
    /// Target of a symbolic link.
    pub link: Box<[u8]>,
    /// SHA-256 of a regular file's content, if it was asked for.
    pub sha256: Option<[u8; 32]>,
    /// Extended attributes, sorted.
    pub xattrs: Xattrs,
}

#[derive(Debug)]
struct Node {
    inode: InodeIndex,
    /// The layer that last wrote this name or something below it.
    layer: u32,
    parent: NodeId,
    children: BTreeMap<Box<[u8]>, NodeId>,
}

/// The tree. It always has a root.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    inodes: Vec<Inode>,
    layer: u32,
}

impl Tree {
    /// The root's name.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree with nothing but a root.
    pub fn new(root: Inode) -> Self {
        let node = Node {
            inode: InodeIndex(0),
            layer: 0,
            parent: Self::ROOT,
            children: BTreeMap::new(),
        };
        Self {
            nodes: vec![node],
            inodes: vec![root],
            layer: 0,
        }
    }

    /// Begins a new layer: from now on nothing has been written by the current one.
    pub fn next_layer(&mut self) {
        self.layer += 1;
    }

    /// The inode of a name.
    pub fn inode(&self, node: NodeId) -> &Inode {
        &self.inodes[self.node(node).inode.0 as usize]
    }

    /// The inode of a name, to change.
    pub fn inode_mut(&mut self, node: NodeId) -> &mut Inode {
        let index = self.node(node).inode;
        &mut self.inodes[index.0 as usize]
    }

    fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.0 as usize]
    }

    /// Looks up a name in a directory.
    pub fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        self.node(dir).children.get(name).copied()
    }

    /// Looks up a path without symbolic links; empty is the root.
    pub fn find(&self, path: &[u8]) -> Option<NodeId> {
        path.split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
            .try_fold(Self::ROOT, |dir, name| self.child(dir, name))
    }

    /// The names in a directory, sorted by bytes.
    pub fn children(&self, dir: NodeId) -> impl Iterator<Item = (&[u8], NodeId)> {
        self.node(dir)
            .children
            .iter()
            .map(|(name, node)| (&**name, *node))
    }

    /// Whether the current layer has written this name or something below it.
    pub fn is_written(&self, node: NodeId) -> bool {
        let node = self.node(node);
        node.layer == self.layer
    }

    /// Marks a name, and everything above it, as written by the current layer.
    pub fn mark_written(&mut self, node: NodeId) {
        let mut at = node;
        loop {
            let layer = self.layer;
            let node = &mut self.nodes[at.0 as usize];
            if node.layer == layer && at != Self::ROOT {
                return;
            }
            node.layer = layer;
            if at == Self::ROOT {
                return;
            }
            at = node.parent;
        }
    }

    /// Adds a name with an inode of its own. A name that is there goes, with everything below it.
    pub fn insert(&mut self, dir: NodeId, name: &[u8], inode: Inode) -> NodeId {
        let index = InodeIndex(position(self.inodes.len()));
        self.inodes.push(inode);
        self.insert_node(dir, name, index)
    }

    /// Adds a name that was there before the current layer. The name must be new.
    pub fn adopt(&mut self, dir: NodeId, name: &[u8], inode: Inode) -> NodeId {
        let index = InodeIndex(position(self.inodes.len()));
        self.inodes.push(inode);
        self.add_node(dir, name, index)
    }

    /// Adds a name for the inode of another name. A name that is there goes, with everything below it.
    pub fn insert_link(&mut self, dir: NodeId, name: &[u8], target: NodeId) -> NodeId {
        let index = self.node(target).inode;
        let node = self.insert_node(dir, name, index);
        self.inode_mut(node).nlink += 1;
        node
    }

    fn insert_node(&mut self, dir: NodeId, name: &[u8], inode: InodeIndex) -> NodeId {
        self.remove(dir, name);
        let id = self.add_node(dir, name, inode);
        self.mark_written(id);
        id
    }

    /// Adds a name that the current layer has not written.
    fn add_node(&mut self, dir: NodeId, name: &[u8], inode: InodeIndex) -> NodeId {
        let id = NodeId(position(self.nodes.len()));
        self.nodes.push(Node {
            inode,
            layer: self.layer.wrapping_sub(1),
            parent: dir,
            children: BTreeMap::new(),
        });
        self.nodes[dir.0 as usize].children.insert(name.into(), id);
        id
    }

    /// Removes a name and everything below it. A missing name is fine.
    pub fn remove(&mut self, dir: NodeId, name: &[u8]) {
        let mut stack = Vec::from_iter(self.nodes[dir.0 as usize].children.remove(name));
        while let Some(id) = stack.pop() {
            stack.extend(std::mem::take(&mut self.nodes[id.0 as usize].children).into_values());
            let inode = self.inode_mut(id);
            if inode.kind != InodeKind::Directory {
                inode.nlink = inode.nlink.saturating_sub(1);
            }
        }
    }
}

/// The place of a new element. A tree of four thousand million names does not fit in memory.
fn position(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(kind: InodeKind) -> Inode {
        Inode {
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            nlink: 1,
            mtime: FileTime::zero(),
            link: Box::default(),
            sha256: None,
            xattrs: Vec::new(),
        }
    }

    #[test]
    fn writing_a_name_marks_its_ancestors_but_not_its_siblings() {
        let mut tree = Tree::new(inode(InodeKind::Directory));
        let dir = tree.insert(Tree::ROOT, b"d", inode(InodeKind::Directory));
        let old = tree.insert(dir, b"old", inode(InodeKind::File));
        tree.next_layer();
        assert!(!tree.is_written(dir) && !tree.is_written(old));
        let new = tree.insert(dir, b"new", inode(InodeKind::File));
        assert!(tree.is_written(new) && tree.is_written(dir) && !tree.is_written(old));
        assert_eq!(tree.find(b"d/new"), Some(new));
    }

    #[test]
    fn link_counts_follow_the_names() {
        let mut tree = Tree::new(inode(InodeKind::Directory));
        let first = tree.insert(Tree::ROOT, b"a", inode(InodeKind::File));
        let second = tree.insert_link(Tree::ROOT, b"b", first);
        assert_eq!(tree.inode(second).nlink, 2);
        tree.remove(Tree::ROOT, b"a");
        assert_eq!(tree.inode(second).nlink, 1);
        tree.insert(Tree::ROOT, b"b", inode(InodeKind::Directory));
        assert_eq!(tree.children(Tree::ROOT).count(), 1);
    }
}
