//! A directory tree in memory: the names that an extraction made, and what it knows of their inodes.
//!
//! It serves three ends without looking at the disk again: which names the current layer has written (whiteouts spare
//! them), the record of the finished tree (mtree and stat index), and the link counts of hard-link sets. A name is a
//! [`NodeId`]; several names may share an inode. About 300 bytes a file.
//!
//! What is removed makes room for what comes: a tree never takes more than its largest state did, however often an
//! archive replaces a name.

use std::collections::{BTreeMap, HashSet};

use filetime::FileTime;

use super::stat::{InodeId, InodeKind, Stat};
use super::xattr::Xattrs;

/// A name in the tree, until it is removed: then another name may get the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// An inode of the tree: the same for all names of a hard-link set. Inodes have the numbers from 0, the root's, and one
/// without a name left gives its number to another. A clone keeps the numbers of the inodes and never gives them away:
/// if only the clone is changed, an inode with a number that the original has too is that inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeIndex(u32);

impl InodeIndex {
    /// The number.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

/// What tells later whether an inode is still the same and nobody has touched it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatStamp {
    /// Identity.
    pub id: InodeId,
    /// Time of the last change of anything.
    pub ctime: FileTime,
    /// Device number of a device: major, minor.
    pub rdev: (u32, u32),
}

impl StatStamp {
    /// That of an inode as it is now.
    pub fn of(stat: &Stat) -> Self {
        Self {
            id: stat.id,
            ctime: stat.ctime,
            rdev: stat.rdev,
        }
    }
}

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
    /// From the last look at it, if it has not been changed since.
    pub stat_stamp: Option<StatStamp>,
}

impl Inode {
    /// That of something as it is on disk, without content and attributes.
    pub fn of(stat: &Stat) -> Self {
        Self {
            kind: stat.kind,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            size: stat.size,
            nlink: stat.nlink,
            mtime: stat.mtime,
            link: Box::default(),
            sha256: None,
            xattrs: Xattrs::new(),
            stat_stamp: Some(StatStamp::of(stat)),
        }
    }
}

#[derive(Clone, Debug)]
struct Node {
    inode: InodeIndex,
    /// The layer that last wrote this name or something below it.
    layer: u32,
    parent: NodeId,
    /// Whether the name can be reached from the root.
    alive: bool,
    /// What the owner of the tree has noted of the name.
    notes: u8,
    children: BTreeMap<Box<[u8]>, NodeId>,
}

/// The tree. It always has a root.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    /// Places of names that were removed.
    free_nodes: Vec<NodeId>,
    inodes: Vec<Inode>,
    /// How many names each inode has.
    name_counts: Vec<u32>,
    /// Numbers of inodes without names.
    free_inodes: Vec<InodeIndex>,
    /// Inodes below this number are those of another tree too: they are never replaced by others.
    shared: u32,
    layer: u32,
    /// Names below which the current layer has hidden all that lower layers had.
    cleared: HashSet<NodeId>,
}

