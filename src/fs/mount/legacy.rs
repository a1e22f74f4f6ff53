//! Mounting by `mount(2)`: everything in one string of options, on a directory that has a name.

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::super::dir::Dir;
use super::super::{failpoint, xattr};
use super::attach::{clone_mount, refused};
use super::lowers::{Lower, open_all};
use super::method::Refusal;
use super::overlay::{OPTIONS, Overlay};
use crate::error::{Error, ErrorKind, Result};

/// The most bytes of options that the kernel reads. It cuts off the rest without a word, and a name that is cut off may
/// be that of another directory.
const MAX_OPTIONS: usize = 4094;

/// What the names of mount points begin with.
const PREFIX: &str = ".mount-";

/// The file that whoever has a mount point holds a shared lock on.
const LOCK: &str = ".mount-lock";

/// A directory to mount on for a moment. What is mounted there is detached, and the directory removed, when it is dropped.
pub(super) struct MountPoint<'a> {
    parent: &'a Dir,
    name: Vec<u8>,
    /// Released when this is dropped, or with the process.
    _lock: OwnedFd,
}

impl<'a> MountPoint<'a> {
    pub(super) fn make(parent: &'a Dir) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let lock = lock(parent, FlockOperation::LockShared)
            .map_err(|errno| Error::io("lock", parent.path_of(LOCK.as_bytes()), errno))?;
        let pid = rustix::process::getpid().as_raw_nonzero();
        // Another one has the name only if a process of the same number died here: there are not many of those.
        for _ in 0..1000 {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{PREFIX}{pid}-{count}").into_bytes();
            if parent.create_dir(&name, 0o700)?.is_some() {
                failpoint::hit("mount-point");
                return Ok(Self {
                    parent,
                    name,
                    _lock: lock,
                });
            }
        }
        let path = parent.path().display();
        let message = format!("make a mount point in {path}: too many are left over there");
        Err(Error::new(ErrorKind::AlreadyExists, message))
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// A detached copy of what is mounted there; the original goes with the mount point.
    pub(super) fn detach(self) -> Result<OwnedFd> {
        clone_mount(self.parent.as_fd(), &self.name, false)
            .map_err(|errno| refused("detach", self.parent.path_of(&self.name), errno))
    }
}

impl Drop for MountPoint<'_> {
    fn drop(&mut self) {
        // Nobody is left to tell: it is for `sweep` then.
        let _ = clear(self.parent, &self.name);
    }
}

