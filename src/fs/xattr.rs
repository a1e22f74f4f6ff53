//! Extended attributes: list, set, clear; and the names that are none of our business.
//!
//! Files and directories are reached by descriptor. For everything else (symbolic links, nodes) Linux before 6.13 has
//! calls by path only; the path used is the name below `/proc/self/fd/<directory>`, whose directory part is a
//! descriptor that we hold and whose last component is not followed.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Names and values, sorted by name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The attribute in which a rootless tree keeps the owner that an inode has in the image.
pub const ROOTLESS_OWNER: &[u8] = b"user.rootlesscontainers";

/// Whether an attribute belongs to the host and is neither removed, set nor packed: labels of `SELinux` and ACLs of `NFSv4`.
pub fn is_masked(name: &[u8]) -> bool {
    name == b"security.selinux" || name == b"system.nfs4_acl"
}

/// The value of [`ROOTLESS_OWNER`]: two protobuf varint fields, in which the id 0 is written as "do nothing".
pub fn rootless_owner(uid: u32, gid: u32) -> Vec<u8> {
    let mut value = Vec::with_capacity(12);
    for (tag, id) in [(0x08, uid), (0x10, gid)] {
        value.push(tag);
        let mut rest = if id == 0 { u32::MAX } else { id };
        while rest >= 0x80 {
            value.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        value.push((rest & 0x7f) as u8);
    }
    value
}

/// The path by which the kernel reaches the inode of a descriptor.
pub(super) fn fd_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// The path by which the kernel reaches a name in an open directory.
pub(super) fn at_path(dir: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

/// Whether the error only says that there are no such attributes here.
fn none_here(errno: Errno) -> bool {
    matches!(errno, Errno::NOTSUP | Errno::NODATA)
}

pub(super) fn list_fd(fd: BorrowedFd<'_>) -> Result<Xattrs, Errno> {
    list(
        |buffer| rustix::fs::flistxattr(fd, buffer),
        |name, buffer| rustix::fs::fgetxattr(fd, name, buffer),
    )
}

pub(super) fn list_path(path: &Path) -> Result<Xattrs, Errno> {
    list(
        |buffer| rustix::fs::llistxattr(path, buffer),
        |name, buffer| rustix::fs::lgetxattr(path, name, buffer),
    )
}

fn list(
    names: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    value: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> Result<Xattrs, Errno> {
    let names = match grow(names) {
        Err(errno) if none_here(errno) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for name in names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        match grow(|buffer| value(name, buffer)) {
            Ok(value) => found.push((name.to_vec(), value)),
            // Removed since it was listed, or listed but not for us (`trusted.*`).
            Err(errno) if none_here(errno) => {}
            Err(errno) => return Err(errno),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Calls with larger and larger buffers until the result fits; the kernel's own limit is 64 KiB.
fn grow(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(size) => {
                buffer.truncate(size);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 8, 0),
            Err(errno) => return Err(errno),
        }
    }
}

/// Where attributes are set: an open file or directory, or a name that must not be opened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    Fd(BorrowedFd<'a>),
    Path(&'a Path),
}

impl Target<'_> {
    pub(super) fn list(self) -> Result<Xattrs, Errno> {
        match self {
            Self::Fd(fd) => list_fd(fd),
            Self::Path(path) => list_path(path),
        }
    }

    pub(super) fn set(self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Fd(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Path(path) => rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()),
        }
    }

    pub(super) fn remove(self, name: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Fd(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Path(path) => rustix::fs::lremovexattr(path, name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rootless_owners_are_written_as_umoci_writes_them() {
        let hex = |uid, gid| hex::encode(rootless_owner(uid, gid));
        assert_eq!(hex(992, 123), "08e007107b");
        assert_eq!(hex(0, 456), "08ffffffff0f10c803");
        assert_eq!(hex(98, 0), "086210ffffffff0f");
    }
}
