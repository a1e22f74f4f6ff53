//! Mounting by the program `fuse-overlayfs`, where the kernel's overlays are not to be had.
//!
//! The program follows names to real paths before it opens them, so a directory without a path (of a detached mount, or a
//! removed one) is refused here: it would show another one. It serves until the mount is gone, whoever unmounts it.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};

use super::super::dir::{Dir, escape_name, stat_of};
use super::super::{failpoint, probe, program, syscall, xattr};
use super::attach::{clone_mount, refused};
use super::id::MountId;
use super::legacy::MountPoint;
use super::lowers::{Lower, open_all};
use super::method::Refusal;
use super::overlay::Overlay;
use crate::error::{Error, ErrorKind, Result};

const PROGRAM: &str = "fuse-overlayfs";

/// How long it may take until the mount is there.
const STARTING: Duration = Duration::from_secs(30);

/// Mounts by [`MountMethod::Fuse`](super::MountMethod::Fuse).
pub(super) fn mount(overlay: &Overlay<'_>, scratch: &Dir) -> Result<OwnedFd, Refusal> {
    // An ordinary user may be let mount by fusermount3, but could then neither detach nor move the mount.
    clone_mount(scratch.as_fd(), b"", false)
        .map_err(|errno| Refusal::NotThere(refused("detach", scratch.path(), errno)))?;
    // The program looks at them while we wait for it.
    let lowers = open_all(overlay.lowers)?;
    let options = options(overlay, &lowers)?;
    let point = MountPoint::make(scratch)?;
    // It returns when the mount is there and goes on in the background, with none of its output open.
    let mut command = Command::new(PROGRAM);
    command
        .args(["-o", &options])
        .arg(OsStr::from_bytes(point.name()))
        .current_dir(xattr::fd_path(scratch.as_fd()));
    let ended = program::run(command, STARTING).map_err(|error| {
        Refusal::NotThere(match error.kind() {
            ErrorKind::NotFound => error.with_hint(format!("is the package {PROGRAM} installed?")),
            _ => error,
        })
    })?;
    if !ended.status.success() {
        let (name, said) = (overlay.name(), ended.said);
        let message = format!(
            "mount {}: {PROGRAM}: {said} ({})",
            name.display(),
            ended.status
        );
        // The last way there is: whatever was wrong with it, the others were wrong first.
        return Err(Refusal::NotThere(Error::new(ErrorKind::Io, message)));
    }
    failpoint::hit("mounted-aside");
    let fd = point.detach()?;
    let attributes = u64::from(overlay.mount_attributes().bits());
    if attributes != 0 {
        syscall::set_mount_attributes(fd.as_fd(), attributes, None, false)
            .map_err(|errno| refused("set attributes of", overlay.name(), errno))?;
    }
    Ok(fd)
}

fn options(overlay: &Overlay<'_>, lowers: &[Lower<'_>]) -> Result<String> {
    if overlay.selinux_context.is_some() {
        let message = format!(
            "mount {}: {PROGRAM} is not told a label",
            overlay.name().display()
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    // Its descriptors are not ours: it reaches them through us, who wait for it.
    let us = std::fs::read_link("/proc/self")
        .map_err(|error| Error::io("read link", "/proc/self", error))?;
    let us = us.display();
    let name = |fd: BorrowedFd<'_>| -> Result<String> {
        check_path(fd)?;
        Ok(format!("/proc/{us}/fd/{}", fd.as_raw_fd()))
    };
    let lowers: Result<Vec<String>> = lowers.iter().map(|lower| name(lower.as_fd())).collect();
    let mut options = vec![format!("lowerdir={}", lowers?.join(":"))];
    if let Some(upper) = &overlay.upper {
        options.push(format!("upperdir={}", name(upper.dir.as_fd())?));
        check_upper(upper.dir)?;
        options.push(format!("workdir={}", name(upper.work.as_fd())?));
    }
    if !overlay.attributes.nodev && !probe::in_user_namespace() {
        // Left to itself, the library below it forbids devices.
        options.push("dev".to_owned());
    }
    if overlay.volatile {
        options.push("volatile".to_owned());
    }
    Ok(options.join(","))
}

/// Refuses a directory that its path does not lead to.
fn check_path(fd: BorrowedFd<'_>) -> Result<()> {
    let shown = xattr::fd_path(fd);
    let path = std::fs::read_link(&shown).map_err(|error| Error::io("read link", &shown, error))?;
    if is_same(fd, &path) {
        return Ok(());
    }
    let path = escape_name(path.as_os_str().as_bytes());
    let message = format!("{PROGRAM} cannot use {path}: a directory that no path leads to");
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// Refuses an upper directory with a colon in its path: the program takes the real path for a list.
fn check_upper(dir: &Dir) -> Result<()> {
    let shown = xattr::fd_path(dir.as_fd());
    let path = std::fs::read_link(&shown).map_err(|error| Error::io("read link", &shown, error))?;
    let path = path.as_os_str().as_bytes();
    if !path.contains(&b':') {
        return Ok(());
    }
    let path = escape_name(path);
    let message =
        format!("{PROGRAM} cannot use {path}: a colon in the path of the upper directory");
    Err(Error::new(ErrorKind::Unsupported, message))
}

fn is_same(fd: BorrowedFd<'_>, path: &Path) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(there) = rustix::fs::openat(CWD, path, flags, Mode::empty()) else {
        return false;
    };
    let inode = |fd| stat_of(fd).ok().map(|stat| stat.id);
    let mount = |fd| MountId::of(fd).ok();
    inode(fd).is_some() && inode(fd) == inode(there.as_fd()) && mount(fd) == mount(there.as_fd())
}
