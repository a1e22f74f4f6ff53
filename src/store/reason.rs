//! What kinds of failure the store tells apart, beyond [`ErrorKind`].
//!
//! A message is for people, an [`ErrorKind`] for decisions that any caller may take, and a [`Reason`] for those who know
//! stores: its word is what `--json` prints.

use crate::error::{Error, ErrorKind};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $kind:ident;)*) => {
        /// What kind of failure it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its word: lower case, with hyphens.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            const fn kind(self) -> ErrorKind {
                match self { $(Self::$name => ErrorKind::$kind,)* }
            }
        }
    };
}

reasons! {
    /// The directory is not a store, or one of a version that is not known.
    NotAStore = "not-a-store", InvalidData;
    /// The store keeps overlayfs's marks in the other namespace of attributes.
    NamespaceMismatch = "namespace-mismatch", Unsupported;
    /// The kernel has no overlayfs for this process, and there is no program instead.
    NotSupported = "not-supported", Unsupported;
    /// The file system cannot hold layers.
    IncompatibleFs = "incompatible-fs", Unsupported;
    /// Something that must be there beforehand is not.
    Prerequisites = "prerequisites", InvalidInput;
    /// There is no such layer.
    LayerUnknown = "layer-unknown", NotFound;
    /// There is such a layer already.
    LayerExists = "layer-exists", AlreadyExists;
    /// The name of a layer or a container is none, or what has it is no layer.
    InvalidLayer = "invalid-layer", InvalidData;
    /// What is to be packed or unpacked is not what it should be.
    InvalidAsset = "invalid-asset", InvalidInput;
    /// An image lacks a part: configuration, layers, blobs.
    ImageCompose = "image-compose", InvalidData;
    /// There is no such image.
    ImageUnknown = "image-unknown", NotFound;
    /// There is no such name.
    TagNotFound = "tag-not-found", NotFound;
    /// There is no such container, snapshot or bundle.
    KeyUnknown = "key-unknown", NotFound;
    /// There is one already.
    KeyExists = "key-exists", AlreadyExists;
    /// Layers can be laid only on what is committed.
    ParentNotCommitted = "parent-not-committed", InvalidInput;
    /// A mount cannot be made as asked.
    MountPrecondition = "mount-precondition", InvalidInput;
    /// It is mounted already.
    MountExists = "mount-exists", AlreadyExists;
    /// It is mounted already, and otherwise than asked.
    MountOptionsConflict = "mount-options-conflict", AlreadyExists;
    /// The kernel refused to mount.
    MountFailed = "mount-failed", Io;
    /// The kernel refused to unmount.
    UnmountFailed = "unmount-failed", Io;
    /// It is not mounted.
    NotMounted = "not-mounted", NotFound;
    /// Something uses it.
    InUse = "in-use", Busy;
    /// Something is laid on it.
    HasChildren = "has-children", Busy;
    /// It was mounted without syncing, and the machine has been restarted since.
    Dirty = "dirty", InvalidData;
    /// The content of a layer is not what its record says.
    Corrupt = "corrupt", InvalidData;
    /// The stream of a layer is not what the image promised.
    WrongDiffId = "wrong-diff-id", Verification;
    /// The file system has no quotas.
    QuotaUnsupported = "quota-unsupported", Unsupported;
    /// A store of others that is read only.
    ReadOnlyStore = "read-only-store", PermissionDenied;
}

impl Reason {
    /// An error of this kind.
    pub fn error(self, message: impl Into<String>) -> Error {
        Error::new(self.kind(), message).with_code(self.word())
    }

    /// Says what kind of failure an error is, keeping its [`ErrorKind`].
    #[must_use]
    pub fn of_error(self, error: Error) -> Error {
        error.with_code(self.word())
    }

    /// The reason that an error gives, if it gives one.
    pub fn of(error: &Error) -> Option<Self> {
        let word = error.code()?;
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_found_again_behind_any_context() {
        for &reason in Reason::ALL {
            let error = reason.error("it failed").context("mount");
            assert_eq!(Reason::of(&error), Some(reason));
            assert_eq!(error.kind(), reason.kind());
        }
        assert_eq!(Reason::of(&Error::new(ErrorKind::Io, "x")), None);
    }
}
