//! A new regular file being written.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::error::{Result, ResultExt};

/// A regular file that was just made, written from front to back, perhaps with holes.
#[derive(Debug)]
pub struct FileWriter {
    file: File,
    /// Where the content ends so far.
    end: u64,
}

impl FileWriter {
    pub(super) fn new(file: File) -> Self {
        Self { file, end: 0 }
    }

    /// The file, for whoever writes to it by other means from now on.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Writes the next bytes. `path` is for messages.
    ///
    /// # Errors
    ///
    /// Fails if the file system does; part of the bytes may be there.
    pub fn append(&mut self, bytes: &[u8], path: impl FnOnce() -> PathBuf) -> Result<()> {
        self.end += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .context(|| format!("write {}", path().display()))
    }

    /// Writes bytes at a place at or behind the end; what lies between becomes a hole. Not to be mixed with `append`.
    ///
    /// # Errors
    ///
    /// Fails if the file system does, or if it allows no file of that size; part of the bytes may be there.
    pub fn write_at(
        &mut self,
        offset: u64,
        bytes: &[u8],
        path: impl FnOnce() -> PathBuf,
    ) -> Result<()> {
        self.end = offset.saturating_add(bytes.len() as u64);
        self.file
            .write_all_at(bytes, offset)
            .context(|| format!("write {}", path().display()))
    }

    /// Makes the content durable.
    ///
    /// # Errors
    ///
    /// Fails if the device does.
    pub fn sync(&self, path: impl FnOnce() -> PathBuf) -> Result<()> {
        let synced = self.file.sync_all();
        synced.context(|| format!("sync {}", path().display()))
    }

    /// Gives the file its size, if it ends in a hole.
    ///
    /// # Errors
    ///
    /// Fails if the file system allows no file of that size.
    pub fn finish(&mut self, size: u64, path: impl FnOnce() -> PathBuf) -> Result<()> {
        if size == self.end {
            return Ok(());
        }
        self.file
            .set_len(size)
            .context(|| format!("set size of {}", path().display()))
    }
}

impl AsFd for FileWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.end += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