impl Clone for Tree {
    fn clone(&self) -> Self {
        Self {
            nodes: self.nodes.clone(),
            free_nodes: self.free_nodes.clone(),
            inodes: self.inodes.clone(),
            name_counts: self.name_counts.clone(),
            free_inodes: Vec::new(),
            shared: position(self.inodes.len()),
            layer: self.layer,
            cleared: self.cleared.clone(),
        }
    }
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
            alive: true,
            notes: 0,
            children: BTreeMap::new(),
        };
        Self {
            nodes: vec![node],
            free_nodes: Vec::new(),
            inodes: vec![root],
            name_counts: vec![1],
            free_inodes: Vec::new(),
            shared: 0,
            layer: 0,
            cleared: HashSet::new(),
        }
    }

    /// Begins a new layer: from now on nothing has been written by the current one.
    pub fn next_layer(&mut self) {
        self.layer += 1;
        self.cleared.clear();
    }

    /// Notes that the current layer has hidden all that lower layers had below a name. Nothing of theirs can come back:
    /// whatever is added from now on is of the current layer.
    pub fn mark_cleared(&mut self, node: NodeId) {
        self.cleared.insert(node);
    }

    /// Whether nothing of lower layers is left below a name, because the current layer has hidden it there or above.
    pub fn is_cleared(&self, node: NodeId) -> bool {
        let mut at = node;
        // Mostly there is nothing to look for.
        while !self.cleared.is_empty() {
            if self.cleared.contains(&at) {
                return true;
            }
            if at == Self::ROOT {
                break;
            }
            at = self.parent(at);
        }
        false
    }

    /// What has been noted of a name: 8 bits, whose meaning is the caller's. A new name has none of them.
    pub fn notes(&self, node: NodeId) -> u8 {
        self.node(node).notes
    }

    /// Notes something of a name, in place of what was noted so far. It goes with the name.
    pub fn set_notes(&mut self, node: NodeId, notes: u8) {
        self.nodes[node.0 as usize].notes = notes;
    }

    /// The inode of a name.
    pub fn inode(&self, node: NodeId) -> &Inode {
        &self.inodes[self.node(node).inode.0 as usize]
    }

    /// Which inode a name has.
    pub fn inode_index(&self, node: NodeId) -> InodeIndex {
        self.node(node).inode
    }

    /// The directory that a name is in; that of the root is the root.
    pub fn parent(&self, node: NodeId) -> NodeId {
        self.node(node).parent
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

    /// The names without a stat stamp that are no directories: path of the directory, and name; sorted by these.
    pub fn unstamped(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        let mut pending = vec![(Vec::new(), Self::ROOT)];
        while let Some((path, dir)) = pending.pop() {
            for (name, node) in self.children(dir) {
                let inode = self.inode(node);
                if inode.kind == InodeKind::Directory {
                    let separator = if path.is_empty() { &b""[..] } else { b"/" };
                    pending.push(([&path, separator, name].concat(), node));
                } else if inode.stat_stamp.is_none() {
                    found.push((path.clone(), name.to_vec()));
                }
            }
        }
        found.sort_unstable();
        found
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
        self.remove(dir, name);
        let index = self.add_inode(inode);
        let id = self.add_node(dir, name, index);
        self.mark_written(id);
        id
    }

    /// Adds a name that was there before the current layer. The name must be new.
    pub fn adopt(&mut self, dir: NodeId, name: &[u8], inode: Inode) -> NodeId {
        self.remove(dir, name);
        let index = self.add_inode(inode);
        self.add_node(dir, name, index)
    }

    /// Adds a name for the inode of another name. A name that is there goes, with everything below it.
    pub fn insert_link(&mut self, dir: NodeId, name: &[u8], target: NodeId) -> NodeId {
        let index = self.node(target).inode;
        // The name that goes may be the last one of the inode: counted before, so that it stays.
        self.name_counts[index.0 as usize] += 1;
        self.remove(dir, name);
        let id = self.add_node(dir, name, index);
        self.name_counts[index.0 as usize] -= 1;
        self.mark_written(id);
        let inode = self.inode_mut(id);
        inode.nlink += 1;
        inode.stat_stamp = None;
        id
    }

    fn add_inode(&mut self, inode: Inode) -> InodeIndex {
        if let Some(index) = self.free_inodes.pop() {
            self.inodes[index.0 as usize] = inode;
            return index;
        }
        let index = InodeIndex(position(self.inodes.len()));
        self.inodes.push(inode);
        self.name_counts.push(0);
        index
    }

    /// Adds a name that the current layer has not written.
    fn add_node(&mut self, dir: NodeId, name: &[u8], inode: InodeIndex) -> NodeId {
        // In a directory that is gone, a name is gone from birth, and never in a place that another name had: so names
        // and their parents cannot come to form a ring.
        let alive = self.node(dir).alive;
        let node = Node {
            inode,
            layer: self.layer.wrapping_sub(1),
            parent: dir,
            alive,
            notes: 0,
            children: BTreeMap::new(),
        };
        let id = if let Some(id) = self.free_nodes.pop_if(|_| alive) {
            self.nodes[id.0 as usize] = node;
            id
        } else {
            self.nodes.push(node);
            NodeId(position(self.nodes.len() - 1))
        };
        self.name_counts[inode.0 as usize] += 1;
        self.nodes[dir.0 as usize].children.insert(name.into(), id);
        id
    }

    /// Removes a name and everything below it. A missing name is fine.
    pub fn remove(&mut self, dir: NodeId, name: &[u8]) {
        let mut stack = Vec::from_iter(self.nodes[dir.0 as usize].children.remove(name));
        while let Some(id) = stack.pop() {
            let node = &mut self.nodes[id.0 as usize];
            node.alive = false;
            stack.extend(std::mem::take(&mut node.children).into_values());
            self.free_nodes.push(id);
            self.cleared.remove(&id);
            self.release_inode(id);
        }
    }

    /// Takes a name from its inode.
    fn release_inode(&mut self, node: NodeId) {
        let index = self.node(node).inode;
        let place = index.0 as usize;
        let inode = &mut self.inodes[place];
        if inode.kind != InodeKind::Directory {
            inode.nlink = inode.nlink.saturating_sub(1);
            inode.stat_stamp = None;
        }
        let count = &mut self.name_counts[place];
        *count = count.saturating_sub(1);
        if *count == 0 {
            inode.link = Box::default();
            inode.xattrs = Vec::new();
            if index.0 >= self.shared {
                self.free_inodes.push(index);
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
            stat_stamp: None,
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

    #[test]
    fn replacing_a_name_again_and_again_takes_no_more_room() {
        let mut tree = Tree::new(inode(InodeKind::Directory));
        let link = || Inode {
            link: vec![b't'; 4000].into(),
            ..inode(InodeKind::Symlink)
        };
        for _ in 0..1000 {
            let dir = tree.insert(Tree::ROOT, b"d", inode(InodeKind::Directory));
            let first = tree.insert(dir, b"f", link());
            tree.insert_link(dir, b"g", first);
            tree.insert(Tree::ROOT, b"l", link());
        }
        assert!(tree.nodes.len() <= 6 && tree.inodes.len() <= 5, "{tree:?}");
        let held: usize = tree.inodes.iter().map(|inode| inode.link.len()).sum();
        assert_eq!(held, 8000);
    }

    #[test]
    fn an_inode_lives_as_long_as_it_has_a_name() {
        let mut tree = Tree::new(inode(InodeKind::Directory));
        let first = tree.insert(Tree::ROOT, b"a", inode(InodeKind::Fifo));
        tree.insert_link(Tree::ROOT, b"b", first);
        tree.remove(Tree::ROOT, b"a");
        let new = tree.insert(Tree::ROOT, b"c", inode(InodeKind::File));
        let left = tree.find(b"b").unwrap();
        assert_eq!(tree.inode(left).kind, InodeKind::Fifo);
        assert_ne!(tree.inode_index(left), tree.inode_index(new));
    }

    #[test]
    fn notes_go_with_their_name() {
        let mut tree = Tree::new(inode(InodeKind::Directory));
        let first = tree.insert(Tree::ROOT, b"d", inode(InodeKind::Directory));
        tree.set_notes(first, 5);
        tree.insert_link(Tree::ROOT, b"e", first);
        assert_eq!(tree.notes(first), 5);
        assert_eq!(tree.find(b"e").map(|node| tree.notes(node)), Some(0));
        tree.remove(Tree::ROOT, b"d");
        let again = tree.adopt(Tree::ROOT, b"d", inode(InodeKind::Directory));
        assert_eq!((again, tree.notes(again)), (first, 0));
    }

    #[test]
    fn a_clone_gives_the_numbers_of_the_original_to_nothing_else() {
        let mut original = Tree::new(inode(InodeKind::Directory));
        original.insert(Tree::ROOT, b"gone", inode(InodeKind::File));
        let old = original.insert(Tree::ROOT, b"a", inode(InodeKind::File));
        original.remove(Tree::ROOT, b"gone");
        let mut clone = original.clone();
        for _ in 0..3 {
            let new = clone.insert(Tree::ROOT, b"a", inode(InodeKind::File));
            assert_ne!(clone.inode_index(new), original.inode_index(old));
        }
        assert_eq!(clone.inodes.len(), 4);
    }

    #[test]
    fn names_under_a_removed_directory_never_form_a_ring() {
        let mut tree = Tree::new(inode(InodeKind::Directory));
        let gone = tree.insert(Tree::ROOT, b"d", inode(InodeKind::Directory));
        tree.remove(Tree::ROOT, b"d");
        let orphan = tree.insert(gone, b"e", inode(InodeKind::Directory));
        tree.mark_cleared(Tree::ROOT);
        for name in [b"f", b"g"] {
            let inner = tree.insert(orphan, name, inode(InodeKind::Directory));
            assert_ne!(inner, gone);
        }
        let again = tree.insert(Tree::ROOT, b"d", inode(InodeKind::Directory));
        assert_eq!(again, gone);
        assert!(tree.is_cleared(orphan) && tree.child(again, b"e").is_none());
    }

    #[test]
    fn what_is_cleared_is_so_for_all_below_until_it_is_replaced_or_the_layer_ends() {
        let mut tree = Tree::new(inode(InodeKind::Directory));
        let dir = tree.insert(Tree::ROOT, b"d", inode(InodeKind::Directory));
        let below = tree.insert(dir, b"e", inode(InodeKind::Directory));
        tree.mark_cleared(dir);
        assert!(tree.is_cleared(below) && !tree.is_cleared(Tree::ROOT));
        tree.next_layer();
        assert!(!tree.is_cleared(dir));
        tree.mark_cleared(dir);
        tree.remove(Tree::ROOT, b"d");
        // It gets the place of what was removed, but is something else.
        let adopted = tree.adopt(Tree::ROOT, b"x", inode(InodeKind::Directory));
        let adopted_too = tree.adopt(Tree::ROOT, b"y", inode(InodeKind::Directory));
        assert!(!tree.is_cleared(adopted) && !tree.is_cleared(adopted_too));
    }
}
