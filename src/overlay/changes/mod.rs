//! What has changed: between an upper directory of overlayfs and the layers below it, and between two stacks of layers.
//!
//! ```text
//! upper alone -> upper.rs -> directories, whiteouts ------------------+-> Vec<Change> -> layer::generate_linked_layer
//!                        \-> everything else, by inode -> links.rs --/
//! two stacks  -> between.rs -----------------------------------------> Vec<Change>
//! ```
//!
//! The rule is that of [`mtree::diff`](crate::mtree::diff): the changes of an overlay are those that the record of a flat
//! tree would show after the same edit, so that both give the same layer, byte for byte. `compare.rs` has the keywords.
//! What is copied up and still the same is no change; what is gone is told by its topmost path; of a directory that became
//! something else, each name that was in it is told.
//!
//! Where the two differ by nature:
//!
//! - overlayfs breaks hard links that lie in a lower layer when one of the names is changed in place; in a flat tree all
//!   names change. The changes are those of a flat tree whose link was broken likewise.
//! - Whether one of several names was copied up, or removed and made anew as it was, or replaced by an equal file that had
//!   several names itself, cannot be known; it is taken for copied up, and what is equal to the nanosecond to what a set of
//!   links has lost, under a new name, for renamed.
//! - A set of links of which only some names have been packed, because only they were renamed, is two files to the image
//!   and to [`changes_since`]; in a flat tree they are still one, and the loss of a name is a change of the others.
//! - fuse-overlayfs gives a directory a new time when it copies something in it up. That is a change of the directory.
//! - The size of a directory is not compared.
//! - Overlayfs refuses to rename directories of lower layers, and programs copy them instead (`mv`): the names are new
//!   inodes, which is all the same to the layer.

mod between;
mod compare;
mod links;
#[cfg(test)]
mod tests;
mod upper;

use std::collections::BTreeMap;
use std::rc::Rc;

pub use between::changes_between;
pub use upper::{changes, changes_since};

use crate::fs::{Change, ChangeKind};

/// The hard links of a layer: for each inode with several names all of these, as paths below the layer's root.
pub type LinkGroups = Rc<[Vec<Vec<u8>>]>;

/// What is compared, and how.
#[derive(Clone, Copy)]
pub struct ChangesOptions<'a> {
    /// Paths (clean, relative) whose changes are left out, with all below them. An empty one leaves nothing out.
    pub masks: &'a [Vec<u8>],
    /// Tells the hard links of a lower layer, by its number in the stack. It is asked once for a layer, and only if an
    /// inode of it with several names has been touched.
    pub link_groups: &'a dyn Fn(usize) -> crate::Result<LinkGroups>,
    /// Whether fuse-overlayfs wrote the upper directory: then names with the prefix `.wh.` are whiteouts, and its
    /// attributes are none of the image's.
    pub fuse: bool,
}

/// What has changed in an upper directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The changes, sorted by the bytes of their paths.
    pub changes: Vec<Change>,
    /// Paths among them that are names of one inode, though they may lie in several layers: those with equal numbers.
    pub links: BTreeMap<Vec<u8>, usize>,
    /// How many changes the masks leave out.
    pub masked_count: u64,
}

/// Changes being collected.
struct Told<'a> {
    masks: &'a [Vec<u8>],
    changes: Vec<Change>,
    masked_count: u64,
}

impl<'a> Told<'a> {
    fn new(masks: &'a [Vec<u8>]) -> Self {
        Self {
            masks,
            changes: Vec::new(),
            masked_count: 0,
        }
    }

    /// Tells of a path; empty is the root. `false` if it is masked.
    fn tell(&mut self, path: &[u8], kind: ChangeKind) -> bool {
        if self.is_masked(path) {
            self.masked_count += 1;
            return false;
        }
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        let path = path.to_vec();
        self.changes.push(Change { path, kind });
        true
    }

    fn is_masked(&self, path: &[u8]) -> bool {
        self.masks.iter().any(|mask| {
            let below = path.strip_prefix(&mask[..]);
            !mask.is_empty()
                && below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
        })
    }

    fn finish(mut self) -> Vec<Change> {
        self.changes.sort_unstable();
        self.changes
    }
}
