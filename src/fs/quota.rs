//! How much room the tree below a directory may take: project quotas, of ext4 (mounted with `prjquota`), XFS and f2fs.
//!
//! A project is a number that inodes carry. The directory gets it, and what is made below inherits it; the kernel counts
//! by it, and refuses (`EDQUOT`) what is beyond the limits, but not to processes with `CAP_SYS_RESOURCE`. Who hands
//! out the numbers, no number twice on one file system, is not decided here.
//!
//! Needs root outside of every user namespace, and `quotactl_fd` (Linux 5.14).

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::dir::Dir;
use super::syscall::{self, InodeFlags};
use crate::error::{Error, ErrorKind, Result};

/// What a project may take; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of allocated blocks; the kernel counts in KiB, so this is rounded up.
    pub bytes: Option<u64>,
    /// Number of inodes.
    pub inodes: Option<u64>,
}

/// What a project may take and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Number of the project.
    pub project: u32,
    /// What it may take.
    pub limits: Limits,
    /// Bytes of the blocks that it takes.
    pub bytes: u64,
    /// Number of inodes that it takes, with the directory's own.
    pub inodes: u64,
}

/// The kernel's unit of limits, in bytes.
const UNIT: u64 = 1024;

/// Makes a directory the root of a project with these limits, or changes the limits of the project that it is the root
/// of. An empty directory is what this is for: what is in it already would not count.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] for project 0, which is that of everything else, and for a directory with something in it
/// that is not of the project yet; [`ErrorKind::Unsupported`] if the file system or the kernel has no project quotas, or
/// has them switched off; [`ErrorKind::PermissionDenied`] without the privilege. The directory is then as it was; limits
/// of a project without inodes may stay.
pub fn set(dir: &Dir, project: u32, limits: Limits) -> Result<()> {
    let invalid = |why: &str| {
        let message = format!("set quota of {}: {why}", dir.path().display());
        Err(Error::new(ErrorKind::InvalidInput, message))
    };
    if project == 0 {
        return invalid("0 is not a project");
    }
    let mut flags = flags_of(dir)?;
    let is_root = flags.project == project && flags.flags & InodeFlags::INHERIT_PROJECT != 0;
    if !is_root && !dir.names()?.is_empty() {
        return invalid("the directory is not empty");
    }
    // 0 is no limit to the kernel: nothing at all cannot be said, and the directory itself takes more than that.
    let at_least_one = |limit: Option<u64>| limit.map_or(0, |limit| limit.max(1));
    let kibibytes = at_least_one(limits.bytes.map(|bytes| bytes.div_ceil(UNIT)));
    let inodes = at_least_one(limits.inodes);
    syscall::set_project_limits(dir.as_fd(), project, kibibytes, inodes)
        .map_err(|errno| refused("set quota of", dir, errno))?;
    if !is_root {
        flags.project = project;
        flags.flags |= InodeFlags::INHERIT_PROJECT;
        syscall::set_inode_flags(dir.as_fd(), flags)
            .map_err(|errno| refused("set project of", dir, errno))?;
    }
    Ok(())
}

/// The quota of the project that a directory belongs to. `None` if it belongs to none.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] if the file system or the kernel has no project quotas, or has them switched off;
/// [`ErrorKind::PermissionDenied`] without the privilege.
pub fn get(dir: &Dir) -> Result<Option<Quota>> {
    let project = flags_of(dir)?.project;
    if project == 0 {
        return Ok(None);
    }
    let found = syscall::project_quota(dir.as_fd(), project)
        .map_err(|errno| refused("read quota of", dir, errno))?;
    let limit = |limit: u64| (limit != 0).then_some(limit);
    Ok(Some(Quota {
        project,
        limits: Limits {
            bytes: limit(found.dqb_bhardlimit).map(|limit| limit.saturating_mul(UNIT)),
            inodes: limit(found.dqb_ihardlimit),
        },
        bytes: found.dqb_curspace,
        inodes: found.dqb_curinodes,
    }))
}

fn flags_of(dir: &Dir) -> Result<InodeFlags> {
    syscall::inode_flags(dir.as_fd()).map_err(|errno| refused("read project of", dir, errno))
}

fn refused(operation: &str, dir: &Dir, errno: Errno) -> Error {
    let why = match errno {
        Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL => "the file system has no project quotas",
        // No quota of this type is switched on.
        Errno::SRCH => "project quotas are not switched on there",
        // The same answer for both.
        Errno::NOSYS => {
            "the file system has no project quotas, or the kernel no quotactl_fd (Linux 5.14)"
        }
        _ => return Error::io(operation, dir.path(), errno),
    };
    let message = format!("{operation} {}: {why}", dir.path().display());
    Error::new(ErrorKind::Unsupported, message)
        .with_source(errno)
        .with_hint("use ext4 with the feature project, or XFS, mounted with the option prjquota")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Access;

    #[test]
    fn what_cannot_be_a_project_is_refused_before_anything_is_set() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open(scratch.path(), Access::Plain).unwrap();
        let error = set(&dir, 0, Limits::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.chain().ends_with(": 0 is not a project"));
    }

    #[test]
    fn reasons_are_told_apart() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open(scratch.path(), Access::Plain).unwrap();
        for (errno, kind, text) in [
            (
                Errno::NOTTY,
                ErrorKind::Unsupported,
                "has no project quotas",
            ),
            (Errno::SRCH, ErrorKind::Unsupported, "not switched on"),
            (Errno::NOSYS, ErrorKind::Unsupported, "quotactl_fd"),
            (Errno::PERM, ErrorKind::PermissionDenied, "not permitted"),
        ] {
            let error = refused("set quota of", &dir, errno);
            assert_eq!(error.kind(), kind);
            assert!(error.chain().contains(text), "{error:?}");
        }
    }
}
