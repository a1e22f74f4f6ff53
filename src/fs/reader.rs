//! A regular file being read that must not change meanwhile.

use std::fs::File;
use std::io::ErrorKind as IoErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::content::{Failed, next_data};
use super::content_hash::ContentHasher;
use super::dir::{Dir, stat_of};
use super::stat::Stat;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of the smallest file whose holes are looked for: a smaller one is read as quickly.
const SMALLEST_SPARSE: u64 = 256 << 10;

/// Holes are told to multiples of this, rounded inwards: file systems have blocks of other sizes, and the same file should
/// have the same holes on all of them.
const HOLE_UNIT: u64 = 64 << 10;

/// Bytes that [`hash_file`] reads at a time.
const BUFFER_SIZE: usize = 256 << 10;

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
    /// How far it has been read.
    position: u64,
    /// As far as this, nothing is known to be a hole.
    data_end: u64,
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'b> {
    /// Content.
    Data(&'b [u8]),
    /// As many zeros that are stored nowhere.
    Hole(u64),
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
        let data_end = if stat.size < SMALLEST_SPARSE {
            stat.size
        } else {
            0
        };
        Ok(Self {
            file,
            path,
            stat,
            position: 0,
            data_end,
        })
    }

    /// What the file was like when it was opened.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Reads the next bytes: as many as the buffer takes, fewer only at the end, where there are none. Holes are zeros.
    ///
    /// # Errors
    ///
    /// Fails if the file system does, or if the file has become shorter.
    pub fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
        self.read_to(self.stat.size, buffer)
    }

    /// Reads the next bytes, not beyond a place in the file.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_to<'b>(&mut self, end: u64, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
        let left = end.min(self.stat.size).saturating_sub(self.position);
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let piece = &mut buffer[..wanted];
        match self.file.read_exact_at(piece, self.position) {
            Ok(()) => {}
            Err(error) if error.kind() == IoErrorKind::UnexpectedEof => {
                return Err(self.changed());
            }
            Err(error) => return Err(Error::io("read", &self.path, error)),
        }
        self.position += wanted as u64;
        Ok(piece)
    }

    /// Reads the next bytes, or steps over a hole; `None` at the end.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn next_piece<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<Piece<'b>>> {
        if self.position >= self.stat.size {
            return Ok(None);
        }
        let hole = self.hole()?;
        if hole > 0 {
            self.skip(hole);
            return Ok(Some(Piece::Hole(hole)));
        }
        self.read_to(self.data_end, buffer)
            .map(|data| Some(Piece::Data(data)))
    }

    /// Steps over a part of the file.
    pub fn skip_to(&mut self, position: u64) {
        self.position = self.position.max(position);
    }

    /// Steps over as many bytes.
    pub fn skip(&mut self, count: u64) {
        self.position = self.position.saturating_add(count);
    }

    /// How many bytes from here on are a hole; 0 if the next one is content, and at the end.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn hole(&mut self) -> Result<u64> {
        if self.position < self.data_end || self.position >= self.stat.size {
            return Ok(0);
        }
        let (start, end) = self.data_from(self.position)?;
        if start == self.position {
            self.data_end = end;
        }
        Ok(start - self.position)
    }

    /// The parts of the file (offset and length) that are between holes of at least this size in bytes; one, the whole
    /// file, if it has none, and none if it is one hole. Where the file system tells of no holes, there are none.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn parts(&self, hole_size: u64) -> Result<Vec<(u64, u64)>> {
        let size = self.stat.size;
        let (mut parts, mut begin, mut at) = (Vec::new(), 0, 0);
        while at < size && size >= hole_size {
            let (start, end) = self.data_from(at)?;
            if start - at >= hole_size.max(1) {
                let from = at.next_multiple_of(HOLE_UNIT);
                let to = if start == size {
                    size
                } else {
                    start - start % HOLE_UNIT
                };
                if from < to {
                    parts.push((begin, from - begin));
                    begin = to;
                }
            }
            at = end;
        }
        parts.push((begin, size - begin));
        if parts.len() > 1 {
            parts.retain(|(_, length)| *length > 0);
        }
        Ok(parts)
    }

    /// Where the data at or behind a place begins and ends; the end of the file, if there is none.
    fn data_from(&self, at: u64) -> Result<(u64, u64)> {
        let size = self.stat.size;
        match next_data(self.file.as_fd(), at, size) {
            Ok(found) => Ok(found.unwrap_or((size, size))),
            Err(Failed::Shrunk) => Err(self.changed()),
            Err(Failed::Read(errno) | Failed::Write(errno)) => {
                Err(Error::io("read", &self.path, errno))
            }
        }
    }

    /// Reads the rest of the file and returns the digest of that ([`ContentHasher`]).
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn digest(&mut self, buffer: &mut [u8]) -> Result<[u8; 32]> {
        self.digest_by(ContentHasher::new(self.stat.size), buffer)
    }

    fn digest_by(&mut self, mut hasher: ContentHasher, buffer: &mut [u8]) -> Result<[u8; 32]> {
        while let Some(piece) = self.next_piece(buffer)? {
            match piece {
                Piece::Data(data) => hasher.update(data),
                Piece::Hole(size) => hasher.zeros(size),
            }
        }
        Ok(hasher.finish())
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

/// The digest of a regular file's content ([`ContentHasher`]), as it is while it is read. Holes are not read. The buffer is
/// reused.
///
/// # Errors
///
/// As [`FileReader::open`] and [`FileReader::read`].
pub fn hash_file(dir: &Dir, name: &[u8], buffer: &mut Vec<u8>) -> Result<[u8; 32]> {
    buffer.resize(BUFFER_SIZE, 0);
    FileReader::open(dir, name)?.digest(buffer)
}

/// The same, but always SHA-256, as other programs compute it: of a file of holes it takes a second for each 2 GB.
///
/// # Errors
///
/// As [`hash_file`].
pub fn sha256_of_file(dir: &Dir, name: &[u8], buffer: &mut Vec<u8>) -> Result<[u8; 32]> {
    buffer.resize(BUFFER_SIZE, 0);
    FileReader::open(dir, name)?.digest_by(ContentHasher::sha256(), buffer)
}

#[cfg(test)]
mod tests {
    use super::super::content_hash::is_of_blocks;
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

    /// A file of these pieces of data, in bytes, and its reader.
    fn sparse(size: u64, pieces: &[(u64, usize)]) -> (tempfile::TempDir, FileReader) {
        let (scratch, _) = fixture("");
        let file = File::options()
            .write(true)
            .open(scratch.path().join("f"))
            .unwrap();
        file.set_len(size).unwrap();
        for &(offset, length) in pieces {
            file.write_all_at(&vec![7; length], offset).unwrap();
        }
        let dir = Dir::open(scratch.path(), Access::Plain).unwrap();
        let reader = FileReader::open(&dir, b"f").unwrap();
        (scratch, reader)
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_parts_of_a_file_are_between_large_holes() {
        for (size, pieces, expected) in [
            (0, &[][..], vec![(0, 0)]),
            (5 * MIB, &[], vec![]),
            (9 * MIB, &[(4 * MIB, 5)], vec![(4 * MIB, 64 << 10)]),
            (
                9 * MIB + 1,
                &[(0, 5), (9 * MIB, 1)],
                vec![(0, 64 << 10), (9 * MIB, 1)],
            ),
            (
                3 * MIB / 2,
                &[(MIB / 2, 5), (MIB, 5)],
                vec![(0, 3 * MIB / 2)],
            ),
            (MIB - 1, &[], vec![(0, MIB - 1)]),
        ] {
            let (_scratch, reader) = sparse(size, pieces);
            assert_eq!(reader.parts(MIB).unwrap(), expected, "{size} {pieces:?}");
        }
    }

    #[test]
    fn holes_are_stepped_over_and_hashed_all_the_same() {
        let (_scratch, mut reader) = sparse(9 * MIB + 1, &[(4 * MIB, 5), (9 * MIB, 1)]);
        let mut content = vec![0; usize::try_from(9 * MIB).unwrap() + 1];
        content[4 << 20..][..5].fill(7);
        content[9 << 20] = 7;
        let mut hasher = ContentHasher::new(content.len() as u64);
        hasher.update(&content);
        let mut read = Vec::new();
        let (mut hole, mut buffer) = (0, vec![0; 4096]);
        while let Some(piece) = reader.next_piece(&mut buffer).unwrap() {
            match piece {
                Piece::Data(data) => read.extend_from_slice(data),
                Piece::Hole(size) => {
                    hole += size;
                    read.resize(read.len() + usize::try_from(size).unwrap(), 0);
                }
            }
        }
        assert!(read == content);
        assert!(hole > 8 * MIB, "{hole}");
        let (_scratch, mut reader) = sparse(9 * MIB + 1, &[(4 * MIB, 5), (9 * MIB, 1)]);
        assert_eq!(reader.digest(&mut buffer).unwrap(), hasher.finish());
    }

    #[test]
    fn a_terabyte_of_hole_is_hashed_without_being_read() {
        let (_scratch, mut reader) = sparse(1 << 40, &[(1 << 39, 4)]);
        assert!(is_of_blocks(&reader.digest(&mut vec![0; 4096]).unwrap()));
    }
}
