//! A container, mounted or not.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::store::{Key, MountOptions, MountRecord, Reason, Store};

/// What is mounted where. It stays mounted when this is dropped. Two are equal if they say the same of the same container.
#[derive(Clone, Debug)]
pub struct RepositoryMount<'s> {
    store: &'s Store,
    key: Key,
    target: PathBuf,
    options: MountOptions,
    record: Option<MountRecord>,
}

impl<'s> RepositoryMount<'s> {
    /// Describes a mount of a container; nothing is looked at.
    pub fn new(store: &'s Store, key: Key, target: PathBuf, options: MountOptions) -> Self {
        Self {
            store,
            key,
            target,
            options,
            record: None,
        }
    }

    /// The container.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Where it is mounted.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Mounts it.
    ///
    /// # Errors
    ///
    /// [`Reason::MountExists`] if the container is mounted already, wherever that is; others as
    /// [`Store::mount_container`].
    pub fn open(&mut self) -> Result<()> {
        if let Some(live) = self.store.live_mount_of(&self.key)? {
            let message = format!(
                "container {}: mounted on {}",
                self.key,
                live.target.display()
            );
            return Err(Reason::MountExists
                .error(message)
                .with_hint("unmount it first"));
        }
        let record = self
            .store
            .mount_container(&self.key, &self.target, &self.options)?;
        self.record = Some(record);
        Ok(())
    }

    /// Unmounts it; one that is not mounted is fine. The directory and the container stay.
    ///
    /// # Errors
    ///
    /// As [`Store::unmount`]; it stays mounted then.
    pub fn close(&mut self) -> Result<()> {
        if self.mounted()? {
            self.store.unmount(&self.target, false)?;
        }
        self.record = None;
        Ok(())
    }

    /// Unmounts it as soon as nobody uses it any more; its name goes at once.
    ///
    /// # Errors
    ///
    /// As [`Store::unmount`].
    pub fn detach(&mut self) -> Result<()> {
        if self.mounted()? {
            self.store.unmount(&self.target, true)?;
        }
        self.record = None;
        Ok(())
    }

    /// Whether it is mounted: the kernel is asked, so that an unmount by others is seen.
    ///
    /// # Errors
    ///
    /// Fails if the kernel's table cannot be read.
    pub fn mounted(&self) -> Result<bool> {
        self.record.as_ref().map_or(Ok(false), MountRecord::is_live)
    }
}

impl PartialEq for RepositoryMount<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.store.path() == other.store.path()
            && (&self.key, &self.target, &self.options)
                == (&other.key, &other.target, &other.options)
    }
}
