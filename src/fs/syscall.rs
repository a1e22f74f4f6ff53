//! The one file with `unsafe`: system calls that no crate wraps safely.
#![allow(unsafe_code, reason = "this is the one file where it is allowed")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl, opcode};
use rustix::mount::MountPropagationFlags;
use rustix::process::{Pid, Signal};
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

/// A descriptor that the process was started with, as the one who started it promised.
///
/// # Errors
///
/// `EBADF` if there is none of that number, or if it was taken before: a descriptor has one owner.
pub(super) fn inherited(number: std::os::fd::RawFd) -> Result<OwnedFd, Errno> {
    use std::sync::atomic::{AtomicBool, Ordering};
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    // SAFETY: it is only asked for its flags, for which any number is fine.
    let flags = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number.max(0)) })?;
    if number < 3 || IS_TAKEN.swap(true, Ordering::SeqCst) {
        return Err(Errno::BADF);
    }
    // SAFETY: it is open, and by the promise nobody else's in this process; it is taken once.
    let fd = unsafe { <OwnedFd as FromRawFd>::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, flags | rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
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

/// Another descriptor for a file that the process was started with. Programs that this one starts inherit neither, the
/// standard streams excepted.
pub(super) fn duplicate_inherited(fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: these commands take numbers and touch no memory; of a number that is not open the kernel says so.
    let new = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if new < 0 {
        return Err(last_errno());
    }
    if fd > 2 {
        // SAFETY: as above. The descriptor stays open, whoever owns it.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    // SAFETY: the kernel has just made it, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
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

/// Sets attributes (`MOUNT_ATTR_*`) of a mount, and of those below it if `recursive`, all at once or none
/// (`mount_setattr`, Linux 5.12). `user_namespace` belongs to `MOUNT_ATTR_IDMAP`.
pub(super) fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    attributes: u64,
    user_namespace: Option<BorrowedFd<'_>>,
    recursive: bool,
) -> std::result::Result<(), Errno> {
    // Of the ways to keep times of access one has to go for another to come.
    let cleared = if attributes & libc::MOUNT_ATTR__ATIME == 0 {
        0
    } else {
        libc::MOUNT_ATTR__ATIME
    };
    let request = libc::mount_attr {
        attr_set: attributes,
        attr_clr: cleared,
        propagation: 0,
        userns_fd: user_namespace.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
    };
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a static string that ends in a zero byte; the kernel reads no more of `request`, which lives
    // until the call returns, than the size given, and writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const request,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Whether a mount with this unique id is in the mount namespace of this process (`statmount`, Linux 6.8).
pub(super) fn mount_exists(unique_id: u64) -> std::result::Result<bool, Errno> {
    /// The number is the same on every architecture but alpha.
    const SYS_STATMOUNT: libc::c_long = 457;
    /// Asks for what costs nothing.
    const STATMOUNT_MNT_BASIC: u64 = 2;
    #[repr(C)]
    struct Request {
        size: u32,
        mount_namespace: u32,
        mount_id: u64,
        what: u64,
    }
    let request = Request {
        size: 24,
        mount_namespace: 0,
        mount_id: unique_id,
        what: STATMOUNT_MNT_BASIC,
    };
    // The fixed part of the answer has 512 bytes.
    let mut answer = [0u64; 128];
    // SAFETY: both buffers live until the call returns; the kernel reads 24 bytes of the first, which has as many, and
    // writes into the second no more than its size. Any content is a valid `u64`.
    let result = unsafe {
        libc::syscall(
            SYS_STATMOUNT,
            &raw const request,
            answer.as_mut_ptr(),
            size_of_val(&answer),
            0,
        )
    };
    match if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    } {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The descriptors that are closed one by one where the kernel cannot close them at once: all that a process has that did
/// not raise its limit beyond what is usual.
const MAX_DESCRIPTORS: i32 = 1 << 16;

/// A process that does nothing but keep a new user namespace alive. Killed and waited for when dropped.
pub(super) struct NamespaceHolder(libc::pid_t);

impl NamespaceHolder {
    /// Starts the process.
    pub(super) fn start() -> std::result::Result<Self, Errno> {
        let flags = libc::c_long::from(libc::CLONE_NEWUSER);
        let parent = rustix::process::getpid();
        // No signal at its end: programs that wait for any child, or that ignore SIGCHLD, never meet it.
        // SAFETY: without a stack and without CLONE_VM this is `fork`: the child has a copy of all memory. Locks that other
        // threads held at this moment stay locked in it for ever, so it calls only what is async-signal-safe, allocates
        // nothing, and never leaves the function.
        let pid = unsafe {
            #[cfg(target_arch = "s390x")]
            let pid = libc::syscall(libc::SYS_clone, 0, flags, 0, 0, 0);
            #[cfg(not(target_arch = "s390x"))]
            let pid = libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0);
            pid
        };
        if pid == 0 {
            wait_to_be_killed(parent);
        }
        match libc::pid_t::try_from(pid) {
            Ok(pid) if pid > 0 => Ok(Self(pid)),
            _ => Err(last_errno()),
        }
    }

    /// Its process id. Nobody else has it as long as this value lives.
    pub(super) fn pid(&self) -> i32 {
        self.0
    }
}

impl Drop for NamespaceHolder {
    fn drop(&mut self) {
        // SAFETY: neither call touches memory of ours; the process is our child and not waited for yet, so the number is
        // still its own.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            while libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL) == -1
                && last_errno() == Errno::INTR
            {}
        }
    }
}

/// What the child of [`NamespaceHolder`] does. Every call is a bare system call.
fn wait_to_be_killed(parent: Pid) -> ! {
    // Its copies would keep pipes of others open, and locks.
    // SAFETY: the child's table of descriptors is its own, and nothing in it is used from here on.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0u32) != 0 {
            // Before Linux 5.9.
            for fd in 0..MAX_DESCRIPTORS {
                libc::close(fd);
            }
        }
    }
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // The parent may have died before that; its number then stands for somebody else.
    let orphaned = rustix::process::getppid() != Some(parent);
    loop {
        // SAFETY: both calls are async-signal-safe and touch no memory of ours; `_exit` runs nothing on the way out.
        unsafe {
            if orphaned {
                libc::_exit(0);
            }
            libc::pause();
        }
    }
}

