//! A regular file being read that must not change meanwhile.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;

use super::dir::{Dir, stat_of};
use super::stat::Stat;
use crate::error::{Error, ErrorKind, Result};

/// A regular file being read from front to back: exactly as many bytes as it had when it was opened.
///
/// The kernel cannot give a consistent copy of a file that somebody writes to, but it tells that somebody did: by size,
/// by time of modification and, if that was set back, by time of change. These have the granularity of the kernel's
/// clock, some milliseconds.
#[derive(Debug)]
pub struct FileReader {
    file: File,
    /// For messages only.
    path: PathBuf,
    stat: Stat,
    left: u64,
}

impl FileReader {
    /// Opens a regular file in a directory; a symbolic link is not followed.
    ///
    /// # Errors
    ///
    /// As [`Dir::open_file`].
    pub fn open(dir: &Dir, name: &[u8]) -> Result<Self> {
        let (file, path) = (dir.open_file(name)?, dir.path_of(name));
        let stat = stat_of(file.as_fd()).map_err(|errno| Error::io("stat", &path, errno))?;
        let left = stat.size;
        Ok(Self {
            file,
            path,
            stat,
            left,
        })
    }

    /// What the file was like when it was opened.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Reads the next bytes: as many as the buffer takes, fewer only at the end, where there are none.
    ///
    /// # Errors
    ///
    /// Fails if the file system does, or if the file has become shorter.
    pub fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let piece = &mut buffer[..wanted];
        match self.file.read_exact(piece) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(self.changed());
            }
            Err(error) => return Err(Error::io("read", &self.path, error)),
        }
        self.left -= wanted as u64;
        Ok(piece)
    }

    /// Makes sure that the file is still what it was when it was opened.
    ///
    /// # Errors
    ///
    /// Fails if it has changed, or if the kernel does not tell.
    pub fn finish(self) -> Result<Stat> {
        let now =
            stat_of(self.file.as_fd()).map_err(|errno| Error::io("stat", &self.path, errno))?;
        let key = |stat: &Stat| (stat.size, stat.mtime, stat.ctime);
        if key(&now) == key(&self.stat) {
            Ok(now)
        } else {
            Err(self.changed())
        }
    }

    /// The error that says so.
    pub fn changed(&self) -> Error {
        let message = format!(
            "read {}: the file changed while it was read",
            self.path.display()
        );
        Error::new(ErrorKind::Io, message).with_hint("stop what writes to it, and try again")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Access;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn fixture(content: &str) -> (tempfile::TempDir, FileReader) {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("f"), content).unwrap();
        let dir = Dir::open(scratch.path(), Access::Plain).unwrap();
        let reader = FileReader::open(&dir, b"f").unwrap();
        (scratch, reader)
    }

    #[test]
    fn a_quiet_file_is_read_in_pieces() {
        let (_scratch, mut reader) = fixture("content");
        let mut buffer = [0; 4];
        assert_eq!(reader.read(&mut buffer).unwrap(), b"cont");
        assert_eq!(reader.read(&mut buffer).unwrap(), b"ent");
        assert_eq!(reader.read(&mut buffer).unwrap(), b"");
        assert_eq!(reader.finish().unwrap().size, 7);
    }

    #[test]
    fn a_file_that_shrinks_or_grows_is_noticed() {
        let (scratch, mut reader) = fixture("content");
        fs::write(scratch.path().join("f"), "c").unwrap();
        let error = reader.read(&mut [0; 100]).unwrap_err();
        assert!(
            error
                .chain()
                .ends_with("f: the file changed while it was read")
        );
        let (scratch, mut reader) = fixture("content");
        fs::write(scratch.path().join("f"), "content and more").unwrap();
        assert_eq!(reader.read(&mut [0; 100]).unwrap(), b"content");
        assert!(reader.finish().is_err());
    }

    #[test]
    fn a_time_set_back_does_not_hide_a_change() {
        let (scratch, mut reader) = fixture("content");
        let path = scratch.path().join("f");
        let mtime = filetime::FileTime::from_last_modification_time(&fs::metadata(&path).unwrap());
        // Beyond the granularity of the kernel's clock.
        std::thread::sleep(std::time::Duration::from_millis(50));
        fs::write(&path, "CONTENT").unwrap();
        filetime::set_file_mtime(&path, mtime).unwrap();
        assert_eq!(reader.read(&mut [0; 100]).unwrap(), b"CONTENT");
        assert!(reader.finish().is_err());
    }

    #[test]
    fn links_and_directories_are_not_opened() {
        let scratch = tempfile::tempdir().unwrap();
        symlink("/etc/passwd", scratch.path().join("link")).unwrap();
        fs::create_dir(scratch.path().join("dir")).unwrap();
        fs::set_permissions(
            scratch.path().join("dir"),
            fs::Permissions::from_mode(0o700),
        )
        .unwrap();
        let dir = Dir::open(scratch.path(), Access::Plain).unwrap();
        assert!(FileReader::open(&dir, b"link").is_err());
        assert!(FileReader::open(&dir, b"dir").is_err());
    }
}
