//! What locks and leases are made of.

use super::files::open_directory;
use crate::{Error, ErrorKind, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    pub(super) fn take(
        directory: BorrowedFd<'_>,
        path: &str,
        operation: FlockOperation,
    ) -> Result<Self> {
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
    pub(super) count: Arc<AtomicUsize>,
    /// What protects the blobs that were committed since a file was last replaced.
    implicit: Mutex<Option<Flock>>,
}

impl Leases {
    pub(super) fn implicit(&self) -> MutexGuard<'_, Option<Flock>> {
        self.implicit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the implicit lease: what the store has committed is referred to by now, or its owner does not care.
    pub(super) fn release_implicit(&self) {
        *self.implicit() = None;
    }
}
