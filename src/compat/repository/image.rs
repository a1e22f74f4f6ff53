//! Layers as one file system.

use std::path::{Path, PathBuf};

use super::blobs::read_document;
use super::create::Parent;
use super::layer::{BottomFirst, RepositoryLayer};
use super::mount::RepositoryMount;
use crate::error::{ErrorKind, Result};
use crate::fs::MapOptions;
use crate::image::{DiffId, ImageConfig};
use crate::store::{Key, MountOptions, MountRecord, Reason, StoredImage};

/// The top layer of an image, with those below it.
#[derive(Clone, Debug)]
pub struct Image<'s> {
    layer: RepositoryLayer<'s>,
    stored: Option<StoredImage>,
}

impl<'s> Image<'s> {
    pub(super) fn new(layer: RepositoryLayer<'s>, stored: Option<StoredImage>) -> Self {
        Self { layer, stored }
    }

    /// Its top layer.
    pub fn layer(&self) -> &RepositoryLayer<'s> {
        &self.layer
    }

    /// The digests of its layers.
    pub fn layers(&self) -> BottomFirst<DiffId> {
        self.layer.diff_ids()
    }

    /// The image as the store knows it; `None` if these layers have no configuration.
    pub fn stored(&self) -> Option<&StoredImage> {
        self.stored.as_ref()
    }

    /// Its configuration; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Reason::ImageCompose`] if the content store lacks it, or if it is not what it should be.
    pub fn config(&self) -> Result<Option<ImageConfig>> {
        let Some(stored) = &self.stored else {
            return Ok(None);
        };
        let bytes = read_document(self.layer.repository().blobs(), &stored.config)?;
        let config = ImageConfig::parse(&bytes);
        config
            .map(Some)
            .map_err(|error| Reason::ImageCompose.of_error(error))
    }

    /// Mounts it writable on a directory, which exists: changes go to a container of this name, which is made if there is
    /// none. One layer is enough.
    ///
    /// # Errors
    ///
    /// - [`Reason::MountExists`] if the container is mounted, or something else of the store's is mounted there
    /// - [`Reason::MountPrecondition`] if the directory is not there, or the container lies on other layers
    /// - those of [`Store::mount_container`](crate::store::Store::mount_container)
    ///
    /// Nothing is mounted then; a container that was made stays only if it was there before.
    pub fn mount(&self, key: &Key, target: &Path) -> Result<RepositoryMount<'s>> {
        let repository = self.layer.repository();
        let store = repository.store();
        let made = match store.container(key) {
            Ok(container) if container.meta().chain.as_ref() == Some(self.layer.chain_id()) => {
                false
            }
            Ok(_) => {
                let message = format!("container {key}: it lies on other layers");
                return Err(Reason::MountPrecondition.error(message));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                repository.create_layer(key, Parent::Layer(self.layer.chain_id()))?;
                true
            }
            Err(error) => return Err(error),
        };
        let options = MountOptions::default();
        let mut mount = RepositoryMount::new(store, key.clone(), target.to_owned(), options);
        if let Err(error) = mount.open() {
            if made {
                // It was ours alone; the error that matters is the one being returned.
                let _ = store.remove_container(key);
            }
            return Err(error);
        }
        Ok(mount)
    }

    /// Mounts it for reading on a directory, which exists.
    ///
    /// # Errors
    ///
    /// As [`Store::mount_chain`](crate::store::Store::mount_chain).
    pub fn mount_read_only(&self, target: &Path) -> Result<MountRecord> {
        let store = self.layer.repository().store();
        let id = Some(self.layer.chain_id());
        store.mount_chain(id, &MapOptions::default(), target, &MountOptions::default())
    }

    /// Unmounts what the store has mounted on a directory, whoever has mounted it. The directory stays.
    ///
    /// # Errors
    ///
    /// As [`Store::unmount`](crate::store::Store::unmount).
    pub fn unmount(&self, target: &Path) -> Result<()> {
        self.layer.repository().store().unmount(target, false)
    }

    /// Makes sure that all of its layers are recorded, each on the one below, so that each can be found and mounted. No
    /// data is moved.
    ///
    /// # Errors
    ///
    /// As [`RepositoryLayer::save_parent`].
    pub fn commit(&self) -> Result<()> {
        self.layer.save_parent()
    }

    /// The directories of the mount for reading, the lowest first: the layers, and what repairs the attributes of
    /// directories.
    ///
    /// # Errors
    ///
    /// [`Reason::LayerUnknown`] if one is gone.
    pub fn directories(&self) -> Result<BottomFirst<PathBuf>> {
        let store = self.layer.repository().store();
        let lowers = store.lowers(self.layer.chain())?;
        let paths = lowers.dirs().map(|dir| Ok(dir?.path().to_owned()));
        let mut paths = paths.collect::<Result<Vec<_>>>()?;
        paths.reverse();
        Ok(BottomFirst(paths))
    }
}
