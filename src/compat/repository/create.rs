//! Layers come and go.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_cas::{Algorithm, Store as Blobs};

use super::blobs::{BlobLayers, plain_blob};
use super::image::Image;
use super::layer::RepositoryLayer;
use crate::compat::asset::LayerContent;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::names::absolute;
use crate::fs::staging::Staging;
use crate::image::{ChainId, Descriptor, DiffId};
use crate::progress::Silent;
use crate::store::trash::TrashEntry;
use crate::store::{Chain, Container, ContainerMeta, Key, LayerId, Reason, Store, UnpackLimits};

/// Layers and images, over a store and the content store that has the blobs.
#[derive(Clone)]
pub struct Repository<'s> {
    store: &'s Store,
    blobs: &'s dyn Blobs,
    layout: PathBuf,
}

impl std::fmt::Debug for Repository<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("store", &self.store.path())
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// What something is laid on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent<'a> {
    /// Nothing.
    Empty,
    /// A layer with those below it.
    Layer(&'a ChainId),
    /// A container. It changes, so nothing can be laid on it: it must be committed first.
    Container(&'a Key),
}

/// Whether something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was made.
    New,
    /// It was there.
    Already,
}

impl<'s> Repository<'s> {
    /// Takes a store, and the content store of the image layout at a path. Nothing is read: whatever others have put into
    /// the store is there.
    ///
    /// # Errors
    ///
    /// Fails if the path has no absolute form.
    pub fn new(store: &'s Store, blobs: &'s dyn Blobs, layout: &Path) -> Result<Self> {
        let layout = absolute(layout)?;
        Ok(Self {
            store,
            blobs,
            layout,
        })
    }

