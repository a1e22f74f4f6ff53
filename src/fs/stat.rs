//! What the kernel says of an inode.

use filetime::FileTime;
use rustix::fs::{FileType, Statx, StatxTimestamp};

/// The type of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InodeKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
}

/// What makes an inode this inode: device and number. Valid as long as something keeps the inode alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId {
    /// Device of the file system: major in the upper, minor in the lower 32 bits.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// What `statx` says of an inode, never following a symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Type.
    pub kind: InodeKind,
    /// Permissions with set-user-ID, set-group-ID and sticky bit: 12 bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes, as the file system counts it.
    pub size: u64,
    /// Number of names.
    pub nlink: u64,
    /// Time of the last read.
    pub atime: FileTime,
    /// Time of the last change of content.
    pub mtime: FileTime,
    /// Time of the last change of anything.
    pub ctime: FileTime,
    /// Identity.
    pub id: InodeId,
    /// Device number of a device: major, minor.
    pub rdev: (u32, u32),
}

impl Stat {
    pub(super) fn from_statx(stat: &Statx) -> Self {
        Self {
            kind: kind_of_mode(stat.stx_mode),
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            size: stat.stx_size,
            nlink: u64::from(stat.stx_nlink),
            atime: file_time(&stat.stx_atime),
            mtime: file_time(&stat.stx_mtime),
            ctime: file_time(&stat.stx_ctime),
            id: InodeId {
                dev: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
                ino: stat.stx_ino,
            },
            rdev: (stat.stx_rdev_major, stat.stx_rdev_minor),
        }
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == InodeKind::Directory
    }

    /// Whether overlayfs takes this for a whiteout: a character device 0:0.
    pub fn is_whiteout(&self) -> bool {
        self.kind == InodeKind::CharDevice && self.rdev == (0, 0)
    }
}

fn file_time(time: &StatxTimestamp) -> FileTime {
    FileTime::from_unix_time(time.tv_sec, time.tv_nsec)
}

fn kind_of_mode(mode: u16) -> InodeKind {
    match FileType::from_raw_mode(u32::from(mode)) {
        FileType::Directory => InodeKind::Directory,
        FileType::Symlink => InodeKind::Symlink,
        FileType::CharacterDevice => InodeKind::CharDevice,
        FileType::BlockDevice => InodeKind::BlockDevice,
        FileType::Fifo => InodeKind::Fifo,
        FileType::Socket => InodeKind::Socket,
        // Linux knows no other type.
        _ => InodeKind::File,
    }
}
