//! Two stores as one.

use crate::{Algorithm, Blob, Digest, Ingest, Result, Store};
use std::fmt;

/// A store on top of another one: what the upper one has not is read from the lower one, which is never changed.
///
/// ```
/// use oci_cas::{Algorithm, MemoryStore, StackedStore, Store, StoreExt};
///
/// # fn main() -> oci_cas::Result<()> {
/// let (upper, lower) = (MemoryStore::new(), MemoryStore::new());
/// let known = lower.put(Algorithm::Sha256, b"known")?;
/// let stack = StackedStore::new(&upper, &lower);
/// let new = stack.put(Algorithm::Sha256, b"new")?;
/// assert_eq!(stack.read_verified(&known, 5)?, b"known");
/// assert_eq!(upper.list()?, [new]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct StackedStore<'a> {
    upper: &'a dyn Store,
    lower: &'a dyn Store,
}

impl<'a> StackedStore<'a> {
    /// Lays one store on another.
    pub fn new(upper: &'a dyn Store, lower: &'a dyn Store) -> Self {
        Self { upper, lower }
    }
}

impl fmt::Debug for StackedStore<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackedStore").finish_non_exhaustive()
    }
}

impl Store for StackedStore<'_> {
    fn open(&self, digest: &Digest) -> Result<Blob> {
        match self.upper.stat(digest)? {
            Some(_) => self.upper.open(digest),
            None => self.lower.open(digest),
        }
    }

    fn stat(&self, digest: &Digest) -> Result<Option<u64>> {
        match self.upper.stat(digest)? {
            Some(size) => Ok(Some(size)),
            None => self.lower.stat(digest),
        }
    }

    fn ingest(&self, algorithm: Algorithm) -> Result<Box<dyn Ingest + '_>> {
        self.upper.ingest(algorithm)
    }

    /// Removes a blob of the upper store.
    fn remove(&self, digest: &Digest) -> Result<bool> {
        self.upper.remove(digest)
    }

    fn list(&self) -> Result<Vec<Digest>> {
        let mut all = self.upper.list()?;
        all.append(&mut self.lower.list()?);
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }
}
