//! Mount namespaces: which one this process is in, and whether another one still exists.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::table::{at_target, mounts};
use crate::error::{Result, ResultExt};

/// What tells the mount namespace of this process from others, as long as both exist. `None` where `/proc` is missing.
pub fn own_namespace() -> Option<u64> {
    number("self")
}

/// Whether some process that can be seen from here is in a mount namespace.
pub fn namespace_exists(namespace: u64) -> bool {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut processes = entries.filter_map(|entry| entry.file_name().into_string().ok());
    processes.any(|process| {
        process.bytes().all(|byte| byte.is_ascii_digit()) && number(&process) == Some(namespace)
    })
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

fn number(process: &str) -> Option<u64> {
    // Followed, the link is the namespace itself, whose inode number is its name.
    let namespace = std::fs::metadata(format!("/proc/{process}/ns/mnt")).ok()?;
    Some(namespace.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_exists_and_others_do_not() {
        let own = own_namespace().unwrap();
        assert!(namespace_exists(own));
        assert!(!namespace_exists(0));
    }
}
