//! What a tree was like when it was recorded, from its stat index or from its manifest: one view of both for the walk
//! that compares.

use super::compare::differences;
use super::index::StatIndex;
use super::manifest::{self, Entry, Manifest};
use super::node::{Node, Nodes};
use super::{Attributes, Keyword, UMOCI_KEYWORDS};
use crate::fs::content_hash::is_of_blocks;
use crate::fs::{InodeKind, Stat};

/// The record that a tree is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Baseline<'a> {
    /// A stat index: what it proves is not looked at any further.
    Index(&'a StatIndex),
    /// A manifest: every file is read whose attributes are the same.
    Manifest(&'a Manifest),
}

/// The keywords whose values `statx` tells.
const STAT_KEYWORDS: &[Keyword] = &[
    Keyword::Size,
    Keyword::Type,
    Keyword::Uid,
    Keyword::Gid,
    Keyword::Mode,
    Keyword::Nlink,
    Keyword::TarTime,
];

impl<'a> Baseline<'a> {
    pub(super) fn root(self) -> Option<Old<'a>> {
        match self {
            Self::Index(index) => index.root().map(Old::Node),
            Self::Manifest(manifest) => Some(Old::Entry(manifest.root())),
        }
    }

    /// Whether nobody has touched an inode since it was recorded.
    pub(super) fn is_proven(self, old: &Old<'_>, stat: &Stat) -> bool {
        match (self, old) {
            (Self::Index(index), Old::Node(node)) => {
                node.is_proven(stat, index.device(), index.proven_before())
            }
            _ => false,
        }
    }
}

/// A path as it was.
#[derive(Clone, Copy, Debug)]
pub(super) enum Old<'a> {
    Node(Node<'a>),
    Entry(Entry<'a>),
}

impl<'a> Old<'a> {
    pub(super) fn name(&self) -> &'a [u8] {
        match self {
            Self::Node(node) => node.name,
            Self::Entry(entry) => entry.name(),
        }
    }

    /// Whether the record says anything of the path itself. A foreign manifest may only have paths below it.
    pub(super) fn is_recorded(&self) -> bool {
        match self {
            Self::Node(_) => true,
            Self::Entry(entry) => entry.is_recorded(),
        }
    }

    /// Whether it comes in the second group of what is in a directory: it was one, or something lies below it.
    pub(super) fn is_directory(&self) -> bool {
        match self {
            Self::Node(node) => node.kind == InodeKind::Directory,
            Self::Entry(entry) => is_directory(*entry),
        }
    }

    /// Whether it was a socket, which no image has: other programs record it all the same.
    pub(super) fn is_socket(&self) -> bool {
        match self {
            Self::Node(node) => node.kind == InodeKind::Socket,
            Self::Entry(entry) => entry.get(Keyword::Type) == Some(b"socket"),
        }
    }

    /// What was in it: first what is no directory, then the directories, each sorted by name.
    pub(super) fn children(&self) -> OldChildren<'a> {
        match self {
            Self::Node(node) => OldChildren::Nodes(node.children()),
            Self::Entry(entry) => OldChildren::Entries {
                leaves: entry.children(),
                directories: entry.children(),
            },
        }
    }

    /// Whether what `statx` tells is what was recorded.
    pub(super) fn says_stat(&self, stat: &Stat, attributes: &Attributes<'_>) -> bool {
        match self {
            Self::Node(node) => node.says(stat),
            Self::Entry(entry) => differences(*entry, attributes, STAT_KEYWORDS).is_empty(),
        }
    }

    /// The same for all but the content, after [`says_stat`](Self::says_stat).
    pub(super) fn says_attributes(&self, attributes: &Attributes<'_>) -> bool {
        match self {
            Self::Node(node) => node.link == attributes.link && node.xattrs() == attributes.xattrs,
            Self::Entry(entry) => {
                let is_file = attributes.kind == InodeKind::File;
                let keywords = UMOCI_KEYWORDS.iter().copied();
                let wanted: Vec<_> = keywords
                    .filter(|keyword| !(is_file && *keyword == Keyword::Sha256))
                    .collect();
                differences(*entry, attributes, &wanted).is_empty()
            }
        }
    }

    /// Whether the content was recorded by its SHA-256, as other programs do it however many zeros a file has.
    pub(super) fn has_sha256(&self) -> bool {
        match self {
            Self::Node(node) => node.sha256.is_some_and(|digest| !is_of_blocks(&digest)),
            Self::Entry(entry) => entry.get(Keyword::Sha256).is_some(),
        }
    }

    /// The same for the content of a regular file.
    pub(super) fn says_content(&self, attributes: &Attributes<'_>) -> bool {
        match self {
            Self::Node(node) => node.sha256 == attributes.sha256,
            Self::Entry(entry) => differences(*entry, attributes, &[Keyword::Sha256]).is_empty(),
        }
    }
}

fn is_directory(entry: Entry<'_>) -> bool {
    entry.get(Keyword::Type) == Some(b"dir")
        || !entry.is_recorded()
        || entry.children().next().is_some()
}

/// What was in a directory.
#[derive(Clone)]
pub(super) enum OldChildren<'a> {
    None,
    Nodes(Nodes<'a>),
    Entries {
        leaves: manifest::Children<'a>,
        directories: manifest::Children<'a>,
    },
}

impl<'a> Iterator for OldChildren<'a> {
    type Item = Old<'a>;

    fn next(&mut self) -> Option<Old<'a>> {
        match self {
            Self::None => None,
            Self::Nodes(nodes) => nodes.next().map(Old::Node),
            Self::Entries {
                leaves,
                directories,
            } => leaves
                .find(|entry| !is_directory(*entry))
                .or_else(|| directories.find(|entry| is_directory(*entry)))
                .map(Old::Entry),
        }
    }
}
