//! The ways to mount an overlay, by name, and why one was not taken.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// A way to mount an overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MountMethod {
    /// `fsconfig(FSCONFIG_SET_FD, "lowerdir+")`: Linux 6.13.
    Fd,
    /// `fsconfig(FSCONFIG_SET_STRING, "lowerdir+")` with names below `/proc/self/fd`: Linux 6.8.
    String,
    /// `mount(2)` with all in one string: about 200 lower directories.
    Legacy,
    /// The program `fuse-overlayfs`. Its upper directory is not written as the kernel writes it.
    Fuse,
}

impl MountMethod {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::Fd, Self::String, Self::Legacy, Self::Fuse];

    const fn name(self) -> &'static str {
        match self {
            Self::Fd => "fd",
            Self::String => "string",
            Self::Legacy => "legacy",
            Self::Fuse => "fuse",
        }
    }
}

impl fmt::Display for MountMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MountMethod {
    type Err = Error;

    /// Parses `fd`, `string` (or `str`), `legacy` or `fuse`.
    fn from_str(text: &str) -> Result<Self> {
        let text = if text == "str" { "string" } else { text };
        let known = Self::ALL.into_iter().find(|method| method.name() == text);
        known.ok_or_else(|| {
            let message = format!("parse mount method {text:?}: not known");
            Error::new(ErrorKind::InvalidInput, message)
                .with_hint("the methods are fd, string, legacy and fuse")
        })
    }
}

/// Why a way was not taken.
pub(super) enum Refusal {
    /// It is not there: another may be.
    NotThere(Error),
    /// It is, and this overlay cannot be mounted.
    Final(Error),
}

impl Refusal {
    pub(super) fn error(self) -> Error {
        match self {
            Self::NotThere(error) | Self::Final(error) => error,
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_written_as_they_are_read() {
        for method in MountMethod::ALL {
            assert_eq!(method.to_string().parse::<MountMethod>().unwrap(), method);
        }
        assert_eq!("str".parse::<MountMethod>().unwrap(), MountMethod::String);
        for text in ["", "FD", "fuse-overlayfs"] {
            let error = text.parse::<MountMethod>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}
