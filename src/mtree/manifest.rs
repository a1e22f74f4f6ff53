//! A manifest in memory: a tree of entries over one arena of bytes.
//!
//! Names and words are slices of one vector; an entry is a small fixed-size node beside it, and a `/set` line is held
//! once for all entries that it governs. The record of 40,000 files takes about the size of its file. Children are
//! sorted by name, so a walk in order meets them by merging or by binary search. Memory is linear in the input: paths
//! are put together only when asked for, and none is longer than [`MAX_PATH`].

use super::{Keyword, KeywordSet};
use std::fmt;
use std::iter::FusedIterator;

/// Longest path in a manifest, in bytes: Linux's `PATH_MAX`.
pub(super) const MAX_PATH: usize = 4096;

/// A piece of the arena.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Span {
    fn of<T>(self, arena: &[T]) -> &[T] {
        // The parser makes spans only of what is in the arena.
        &arena[self.start as usize..][..self.len as usize]
    }
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: u32,
    pub(super) name: Span,
    /// Length of the whole path.
    pub(super) path_len: u32,
    /// The entry's own words; `None` if the node only leads to others.
    pub(super) own: Option<Span>,
    /// Index of the `/set` line in force.
    pub(super) set: u32,
    /// In [`Manifest::children`].
    pub(super) children: Span,
}

/// A parsed manifest, see [`Manifest::parse`].
pub struct Manifest {
    pub(super) text: Vec<u8>,
    pub(super) nodes: Vec<Node>,
    pub(super) sets: Vec<Span>,
    pub(super) children: Vec<u32>,
    pub(super) keywords: KeywordSet,
}

impl Manifest {
    /// The root directory. It is there even if the manifest has no entry for it.
    pub fn root(&self) -> Entry<'_> {
        Entry {
            manifest: self,
            index: 0,
        }
    }

    /// All entries, sorted by path: a directory before what is in it, siblings by bytes.
    pub fn entries(&self) -> Entries<'_> {
        Entries {
            pending: vec![Children {
                manifest: self,
                indices: [0].iter(),
            }],
        }
    }

    /// One more than the largest [`Entry::index`].
    pub(super) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The known keywords that appear anywhere in the manifest.
    pub fn keywords(&self) -> KeywordSet {
        self.keywords
    }

    /// Finds the entry of a path of raw components, relative to the root (`.` is the root).
    pub fn find(&self, path: &[u8]) -> Option<Entry<'_>> {
        path.split(|byte| *byte == b'/')
            .filter(|name| !matches!(*name, b"" | b"."))
            .try_fold(self.root(), Entry::child)
            .filter(|entry| entry.is_recorded())
    }
}

impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
}

/// One path of a manifest.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    manifest: &'a Manifest,
    index: u32,
}

impl<'a> Entry<'a> {
    fn node(self) -> &'a Node {
        &self.manifest.nodes[self.index as usize]
    }

    /// A number that identifies the entry in its manifest, below [`Manifest::node_count`].
    pub(super) fn index(self) -> usize {
        self.index as usize
    }

    /// Whether the manifest has an entry for this path. If not, it only has entries below it.
    pub fn is_recorded(self) -> bool {
        self.node().own.is_some()
    }

    /// The last component, raw bytes; empty for the root.
    pub fn name(self) -> &'a [u8] {
        self.node().name.of(&self.manifest.text)
    }

    /// The path relative to the root, raw bytes; `.` for the root.
    pub fn path(self) -> Vec<u8> {
        if self.index == 0 {
            return b".".to_vec();
        }
        // Filled from the end, going up.
        let mut path = vec![b'/'; self.node().path_len as usize];
        let (mut entry, mut end) = (self, path.len());
        while entry.index != 0 {
            let name = entry.name();
            path[end - name.len()..end].copy_from_slice(name);
            end = end.saturating_sub(name.len() + 1);
            entry.index = entry.node().parent;
        }
        path
    }

    /// The words of the entry itself, in their order: key and value. A word without `=`, as `optional`, has no value.
    pub fn own(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        words(self.own_text())
    }

    /// The value of a keyword, the entry's own before the `/set` line's. For xattrs see [`own`](Self::own).
    pub fn get(self, keyword: Keyword) -> Option<&'a [u8]> {
        let value = |text| {
            words(text)
                .filter(|(key, _)| Keyword::from_name(key) == Some(keyword))
                .filter_map(|(_, value)| value)
                .last()
        };
        value(self.own_text()).or_else(|| value(self.set_text()))
    }

    /// The paths directly below this one, sorted by name.
    pub fn children(self) -> Children<'a> {
        Children {
            manifest: self.manifest,
            indices: self.node().children.of(&self.manifest.children).iter(),
        }
    }

    /// Finds a path directly below this one.
    pub fn child(self, name: &[u8]) -> Option<Self> {
        let children = self.node().children.of(&self.manifest.children);
        let entry = |index| Self {
            manifest: self.manifest,
            index,
        };
        children
            .binary_search_by(|index| entry(*index).name().cmp(name))
            .ok()
            .map(|place| entry(children[place]))
    }

    /// The words of the entry itself, as text.
    pub(super) fn own_text(self) -> &'a [u8] {
        self.node().own.unwrap_or_default().of(&self.manifest.text)
    }

    /// The words of the `/set` line in force, as text.
    pub(super) fn set_text(self) -> &'a [u8] {
        self.manifest.sets[self.node().set as usize].of(&self.manifest.text)
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, own) = (self.path(), self.own_text());
        write!(
            f,
            "{} {}",
            path.escape_ascii(),
            String::from_utf8_lossy(own)
        )
    }
}

/// Splits a text of words separated by blanks into keys and values.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    text.split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty())
        .map(|word| match word.iter().position(|byte| *byte == b'=') {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (word, None),
        })
}

/// The paths directly below one, sorted by name.
#[derive(Clone)]
pub struct Children<'a> {
    manifest: &'a Manifest,
    indices: std::slice::Iter<'a, u32>,
}

impl<'a> Iterator for Children<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let index = *self.indices.next()?;
        Some(Entry {
            manifest: self.manifest,
            index,
        })
    }
}

impl FusedIterator for Children<'_> {}

/// All entries of a manifest, sorted by path.
pub struct Entries<'a> {
    pending: Vec<Children<'a>>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        while let Some(children) = self.pending.last_mut() {
            let Some(entry) = children.next() else {
                self.pending.pop();
                continue;
            };
            self.pending.push(entry.children());
            if entry.is_recorded() {
                return Some(entry);
            }
        }
        None
    }
}

impl FusedIterator for Entries<'_> {}
