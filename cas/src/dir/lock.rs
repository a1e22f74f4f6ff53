//! The locks of a directory store; the module above says what they are for.

use super::files::{BLOBS, path_of};
use super::flock::Flock;
use super::store::DirStore;
use crate::{Algorithm, Error, ErrorKind, Result};
use rustix::fs::FlockOperation;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