/// The answer that lets a child of [`unshare_before_exec`] go on.
pub(super) const GO: u8 = 1;

/// Has the child that will become `command` enter new user and mount namespaces first: it writes its process id to
/// `ready`, reads one byte from `go`, and goes on if that is [`GO`]. It dies with the thread that started it.
pub(super) fn unshare_before_exec(command: &mut Command, ready: OwnedFd, go: OwnedFd) {
    let before_exec = move || -> std::io::Result<()> {
        // SAFETY: CLONE_FILES is not among the flags.
        unsafe {
            rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
        }
        // Only now: a change of credentials takes it back.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        rustix::io::write(&ready, &pid.to_ne_bytes())?;
        let mut answer = [0];
        while rustix::io::read(&go, &mut answer) == Err(Errno::INTR) {}
        if answer != [GO] {
            return Err(Errno::CANCELED.into());
        }
        // What is mounted in here must not show outside; what is mounted outside may show in here.
        let below = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        Ok(rustix::mount::mount_change(c"/", below)?)
    };
    // SAFETY: between fork and exec the closure makes bare system calls on its own descriptors; it allocates nothing and
    // takes no lock.
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// `struct file_dedupe_range` with one target.
#[repr(C)]
struct DedupeRange {
    source_offset: u64,
    source_length: u64,
    target_count: u16,
    reserved: [u16; 3],
    target: i64,
    target_offset: u64,
    bytes: u64,
    status: i32,
    padding: u32,
}

/// The part of [`DedupeRange`] whose size is in the number of the call.
#[repr(C)]
struct DedupeHead([u64; 3]);

/// Has a range of a file share the blocks of the same range of another one (`FIDEDUPERANGE`). How many bytes that were;
/// `None` if the ranges differ.
pub(super) fn dedupe_range(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    offset: u64,
    length: u64,
) -> Result<Option<u64>, Errno> {
    const DEDUPE: Opcode = opcode::read_write::<DedupeHead>(0x94, 54);
    /// `FILE_DEDUPE_RANGE_DIFFERS`.
    const DIFFERS: i32 = 1;
    let mut range = DedupeRange {
        source_offset: offset,
        source_length: length,
        target_count: 1,
        reserved: [0; 3],
        target: target.as_raw_fd().into(),
        target_offset: offset,
        bytes: 0,
        status: 0,
        padding: 0,
    };
    // SAFETY: the kernel reads and writes a `struct file_dedupe_range` with the one target that it says it has, whose
    // layout the type has, and which lives until the call returns.
    unsafe { ioctl(source, Updater::<DEDUPE, DedupeRange>::new(&mut range)) }?;
    match range.status {
        0 => Ok(Some(range.bytes)),
        DIFFERS => Ok(None),
        status => Err(Errno::from_raw_os_error(-status)),
    }
}
