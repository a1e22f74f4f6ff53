//! The store object.

use super::files::{
    BLOBS, find, find_directory, follow_directory, make_directory, names, open_directory, path_of,
    type_of,
};
use super::flock::Leases;
use super::scratch::Scratch;
use crate::{Algorithm, Digest, Error, ErrorKind, Result};
use rustix::fs::FileType;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

/// A store in a directory; see the [module](super) for what is on disk and who may do what when.
///
/// Opening and reading changes nothing, so a read-only directory is fine. The scratch directory is made when something
/// is first written and removed when the store is dropped.
#[derive(Debug)]
pub struct DirStore {
    dir: OwnedFd,
    blobs: OwnedFd,
    leases: Leases,
    scratch: OnceLock<Scratch>,
}

impl DirStore {
    /// Opens a store, given the opened directory that holds `blobs/`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no `blobs`, [`Invalid`](ErrorKind::Invalid) if that is not a
    /// directory, nor a symbolic link to one, or those of input and output.
    // By value: the store takes the directory over, though it keeps a description of its own, which can be synced and
    // whose locks nobody else has.
    #[allow(clippy::needless_pass_by_value)]
    pub fn open(dir: OwnedFd) -> Result<Self> {
        let dir = open_directory(&dir, ".", "store directory")?;
        let blobs = follow_directory(&dir, BLOBS, BLOBS)?;
        Ok(Self {
            dir,
            blobs,
            leases: Leases::default(),
            scratch: OnceLock::new(),
        })
    }

    /// Opens a store after making `blobs` and `blobs/sha256` where missing, mode 0755 less the umask.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if one of them is something else, or those of input and output. What was made
    /// stays.
    #[allow(clippy::needless_pass_by_value)] // As in `open`.
    pub fn create(dir: OwnedFd) -> Result<Self> {
        let dir = open_directory(&dir, ".", "store directory")?;
        make_directory(dir.as_fd(), BLOBS, BLOBS, dir.as_fd())?;
        let store = Self::open(dir)?;
        store.make_algorithm(Algorithm::Sha256)?;
        Ok(store)
    }

    /// Returns the directory that holds `blobs/`.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn blobs(&self) -> BorrowedFd<'_> {
        self.blobs.as_fd()
    }

    pub(super) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// The scratch directory, made where missing.
    pub(super) fn scratch(&self) -> Result<&Scratch> {
        if let Some(scratch) = self.scratch.get() {
            return Ok(scratch);
        }
        let made = Scratch::create(self.dir())?;
        // If another thread was faster, its directory is used and this one removed.
        Ok(self.scratch.get_or_init(|| made))
    }

    /// Opens the directory of an algorithm, if there is one.
    pub(super) fn find_algorithm(&self, algorithm: Algorithm) -> Result<Option<OwnedFd>> {
        find_directory(&self.blobs, algorithm.name(), &path_of(algorithm))
    }

    /// Opens the directory of an algorithm, made where missing.
    pub(super) fn make_algorithm(&self, algorithm: Algorithm) -> Result<OwnedFd> {
        make_directory(
            self.blobs(),
            algorithm.name(),
            &path_of(algorithm),
            self.dir(),
        )
    }

    /// Refuses to remove blobs where others may refer to them: behind a symbolic link.
    pub(super) fn refuse_shared(&self, operation: &str) -> Result<()> {
        let refuse_link = |parent, name: &str, path: &str| match find(parent, name, path)? {
            Some(stat) if type_of(&stat) == FileType::Symlink => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{operation}: {path} is a symbolic link, and the blobs behind it may be in use elsewhere"
                ),
            )),
            _ => Ok(()),
        };
        refuse_link(self.dir(), BLOBS, BLOBS)?;
        Algorithm::ALL.into_iter().try_for_each(|algorithm| {
            refuse_link(self.blobs(), algorithm.name(), &path_of(algorithm))
        })
    }

    /// Lists the names in the directory of an algorithm: those of blobs, and those that are none.
    pub(super) fn scan(&self, algorithm: Algorithm) -> Result<Option<Scan>> {
        let Some(directory) = self.find_algorithm(algorithm)? else {
            return Ok(None);
        };
        let path = path_of(algorithm);
        let (mut digests, mut foreign) = (Vec::new(), Vec::new());
        for name in names(&directory, &path)? {
            let name = name.to_string_lossy();
            match algorithm.digest(&name) {
                Ok(digest) => digests.push(digest),
                Err(_) => foreign.push(format!("{path}/{name}")),
            }
        }
        Ok(Some(Scan {
            directory,
            digests,
            foreign,
        }))
    }

    /// Lists what other programs left among the blobs: entries that are not named like a blob, and directories of
    /// algorithms that are not known. Paths relative to the store, sorted.
    ///
    /// # Errors
    ///
    /// Those of reading the directories.
    pub fn foreign(&self) -> Result<Vec<String>> {
        let mut foreign = Vec::new();
        for name in names(&self.blobs, BLOBS)? {
            let name = name.to_string_lossy();
            match name.parse() {
                Ok(algorithm) => {
                    let scanned = self.scan(algorithm)?;
                    foreign.extend(scanned.map(|scan| scan.foreign).unwrap_or_default());
                }
                Err(_) => foreign.push(format!("{BLOBS}/{name}")),
            }
        }
        foreign.sort_unstable();
        Ok(foreign)
    }
}

/// The directory of an algorithm.
pub(super) struct Scan {
    pub(super) directory: OwnedFd,
    pub(super) digests: Vec<Digest>,
    /// Paths, relative to the store.
    pub(super) foreign: Vec<String>,
}
