//! The store's error: opaque outside, with a public [`ErrorKind`] for decisions.
//!
//! A message says operation and object in lower case and without a full stop; the cause, mostly an
//! [`io::Error`], is reachable through [`source`](std::error::Error::source). An error may travel through
//! [`Read`](io::Read) or [`Write`](io::Write) as the payload of an [`io::Error`] and comes out with its kind.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// What a caller may want to decide upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such blob.
    NotFound,
    /// Content does not have the digest or the size that was promised.
    Mismatch,
    /// A well-formed digest of an algorithm that is not known here, or a filesystem without locks.
    Unsupported,
    /// A malformed digest, or something in the store that does not belong there.
    Invalid,
    /// Another process, or another user of the same store object, is in the way.
    Busy,
    /// The operating system refuses: `EPERM` or `EACCES`.
    PermissionDenied,
    /// Any other failure of input or output.
    Io,
}

/// A failed operation: what was done, on what, and why it failed.
#[derive(thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error of a kind with a message (lower case, no full stop).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Makes an error from failed input or output: `operation` is a verb phrase ("open blob"), `object` what it was
    /// done to, a path below the store's directory or a digest.
    ///
    /// If the cause carries an error of this crate, its kind is kept.
    pub fn io(operation: &str, object: impl fmt::Display, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let kind = match source
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Self>())
        {
            Some(inner) => inner.kind,
            None => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                _ => ErrorKind::Io,
            },
        };
        Self::new(kind, format!("{operation} {object}")).with_source(source)
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What a caller may decide upon.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message without the causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Gives up the cause, for a caller that wraps this error in one of its own.
    pub fn into_source(self) -> Option<Box<dyn StdError + Send + Sync>> {
        self.source
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_comes_from_the_failed_system_call() {
        for (errno, kind) in [
            (2, ErrorKind::NotFound),
            (1, ErrorKind::PermissionDenied),
            (13, ErrorKind::PermissionDenied),
            (28, ErrorKind::Io),
        ] {
            assert_eq!(
                Error::io("open", "x", io::Error::from_raw_os_error(errno)).kind(),
                kind
            );
        }
    }

    #[test]
    fn an_error_that_travelled_through_a_reader_keeps_its_kind() {
        let travelled = io::Error::from(Error::new(ErrorKind::Mismatch, "size mismatch"));
        let error = Error::io("read", "blob", travelled);
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert_eq!(error.message(), "read blob");
        assert_eq!(format!("{error:?}"), "Mismatch: read blob: size mismatch");
    }
}
