//! The calls that mount: a trait, so that a test can have any of them fail.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::reason::RootfsReason;
use crate::error::{ErrorKind, Result};
use crate::fs::mount::{self, MountAttributes, MountMethod, Overlay, Upper};
use crate::fs::{Access, Dir, XattrNamespace, probe};

/// Where something is mounted: on a root, or on a directory in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountPlace<'a> {
    /// The root: an absolute path without symbolic links.
    pub root: &'a Path,
    /// The directory in it, a clean path in which no symbolic link is followed; empty for the root itself.
    pub below: &'a [u8],
}

impl MountPlace<'_> {
    /// The whole path.
    pub fn path(&self) -> PathBuf {
        if self.below.is_empty() {
            return self.root.to_owned();
        }
        self.root.join(OsStr::from_bytes(self.below))
    }
}

/// What an overlay is made of.
#[derive(Clone, Copy, Debug)]
pub struct OverlayParts<'a> {
    /// The directory that is only read.
    pub lower: &'a Dir,
    /// Where changes go.
    pub upper: &'a Dir,
    /// The kernel's directory.
    pub work: &'a Dir,
    /// A directory of the caller's in which something may be mounted for a moment.
    pub scratch: &'a Dir,
}

/// Who mounts.
pub trait Mounter {
    /// Which attributes mark what is in an upper directory.
    fn marks(&self) -> XattrNamespace;

    /// Mounts a directory in another place; `read_only`, it is so from the first moment.
    ///
    /// # Errors
    ///
    /// Fails if the kernel refuses. Nothing is mounted then.
    fn bind(&self, source: &Dir, place: MountPlace<'_>, read_only: bool) -> Result<()>;

    /// Mounts an overlay.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if there are no overlays here, or not of these directories; others if the kernel
    /// refuses. Nothing is mounted then.
    fn overlay(&self, parts: OverlayParts<'_>, place: MountPlace<'_>) -> Result<()>;

    /// Unmounts what is mounted in a place.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] if somebody uses it; others if the kernel refuses. It stays mounted then.
    fn unmount(&self, place: MountPlace<'_>) -> Result<()>;

    /// Whether something is mounted in a place; nothing is where there is no directory.
    ///
    /// # Errors
    ///
    /// Fails if that cannot be told.
    fn is_mounted(&self, place: MountPlace<'_>) -> Result<bool>;

    /// Takes away what a process that was killed in [`overlay`](Self::overlay) left mounted in its scratch directory.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be unmounted.
    fn sweep(&self, scratch: &Dir) -> Result<()>;
}

/// The kernel.
#[derive(Clone, Copy, Debug)]
pub struct KernelMounter {
    marks: XattrNamespace,
    method: Option<MountMethod>,
}

impl KernelMounter {
    /// Makes sure that this process may mount.
    ///
    /// # Errors
    ///
    /// [`RootfsReason::NeedPrivilege`] if it may not.
    pub fn new() -> Result<Self> {
        if !probe::may_mount() {
            let message = "make roots for containers: this process may not mount";
            return Err(RootfsReason::NeedPrivilege
                .error(ErrorKind::PermissionDenied, message)
                .with_hint("an ordinary user mounts inside of `bundle unshare -- COMMAND`"));
        }
        let trusted = probe::is_superuser() && !probe::in_user_namespace();
        Ok(Self {
            marks: if trusted {
                XattrNamespace::Trusted
            } else {
                XattrNamespace::User
            },
            method: None,
        })
    }

    /// Mounts overlays in one way only, whatever else works here.
    #[must_use]
    pub fn with_method(mut self, method: MountMethod) -> Self {
        self.method = Some(method);
        self
    }
}

/// Opens the directory that something is to be mounted on.
fn open(place: MountPlace<'_>) -> Result<Dir> {
    let root = Dir::open(place.root, Access::Plain)?;
    match place.below {
        b"" => Ok(root),
        below => root.open_below(below),
    }
}

impl Mounter for KernelMounter {
    fn marks(&self) -> XattrNamespace {
        self.marks
    }

    fn bind(&self, source: &Dir, place: MountPlace<'_>, read_only: bool) -> Result<()> {
        mount::bind(source, read_only, false)?.attach(&open(place)?)?;
        Ok(())
    }

    fn overlay(&self, parts: OverlayParts<'_>, place: MountPlace<'_>) -> Result<()> {
        let overlay = Overlay {
            lowers: &[parts.lower.as_fd()],
            upper: Some(Upper {
                dir: parts.upper,
                work: parts.work,
            }),
            marks: self.marks,
            source: "bundle-rootfs",
            volatile: false,
            read_only: false,
            attributes: MountAttributes::default(),
            selinux_context: None,
        };
        let mount = overlay.mount(self.method, parts.scratch)?;
        mount.attach(&open(place)?)?;
        Ok(())
    }

    fn unmount(&self, place: MountPlace<'_>) -> Result<()> {
        mount::unmount(&place.path(), false)
    }

    fn is_mounted(&self, place: MountPlace<'_>) -> Result<bool> {
        match mount::is_mount_point(&place.path()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            other => other,
        }
    }

    fn sweep(&self, scratch: &Dir) -> Result<()> {
        mount::sweep(scratch).map(|_| ())
    }
}
