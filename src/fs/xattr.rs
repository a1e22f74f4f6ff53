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

use crate::error::{Error, ErrorKind};

/// Names and values, sorted by name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The attribute in which a rootless tree keeps the owner that an inode has in the image.
pub const ROOTLESS_OWNER: &[u8] = b"user.rootlesscontainers";

/// What the name begins with of an ACL in a layer that is written as text and not understood: no attribute of Linux.
pub const TEXT_ACL: &[u8] = b"SCHILY.acl.";

/// Whether an attribute belongs to the host and is neither removed, set nor packed: labels of `SELinux` and ACLs of `NFSv4`;
/// and [`TEXT_ACL`].
pub fn is_masked(name: &[u8]) -> bool {
    name == b"security.selinux" || name == b"system.nfs4_acl" || name.starts_with(TEXT_ACL)
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

/// Reads a value of [`ROOTLESS_OWNER`]: user and group, where an id that says "do nothing" is 0. As protobuf has it, a
/// field that is missing is 0, of several of one number the last one counts, and other fields are skipped. `None` if the
/// value is malformed.
pub fn read_rootless_owner(value: &[u8]) -> Option<(u32, u32)> {
    let (mut uid, mut gid) = (0, 0);
    let mut rest = value;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let skipped = match (tag >> 3, tag & 7) {
            (0, _) => return None,
            (field, 0) => {
                // Protobuf cuts what is longer than 32 bits; the last id means "do nothing".
                let low = varint(&mut rest)? & u64::from(u32::MAX);
                let id = u32::try_from(low).ok().filter(|&id| id != u32::MAX);
                let id = id.unwrap_or(0);
                match field {
                    1 => uid = id,
                    2 => gid = id,
                    _ => {}
                }
                0
            }
            (_, 1) => 8,
            (_, 2) => usize::try_from(varint(&mut rest)?).ok()?,
            (_, 5) => 4,
            _ => return None,
        };
        rest = rest.get(skipped..)?;
    }
    Some((uid, gid))
}

/// Takes a number of seven bits a byte, the lowest first, off the front.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
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

/// An error of a call by such a path, which says nothing of what is missing where `/proc` is.
pub(super) fn say_without_proc(error: Error) -> Error {
    if error.kind() == ErrorKind::NotFound && !Path::new("/proc/self/fd").exists() {
        return error.with_hint("/proc is not mounted here: mount -t proc proc /proc");
    }
    error
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

    #[test]
    fn rootless_owners_are_read_back() {
        for owner in [
            (992, 123),
            (0, 456),
            (98, 0),
            (0, 0),
            (u32::MAX - 1, 1 << 31),
        ] {
            assert_eq!(
                read_rootless_owner(&rootless_owner(owner.0, owner.1)),
                Some(owner)
            );
        }
    }

    #[test]
    fn rootless_owners_are_read_as_protobuf_is() {
        let read = |hex: &str| read_rootless_owner(&hex::decode(hex).unwrap());
        assert_eq!(read(""), Some((0, 0)));
        assert_eq!(read("1005"), Some((0, 5)), "a missing field");
        assert_eq!(read("080110020803"), Some((3, 2)), "a field twice");
        assert_eq!(read("1a02ffff0801"), Some((1, 0)), "an unknown field");
        assert_eq!(read("2101020304050607080801"), Some((1, 0)), "eight bytes");
        assert_eq!(read("08ffffffffffffffffff01"), Some((0, 0)), "minus one");
        for malformed in [
            "08",
            "0880",
            "00",
            "0f",
            "1a05ff",
            "21ff",
            "08ffffffffffffffffffff01",
        ] {
            assert_eq!(read(malformed), None, "{malformed}");
        }
    }
}