    /// The store: for names, containers, and all that needs no repository.
    pub fn store(&self) -> &'s Store {
        self.store
    }

    pub(super) fn blobs(&self) -> &'s dyn Blobs {
        self.blobs
    }

    pub(super) fn layout(&self) -> &Path {
        &self.layout
    }

    /// Makes an empty directory for changes on a layer.
    ///
    /// # Errors
    ///
    /// [`Reason::ParentNotCommitted`] if it is to lie on a container; [`Reason::LayerUnknown`] if the layer is not there;
    /// those of [`Store::prepare`]. Nothing is left then.
    pub fn create_layer(&self, key: &Key, parent: Parent<'_>) -> Result<Container> {
        let chain = match self.parent_chain(parent)? {
            Some(chain) => chain,
            None => self.stack(&[])?,
        };
        self.store.prepare(key, &chain, ContainerMeta::default())
    }

    /// Makes a layer of a tar file or a directory, on top of another one.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidAsset`] if the asset is not there, or something else is; otherwise as
    /// [`unpack_layer`](Self::unpack_layer).
    pub fn create_layer_from_asset(
        &self,
        asset: &mut dyn LayerContent,
        parent: Parent<'_>,
    ) -> Result<(RepositoryLayer<'s>, Created)> {
        let below = self.parent_chain(parent)?;
        let mut blob = self.blobs.ingest(Algorithm::Sha256)?;
        asset.pack(&mut blob).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::NotFound => Reason::InvalidAsset.of_error(error),
            _ => error,
        })?;
        let (digest, _) = blob.commit()?;
        self.lay(below.as_ref(), DiffId(digest))
    }

    /// Makes a layer of an uncompressed tar stream, on top of another one. The stream goes into the content store as it
    /// is, so that the layer can be packed again and exported. A layer that is there already, on the same ones, is fine.
    ///
    /// # Errors
    ///
    /// [`Reason::ParentNotCommitted`], [`Reason::LayerUnknown`] of the parent; those of the stream, of the content store and
    /// of [`Store::unpack`]. The blob may stay then, and no layer.
    pub fn unpack_layer(
        &self,
        stream: &mut dyn Read,
        parent: Parent<'_>,
    ) -> Result<(RepositoryLayer<'s>, Created)> {
        let below = self.parent_chain(parent)?;
        let mut blob = self.blobs.ingest(Algorithm::Sha256)?;
        io::copy(stream, &mut blob).context(|| "read the stream of a layer")?;
        let (digest, _) = blob.commit()?;
        self.lay(below.as_ref(), DiffId(digest))
    }

    fn lay(
        &self,
        below: Option<&Chain>,
        diff_id: DiffId,
    ) -> Result<(RepositoryLayer<'s>, Created)> {
        let mut diff_ids = below
            .map(|chain| chain.diff_ids.clone())
            .unwrap_or_default();
        diff_ids.push(diff_id);
        let known = self.store.find_chain(ChainId::of(&diff_ids).as_ref())?;
        let created = if known.is_some() {
            Created::Already
        } else {
            Created::New
        };
        let chain = self.stack(&diff_ids)?;
        Ok((RepositoryLayer::new(self.clone(), chain), created))
    }

    /// Lays a layer that is in the store on another one. With `again` it is looked at anew how it lies there.
    ///
    /// # Errors
    ///
    /// [`Reason::LayerExists`] if it lies there already, unless `again`; [`Reason::LayerUnknown`] if one of them is not in
    /// the store; [`Reason::ParentNotCommitted`].
    pub fn add_layer(
        &self,
        diff_id: &DiffId,
        parent: Parent<'_>,
        again: bool,
    ) -> Result<RepositoryLayer<'s>> {
        let below = self.parent_chain(parent)?;
        let mut diff_ids = below.map(|chain| chain.diff_ids).unwrap_or_default();
        diff_ids.push(diff_id.clone());
        self.store.layer(&LayerId::of(diff_id))?;
        let chain = if again {
            let _in_use = self.store.shared()?;
            self.store
                .register(&diff_ids, &self.provider(&diff_ids)?, &Silent)?
        } else {
            if self
                .store
                .find_chain(ChainId::of(&diff_ids).as_ref())?
                .is_some()
            {
                let message = format!("layer {diff_id}: it lies on these layers already");
                return Err(Reason::LayerExists.error(message));
            }
            self.stack(&diff_ids)?
        };
        Ok(RepositoryLayer::new(self.clone(), chain))
    }

    /// Takes a layer off those that it lies on, and deletes its content if it lies nowhere else.
    ///
    /// # Errors
    ///
    /// [`Reason::LayerUnknown`] if there is none; [`Reason::InUse`] if a container, a mount, an image or a committed snapshot
    /// has it on top;
    /// [`Reason::HasChildren`] if something lies on it. It stays then. Whoever dies on the way leaves what
    /// [`Store::gc`] takes.
    pub fn remove_layer(&self, id: &ChainId) -> Result<()> {
        let mut thrown = Vec::new();
        {
            let _alone = self.store.exclusive()?;
            let chain = self.recorded(id)?;
            self.check_unused(id)?;
            let mut elsewhere = Vec::new();
            for other in self.store.chains()?.into_iter().flatten() {
                let Some(other) = self.store.recorded_chain(Some(&other))? else {
                    continue;
                };
                if other.id == chain.id {
                    continue;
                }
                if other.diff_ids.starts_with(&chain.diff_ids) {
                    let top = other.id.as_ref().map(ToString::to_string);
                    let message = format!("layer {id}: {} lies on it", top.unwrap_or_default());
                    return Err(Reason::HasChildren.error(message));
                }
                elsewhere.extend(other.needs());
            }
            self.store.remove_chain(Some(id))?;
            let top = chain.diff_ids.last();
            for layer in &chain.needs() {
                let is_own = layer.diff_id().as_ref() == top && !elsewhere.contains(layer);
                if is_own && self.store.layers()?.contains(layer) {
                    let parent = self.store.layer_parent(layer)?;
                    let name = layer.place().1.as_bytes();
                    thrown.push(self.store.throw_away(&parent, name)?);
                }
            }
        }
        thrown.into_iter().try_for_each(TrashEntry::empty)
    }

    fn check_unused(&self, id: &ChainId) -> Result<()> {
        let fail = |by: String| Err(Reason::InUse.error(format!("layer {id}: {by}")));
        for container in self.store.containers()? {
            if container.meta().chain.as_ref() == Some(id) {
                return fail(format!("container {} lies on it", container.key()));
            }
        }
        for mount in self.store.mounts()? {
            if mount.chain.as_ref() == Some(id) && mount.is_live()? {
                return fail(format!("mounted on {}", mount.target.display()));
            }
        }
        for image in self.store.images()? {
            if image.chain_id().as_ref() == Some(id) {
                return fail(format!("image {} has it", image.digest()));
            }
        }
        for snapshot in self.store.committed_snapshots()? {
            if snapshot.chain.as_ref() == Some(id) {
                return fail(format!("snapshot {:?} is of it", snapshot.name));
            }
        }
        Ok(())
    }

    /// A layer by itself and those below it.
    ///
    /// # Errors
    ///
    /// [`Reason::LayerUnknown`] if it, or one below it, is not in the store.
    pub fn layer(&self, id: &ChainId) -> Result<RepositoryLayer<'s>> {
        let chain = self.store.chain(Some(id))?;
        Ok(RepositoryLayer::new(self.clone(), chain))
    }

    /// The image that has this layer on top. One that the store has the configuration of is found with it.
    ///
    /// # Errors
    ///
    /// As [`layer`](Self::layer).
    pub fn new_image(&self, top: &ChainId) -> Result<Image<'s>> {
        let layer = self.layer(top)?;
        let images = self.store.images()?.into_iter();
        let stored = images
            .filter(|image| image.chain_id().as_ref() == Some(top))
            .max_by_key(|image| image.created);
        Ok(Image::new(layer, stored))
    }

    /// A directory of the caller's own in the store, on the same file system as the layers. It goes when it is dropped,
    /// and when a process that was killed had it, with the next one.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be made.
    pub fn temp_dir(&self) -> Result<Staging> {
        self.store.staging()
    }

    pub(super) fn recorded(&self, id: &ChainId) -> Result<Chain> {
        self.store
            .recorded_chain(Some(id))?
            .ok_or_else(|| Reason::LayerUnknown.error(format!("layer {id}: not in the repository")))
    }

    /// Stacks layers, of which those that are missing come from the content store.
    pub(super) fn stack(&self, diff_ids: &[DiffId]) -> Result<Chain> {
        let provider = self.provider(diff_ids)?;
        self.store
            .unpack(diff_ids, &provider, &UnpackLimits::default(), &Silent)
    }

    fn provider(&self, diff_ids: &[DiffId]) -> Result<BlobLayers<'s>> {
        let layers = diff_ids.iter().map(|diff_id| self.find_blob(diff_id));
        Ok(BlobLayers {
            blobs: self.blobs,
            layers: layers.collect::<Result<_>>()?,
        })
    }

    /// A blob of the content store that a layer can be made of, if there is one.
    pub(super) fn find_blob(&self, diff_id: &DiffId) -> Result<Option<Descriptor>> {
        if let Some(plain) = plain_blob(self.blobs, diff_id)? {
            return Ok(Some(plain));
        }
        for (image, place) in self.store.images_with_layer(diff_id)? {
            if let Some(blob) = image.layers.get(place)
                && self.blobs.stat(blob.digest())?.is_some()
            {
                return Ok(Some(blob.clone()));
            }
        }
        Ok(None)
    }

    fn parent_chain(&self, parent: Parent<'_>) -> Result<Option<Chain>> {
        match parent {
            Parent::Empty => Ok(None),
            Parent::Layer(id) => self.store.chain(Some(id)).map(Some),
            Parent::Container(key) => {
                // Whether there is one at all is the better answer.
                self.store.container(key)?;
                let message =
                    format!("container {key}: nothing can be laid on it while it changes");
                Err(Error::with_hint(
                    Reason::ParentNotCommitted.error(message),
                    "commit it first, and use the layer that it becomes",
                ))
            }
        }
    }
}
