//! Detached mounts, and how they come and go.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::super::dir::{Access, Dir};
use super::super::{probe, syscall, xattr};
use super::holders::{Holder, holders};
use super::id::MountId;
use super::method::MountMethod;
use crate::error::{Error, ErrorKind, Result};

/// What an ordinary user can do about a mount that is refused.
pub(super) const PRIVILEGE_HINT: &str =
    "mounting is for root; an ordinary user mounts inside of `bundle unshare -- COMMAND`";

/// Makes sure that this process may mount, for whoever would otherwise find out after a lot of work.
///
/// # Errors
///
/// [`ErrorKind::PermissionDenied`] if it may not.
pub fn check_privilege() -> Result<()> {
    if probe::may_mount() {
        return Ok(());
    }
    let message = "mount: this process may not";
    Err(Error::new(ErrorKind::PermissionDenied, message).with_hint(PRIVILEGE_HINT))
}

/// A mount that no path leads to. Dropped, it is gone, as soon as nothing in it is open any more.
#[derive(Debug)]
pub struct Mount {
    fd: OwnedFd,
    method: Option<MountMethod>,
    /// For messages.
    name: PathBuf,
}

impl Mount {
    pub(super) fn new(fd: OwnedFd, method: Option<MountMethod>, name: PathBuf) -> Self {
        Self { fd, method, name }
    }

    /// How it was mounted; `None` for what is no overlay.
    pub fn method(&self) -> Option<MountMethod> {
        self.method
    }

    /// Opens its root directory. As long as that is open the mount stays, attached or not.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be opened.
    pub fn root(&self) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, c".", flags, Mode::empty())
            .map_err(|errno| Error::io("open mount", &self.name, errno))?;
        Ok(Dir::from_fd(fd, self.name.clone(), Access::Plain))
    }

    /// Which mount it is. The number stays when it is attached.
    ///
    /// # Errors
    ///
    /// Fails as [`MountId::of`].
    pub fn id(&self) -> Result<MountId> {
        MountId::of(&self.fd)
    }

    /// Puts the mount on a directory. The open `target` goes on to be the directory beneath; what is opened by its path
    /// from now on is the mount. It stays until it is [unmounted](unmount).
    ///
    /// # Errors
    ///
    /// Fails if the kernel refuses: [`ErrorKind::PermissionDenied`] without the right to mount. The mount is gone then.
    pub fn attach(self, target: &Dir) -> Result<MountId> {
        // First: an attached mount whose number is not known could not be found again.
        let id = self.id()?;
        let by_descriptors =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(&self.fd, c"", target, c"", by_descriptors)
            .map_err(|errno| refused("mount on", target.path(), errno))?;
        Ok(id)
    }

    /// The descriptor of the mount. It may be given to the kernel in place of a directory; closed, the mount is gone.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Mount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A failed call of those that mount: `EINVAL` is what they have for everything that this kernel, or these file systems,
/// cannot do.
pub(super) fn refused(operation: &str, path: impl AsRef<Path>, errno: Errno) -> Error {
    let path = path.as_ref();
    let kind = match errno {
        Errno::PERM | Errno::ACCESS => {
            return Error::io(operation, path, errno).with_hint(PRIVILEGE_HINT);
        }
        Errno::BUSY => ErrorKind::Busy,
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NODEV => ErrorKind::Unsupported,
        _ => return Error::io(operation, path, errno),
    };
    let message = format!("{operation} {}", path.display());
    Error::new(kind, message).with_source(std::io::Error::from(errno))
}

/// Makes a detached copy of the mount that a path in an open directory leads to.
pub(super) fn clone_mount(
    dir: BorrowedFd<'_>,
    name: &[u8],
    recursive: bool,
) -> std::result::Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags |= OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    if name.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(dir, name, flags)
}

/// Makes a detached bind mount of a directory, with what is mounted below it if `recursive`. Read-only, it is so from the
/// first moment.
///
/// # Errors
///
/// Fails if the kernel refuses: [`ErrorKind::PermissionDenied`] without the right to mount. Nothing is left behind.
pub fn bind(source: &Dir, read_only: bool, recursive: bool) -> Result<Mount> {
    let fail = |errno| refused("bind", source.path(), errno);
    let fd = clone_mount(source.as_fd(), b"", recursive).map_err(fail)?;
    if read_only {
        syscall::set_mount_attributes(fd.as_fd(), libc::MOUNT_ATTR_RDONLY, None, recursive)
            .map_err(fail)?;
    }
    Ok(Mount::new(fd, None, source.path().to_owned()))
}

/// Unmounts what is seen at a path, whose last component is not followed. With `lazy` the mount loses its name at once
/// and goes when nobody uses it any more.
///
/// # Errors
///
/// - [`ErrorKind::Busy`] if somebody uses it; the message says who, as far as this user may know
/// - [`ErrorKind::NotFound`] if nothing is mounted there, or there is no such path
/// - [`ErrorKind::PermissionDenied`] without the right to mount
///
/// What is mounted stays then.
pub fn unmount(target: &Path, lazy: bool) -> Result<()> {
    unmount_by(target, target, lazy)
}

/// Unmounts what is mounted on a name in an open directory, as [`unmount`].
///
/// # Errors
///
/// As [`unmount`].
pub fn unmount_at(dir: &Dir, name: &[u8], lazy: bool) -> Result<()> {
    unmount_by(&xattr::at_path(dir.as_fd(), name), &dir.path_of(name), lazy)
}

fn unmount_by(target: &Path, shown: &Path, lazy: bool) -> Result<()> {
    let mut flags = UnmountFlags::NOFOLLOW;
    if lazy {
        flags |= UnmountFlags::DETACH;
    }
    let end = Instant::now() + LETTING_GO;
    loop {
        return match rustix::mount::unmount(target, flags) {
            Ok(()) => Ok(()),
            Err(Errno::BUSY) => {
                let holders = holders(target);
                if holders.is_empty() && Instant::now() < end {
                    std::thread::sleep(LETTING_GO / 200);
                    continue;
                }
                Err(busy(&holders, shown))
            }
            Err(Errno::INVAL) => Err(Error::new(
                ErrorKind::NotFound,
                format!("unmount {}: nothing is mounted there", shown.display()),
            )),
            Err(errno) => Err(refused("unmount", shown, errno)),
        };
    }
}

/// How long a mount may be busy although nobody is seen to use it. Whoever looks through the descriptors of other processes
/// in `/proc`, as [`holders`] does, or has just forked, keeps what they have open for a moment.
const LETTING_GO: Duration = Duration::from_secs(4);

/// How many holders a message names.
const NAMED: usize = 8;

fn busy(holders: &[Holder], shown: &Path) -> Error {
    let mut message = format!("unmount {}: in use", shown.display());
    for (position, holder) in holders.iter().take(NAMED).enumerate() {
        message.push_str(if position == 0 { " by " } else { ", " });
        message.push_str(&holder.to_string());
    }
    if holders.len() > NAMED {
        message.push_str(", ...");
    }
    Error::new(ErrorKind::Busy, message).with_hint("end what uses it, or detach it with --lazy")
}