fn clear(parent: &Dir, name: &[u8]) -> std::result::Result<(), Errno> {
    let detach = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    match rustix::mount::unmount(xattr::at_path(parent.as_fd(), name), detach) {
        // Nothing is mounted there, after a failure; or not for us to unmount, and then it cannot be removed either.
        Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn lock(parent: &Dir, how: FlockOperation) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::flock(&fd, how)?;
    Ok(fd)
}

/// Unmounts and removes what killed processes left of [`Overlay::mount`] in its scratch directory. Does nothing as long as
/// somebody mounts there. Returns how many mount points are gone.
///
/// # Errors
///
/// Fails if the directory cannot be read, or with the first one that cannot be removed; the others are removed anyway.
pub fn sweep(scratch: &Dir) -> Result<usize> {
    let left = |name: &Vec<u8>| name.starts_with(PREFIX.as_bytes()) && name != LOCK.as_bytes();
    let mut names = scratch.names()?;
    names.retain(left);
    if names.is_empty() {
        return Ok(0);
    }
    let _lock = match lock(scratch, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(0),
        other => {
            other.map_err(|errno| Error::io("lock", scratch.path_of(LOCK.as_bytes()), errno))?
        }
    };
    let (mut swept, mut failed) = (0, None);
    for name in names {
        match clear(scratch, &name) {
            Ok(()) => swept += 1,
            Err(Errno::NOENT) => {}
            Err(errno) => {
                failed.get_or_insert_with(|| refused("remove", scratch.path_of(&name), errno));
            }
        }
    }
    failed.map_or(Ok(swept), Err)
}

/// Mounts by [`MountMethod::Legacy`](super::MountMethod::Legacy).
pub(super) fn mount(overlay: &Overlay<'_>, scratch: &Dir) -> Result<OwnedFd, Refusal> {
    check_count(overlay)?;
    let lowers = open_all(overlay.lowers)?;
    let options = options(overlay, &lowers)?;
    let point = MountPoint::make(scratch)?;
    let target = xattr::at_path(scratch.as_fd(), point.name());
    let flags = overlay.mount_flags();
    rustix::mount::mount(overlay.source, &target, c"overlay", flags, &*options).map_err(
        |errno| {
            let error = refused("mount", overlay.name(), errno);
            match errno {
                Errno::NOSYS | Errno::NODEV | Errno::PERM => Refusal::NotThere(error),
                // It says no more, to nobody but the kernel's log.
                _ => Refusal::Final(error.with_hint("the kernel's log (dmesg) says why")),
            }
        },
    )?;
    failpoint::hit("mounted-aside");
    Ok(point.detach()?)
}

/// Refuses more directories than can be named, before they are opened.
fn check_count(overlay: &Overlay<'_>) -> Result<()> {
    /// A name of a directory with the shortest number there is, and what is between it and the next.
    const SHORTEST: usize = "/proc/self/fd/3:".len();
    match overlay.lowers.count() {
        count if count * SHORTEST > MAX_OPTIONS => Err(too_long(overlay, count * SHORTEST)),
        _ => Ok(()),
    }
}

fn too_long(overlay: &Overlay<'_>, size: usize) -> Error {
    let message = format!(
        "mount {}: {} lower directories need at least {size} bytes of options, more than the limit of {MAX_OPTIONS}",
        overlay.name().display(),
        overlay.lowers.count(),
    );
    Error::new(ErrorKind::LimitExceeded, message)
}

/// The string of options.
fn options(overlay: &Overlay<'_>, lowers: &[Lower<'_>]) -> Result<CString> {
    let names = lowers.iter().map(|lower| xattr::fd_path(lower.as_fd()));
    let lowers: Vec<String> = names.map(|name| name.display().to_string()).collect();
    let mut options = format!("lowerdir={}", lowers.join(":"));
    if let Some(upper) = &overlay.upper {
        for (key, dir) in [("upperdir", upper.dir), ("workdir", upper.work)] {
            // Writing to a `String` cannot fail.
            let _ = write!(options, ",{key}={}", xattr::fd_path(dir.as_fd()).display());
        }
    }
    for (key, value) in OPTIONS {
        let _ = write!(options, ",{key}={value}");
    }
    for flag in overlay.flags() {
        let _ = write!(options, ",{flag}");
    }
    if let Some(context) = overlay.selinux_context {
        let _ = write!(options, ",context=\"{context}\"");
    }
    if options.len() > MAX_OPTIONS {
        return Err(too_long(overlay, options.len()));
    }
    CString::new(options).map_err(|_| {
        let message = format!(
            "mount {}: a zero byte in the options",
            overlay.name().display()
        );
        Error::new(ErrorKind::InvalidInput, message)
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::XattrNamespace;
    use super::super::lowers::Lowers;
    use super::*;

    fn overlay(lowers: &dyn Lowers) -> Overlay<'_> {
        Overlay {
            lowers,
            upper: None,
            marks: XattrNamespace::User,
            source: "test",
            volatile: true,
            read_only: false,
            attributes: super::super::MountAttributes::default(),
            selinux_context: Some("a:b,c"),
        }
    }

    #[test]
    fn what_the_kernel_would_cut_off_is_refused_with_the_number_of_layers() {
        let root = std::fs::File::open("/").unwrap();
        let lowers = vec![root.as_fd(); 300];
        let all = open_all(&lowers).unwrap();
        for refused in [
            check_count(&overlay(&lowers)),
            options(&overlay(&lowers), &all).map(drop),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LimitExceeded);
            assert!(error.chain().contains("300 lower directories"), "{error:?}");
        }
        let fitting = lowers[..100].to_vec();
        check_count(&overlay(&fitting)).unwrap();
        let fitting = options(&overlay(&fitting), &all[..100]).unwrap();
        assert!(fitting.as_bytes().len() <= MAX_OPTIONS);
    }

    #[test]
    fn options_name_descriptors_and_quote_the_label() {
        let root = std::fs::File::open("/").unwrap();
        let lowers = [root.as_fd(), root.as_fd()];
        let all = open_all(&lowers).unwrap();
        let options = options(&overlay(&lowers), &all).unwrap();
        let name = xattr::fd_path(root.as_fd());
        let name = name.display();
        let expected = format!(
            "lowerdir={name}:{name},redirect_dir=nofollow,metacopy=off,index=off,xino=auto,userxattr,context=\"a:b,c\""
        );
        assert_eq!(options.to_str().unwrap(), expected);
    }
}
