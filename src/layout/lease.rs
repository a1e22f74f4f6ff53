//! A layout that is being read: as long as it is open, no blob is swept.
//!
//! A tag that was resolved leads to blobs only until it is moved and a `gc` comes. So resolving and editing are methods of
//! [`LeasedLayout`], which holds a lease from before the index is read: nobody can have a path to a manifest without it.

use std::ops::Deref;
use std::path::Path;

use oci_cas::dir::Lease;

use super::{Backing, Layout};
use crate::{Result, ResultExt};

/// A [`Layout`] with a lease on its blobs. While it lives, a [`Layout::gc`] of any other process or object waits; one
/// through this object fails with [`ErrorKind::Busy`](crate::ErrorKind::Busy).
pub struct LeasedLayout {
    layout: Layout,
    /// None where the file system has no locks: there nobody can sweep either.
    _lease: Option<Lease>,
}

impl LeasedLayout {
    /// Opens a layout and takes a lease on it; waits for a running gc. The layout may be read-only.
    ///
    /// # Errors
    ///
    /// As [`Layout::open`] and [`Layout::lease`].
    pub fn open(path: &Path) -> Result<Self> {
        Layout::open(path)?.lease()
    }
}

impl Deref for LeasedLayout {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        &self.layout
    }
}

impl Layout {
    /// Keeps all blobs from being swept until the result is dropped; waits for a running gc. Nothing is written.
    ///
    /// # Errors
    ///
    /// When the directory of the blobs cannot be opened or locked. A file system without locks is no error: a sweep
    /// needs a lock too.
    pub fn lease(self) -> Result<LeasedLayout> {
        let lease = self.read_lease()?;
        Ok(LeasedLayout {
            layout: self,
            _lease: lease,
        })
    }

    /// The lease of a reader.
    pub(super) fn read_lease(&self) -> Result<Option<Lease>> {
        let Backing::Directory(store) = &self.backing else {
            return Ok(None);
        };
        match store.lease() {
            Err(error) if error.kind() == oci_cas::ErrorKind::Unsupported => Ok(None),
            lease => lease
                .map(Some)
                .context(|| format!("lock image layout {}", self.path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_layout::{TestLayout, tag};
    use crate::ErrorKind;

    #[test]
    fn an_image_that_was_resolved_stays_readable_although_its_tag_goes_and_gc_comes() {
        let layout = TestLayout::new();
        let image = layout.image("a", "linux/amd64");
        layout.set_index(&[layout.tagged(&image, "a")]);
        let reader = layout.leased();
        let path = reader.resolve(tag("a"), None).unwrap();
        layout.open().untag(tag("a")).unwrap();
        std::thread::scope(|scope| {
            let collector = scope.spawn(|| layout.open().gc(false).unwrap().blobs.len());
            // The sweep waits: however long this takes, the manifest is there.
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!collector.is_finished());
            let manifest = reader.manifest(path.target()).unwrap();
            assert!(reader.config(&manifest.config).is_ok());
            assert_eq!(reader.gc(false).unwrap_err().kind(), ErrorKind::Busy);
            drop(reader);
            assert!(collector.join().unwrap() > 1);
        });
    }
}
