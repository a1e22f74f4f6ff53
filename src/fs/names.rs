//! Names and paths as text: relative paths as bytes (components between slashes, no slash at either end, empty for the
//! root), paths of the user's, and names that nobody else uses.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// The path of a name in a directory.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    if !dir.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Splits a path into its directory and its last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// The directories that a path is in, topmost first, the root left out.
pub(crate) fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    ends.map(|(at, _)| &path[..at])
}

/// A name that nobody else comes upon: the prefix and 16 random hexadecimal digits.
pub fn unique_name(prefix: &str) -> String {
    format!(
        "{prefix}{:016x}",
        RandomState::new().build_hasher().finish()
    )
}

/// The directory that holds a path of the user's, and the name in it.
///
/// # Errors
///
/// Fails if the path has no last component (`/`, `..`).
pub fn split_path(path: &Path) -> Result<(&Path, &[u8])> {
    let Some(name) = path.file_name() else {
        let message = format!(
            "{:?} names no entry of a directory",
            path.display().to_string()
        );
        return Err(Error::new(ErrorKind::InvalidInput, message));
    };
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok((parent, name.as_bytes()))
}

/// The absolute form of a path, links left as they are; the path itself need not exist.
///
/// # Errors
///
/// Fails for an empty path, and if it is relative and the working directory is gone.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Error::io("find the absolute path of", path, error))
}

/// The one path of something that exists: absolute, without symbolic links.
///
/// # Errors
///
/// Fails if there is nothing at the path.
pub fn canonical(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .map_err(|error| Error::io("resolve", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_split_is_joined_again() {
        for (path, dir, name) in [
            ("", "", ""),
            ("a", "", "a"),
            ("a/b", "a", "b"),
            ("a/b/c", "a/b", "c"),
        ] {
            let expected = (dir.as_bytes(), name.as_bytes());
            assert_eq!(split(path.as_bytes()), expected);
            assert_eq!(join(expected.0, expected.1), path.as_bytes());
        }
    }

    #[test]
    fn parents_come_from_the_top() {
        let parents: Vec<_> = parents(b"a/b/c").collect();
        assert_eq!(parents, [&b"a"[..], b"a/b"]);
    }
}
