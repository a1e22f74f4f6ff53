//! Mount namespaces: which one this process is in, and whether another one still exists.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::table::{at_target, mounts};
use crate::error::{Error, Result, ResultExt};

/// What tells the mount namespace of this process from others, as long as both exist. `None` where `/proc` is missing.
///
/// # Errors
///
/// Fails if it is there and cannot be looked at.
pub fn own_namespace() -> Result<Option<u64>> {
    number("self")
}

/// Whether some process that can be seen from here is in a mount namespace.
///
/// # Errors
///
/// Fails if `/proc` cannot be read: whoever took that for a no would take what is mounted there for gone.
pub fn namespace_exists(namespace: u64) -> Result<bool> {
    let read = |error| Error::io("read", "/proc", error);
    let entries = match std::fs::read_dir("/proc") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(read)?,
    };
    for entry in entries {
        let Ok(process) = entry.map_err(read)?.file_name().into_string() else {
            continue;
        };
        let is_process = process.bytes().all(|byte| byte.is_ascii_digit());
        if is_process && number(&process)? == Some(namespace) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether something is mounted on a directory, by a path of the user's in which symbolic links are followed.
///
/// # Errors
///
/// Fails if there is no such directory, or if the kernel's table cannot be read.
pub fn is_mount_point(target: &Path) -> Result<bool> {
    let target = target
        .canonicalize()
        .context(|| format!("resolve {}", target.display()))?;
    Ok(at_target(&mounts()?, &target).is_some())
}

/// The namespace of a process; `None` if there is no such process, or if it is another user's.
fn number(process: &str) -> Result<Option<u64>> {
    // Followed, the link is the namespace itself, whose inode number is its name.
    let path = format!("/proc/{process}/ns/mnt");
    match std::fs::metadata(&path) {
        Ok(namespace) => Ok(Some(namespace.ino())),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Ok(None),
            _ => Err(Error::io("stat", &path, error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_exists_and_others_do_not() {
        let own = own_namespace().unwrap().unwrap();
        assert!(namespace_exists(own).unwrap());
        assert!(!namespace_exists(0).unwrap());
    }
}
