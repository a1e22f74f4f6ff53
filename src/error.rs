//! The library's error: opaque outside, with a public [`ErrorKind`] for decisions.
//!
//! A message says operation, path and cause, in lower case and without a full stop. Context is added on the way up
//! ([`ResultExt::context`]), the cause stays reachable through [`std::error::Error::source`], and whoever knows what
//! the user could do about it adds a [hint](Error::with_hint), which the command prints below the message.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

/// What a caller may want to decide upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something that was asked for does not exist: a tag, a blob, a file.
    NotFound,
    /// Something is in the way: a layout, a bundle, a file.
    AlreadyExists,
    /// The caller's arguments make no sense.
    InvalidInput,
    /// A document, an archive or a layout is malformed or contradicts itself.
    InvalidData,
    /// Content does not have the digest or the size that was promised.
    Verification,
    /// The input is well-formed, but this program cannot handle it.
    Unsupported,
    /// The input is larger or deeper than the limits in force allow.
    LimitExceeded,
    /// More than one thing fits, and nothing tells which is meant.
    Ambiguous,
    /// The operating system refuses: `EPERM` or `EACCES`.
    PermissionDenied,
    /// Another process holds a lock.
    Busy,
    /// Any other failure of input or output.
    Io,
}

/// A failed operation: what was done, on what, and why it failed.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    code: Option<&'static str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error of a kind with a message (lower case, no full stop).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            hint: None,
            code: None,
            source: None,
        }))
    }

    /// Makes an error from a failed system call: `operation` is a verb phrase ("open"), `path` what it was done to.
    pub fn io(operation: &str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self::from_io(
            format!("{operation} {}", path.as_ref().display()),
            source.into(),
        )
    }

    fn from_io(message: String, source: io::Error) -> Self {
        let kind = kind_of_io(&source);
        // What travelled inside an `io::Error` is the cause, not the vehicle.
        let source = match source.downcast::<Self>() {
            Ok(ours) => ours.into(),
            Err(source) => match source.downcast::<oci_cas::Error>() {
                Ok(stores) => Self::from(stores).into(),
                Err(source) => source.into(),
            },
        };
        Self(Box::new(Inner {
            kind,
            message,
            hint: None,
            code: None,
            source: Some(source),
        }))
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says more exactly what kind of failure it is: a word of the room that it comes from, for scripts.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.0.code = Some(code);
        self
    }

    /// The word that says what kind of failure it is, from the outermost error of the chain that has one.
    pub fn code(&self) -> Option<&'static str> {
        let mut error: Option<&(dyn StdError + 'static)> = Some(self);
        while let Some(current) = error {
            let ours = current.downcast_ref::<Self>();
            if let Some(code) = ours.and_then(|ours| ours.0.code) {
                return Some(code);
            }
            error = current.source();
        }
        None
    }

    /// Wraps the error in a message that says what was being done. The kind stays.
    #[must_use]
    pub fn context(self, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind: self.kind(),
            message: message.into(),
            hint: None,
            code: None,
            source: Some(Box::new(self)),
        }))
    }

    /// What a caller may decide upon.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// All hints of the chain, outermost first.
    pub fn hints(&self) -> Vec<&str> {
        let mut hints = Vec::new();
        let mut error: Option<&(dyn StdError + 'static)> = Some(self);
        while let Some(current) = error {
            if let Some(hint) = current
                .downcast_ref::<Self>()
                .and_then(|ours| ours.0.hint.as_deref())
            {
                hints.push(hint);
            }
            error = current.source();
        }
        hints
    }

    /// The messages of the chain joined by `": "`: what the command prints.
    pub fn chain(&self) -> String {
        let mut text = self.0.message.clone();
        let mut source = self.source();
        while let Some(current) = source {
            text.push_str(": ");
            text.push_str(&current.to_string());
            source = current.source();
        }
        text
    }
}

fn kind_of_io(error: &io::Error) -> ErrorKind {
    // An error of ours may travel through `Read` as the payload of an `io::Error`: it keeps its kind.
    if let Some(payload) = error.get_ref() {
        if let Some(ours) = payload.downcast_ref::<Error>() {
            return ours.kind();
        }
        if let Some(stores) = payload.downcast_ref::<oci_cas::Error>() {
            return kind_of_cas(stores.kind());
        }
    }
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Io,
    }
}

fn kind_of_cas(kind: oci_cas::ErrorKind) -> ErrorKind {
    match kind {
        oci_cas::ErrorKind::NotFound => ErrorKind::NotFound,
        oci_cas::ErrorKind::Mismatch => ErrorKind::Verification,
        oci_cas::ErrorKind::Unsupported => ErrorKind::Unsupported,
        oci_cas::ErrorKind::Invalid => ErrorKind::InvalidData,
        oci_cas::ErrorKind::Busy => ErrorKind::Busy,
        oci_cas::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Io,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

impl From<oci_cas::Error> for Error {
    fn from(error: oci_cas::Error) -> Self {
        let (kind, message) = (kind_of_cas(error.kind()), error.message().to_owned());
        Self(Box::new(Inner {
            kind,
            message,
            hint: None,
            code: None,
            source: error.into_source(),
        }))
    }
}

/// Context for results: what was being done when it failed.
pub trait ResultExt<T> {
    /// Wraps an error in a message.
    ///
    /// # Errors
    ///
    /// The error of `self`, wrapped.
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T, Error> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| error.context(message()))
    }
}

impl<T> ResultExt<T> for Result<T, oci_cas::Error> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::from(error).context(message()))
    }
}

impl<T> ResultExt<T> for Result<T, io::Error> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::from_io(message().into(), error))
    }
}

impl<T> ResultExt<T> for Result<T, rustix::io::Errno> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::from_io(message().into(), error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_says_each_message_once() {
        let cause = Error::io("open", "/x", io::Error::from_raw_os_error(2));
        let outer = cause.context("unpack layer 3");
        assert_eq!(
            outer.chain(),
            "unpack layer 3: open /x: No such file or directory (os error 2)"
        );
        assert_eq!(outer.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn an_error_that_travelled_through_a_reader_keeps_its_kind() {
        let ours = Error::new(ErrorKind::Verification, "digest mismatch")
            .with_hint("fetch the image again");
        let result: io::Result<()> = Err(ours.into());
        let error = result.context(|| "read layer").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Verification);
        assert_eq!(error.chain(), "read layer: digest mismatch");
        assert_eq!(error.hints(), ["fetch the image again"]);
        let stores: io::Result<()> =
            Err(oci_cas::Error::new(oci_cas::ErrorKind::Mismatch, "size mismatch").into());
        assert_eq!(
            stores.context(|| "read").unwrap_err().kind(),
            ErrorKind::Verification
        );
    }
}
