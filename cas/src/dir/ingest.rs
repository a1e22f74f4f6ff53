//! What comes into the directory: blobs, and the named files beside them; the latter are opened here too.

use super::files::{BLOBS, open_regular, path_of};
use super::scratch::{SCRATCH_PREFIX, ScratchFile};
use super::store::DirStore;
use crate::{Algorithm, Digest, Error, ErrorKind, Hasher, Ingest, Result};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

/// A blob in the scratch directory.
pub(super) struct DirIngest<'a> {
    store: &'a DirStore,
    file: ScratchFile<'a>,
    hasher: Hasher,
    size: u64,
}

impl<'a> DirIngest<'a> {
    pub(super) fn new(store: &'a DirStore, algorithm: Algorithm) -> Result<Self> {
        let file = store.scratch()?.file("blob")?;
        Ok(Self {
            store,
            file,
            hasher: Hasher::new(algorithm),
            size: 0,
        })
    }
}

impl Write for DirIngest<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.file.file().write(data)?;
        self.hasher.update(&data[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Ingest for DirIngest<'_> {
    fn commit(self: Box<Self>) -> Result<(Digest, u64)> {
        let Self {
            store,
            file,
            hasher,
            size,
        } = *self;
        let digest = hasher.finish();
        let encoded = digest.encoded();
        let path = format!("{}/{encoded}", path_of(digest.algorithm()));
        file.seal(&path, store.dir())?;
        let directory = store.make_algorithm(digest.algorithm())?;
        store.lease_implicitly()?;
        file.move_to(directory.as_fd(), &encoded, &path)?;
        Ok((digest, size))
    }
}

impl DirStore {
    /// Opens a file beside the blobs, or the one that a symbolic link in its place leads to. Never waits.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is none, [`Invalid`](ErrorKind::Invalid) if it is not a regular file
    /// or `name` is none for a file here, or those of input and output.
    pub fn open_file(&self, name: &str) -> Result<File> {
        check_name("open file", name)?;
        Ok(open_regular(self.dir(), name, name)?.0)
    }

    /// Replaces a file beside the blobs (a symbolic link, not its target), or makes it: whoever opens the name sees the old content or the new one, also
    /// after a crash. Its mode is 0600, its owner that of the directory when root does it. What it refers to counts as
    /// referred to: the implicit lease of earlier commits ends.
    ///
    /// Callers that change what they read hold [`lock`](Self::lock) meanwhile.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if `name` is not a plain file name or is one of the store's own, or those of
    /// input and output. The old content is then still there, unless only syncing the name failed.
    pub fn replace_file(&self, name: &str, data: &[u8]) -> Result<()> {
        check_name("replace file", name)?;
        let mut file = self.scratch()?.file("file")?;
        file.file()
            .write_all(data)
            .map_err(|error| Error::io("write", name, error))?;
        file.seal(name, self.dir())?;
        file.move_to(self.dir(), name, name)?;
        self.leases().release_implicit();
        Ok(())
    }
}

/// Refuses what is no plain file name, or one of the store's own.
fn check_name(operation: &str, name: &str) -> Result<()> {
    if matches!(name, "" | "." | ".." | BLOBS)
        || name.starts_with(SCRATCH_PREFIX)
        || name.contains(['/', '\0'])
    {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{operation}: {name:?} is not a name for a file here"),
        ));
    }
    Ok(())
}
