//! A store in memory: the second implementation of the contract, for tests and for small things on their way.

use crate::{Algorithm, Blob, Digest, Error, ErrorKind, Hasher, Ingest, Result, Store};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Cursor, Write};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

type Blobs = BTreeMap<Digest, Arc<[u8]>>;

/// A store that lives as long as the process, and in it alone.
#[derive(Default)]
pub struct MemoryStore {
    blobs: RwLock<Blobs>,
}

impl MemoryStore {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    // Each change is one call of the map, so it is whole even if a thread panicked while it held the lock.
    fn blobs(&self) -> RwLockReadGuard<'_, Blobs> {
        self.blobs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn blobs_mut(&self) -> RwLockWriteGuard<'_, Blobs> {
        self.blobs.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("blobs", &self.blobs().keys())
            .finish()
    }
}

impl Store for MemoryStore {
    fn open(&self, digest: &Digest) -> Result<Blob> {
        match self.blobs().get(digest) {
            Some(data) => Ok(Blob {
                size: data.len() as u64,
                reader: Box::new(Cursor::new(Arc::clone(data))),
            }),
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!("open blob {digest}: no such blob"),
            )),
        }
    }

    fn stat(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.blobs().get(digest).map(|data| data.len() as u64))
    }

    fn ingest(&self, algorithm: Algorithm) -> Result<Box<dyn Ingest + '_>> {
        Ok(Box::new(MemoryIngest {
            store: self,
            hasher: Hasher::new(algorithm),
            data: Vec::new(),
        }))
    }

    fn remove(&self, digest: &Digest) -> Result<bool> {
        Ok(self.blobs_mut().remove(digest).is_some())
    }

    fn list(&self) -> Result<Vec<Digest>> {
        Ok(self.blobs().keys().cloned().collect())
    }
}

struct MemoryIngest<'a> {
    store: &'a MemoryStore,
    hasher: Hasher,
    data: Vec<u8>,
}

impl Write for MemoryIngest<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.hasher.update(data);
        self.data.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Ingest for MemoryIngest<'_> {
    fn commit(self: Box<Self>) -> Result<(Digest, u64)> {
        let digest = self.hasher.finish();
        let size = self.data.len() as u64;
        self.store
            .blobs_mut()
            .insert(digest.clone(), self.data.into());
        Ok((digest, size))
    }
}
