//! The one file with `unsafe`: system calls that no crate wraps safely.
#![allow(unsafe_code, reason = "this is the one file where it is allowed")]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};
use rustix::thread::UnshareFlags;

use crate::error::{Error, Result};

/// Gives the calling thread a file-mode creation mask of its own and sets it to 0, so that a mode given at creation is
/// the mode of the file. Other threads keep the mask of the process.
///
/// From then on the thread also has its own working directory.
///
/// # Errors
///
/// Fails if the kernel refuses `unshare(CLONE_FS)`, which needs no privilege; the mask is then unchanged.
pub fn private_umask() -> Result<()> {
    // SAFETY: unsharing is unsafe for CLONE_FILES, where descriptors owned elsewhere would be closed in this thread's
    // table only. CLONE_FS concerns the working directory, the root and the umask: no memory, no descriptor.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }
        .map_err(|errno| Error::io("give the thread its own umask:", "unshare", errno))?;
    rustix::process::umask(Mode::empty());
    Ok(())
}

/// Locks an open file as a whole, or unlocks it, for its open file description (`F_OFD_SETLK`, and `F_OFD_SETLKW` to
/// wait). `kind` is `libc::F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
pub(super) fn lock_description(fd: BorrowedFd<'_>, kind: i32, wait: bool) -> Result<(), Errno> {
    let lock = libc::flock {
        // The constants are small; the field is as wide as the kernel's.
        l_type: libc::c_short::try_from(kind).unwrap_or(libc::c_short::MAX),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let command = if wait {
        libc::F_OFD_SETLKW
    } else {
        libc::F_OFD_SETLK
    };
    // SAFETY: the descriptor is open for as long as it is borrowed, and these commands read a `struct flock`.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw const lock) };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Attributes of an inode beside its mode (`struct fsxattr` of `linux/fs.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InodeFlags {
    pub(super) flags: u32,
    extent_size: u32,
    extent_count: u32,
    pub(super) project: u32,
    copy_extent_size: u32,
    padding: [u8; 8],
}

impl InodeFlags {
    /// What is made in the directory gets its project (`FS_XFLAG_PROJINHERIT`).
    pub(super) const INHERIT_PROJECT: u32 = 0x200;
}

/// Reads the attributes of an inode (`FS_IOC_FSGETXATTR`).
pub(super) fn inode_flags(fd: BorrowedFd<'_>) -> Result<InodeFlags, Errno> {
    const GET: Opcode = opcode::read::<InodeFlags>(b'X', 31);
    // SAFETY: the kernel writes a `struct fsxattr`, whose layout the type has.
    unsafe { ioctl(fd, Getter::<GET, InodeFlags>::new()) }
}

/// Sets the attributes of an inode (`FS_IOC_FSSETXATTR`).
pub(super) fn set_inode_flags(fd: BorrowedFd<'_>, flags: InodeFlags) -> Result<(), Errno> {
    const SET: Opcode = opcode::write::<InodeFlags>(b'X', 32);
    // SAFETY: the kernel reads a `struct fsxattr`, whose layout the type has.
    unsafe { ioctl(fd, Setter::<SET, InodeFlags>::new(flags)) }
}

/// The limits and the usage of a project on the file system of a descriptor. Limits are in KiB, the usage in bytes.
pub(super) fn project_quota(fd: BorrowedFd<'_>, project: u32) -> Result<libc::dqblk, Errno> {
    let mut quota = empty_quota();
    quotactl(fd, libc::Q_GETQUOTA, project, &mut quota)?;
    Ok(quota)
}

/// Sets the limits of a project on the file system of a descriptor: KiB and inodes, 0 for no limit.
pub(super) fn set_project_limits(
    fd: BorrowedFd<'_>,
    project: u32,
    kibibytes: u64,
    inodes: u64,
) -> Result<(), Errno> {
    let mut quota = libc::dqblk {
        dqb_bhardlimit: kibibytes,
        dqb_bsoftlimit: kibibytes,
        dqb_ihardlimit: inodes,
        dqb_isoftlimit: inodes,
        dqb_valid: libc::QIF_LIMITS,
        ..empty_quota()
    };
    quotactl(fd, libc::Q_SETQUOTA, project, &mut quota)
}

fn empty_quota() -> libc::dqblk {
    libc::dqblk {
        dqb_bhardlimit: 0,
        dqb_bsoftlimit: 0,
        dqb_curspace: 0,
        dqb_ihardlimit: 0,
        dqb_isoftlimit: 0,
        dqb_curinodes: 0,
        dqb_btime: 0,
        dqb_itime: 0,
        dqb_valid: 0,
    }
}

/// `quotactl_fd(2)`, Linux 5.14, for a quota of a project.
fn quotactl(
    fd: BorrowedFd<'_>,
    command: i32,
    project: u32,
    quota: &mut libc::dqblk,
) -> Result<(), Errno> {
    /// `PRJQUOTA` of `linux/quota.h`.
    const PROJECT: i32 = 2;
    // SAFETY: both commands take a `struct if_dqblk`, which is libc's `dqblk`, and it outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            fd.as_raw_fd(),
            libc::QCMD(command, PROJECT),
            project,
            std::ptr::from_mut(quota),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

fn last_errno() -> Errno {
    // The error was just made from a system call's number.
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
