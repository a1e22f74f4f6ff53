//! What a check finds.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::fs::escape_name;

/// Most findings that are told: a layer with so many is beyond details.
pub const MAX_FINDINGS: usize = 10_000;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FindingKind {
    /// It is gone.
    Missing,
    /// It was not there.
    Extra,
    /// A whiteout is gone: what it hides can be seen again.
    WhiteoutMissing,
    /// A whiteout was not there: something of lower layers is hidden.
    WhiteoutExtra,
    /// It is of another type.
    Type,
    /// A file is shorter or longer; after a power cut often empty.
    Size,
    /// A file has other content.
    Content,
    /// It has another mode.
    Mode,
    /// It has another owner or group.
    Owner,
    /// It has another time of modification.
    Mtime,
    /// An extended attribute is gone, new or another.
    Xattr,
    /// A symbolic link leads elsewhere.
    Target,
    /// A device has another number.
    Device,
    /// It shares its inode with other names than it did.
    Links,
    /// A directory hides what is below it and did not, or the other way round.
    Opaque,
    /// It cannot be looked at.
    Unreadable,
}

impl FindingKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::WhiteoutMissing => "whiteout missing",
            Self::WhiteoutExtra => "whiteout extra",
            Self::Type => "type",
            Self::Size => "size",
            Self::Content => "content",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Mtime => "mtime",
            Self::Xattr => "xattr",
            Self::Target => "target",
            Self::Device => "device",
            Self::Links => "links",
            Self::Opaque => "opaque",
            Self::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that is not as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path below the root of the layer: raw bytes, no leading slash; `.` for the root itself.
    pub path: Vec<u8>,
    /// What is wrong.
    pub what: FindingKind,
    /// What was recorded, for people.
    pub expected: String,
    /// What is there, for people.
    pub found: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            expected,
            found,
            ..
        } = self;
        let path = escape_name(&self.path);
        write!(f, "{path}: {what}: expected {expected}, found {found}")
    }
}

/// What was found, from all threads.
#[derive(Debug, Default)]
pub(super) struct Findings(Mutex<Vec<Finding>>);

impl Findings {
    pub(super) fn add(
        &self,
        path: &[u8],
        what: FindingKind,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        let finding = Finding {
            path: if path.is_empty() { b"." } else { path }.to_vec(),
            what,
            expected: expected.into(),
            found: found.into(),
        };
        let mut findings = self.lock();
        if findings.len() < MAX_FINDINGS {
            findings.push(finding);
        }
    }

    pub(super) fn unreadable(&self, path: &[u8], error: &Error) {
        self.add(
            path,
            FindingKind::Unreadable,
            "to be readable",
            error.chain(),
        );
    }

    pub(super) fn is_full(&self) -> bool {
        self.lock().len() >= MAX_FINDINGS
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Finding>> {
        // A list is whole after any push.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sorted(self) -> Vec<Finding> {
        let mut findings = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        findings.sort_by(|a, b| (&a.path, a.what).cmp(&(&b.path, b.what)));
        findings
    }
}
