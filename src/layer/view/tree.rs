//! The view itself: names, inodes, and how much memory they may take.

use filetime::FileTime;

use crate::archive::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::InodeKind;
use crate::fs::tree::{Inode, NodeId, Tree};

/// What a name or an inode takes beside the bytes of its strings: node, inode, place of the content, tree overhead.
pub(super) const FIXED_SIZE: u64 = 256;

/// How layers are read for a view.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ViewOptions {
    /// Limits of the archive reader.
    pub limits: Limits,
    /// Whether to hash the content of each file. By default not.
    pub file_digests: bool,
    /// Bytes of memory that the view may take, counted as 256 for each name or inode ever added, and what their
    /// names, targets and attributes have. Going over it is [`ErrorKind::LimitExceeded`].
    ///
    /// Default: 4 GiB, enough for more than ten million files.
    pub memory_size: u64,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            file_digests: false,
            memory_size: 4 << 30,
        }
    }
}

/// Where the content of a regular file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content {
    /// The layer, counted from 0 at the bottom of the view.
    pub layer: usize,
    /// The entry in that layer, counted from 0.
    pub entry: u64,
}

/// What a view knows of an inode beyond what the tree does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extra {
    pub content: Option<Content>,
    pub device: (u32, u32),
    /// Time of access, where the entry has one.
    pub atime: Option<FileTime>,
}

/// The merged file system of a stack of layers: what unpacking them would make, in memory.
///
/// Owners are those of the image. A directory without an entry of its own has mode 0755, owner 0:0 and the time 0, and so
/// has the root. Names and inodes are read through [`View::tree`]; sizes and link counts of directories mean nothing.
/// About 300 bytes a file.
///
/// A clone continued with more layers shares the numbers of its inodes with the original: what has the same
/// [number](Tree::inode_index) in both, and is no directory, is the same in both.
///
/// ```
/// use oci_bundle::layer::view::{View, ViewOptions};
///
/// # let archive = |name: &str, content: &[u8]| -> std::io::Result<Vec<u8>> {
/// #     let mut archive = tar::Builder::new(Vec::new());
/// #     let mut header = tar::Header::new_ustar();
/// #     header.set_size(content.len() as u64);
/// #     archive.append_data(&mut header, name, content)?;
/// #     archive.into_inner()
/// # };
/// # let (lower, upper) = (archive("etc/motd", b"hello")?, archive("etc/.wh.motd", b"")?);
/// let mut view = View::new();
/// view.add_layer(&lower[..], &ViewOptions::default())?;
/// let motd = view.resolve(b"/etc/motd")?.ok_or("missing")?;
/// assert_eq!(view.tree().inode(motd).size, 5);
///
/// view.add_layer(&upper[..], &ViewOptions::default())?;
/// assert!(view.resolve(b"/etc/motd")?.is_none());
/// assert!(view.resolve(b"/etc")?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct View {
    tree: Tree,
    /// By the number of the inode.
    extras: Vec<Extra>,
    layer_count: usize,
    /// Bytes of memory counted so far.
    held: u64,
    /// Whether a layer had an entry for the root.
    has_root_entry: bool,
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}

impl View {
    /// The view of no layers: a root, and nothing in it.
    pub fn new() -> Self {
        Self {
            tree: Tree::new(implied_directory()),
            extras: vec![Extra::default()],
            layer_count: 0,
            held: 0,
            has_root_entry: false,
        }
    }

    /// The names and inodes.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// How many layers are in the view.
    pub fn layer_count(&self) -> usize {
        self.layer_count
    }

    /// Where the content of a regular file is; `None` for everything else.
    pub fn content(&self, node: NodeId) -> Option<Content> {
        self.extra(node).content
    }

    /// Major and minor number of a device.
    pub fn device(&self, node: NodeId) -> (u32, u32) {
        self.extra(node).device
    }

    /// The path of a name: no leading slash, empty for the root. Takes time with the sizes of the directories above.
    pub fn path_of(&self, node: NodeId) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = node;
        while at != Tree::ROOT {
            let parent = self.tree.parent(at);
            let mut siblings = self.tree.children(parent);
            names.extend(
                siblings
                    .find(|(_, sibling)| *sibling == at)
                    .map(|(name, _)| name),
            );
            at = parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Whether a layer had an entry for the root directory.
    pub fn has_root_entry(&self) -> bool {
        self.has_root_entry
    }

    /// Adds a name by hand, with an inode of its own. A name that is there goes, with everything below it.
    pub fn insert(
        &mut self,
        dir: NodeId,
        name: &[u8],
        inode: Inode,
        content: Option<Content>,
        device: (u32, u32),
    ) -> NodeId {
        let node = self.tree.insert(dir, name, inode);
        *self.extra_mut(node) = Extra {
            content,
            device,
            atime: None,
        };
        node
    }

    /// Adds a name by hand for the inode of another name. A name that is there goes, with everything below it.
    pub fn insert_link(&mut self, dir: NodeId, name: &[u8], target: NodeId) -> NodeId {
        self.tree.insert_link(dir, name, target)
    }

    /// Adds a directory by hand as one for which no layer has an entry. A name that is there goes.
    pub(crate) fn insert_directory(&mut self, dir: NodeId, name: &[u8]) -> NodeId {
        self.insert(dir, name, implied_directory(), None, (0, 0))
    }

    /// Removes a name by hand, with everything below it. A missing name is fine.
    pub(crate) fn remove(&mut self, dir: NodeId, name: &[u8]) {
        self.tree.remove(dir, name);
    }

    /// The inode of a name, to change.
    pub fn inode_mut(&mut self, node: NodeId) -> &mut Inode {
        self.tree.inode_mut(node)
    }

    pub(super) fn tree_mut(&mut self) -> &mut Tree {
        &mut self.tree
    }

    pub(super) fn extra(&self, node: NodeId) -> Extra {
        let index = self.tree.inode_index(node).get();
        self.extras.get(index).copied().unwrap_or_default()
    }

    pub(super) fn extra_mut(&mut self, node: NodeId) -> &mut Extra {
        let index = self.tree.inode_index(node).get();
        if self.extras.len() <= index {
            self.extras.resize(index + 1, Extra::default());
        }
        &mut self.extras[index]
    }

    /// The layer is complete.
    pub(super) fn end_layer(&mut self) {
        self.layer_count += 1;
        self.tree.next_layer();
    }

    pub(super) fn set_root(&mut self, inode: Inode) {
        *self.tree.inode_mut(Tree::ROOT) = inode;
        self.has_root_entry = true;
    }

    /// Counts memory that is going to be taken.
    pub(super) fn hold(&mut self, bytes: usize, limit: u64) -> Result<()> {
        self.held = self.held.saturating_add(FIXED_SIZE + bytes as u64);
        if self.held > limit {
            let message = format!(
                "the names and attributes of the image take {} bytes or more; the limit is {limit}",
                self.held
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(())
    }
}

/// A directory for which no layer has an entry.
pub(super) fn implied_directory() -> Inode {
    Inode {
        kind: InodeKind::Directory,
        mode: 0o755,
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
