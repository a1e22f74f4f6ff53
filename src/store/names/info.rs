//! What a name leads to, as its record says it: pure data.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use crate::error::{Error, ErrorKind, Result};

/// What somebody wants to keep with a snapshot.
pub type Labels = BTreeMap<String, String>;

/// How many bytes a label and its value may have together.
const MAX_LABEL: usize = 4096;
/// How many bytes a name may have.
const MAX_NAME: usize = 4096;

/// What a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It is looked at: nothing can be written to it.
    View,
    /// It is being changed.
    Active,
    /// Nothing changes it any more.
    Committed,
}

impl Kind {
    /// Its word, in lower case.
    pub const fn word(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Active => "active",
            Self::Committed => "committed",
        }
    }

    /// The kind with this word.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        let all = [Self::View, Self::Active, Self::Committed];
        all.into_iter().find(|kind| kind.word() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is known of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// What it is.
    pub kind: Kind,
    /// The key of an active one or a view, the name of a committed one: one name space.
    pub name: String,
    /// The committed snapshot that it is laid on.
    pub parent: Option<String>,
    /// Whatever the owner wants to keep with it.
    pub labels: Labels,
    /// When it was made.
    pub created: SystemTime,
    /// When its labels were last changed; [`created`](Self::created) at first.
    pub updated: SystemTime,
}

/// The room that a snapshot takes, that of its parents not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotUsage {
    /// Bytes on disk.
    pub bytes: u64,
    /// Number of inodes.
    pub inodes: u64,
}

/// How a snapshot is made or committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// Labels of the new snapshot. Nothing is inherited.
    pub labels: Labels,
    /// For a commit: the committed snapshot that the new one is laid on. `None` keeps the parent; another than the
    /// present parent is allowed only if there is none.
    pub parent: Option<String>,
}

impl SnapshotOptions {
    /// Options with labels.
    pub fn with_labels(labels: impl Into<Labels>) -> Self {
        Self {
            labels: labels.into(),
            parent: None,
        }
    }

    /// Options to commit a snapshot onto a parent.
    pub fn onto(parent: impl Into<String>) -> Self {
        Self {
            labels: Labels::new(),
            parent: Some(parent.into()),
        }
    }
}

/// Checks a name.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME {
        let message = format!(
            "the name of a snapshot has 1 to {MAX_NAME} bytes, not {}",
            name.len()
        );
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(())
}

/// Checks labels.
pub(crate) fn check_labels(labels: &Labels) -> Result<()> {
    for (label, value) in labels {
        if label.len() + value.len() > MAX_LABEL {
            let shown: String = label.chars().take(64).collect();
            let message =
                format!("label {shown:?}: it has more than {MAX_LABEL} bytes with its value");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
    }
    Ok(())
}
