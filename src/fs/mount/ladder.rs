//! The four ways to mount an overlay, and when the next one is tried.
//!
//! The next way is tried where this one is *not there*: the kernel lacks the system call (`ENOSYS`), the file system
//! (`ENODEV`) or the parameter (`EINVAL` for the first lower directory, before anything else was said), or the call is
//! forbidden as such (`EPERM`), which by a filter may concern the new calls only. Every other failure is the answer: the
//! kernel has looked at these directories and options, and the same question asked otherwise would get no better one.

use std::os::fd::AsFd as _;

use super::super::dir::Dir;
use super::attach::{Mount, PRIVILEGE_HINT};
use super::method::{MountMethod, Refusal};
use super::overlay::{MAX_LOWERS, Overlay, empty_directory};
use super::{context, fuse, legacy};
use crate::error::{Error, ErrorKind, Result};

impl Overlay<'_> {
    /// Mounts the overlay, detached: by the method given, or by the first one that works here (see [`MountMethod`]).
    ///
    /// [`Legacy`](MountMethod::Legacy) and [`Fuse`](MountMethod::Fuse) mount in a directory that they make in `scratch`, for
    /// a moment: only there can a killed process leave something mounted, for [`sweep`](super::sweep). A single lower directory without an upper gets an
    /// empty one below it, where the kernel allows detached mounts as lower directories.
    ///
    /// # Errors
    ///
    /// With the kernel's own words, as far as it has any:
    /// - [`ErrorKind::InvalidInput`] for no lower directory at all, or for a source or label that cannot be passed on
    /// - [`ErrorKind::LimitExceeded`] for more lower directories than [`MAX_LOWERS`], or than the method can name
    /// - [`ErrorKind::Busy`] if the kernel sees the upper directory in use
    /// - [`ErrorKind::PermissionDenied`] without the right to mount
    /// - [`ErrorKind::Unsupported`] if no method works here, or not with these options
    ///
    /// Nothing is mounted then.
    pub fn mount(&self, how: Option<MountMethod>, scratch: &Dir) -> Result<Mount> {
        self.check()?;
        if self.lowers.count() > 1 || self.upper.is_some() {
            return mount(self, how, scratch);
        }
        let (only, empty) = (self.lowers.open(0)?, empty_directory()?);
        let lowers = [only.as_fd(), empty.as_fd()];
        let padded = Overlay {
            lowers: &lowers,
            ..*self
        };
        mount(&padded, how, scratch)
    }
}

fn mount(overlay: &Overlay<'_>, how: Option<MountMethod>, scratch: &Dir) -> Result<Mount> {
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
