//! What is known of a layer while it is unpacked without those below it.
//!
//! Whatever a whiteout hides is not there to be removed. What it means is put together from three facts: names that are
//! gone from lower layers ([`Stacked::hide`]), directories below which nothing of theirs is left (the same note in the
//! [`Tree`] that keeps the plain unpack from looking twice), and what is noted of each directory that is made, below.
//! Notes go with the names that they are about, so that they take no room of their own, however often a name is replaced.
//!
//! A directory that is made where the lower one is gone already is another directory: *fresh*. One that was there before
//! its lower namesake was hidden is the same directory, of which only the children are hidden: *opaque*.

use std::collections::{BTreeSet, HashSet};

use super::lower_dependencies::{LinkBelow, LowerDependencies};
use super::notes::{FRESH, IMPLIED, OPAQUE};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::join;
use crate::fs::names::parents;
use crate::fs::tree::{NodeId, Tree};
use crate::fs::{InodeKind, XattrNamespace};

/// How many names a layer may hide, and how many bytes they may have together: names of nothing, which nothing else bounds.
const MAX_COUNT: usize = 1_000_000;
const MAX_SIZE: usize = 64 << 20;

/// A layer that is unpacked without those below it.
pub(super) struct Stacked {
    marks: XattrNamespace,
    /// Paths that lower layers have lost by a whiteout. Some may be below others, or in the layer by now.
    gone: HashSet<Box<[u8]>>,
    /// Directories without entries of their own that something was made or hidden in, and that are gone.
    passed: BTreeSet<Box<[u8]>>,
    /// Bytes of these and of those that are gone.
    size: usize,
    /// Hard links that wait for targets which may be below, by their paths: as good as there.
    waiting: HashSet<Vec<u8>>,
    /// Whether an entry has come whose meaning is left to the layers below; nothing after it is applied.
    pub needs_below: bool,
    pub links_below: Vec<LinkBelow>,
    pub whiteouts: Vec<Vec<u8>>,
    /// At the end, what the layer says.
    pub changeset: LowerDependencies,
}

impl Stacked {
    pub(super) fn new(marks: XattrNamespace) -> Self {
        Self {
            marks,
            gone: HashSet::new(),
            passed: BTreeSet::new(),
            size: 0,
            waiting: HashSet::new(),
            needs_below: false,
            links_below: Vec::new(),
            whiteouts: Vec::new(),
            changeset: LowerDependencies::default(),
        }
    }

    /// Whether a name that is not in the layer may still be in lower ones, and seen.
    pub(super) fn reaches_below(&self, tree: &Tree, parent: NodeId, path: &[u8]) -> bool {
        !self.gone.contains(path) && !self.waiting.contains(path) && !tree.is_cleared(parent)
    }

    /// Whether a hard link of this path waits for its target.
    pub(super) fn is_waiting(&self, path: &[u8]) -> bool {
        self.waiting.contains(path)
    }

    /// Notes that a hard link waits for a target that may be below, and says what it means.
    pub(super) fn wait(&mut self, path: Vec<u8>, target: Vec<u8>) -> LinkBelow {
        self.waiting.insert(path.clone());
        LinkBelow { path, target }
    }

    /// Whether the names of a path do not say what it means below: it is that of another link that waits, and that may take
    /// the place of something below now or later, or leads through a symbolic link of the layer.
    pub(super) fn leads_on(&self, tree: &Tree, path: &[u8]) -> bool {
        let is_link = |dir: &[u8]| {
            let node = tree.find(dir);
            node.is_some_and(|node| tree.inode(node).kind == InodeKind::Symlink)
        };
        self.is_waiting(path) || parents(path).any(is_link)
    }

    /// Whether a path (clean, perhaps with symbolic links) that is not in the layer may still be in lower ones, or a link
    /// to something there.
    pub(super) fn may_be_below(&self, tree: &Tree, path: &[u8]) -> bool {
        let mut node = Tree::ROOT;
        let mut end = 0;
        for name in path.split(|&byte| byte == b'/') {
            end += name.len() + usize::from(end > 0);
            match tree.child(node, name) {
                None => {
                    let path = &path[..end];
                    return self.is_waiting(path) || self.reaches_below(tree, node, path);
                }
                Some(child) => node = child,
            }
            match tree.inode(node).kind {
                InodeKind::Directory => {}
                // Wherever it leads.
                InodeKind::Symlink => return true,
                _ => return false,
            }
        }
        true
    }

