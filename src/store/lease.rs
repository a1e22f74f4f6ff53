//! A store that is being used: as long as it is open, nothing in it is taken away.
//!
//! What a name means, and the layers, chains and patches that this leads to, may go with the next `gc`. So a verb that looks
//! something up takes a [`LeasedStore`], and cannot begin without the lease. `gc`, which waits for all leases, takes the
//! plain [`Store`].

use std::ops::Deref;

use super::place::{Lease, Store, StoreOptions};
use crate::error::Result;

/// A [`Store`] with a lease: while it lives, a [`Store::gc`] waits, and one through this very object fails with
/// [`ErrorKind::Busy`](crate::ErrorKind::Busy) when it has waited for [`StoreOptions::lock_timeout`].
#[derive(Debug)]
pub struct LeasedStore {
    store: Store,
    _lease: Lease,
    /// Those of the stores that are only read, as far as their lock files may be opened.
    _additional: Vec<Lease>,
}

impl LeasedStore {
    /// Opens a store, or makes one, and takes a lease on it; waits for those who take something away.
    ///
    /// # Errors
    ///
    /// As [`Store::open`] and [`Store::lease`].
    pub fn open(options: StoreOptions) -> Result<Self> {
        Store::open(options)?.leased()
    }
}

impl Store {
    /// The store with a [lease](Self::lease) on it, and on the stores that are only read as far as their owners let us.
    ///
    /// # Errors
    ///
    /// As [`lease`](Self::lease).
    pub fn leased(self) -> Result<LeasedStore> {
        let lease = self.lease()?;
        let additional = self.additional_stores().iter();
        Ok(LeasedStore {
            _lease: lease,
            // Another user's may refuse the lock, and can be read all the same.
            _additional: additional.filter_map(|store| store.lease().ok()).collect(),
            store: self,
        })
    }
}

impl Deref for LeasedStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ErrorKind;
    use crate::store::GcOptions;

    #[test]
    fn gc_waits_for_a_leased_store_and_no_longer_than_it_may() {
        let scratch = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(scratch.path().join("store"));
        options.lock_timeout = Duration::from_millis(20);
        let leased = match LeasedStore::open(options.clone()) {
            // Not every file system can hold a store.
            Err(error) if error.kind() == ErrorKind::Unsupported => return,
            leased => leased.unwrap(),
        };
        let gc = || Store::open(options.clone())?.gc(GcOptions::default());
        assert_eq!(gc().unwrap_err().kind(), ErrorKind::Busy);
        drop(leased);
        gc().unwrap();
    }
}
