//! Mounts that show other owners than those on disk.
//!
//! The kernel takes the map from a user namespace. Such a namespace lives as long as somebody is in it or has it open, so
//! a process is made in it, its maps are written, the namespace is opened, and the process ends.

use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::super::dir::Dir;
use super::super::idmap::{IdMap, MapOptions};
use super::super::syscall::{self, NamespaceHolder};
use super::attach::{Mount, clone_mount, refused};
use crate::error::{Error, ErrorKind, Result};

/// The most ranges that the kernel takes in a map (Linux 4.15).
const MAX_RANGES: usize = 340;

/// An open user namespace.
#[derive(Debug)]
pub struct UserNamespace(OwnedFd);

impl UserNamespace {
    /// Makes a user namespace with these maps; a map without ranges maps every id to itself. Nobody is in it. Any thread
    /// may call this, and no child of the process is ever seen that the caller did not start.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`] if the kernel cannot use the maps: more than 340 ranges, ranges without ids or with ids
    ///   twice, `rootless` maps
    /// - [`ErrorKind::PermissionDenied`] without the right to map these ids
    pub fn with_maps(maps: &MapOptions) -> Result<Self> {
        if maps.rootless {
            let message = "make user namespace: one id for all cannot be mapped back";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let (uid, gid) = (lines(&maps.uid)?, lines(&maps.gid)?);
        let holder =
            NamespaceHolder::start().map_err(|errno| Error::io("make", "user namespace", errno))?;
        for (file, lines) in [("uid_map", uid), ("gid_map", gid)] {
            let path = format!("/proc/{}/{file}", holder.pid());
            // In one piece: the kernel takes one write.
            std::fs::write(&path, &lines).map_err(|error| {
                let wrong = error.raw_os_error() == Some(libc::EINVAL);
                let error = Error::io("write", &path, error);
                let message = format!("map ids {}", lines.trim_end().replace('\n', ", "));
                if wrong {
                    Error::new(ErrorKind::InvalidInput, message).with_source(error)
                } else {
                    error.context(message)
                }
            })?;
        }
        let path = format!("/proc/{}/ns/user", holder.pid());
        let file = File::open(&path).map_err(|error| Error::io("open", &path, error))?;
        Ok(Self(file.into()))
    }
}

impl AsFd for UserNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn lines(map: &IdMap) -> Result<String> {
    if map.0.is_empty() {
        return Ok("0 0 4294967295\n".to_owned());
    }
    if map.0.len() > MAX_RANGES {
        let message = format!(
            "map ids: {} ranges, more than the limit of {MAX_RANGES}",
            map.0.len()
        );
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let mut lines = String::new();
    for range in &map.0 {
        // Writing to a `String` cannot fail.
        let _ = writeln!(lines, "{} {} {}", range.container, range.host, range.size);
    }
    Ok(lines)
}

/// Makes a detached mount of a directory in which the owners on disk are the `container` ids of the maps that
/// `namespace` was made with, and those seen the `host` ids. What is mounted below the directory is not in it.
///
/// # Errors
///
/// Fails if the kernel refuses, and nothing is left behind:
/// - [`ErrorKind::Unsupported`] if the file system, or the kernel (before 5.12), has no such mounts
/// - [`ErrorKind::PermissionDenied`] to whoever is not root over the whole file system, in a user namespace for example
pub fn id_mapped(dir: &Dir, namespace: &UserNamespace, read_only: bool) -> Result<Mount> {
    let fail = |errno| refused("map owners of", dir.path(), errno);
    let fd = clone_mount(dir.as_fd(), b"", false).map_err(fail)?;
    let mut attributes = libc::MOUNT_ATTR_IDMAP;
    if read_only {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    let set = syscall::set_mount_attributes(fd.as_fd(), attributes, Some(namespace.as_fd()), false);
    set.map_err(|errno| match errno {
        // Whoever came this far may mount; a user namespace is no help.
        Errno::PERM => Error::io("map owners of", dir.path(), errno),
        errno => fail(errno),
    })?;
    Ok(Mount::new(fd, None, dir.path().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_become_lines_and_none_is_the_identity() {
        let map = IdMap(vec!["0:1000".parse().unwrap(), "1:5:7".parse().unwrap()]);
        assert_eq!(lines(&map).unwrap(), "0 1000 1\n1 5 7\n");
        assert_eq!(lines(&IdMap::default()).unwrap(), "0 0 4294967295\n");
    }

    #[test]
    fn maps_that_the_kernel_cannot_take_are_refused_before_it_is_asked() {
        let range = "0:1000".parse().unwrap();
        let error = lines(&IdMap(vec![range; 341])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let rootless = MapOptions {
            rootless: true,
            ..MapOptions::default()
        };
        let error = UserNamespace::with_maps(&rootless).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
