//! Two views side by side: all paths of both, once each, a directory before what is in it, names sorted by bytes.

use super::tree::View;
use crate::fs::InodeKind;
use crate::fs::tree::{NodeId, Tree};

/// A path in the old view, the new one, or both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub old: Option<NodeId>,
    pub new: Option<NodeId>,
}

/// Which directories are looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descend {
    /// All of both views.
    Either,
    /// Those that are directories in the new view.
    New,
}

/// The names in a directory, last one first.
type Names<'v> = Vec<(&'v [u8], Pair)>;

/// The walk. By hand, not by calls: a tree may be deeper than the stack.
pub(super) struct Pairs<'v> {
    old: &'v View,
    new: &'v View,
    descend: Descend,
    /// What is left in the open directories, and the length of their paths.
    levels: Vec<(Names<'v>, usize)>,
    path: Vec<u8>,
    /// What was given out last, and not yet looked into.
    last: Option<Pair>,
    started: bool,
}

impl<'v> Pairs<'v> {
    pub(super) fn new(old: &'v View, new: &'v View, descend: Descend) -> Self {
        Self {
            old,
            new,
            descend,
            levels: Vec::new(),
            path: Vec::new(),
            last: None,
            started: false,
        }
    }

    /// The path of the last pair: no leading slash, empty for the root.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    pub(super) fn next(&mut self) -> Option<Pair> {
        if !self.started {
            self.started = true;
            self.last = Some(Pair {
                old: Some(Tree::ROOT),
                new: Some(Tree::ROOT),
            });
            return self.last;
        }
        if let Some(pair) = self.last.take() {
            let children = self.children(pair);
            self.levels.push((children, self.path.len()));
        }
        loop {
            let (names, length) = self.levels.last_mut()?;
            self.path.truncate(*length);
            if let Some((name, pair)) = names.pop() {
                if !self.path.is_empty() {
                    self.path.push(b'/');
                }
                self.path.extend_from_slice(name);
                self.last = Some(pair);
                return self.last;
            }
            self.levels.pop();
        }
    }

    /// The names in a directory of either view, last one first.
    fn children(&self, pair: Pair) -> Names<'v> {
        let directory = |view: &'v View, node: Option<NodeId>| {
            node.filter(|&node| view.tree().inode(node).kind == InodeKind::Directory)
        };
        let new = directory(self.new, pair.new);
        if new.is_none() && self.descend == Descend::New {
            return Vec::new();
        }
        let list = |view: &'v View, node: Option<NodeId>| {
            node.into_iter().flat_map(|node| view.tree().children(node))
        };
        let mut old = list(self.old, directory(self.old, pair.old)).peekable();
        let mut new = list(self.new, new).peekable();
        let mut names = Vec::new();
        loop {
            let (from_old, from_new) = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(_), None) => (true, false),
                (None, Some(_)) => (false, true),
                (Some((old, _)), Some((new, _))) => (old <= new, new <= old),
            };
            let old = if from_old { old.next() } else { None };
            let new = if from_new { new.next() } else { None };
            if let Some((name, _)) = old.or(new) {
                let pair = Pair {
                    old: old.map(|(_, node)| node),
                    new: new.map(|(_, node)| node),
                };
                names.push((name, pair));
            }
        }
        names.reverse();
        names
    }
}
