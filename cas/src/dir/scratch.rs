//! The scratch directory of a store object, and the files that are written there before they get their names.

use super::files::{adopt, find, open_directory, sync_directory};
use super::flock::Flock;
use crate::{Error, ErrorKind, Result};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// How the name of a scratch directory begins. It is umoci's: both programs recognise each other's leftovers.
pub const SCRATCH_PREFIX: &str = ".umoci-";

/// Names to try before giving up.
const ATTEMPTS: usize = 64;

/// A locked scratch directory; dropping it removes it if it is empty.
#[derive(Debug)]
pub(super) struct Scratch {
    parent: OwnedFd,
    name: String,
    directory: Flock,
    next: AtomicU64,
}

impl Scratch {
    /// Makes and locks a scratch directory in the store's directory.
    pub(super) fn create(parent: BorrowedFd<'_>) -> Result<Self> {
        for _ in 0..ATTEMPTS {
            // The keys of a `RandomState` are random; nothing depends on the name but that it is free.
            let name = format!(
                "{SCRATCH_PREFIX}{:08x}",
                RandomState::new().hash_one(0) >> 32
            );
            match fs::mkdirat(parent, &name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(Error::io("make scratch directory", &name, errno)),
            }
            if let Some(directory) = lock_new(parent, &name)? {
                let parent = open_directory(parent, ".", "store directory")?;
                return Ok(Self {
                    parent,
                    name,
                    directory,
                    next: AtomicU64::new(0),
                });
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            "make scratch directory: every one was swept before it could be locked",
        ))
    }

    /// Makes an empty file, mode 0600.
    pub(super) fn file(&self, kind: &str) -> Result<ScratchFile<'_>> {
        let name = format!("{kind}-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.directory, &name, flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| Error::io("create", format!("{}/{name}", self.name), errno))?;
        Ok(ScratchFile {
            scratch: self,
            name,
            file: File::from(file),
            moved: false,
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Not empty, or gone: then it is the next sweep's. An error could not be reported, nor would it matter.
        let _ = fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
    }
}

/// Opens and locks the scratch directory that was just made; `None` if a sweep took it for a stale one before.
fn lock_new(parent: BorrowedFd<'_>, name: &str) -> Result<Option<Flock>> {
    let directory = match open_directory(parent, name, name) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let failed = |errno| Error::io("lock scratch directory", name, errno);
    let Some(directory) = Flock::try_scratch(directory).map_err(failed)? else {
        return Ok(None);
    };
    let own = fs::fstat(&directory).map_err(failed)?;
    let same = |found: fs::Stat| (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino);
    Ok(find(parent, name, name)?
        .is_some_and(same)
        .then_some(directory))
}

/// A file in the scratch directory; dropping it removes it, unless it was moved to its place.
#[derive(Debug)]
pub(super) struct ScratchFile<'a> {
    scratch: &'a Scratch,
    name: String,
    file: File,
    moved: bool,
}

impl ScratchFile<'_> {
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Makes the content final: gives it the owner of the directory `model` as [`adopt`] says, and syncs it. `path` is
    /// where it will be.
    pub(super) fn seal(&self, path: &str, model: BorrowedFd<'_>) -> Result<()> {
        adopt(self.file.as_fd(), path, model)?;
        self.file
            .sync_all()
            .map_err(|error| Error::io("sync", path, error))
    }

    /// Moves the sealed file to a name in `directory`, over what had that name, and syncs the name. `path` is what to
    /// call it in a message.
    pub(super) fn move_to(
        mut self,
        directory: BorrowedFd<'_>,
        name: &str,
        path: &str,
    ) -> Result<()> {
        fs::renameat(&self.scratch.directory, &self.name, directory, name)
            .map_err(|errno| Error::io("rename to", path, errno))?;
        self.moved = true;
        sync_directory(directory, path).map_err(|error| {
            // What was there before is gone, and what is there now is whole: nothing is taken back.
            let message = format!("{path} is in place, but may not be after a power cut");
            Error::new(error.kind(), message).with_source(error)
        })
    }
}

impl Drop for ScratchFile<'_> {
    fn drop(&mut self) {
        if !self.moved {
            // What cannot be removed now stays for the next sweep.
            let _ = fs::unlinkat(&self.scratch.directory, &self.name, AtFlags::empty());
        }
    }
}
