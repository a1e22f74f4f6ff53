//! What differs between two states of a tree: what the mtree record and an overlay's upper directory both report.

/// How a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is there in both, but not the same.
    Modified,
    /// It is gone; nothing below it is reported.
    Deleted,
}

/// A path that differs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Change {
    /// Path below the root: raw bytes, no leading slash; `.` for the root itself.
    pub path: Vec<u8>,
    /// How it differs.
    pub kind: ChangeKind,
}
