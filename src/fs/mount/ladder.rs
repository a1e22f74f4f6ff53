//! The four ways to mount an overlay, and when the next one is tried.
//!
//! The next way is tried where this one is *not there*: the kernel lacks the system call (`ENOSYS`), the file system
//! (`ENODEV`) or the parameter (`EINVAL` for the first lower directory, before anything else was said), or the call is
//! forbidden as such (`EPERM`), which by a filter may concern the new calls only. Every other failure is the answer: the
//! kernel has looked at these directories and options, and the same question asked otherwise would get no better one.

use std::fmt;
use std::str::FromStr;

use super::super::dir::Dir;
use super::attach::{Mount, PRIVILEGE_HINT};
use super::overlay::{MAX_LOWERS, Overlay};
use super::{context, fuse, legacy};
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
    fn error(self) -> Error {
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

pub(super) fn mount(
    overlay: &Overlay<'_>,
    how: Option<MountMethod>,
    scratch: &Dir,
) -> Result<Mount> {
    if let Some(method) = how {
        return by(method, overlay, scratch).map_err(|refusal| explain(overlay, refusal.error()));
    }
    let mut tried = Vec::new();
    for method in MountMethod::ALL {
        match by(method, overlay, scratch) {
            Ok(mount) => return Ok(mount),
            Err(Refusal::NotThere(error)) => tried.push((method, error)),
            Err(Refusal::Final(error)) => return Err(explain(overlay, error)),
        }
    }
    Err(none_works(overlay, &tried))
}

fn by(
    method: MountMethod,
    overlay: &Overlay<'_>,
    scratch: &Dir,
) -> std::result::Result<Mount, Refusal> {
    let fd = match method {
        MountMethod::Fd | MountMethod::String => context::mount(overlay, method),
        MountMethod::Legacy => legacy::mount(overlay, scratch),
        MountMethod::Fuse => fuse::mount(overlay, scratch),
    }?;
    Ok(Mount::new(fd, Some(method), overlay.name()))
}

/// Says what the kernel cannot: that there are too many layers. It has the same error for many things.
fn explain(overlay: &Overlay<'_>, error: Error) -> Error {
    let count = overlay.lowers.count();
    if count <= MAX_LOWERS || error.kind() == ErrorKind::LimitExceeded {
        return error;
    }
    let message = format!(
        "mount {}: {count} lower directories, more than the limit of {MAX_LOWERS}",
        overlay.name().display()
    );
    Error::new(ErrorKind::LimitExceeded, message).with_source(error)
}

fn none_works(overlay: &Overlay<'_>, tried: &[(MountMethod, Error)]) -> Error {
    let reasons: Vec<String> = tried
        .iter()
        .map(|(method, error)| format!("{method}: {}", error.chain()))
        .collect();
    let message = format!(
        "mount {}: no method works here ({})",
        overlay.name().display(),
        reasons.join("; ")
    );
    let denied = |(_, error): &(_, Error)| error.kind() == ErrorKind::PermissionDenied;
    if tried.iter().any(denied) {
        Error::new(ErrorKind::PermissionDenied, message).with_hint(PRIVILEGE_HINT)
    } else {
        Error::new(ErrorKind::Unsupported, message)
            .with_hint("Linux needs overlayfs, or the program fuse-overlayfs must be installed")
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
