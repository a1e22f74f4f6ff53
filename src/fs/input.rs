//! A file of the user's that is read once, from beginning to end.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::{Error, ErrorKind, Result};

/// Opens a file that a user names, to be read as a stream. As with any program, symbolic links are followed, and a pipe
/// (`/dev/stdin`, a shell's `<(...)`) is as good as a file: opening one waits for its writer.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] for a directory, otherwise what the system says.
pub fn open(path: &Path) -> Result<File> {
    let fail = |error| Error::io("open", path, error);
    let file = File::open(path).map_err(fail)?;
    if file.metadata().map_err(fail)?.is_dir() {
        let message = format!("{} is a directory", path.display());
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(file)
}

/// Whether a path of the user's leads to a regular file.
pub fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

/// Whether a path of the user's leads to a directory.
pub fn is_directory(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_dir())
}

/// The size of an open regular file in bytes; `None` for anything else.
pub fn size_of(file: &File) -> Option<u64> {
    let metadata = file.metadata().ok()?;
    metadata.is_file().then_some(metadata.len())
}

/// Reads a small file that a user names, as [`open`] finds it.
///
/// # Errors
///
/// [`ErrorKind::LimitExceeded`] when it has more than `limit` bytes, otherwise those of [`open`] and of reading.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io("read", path, error))?;
    if bytes.len() as u64 > limit {
        let message = format!("{} has more than {limit} bytes", path.display());
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    Ok(bytes)
}

/// Whether a path of the user's is there and is not a directory; a symbolic link at its end is not followed.
pub fn is_no_directory(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_pipes_are_read_and_directories_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        std::fs::write(path("file"), "content").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        let mut text = String::new();
        open(&path("link"))
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "content");
        assert_eq!(read(&path("link"), 7).unwrap(), b"content");
        let longer = read(&path("link"), 6).unwrap_err();
        assert_eq!(longer.kind(), ErrorKind::LimitExceeded);
        let kind = |name: &str| open(&path(name)).unwrap_err().kind();
        assert_eq!(kind(""), ErrorKind::InvalidInput);
        assert_eq!(kind("none"), ErrorKind::NotFound);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer);
        let fd = std::os::fd::AsRawFd::as_raw_fd(&reader);
        assert!(open(Path::new(&format!("/proc/self/fd/{fd}"))).is_ok());
    }
}
