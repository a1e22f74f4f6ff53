//! What kinds of failure there are, beyond [`ErrorKind`](crate::ErrorKind): the step that failed.

use crate::error::{Error, ErrorKind};

/// The step of making or removing a root that failed.
///
/// The message says of which directory, the [`ErrorKind`] and the source of the error why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RootfsReason {
    /// No directory could be made for the root in the base.
    CreateTempDir,
    /// No directory could be made to mount the root on.
    CreateMountDir,
    /// The root could not be mounted, or the prototype not be opened.
    MountRoot,
    /// A directory that can be written to could not be mounted.
    MountSubdir,
    /// The prototype lacks a directory that should be writable.
    SubdirMissing,
    /// A directory could not be unmounted; it and the root stay.
    UnmountSubdir,
    /// The empty directory could not be made.
    OverlayTempDir,
    /// The directory that takes changes could not be made: a copy, or the upper directory.
    OverlayDir,
    /// What was made could not be deleted.
    RemoveMountDir,
    /// The root could not be unmounted; it stays.
    UnmountRoot,
    /// The base does not exist, or cannot be looked at.
    RwBaseMissing,
    /// The base is no directory.
    RwBaseNotDir,
    /// Nothing can be made in the base.
    RwBaseNotRw,
    /// This process may not mount.
    NeedPrivilege,
}

impl RootfsReason {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::CreateTempDir,
        Self::CreateMountDir,
        Self::MountRoot,
        Self::MountSubdir,
        Self::SubdirMissing,
        Self::UnmountSubdir,
        Self::OverlayTempDir,
        Self::OverlayDir,
        Self::RemoveMountDir,
        Self::UnmountRoot,
        Self::RwBaseMissing,
        Self::RwBaseNotDir,
        Self::RwBaseNotRw,
        Self::NeedPrivilege,
    ];

    /// Its word: lower case, with hyphens.
    pub const fn word(self) -> &'static str {
        match self {
            Self::CreateTempDir => "create-temp-dir",
            Self::CreateMountDir => "create-mount-dir",
            Self::MountRoot => "mount-root",
            Self::MountSubdir => "mount-subdir",
            Self::SubdirMissing => "subdir-missing",
            Self::UnmountSubdir => "unmount-subdir",
            Self::OverlayTempDir => "overlay-temp-dir",
            Self::OverlayDir => "overlay-dir",
            Self::RemoveMountDir => "remove-mount-dir",
            Self::UnmountRoot => "unmount-root",
            Self::RwBaseMissing => "rw-base-missing",
            Self::RwBaseNotDir => "rw-base-not-dir",
            Self::RwBaseNotRw => "rw-base-not-rw",
            Self::NeedPrivilege => "need-privilege",
        }
    }

    /// An error of this kind.
    pub(super) fn error(self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, message).with_code(self.word())
    }

    /// Says which step an error is of, and what was being done. The [`ErrorKind`] stays.
    pub(super) fn of_error(self, error: Error, doing: impl Into<String>) -> Error {
        error.context(doing).with_code(self.word())
    }

    /// The step that an error is of, if it is one of these.
    pub fn of(error: &Error) -> Option<Self> {
        let word = error.code()?;
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.word() == word)
    }
}
