//! The content of one file into another: shared where the file system can, copied in the kernel where it can, by hand
//! where it cannot; holes stay holes.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Bytes that one call copies at most: an interrupted copy ends soon.
const STEP: u64 = 16 << 20;

/// Bytes that are copied by hand at a time.
const BUFFER_SIZE: usize = 256 << 10;

/// What has been found out about a pair of file systems, and the buffer for what has to be done by hand.
#[derive(Debug)]
pub(super) struct ContentCopier {
    can_share: bool,
    can_copy: bool,
    buffer: Vec<u8>,
}

/// Why content was not copied.
#[derive(Debug)]
pub(super) enum Failed {
    /// The file has become shorter.
    Shrunk,
    /// It cannot be read.
    Read(Errno),
    /// The other one cannot be written.
    Write(Errno),
}

impl ContentCopier {
    pub(super) fn new() -> Self {
        Self {
            can_share: true,
            can_copy: true,
            buffer: Vec::new(),
        }
    }

    /// One that does everything by hand.
    #[cfg(test)]
    pub(super) fn by_hand() -> Self {
        Self {
            can_share: false,
            can_copy: false,
            ..Self::new()
        }
    }

    /// Copies `size` bytes into an empty file. Returns whether the files now share their blocks.
    pub(super) fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        size: u64,
    ) -> Result<bool, Failed> {
        if self.can_share && size > 0 {
            match rustix::fs::ioctl_ficlone(to, from) {
                Ok(()) => return Ok(true),
                // Whatever the reason: if it is one that matters, copying meets it again.
                Err(_) => self.can_share = false,
            }
        }
        let mut at = 0;
        while let Some((start, end)) = next_data(from, at, size)? {
            self.copy_range(from, to, start, end)?;
            at = end;
        }
        if at < size {
            rustix::fs::ftruncate(to, size).map_err(Failed::Write)?;
        }
        Ok(false)
    }

    fn copy_range(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        mut at: u64,
        end: u64,
    ) -> Result<(), Failed> {
        while self.can_copy && at < end {
            let (mut source, mut target) = (at, at);
            // A step fits any machine's `usize`.
            let step = usize::try_from((end - at).min(STEP)).unwrap_or(BUFFER_SIZE);
            match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), step)
            {
                // Either the file has become shorter, or it is one of those that do not tell; reading will.
                Ok(0) => break,
                Ok(copied) => at += copied as u64,
                Err(Errno::INTR) => {}
                Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                    return Err(Failed::Write(errno));
                }
                Err(_) => self.can_copy = false,
            }
        }
        self.buffer.resize(BUFFER_SIZE, 0);
        while at < end {
            let piece = usize::try_from(end - at).map_or(BUFFER_SIZE, |left| left.min(BUFFER_SIZE));
            let piece = match rustix::io::pread(from, &mut self.buffer[..piece], at) {
                Ok(0) => return Err(Failed::Shrunk),
                Ok(read) => &self.buffer[..read],
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Failed::Read(errno)),
            };
            write_all(to, piece, at).map_err(Failed::Write)?;
            at += piece.len() as u64;
        }
        Ok(())
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(to, bytes, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The first run of data at or behind a place, cut at `size`; all of the rest where the file system does not tell.
pub(super) fn next_data(
    from: BorrowedFd<'_>,
    at: u64,
    size: u64,
) -> Result<Option<(u64, u64)>, Failed> {
    if at >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(from.as_fd(), SeekFrom::Data(at)) {
        Ok(start) if start < size => start,
        // A hole up to the end, or a file that has become shorter, which its times tell.
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, size))),
        Err(errno) => return Err(Failed::Read(errno)),
    };
    match rustix::fs::seek(from, SeekFrom::Hole(start)) {
        Ok(end) if end > start => Ok(Some((start, end.min(size)))),
        Ok(_) => Ok(Some((start, size))),
        Err(Errno::NXIO) => Err(Failed::Shrunk),
        Err(errno) => Err(Failed::Read(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    fn sparse() -> std::fs::File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(&vec![7; BUFFER_SIZE + 1], 4 << 20)
            .unwrap();
        file.set_len(9 << 20).unwrap();
        file
    }

    #[test]
    fn content_and_holes_are_kept_in_every_way_of_copying() {
        let from = sparse();
        let size = from.metadata().unwrap().len();
        for mut copier in [ContentCopier::new(), ContentCopier::by_hand()] {
            let to = tempfile::tempfile().unwrap();
            copier.copy(from.as_fd(), to.as_fd(), size).unwrap();
            let read = |file: &std::fs::File| {
                let mut content = vec![0; usize::try_from(size).unwrap()];
                file.read_exact_at(&mut content, 0).unwrap();
                content
            };
            assert_eq!(to.metadata().unwrap().len(), size);
            assert!(read(&to) == read(&from));
            assert!(to.metadata().unwrap().blocks() * 512 < 2 << 20);
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_it_was_is_an_error() {
        let from = tempfile::tempfile().unwrap();
        from.write_all_at(b"short", 0).unwrap();
        for mut copier in [ContentCopier::new(), ContentCopier::by_hand()] {
            copier.can_share = false;
            let to = tempfile::tempfile().unwrap();
            let copied = copier.copy_range(from.as_fd(), to.as_fd(), 0, 9);
            assert!(matches!(copied, Err(Failed::Shrunk)), "{copied:?}");
        }
    }
}
