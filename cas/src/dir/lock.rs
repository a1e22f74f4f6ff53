//! The locks of a directory store; the module above says what they are for.

use super::files::{BLOBS, open_directory, path_of};
use super::store::DirStore;
use crate::{Algorithm, Error, ErrorKind, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Excludes everyone else who changes named files in the directory, until it is dropped.
#[derive(Debug)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard {
    _lock: Flock,
}

/// Keeps every blob of the directory from being swept, until it is dropped.
#[derive(Debug)]
#[must_use = "the lease ends when it is dropped"]
pub struct Lease {
    _lock: Flock,
    count: Arc<AtomicUsize>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A lock on a file or directory through a description of its own, which is what `flock` locks.
#[derive(Debug)]
pub(super) struct Flock(OwnedFd);

impl Drop for Flock {
    fn drop(&mut self) {
        // Closing would release it too, but not before a child that another thread is just starting has closed its copy.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl AsFd for Flock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Flock {
    /// Locks a directory. Without waiting, a lock that someone else has is [`Busy`](ErrorKind::Busy).
    fn take(directory: BorrowedFd<'_>, path: &str, operation: FlockOperation) -> Result<Self> {
        let own = open_directory(directory, ".", path)?;
        retry_on_intr(|| flock(&own, operation)).map_err(|errno| match errno {
            Errno::WOULDBLOCK => Error::new(ErrorKind::Busy, format!("lock {path}: in use")),
            // NFS emulates `flock` in a way that does not allow an exclusive lock of a directory.
            Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::BADF => Error::new(
                ErrorKind::Unsupported,
                format!("lock {path}: the filesystem does not support locks on directories"),
            )
            .with_source(std::io::Error::from(errno)),
            _ => Error::io("lock", path, errno),
        })?;
        Ok(Self(own))
    }

    /// Locks a scratch entry, through the description it was opened with, if nobody else has.
    pub(super) fn try_scratch(entry: OwnedFd) -> rustix::io::Result<Option<Self>> {
        match retry_on_intr(|| flock(&entry, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(Some(Self(entry))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// The leases of one store object.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Number of `Lease` values alive.
    count: Arc<AtomicUsize>,
    /// What protects the blobs that were committed since a file was last replaced.
    implicit: Mutex<Option<Flock>>,
}

impl Leases {
    fn implicit(&self) -> MutexGuard<'_, Option<Flock>> {
        self.implicit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the implicit lease: what the store has committed is referred to by now, or its owner does not care.
    pub(super) fn release_implicit(&self) {
        *self.implicit() = None;
    }
}

impl DirStore {
    /// Locks out others who change named files, and waits for them. Hold it from reading a file to replacing it.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) on a filesystem without such locks, or those of input and output.
    pub fn lock(&self) -> Result<LockGuard> {
        let algorithm = Algorithm::Sha256;
        let directory = self.make_algorithm(algorithm)?;
        let lock = Flock::take(
            directory.as_fd(),
            &path_of(algorithm),
            FlockOperation::LockExclusive,
        )?;
        Ok(LockGuard { _lock: lock })
    }

    /// Keeps all blobs from being swept, those that exist and those still to come; waits for a running sweep. Hold it
    /// from before looking at what a new file will refer to until that file is in place.
    ///
    /// # Errors
    ///
    /// Those of [`lock`](Self::lock).
    pub fn lease(&self) -> Result<Lease> {
        let lock = Flock::take(self.blobs(), BLOBS, FlockOperation::LockShared)?;
        let count = Arc::clone(&self.leases().count);
        count.fetch_add(1, Ordering::Relaxed);
        Ok(Lease { _lock: lock, count })
    }

    /// Protects what is about to be committed until the store next replaces a file or is dropped.
    pub(super) fn lease_implicitly(&self) -> Result<()> {
        let mut implicit = self.leases().implicit();
        if implicit.is_none() {
            *implicit = Some(Flock::take(
                self.blobs(),
                BLOBS,
                FlockOperation::LockShared,
            )?);
        }
        Ok(())
    }

    /// Locks out everyone who holds or wants a lease. A lease of this very store is an error at once, since waiting for
    /// it might be waiting for oneself; its implicit one ends here.
    pub(super) fn lock_for_sweep(&self, wait: bool) -> Result<Flock> {
        if self.leases().count.load(Ordering::Relaxed) > 0 {
            return Err(Error::new(
                ErrorKind::Busy,
                "sweep blobs: this store has leases of its own",
            ));
        }
        self.leases().release_implicit();
        let operation = if wait {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        Flock::take(self.blobs(), BLOBS, operation)
    }
}