    /// Notes that lower layers have lost a name that is not in the layer.
    pub(super) fn hide(&mut self, path: Vec<u8>) -> Result<()> {
        let length = path.len();
        if !self.gone.insert(path.into_boxed_slice()) {
            return Ok(());
        }
        self.count(length)
    }

    /// Notes the directories without entries of their own at and below a name of the layer that is about to be removed: if
    /// one is a symbolic link below, what was made in it is elsewhere, and not removed with it.
    pub(super) fn remove(&mut self, tree: &Tree, node: NodeId, path: Vec<u8>) -> Result<()> {
        let mut pending = vec![(node, path)];
        while let Some((node, path)) = pending.pop() {
            if tree.inode(node).kind != InodeKind::Directory {
                continue;
            }
            let below = tree.children(node);
            pending.extend(below.map(|(name, child)| (child, join(&path, name))));
            let length = path.len();
            if tree.notes(node) & IMPLIED != 0 && self.passed.insert(path.into_boxed_slice()) {
                self.count(length)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, length: usize) -> Result<()> {
        self.size += length;
        if self.gone.len() + self.passed.len() > MAX_COUNT || self.size > MAX_SIZE {
            let message = format!(
                "too many whiteouts and replaced directories; the limit is {MAX_COUNT} with {MAX_SIZE} bytes of names"
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(())
    }

    /// The paths that lower layers have lost, each after those above it.
    pub(super) fn take_gone(&mut self) -> Vec<Box<[u8]>> {
        let mut gone = Vec::from_iter(std::mem::take(&mut self.gone));
        gone.sort_unstable();
        gone
    }

    /// Notes what a new directory is to those below, from what was there before it: `replaced` if that was something else
    /// of this layer.
    pub(super) fn made_dir(&self, tree: &mut Tree, node: NodeId, path: &[u8], replaced: bool) {
        let parent = tree.parent(node);
        let hidden = replaced || !self.reaches_below(tree, parent, path);
        // All that is below a fresh directory is so.
        if hidden && !is_fresh(tree, parent) {
            note(tree, node, FRESH);
            tree.mark_cleared(node);
        }
    }

    /// The attribute that a directory of the layer needs for hiding what is below it. The root needs none: on the root of
    /// a lower layer, it means nothing to the kernel.
    pub(super) fn mark(&self, tree: &Tree, path: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let node = tree.find(path).filter(|&node| node != Tree::ROOT)?;
        let hides = tree.notes(node) & (OPAQUE | FRESH) != 0;
        hides.then(|| (self.marks.opaque().to_vec(), b"y".to_vec()))
    }

    /// Whether an attribute is the one that makes a directory opaque.
    pub(super) fn is_mark(&self, name: &[u8]) -> bool {
        name == self.marks.opaque()
    }

    /// Puts together what the layer says, when everything of it is there.
    pub(super) fn finish_layer(&mut self, tree: &Tree) -> Result<()> {
        let whiteouts = std::mem::take(&mut self.whiteouts);
        let links_below = std::mem::take(&mut self.links_below);
        self.changeset = LowerDependencies {
            needs_below: self.needs_below,
            passed: std::mem::take(&mut self.passed)
                .into_iter()
                .map(<[u8]>::into_vec)
                .collect(),
            ..LowerDependencies::of(tree, whiteouts, links_below)?
        };
        Ok(())
    }
}

/// Notes one thing more of a name.
pub(super) fn note(tree: &mut Tree, node: NodeId, what: u8) {
    tree.set_notes(node, tree.notes(node) | what);
}

/// Whether a directory, or one above it, has nothing to do with its lower namesakes.
fn is_fresh(tree: &Tree, node: NodeId) -> bool {
    let mut at = node;
    while at != Tree::ROOT {
        if tree.notes(at) & FRESH != 0 {
            return true;
        }
        at = tree.parent(at);
    }
    false
}
