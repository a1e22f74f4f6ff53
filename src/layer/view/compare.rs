//! What differs between two views.

use std::collections::HashMap;

use super::pairs::{Descend, Pair, Pairs};
use super::tree::View;
use crate::error::Result;
use crate::fs::InodeKind;
use crate::fs::tree::{Inode, InodeIndex, NodeId};

/// In what respect something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Aspect {
    /// File, directory, symbolic link...
    Type,
    /// The 12 permission bits; not of symbolic links.
    Mode,
    /// User or group.
    Owner,
    /// Size of a regular file.
    Size,
    /// Time of modification, to the nanosecond.
    Mtime,
    /// Content of a regular file. Of files without digests, one counts as changed.
    Content,
    /// Extended attributes.
    Xattrs,
    /// Target of a symbolic link.
    Target,
    /// Number of a device.
    Device,
    /// Which other names are hard links to the same inode.
    HardLinks,
}

impl Aspect {
    /// The name for scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Size => "size",
            Self::Mtime => "mtime",
            Self::Content => "content",
            Self::Xattrs => "xattrs",
            Self::Target => "target",
            Self::Device => "device",
            Self::HardLinks => "hardlinks",
        }
    }
}

/// A path that is not the same in two views.
#[derive(Clone, Copy, Debug)]
pub struct Difference<'v> {
    /// The path: no leading slash, empty for the root.
    pub path: &'v [u8],
    /// What was there; `None` if the path is new.
    pub old: Option<&'v Inode>,
    /// What is there now; `None` if the path is gone.
    pub new: Option<&'v Inode>,
    /// What has changed where both have the path; else empty.
    pub aspects: &'v [Aspect],
}

/// Compares two views and tells of every path that differs: each path of what was added or is gone too, a directory
/// before what is in it, names sorted by bytes.
///
/// The views need digests of files ([`ViewOptions::file_digests`](super::ViewOptions::file_digests)): without them
/// files of equal size count as changed.
///
/// # Errors
///
/// Whatever `found` returns.
pub fn compare(
    old: &View,
    new: &View,
    found: &mut dyn FnMut(Difference<'_>) -> Result<()>,
) -> Result<()> {
    let mut comparer = Comparer {
        old,
        new,
        old_sets: HashMap::new(),
        new_sets: HashMap::new(),
    };
    let mut pairs = Pairs::new(old, new, Descend::Either);
    let mut ordinal = 0;
    while let Some(pair) = pairs.next() {
        let aspects = comparer.aspects(pair, ordinal);
        ordinal += 1;
        if aspects.is_empty() && pair.old.is_some() && pair.new.is_some() {
            continue;
        }
        found(Difference {
            path: pairs.path(),
            old: pair.old.map(|node| old.tree().inode(node)),
            new: pair.new.map(|node| new.tree().inode(node)),
            aspects: &aspects,
        })?;
    }
    Ok(())
}

struct Comparer<'v> {
    old: &'v View,
    new: &'v View,
    /// Of inodes with several names, the path at which they were met first.
    old_sets: HashMap<InodeIndex, u64>,
    new_sets: HashMap<InodeIndex, u64>,
}

impl Comparer<'_> {
    fn aspects(&mut self, pair: Pair, ordinal: u64) -> Vec<Aspect> {
        let first = |sets: &mut HashMap<InodeIndex, u64>, view: &View, node: Option<NodeId>| {
            let tree = view.tree();
            match node.filter(|&node| is_linked(tree.inode(node))) {
                Some(node) => *sets.entry(tree.inode_index(node)).or_insert(ordinal),
                None => ordinal,
            }
        };
        let old_first = first(&mut self.old_sets, self.old, pair.old);
        let new_first = first(&mut self.new_sets, self.new, pair.new);
        let (Some(old_node), Some(new_node)) = (pair.old, pair.new) else {
            return Vec::new();
        };
        let (old, new) = (
            self.old.tree().inode(old_node),
            self.new.tree().inode(new_node),
        );
        let same_kind = old.kind == new.kind;
        let both = |kind| old.kind == kind && new.kind == kind;
        let (files, links) = (both(InodeKind::File), both(InodeKind::Symlink));
        let devices =
            same_kind && matches!(old.kind, InodeKind::CharDevice | InodeKind::BlockDevice);
        let count = |inode: &Inode| if is_linked(inode) { inode.nlink } else { 1 };
        let unequal = [
            (Aspect::Type, !same_kind),
            (Aspect::Mode, !links && old.mode != new.mode),
            (Aspect::Owner, (old.uid, old.gid) != (new.uid, new.gid)),
            (Aspect::Size, files && old.size != new.size),
            (Aspect::Mtime, old.mtime != new.mtime),
            (Aspect::Content, files && !is_same_content(old, new)),
            (Aspect::Xattrs, old.xattrs != new.xattrs),
            (Aspect::Target, links && old.link != new.link),
            (
                Aspect::Device,
                devices && self.old.device(old_node) != self.new.device(new_node),
            ),
            (
                Aspect::HardLinks,
                count(old) != count(new) || old_first != new_first,
            ),
        ];
        let chosen = unequal.into_iter().filter(|(_, differs)| *differs);
        chosen.map(|(aspect, _)| aspect).collect()
    }
}

/// Whether an inode has several names.
fn is_linked(inode: &Inode) -> bool {
    inode.kind != InodeKind::Directory && inode.nlink > 1
}

fn is_same_content(old: &Inode, new: &Inode) -> bool {
    old.size == new.size && (old.size == 0 || old.sha256.is_some() && old.sha256 == new.sha256)
}
