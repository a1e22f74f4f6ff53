//! What an overlay is made of.
//!
//! Whatever the defaults of the kernel are, an upper directory must hold all that was changed and nothing but that:
//! no directory that is elsewhere (`redirect_dir`), no file without its content (`metacopy`), no bond to the lower
//! directories' inodes (`index`). `redirect_dir` is `nofollow`, not `off`: neither makes redirects, but with `off` most
//! kernels follow those that they find, and with `userxattr` they refuse it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags};

use super::super::dir::Dir;
use super::super::marks::XattrNamespace;
use super::attach::refused;
use super::lowers::Lowers;
use crate::error::{Error, ErrorKind, Result};

/// How many lower directories an overlay of the kernel's has at most.
pub const MAX_LOWERS: usize = 500;

/// What the options are set to, in every overlay. Linux has known all of them since 4.19.
pub(super) const OPTIONS: [(&str, &str); 4] = [
    ("redirect_dir", "nofollow"),
    ("metacopy", "off"),
    ("index", "off"),
    ("xino", "auto"),
];

/// An overlay: directories seen as one.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    /// The directories that are only read, the topmost first. They may be on detached mounts
    /// ([`id_mapped`](super::id_mapped)) where the kernel allows that (6.15).
    pub lowers: &'a dyn Lowers,
    /// Where changes go. Without, the overlay is read-only.
    pub upper: Option<Upper<'a>>,
    /// Which attributes mark whiteouts and opaque directories, in the lower directories and in the upper one.
    pub marks: XattrNamespace,
    /// What the table of mounts shows as its source: at most 255 bytes.
    pub source: &'a str,
    /// Whether the upper directory may lose its content when the machine fails; the kernel then refuses to mount it again
    /// until `work/incompat/volatile` in the work directory is removed.
    pub volatile: bool,
    /// Whether nothing can be written although there is an upper directory.
    pub read_only: bool,
    /// What else holds for the mount.
    pub attributes: MountAttributes,
    /// The label that every file shows (`context=`).
    pub selinux_context: Option<&'a str>,
}

/// Where the changes of an overlay go.
#[derive(Clone, Copy, Debug)]
pub struct Upper<'a> {
    /// The directory with the changes.
    pub dir: &'a Dir,
    /// An empty directory on the same mount, for the kernel.
    pub work: &'a Dir,
}

/// Attributes of a mount, as mount(8) names them.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches, named as everywhere"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttributes {
    /// Device nodes cannot be opened.
    pub nodev: bool,
    /// Set-user-id bits and file capabilities do nothing.
    pub nosuid: bool,
    /// Programs cannot be run.
    pub noexec: bool,
    /// Reading changes no times.
    pub noatime: bool,
}

impl Overlay<'_> {
    pub(super) fn check(&self) -> Result<()> {
        let fail = |why: &str| {
            let message = format!("mount overlay {}: {why}", self.source);
            Err(Error::new(ErrorKind::InvalidInput, message))
        };
        let passable = |text: &str| text.len() < 256 && !text.contains('\0');
        if self.lowers.count() == 0 {
            return fail("no lower directory");
        }
        if self.source.is_empty() || !passable(self.source) {
            return fail("the source has no, or more than 255, bytes, or a zero byte");
        }
        let label = self.selinux_context.unwrap_or_default();
        if !passable(label) || label.contains('"') {
            return fail("the label has more than 255 bytes, a quote or a zero byte");
        }
        Ok(())
    }

    /// What it is called in messages.
    pub(super) fn name(&self) -> PathBuf {
        PathBuf::from(format!("overlay {}", self.source))
    }

    /// The options that are words: whether each is wanted.
    pub(super) fn flags(&self) -> impl Iterator<Item = &'static str> {
        let userxattr = self.marks == XattrNamespace::User;
        let volatile = self.volatile && self.upper.is_some();
        let words = [(userxattr, "userxattr"), (volatile, "volatile")];
        words
            .into_iter()
            .filter_map(|(on, word)| on.then_some(word))
    }

    pub(super) fn mount_attributes(&self) -> MountAttrFlags {
        let mut flags = MountAttrFlags::empty();
        flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, self.read_only);
        flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, self.attributes.nodev);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOSUID, self.attributes.nosuid);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, self.attributes.noexec);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOATIME, self.attributes.noatime);
        flags
    }

    /// The same for `mount(2)`.
    pub(super) fn mount_flags(&self) -> MountFlags {
        let mut flags = MountFlags::empty();
        flags.set(MountFlags::RDONLY, self.read_only);
        flags.set(MountFlags::NODEV, self.attributes.nodev);
        flags.set(MountFlags::NOSUID, self.attributes.nosuid);
        flags.set(MountFlags::NOEXEC, self.attributes.noexec);
        flags.set(MountFlags::NOATIME, self.attributes.noatime);
        flags
    }
}

/// An empty directory that nobody can put anything into.
pub(super) fn empty_directory() -> Result<OwnedFd> {
    let fail = |errno| refused("mount", "an empty directory", errno);
    let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(fail)?;
    rustix::mount::fsconfig_create(&context).map_err(fail)?;
    let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, read_only).map_err(fail)
}
