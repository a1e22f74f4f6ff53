//! What is wrong in a store, and what was done about it.

use std::fmt;

use oci_cas::Digest;

use super::finding::Finding;
use crate::image::ChainId;
use crate::store::{Key, LayerId, PatchId};

/// What something is wrong with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Object {
    /// The record of a mount, by its name.
    Mount(String),
    /// A layer.
    Layer(LayerId),
    /// A patch.
    Patch(PatchId),
    /// A chain; none for that without layers.
    Chain(Option<ChainId>),
    /// An image, by the digest of its manifest.
    Image(Digest),
    /// A container.
    Container(Key),
    /// A snapshot, by its name.
    Snapshot(String),
    /// A name of an image, or the file in which it should be.
    Name(String),
    /// Something in a directory of the store, by its path below the store.
    Entry(String),
}

impl Object {
    /// The word for what kind of thing it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Mount(_) => "mount",
            Self::Layer(_) => "layer",
            Self::Patch(_) => "patch",
            Self::Chain(_) => "chain",
            Self::Image(_) => "image",
            Self::Container(_) => "container",
            Self::Snapshot(_) => "snapshot",
            Self::Name(_) => "name",
            Self::Entry(_) => "entry",
        }
    }

    /// What it is called.
    pub fn name(&self) -> String {
        match self {
            Self::Layer(id) => id.to_string(),
            Self::Patch(id) => id.to_string(),
            Self::Chain(id) => id
                .as_ref()
                .map_or_else(|| "empty".to_owned(), ToString::to_string),
            Self::Image(digest) => digest.to_string(),
            Self::Container(key) => key.to_string(),
            Self::Mount(name) | Self::Snapshot(name) | Self::Name(name) | Self::Entry(name) => {
                name.clone()
            }
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ProblemKind {
    /// Its content is not what it must be.
    Content,
    /// It, or what is recorded of it, cannot be read.
    Unreadable,
    /// Something that it consists of, or leads to, is not there.
    Incomplete,
    /// It is the record of a mount that is gone.
    Dead,
    /// A killed process has left it.
    Leftover,
    /// It is nothing that a store has there.
    Strange,
}

impl ProblemKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Unreadable => "unreadable",
            Self::Incomplete => "incomplete",
            Self::Dead => "dead",
            Self::Leftover => "leftover",
            Self::Strange => "strange",
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was done about a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Nothing: no repair was asked for.
    None,
    /// It is as it should be.
    Repaired,
    /// It was taken away: nothing is lost with it.
    Removed,
    /// It is as it was, for this reason.
    Failed(String),
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// With what.
    pub object: Object,
    /// What.
    pub what: ProblemKind,
    /// More of it, for people.
    pub detail: String,
    /// Of a layer, what in its content is not as recorded.
    pub findings: Vec<Finding>,
    /// What depends on it, for people: images, containers, mounts.
    pub needed_by: Vec<String>,
    /// What was done about it.
    pub action: Action,
}

impl Problem {
    pub(super) fn new(object: Object, what: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            object,
            what,
            detail: detail.into(),
            findings: Vec::new(),
            needed_by: Vec::new(),
            action: Action::None,
        }
    }

    /// Whether it is put right.
    pub fn is_repaired(&self) -> bool {
        matches!(self.action, Action::Repaired | Action::Removed)
    }
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// How many layers were compared with their records.
    pub layers: usize,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl CheckReport {
    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether all that was wrong is put right.
    pub fn is_repaired(&self) -> bool {
        self.problems.iter().all(Problem::is_repaired)
    }
}
