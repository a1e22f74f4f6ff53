//! A layer and those below it.

use std::io::{self, Write};
use std::path::PathBuf;

use super::blobs::{BlobLayer, put};
use super::create::Repository;
use crate::error::{Result, ResultExt};
use crate::image::{
    CONFIG, ChainId, Descriptor, DiffId, ImageConfig, MANIFEST, empty_manifest, parse_json,
    to_go_json,
};
use crate::store::{Chain, LayerId, Reason, StoredImage};

/// The most layers that a stack has; overlayfs takes fewer, and the bottom ones are merged then.
const MAX_DEPTH: usize = 4096;

/// A list that begins with the lowest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BottomFirst<T>(pub Vec<T>);

/// A layer of a repository, with those that it lies on. It never changes.
#[derive(Clone, Debug)]
pub struct RepositoryLayer<'s> {
    repository: Repository<'s>,
    chain: Chain,
    diff_id: DiffId,
    id: ChainId,
}

impl<'s> RepositoryLayer<'s> {
    /// `chain` has at least one layer.
    pub(super) fn new(repository: Repository<'s>, chain: Chain) -> Self {
        let (Some(diff_id), Some(id)) = (chain.diff_ids.last().cloned(), chain.id.clone()) else {
            unreachable!("the callers name a layer, so the chain has one");
        };
        Self {
            repository,
            chain,
            diff_id,
            id,
        }
    }

    /// The layer by itself.
    pub fn id(&self) -> LayerId {
        LayerId::of(&self.diff_id)
    }

    /// The layer with those below it.
    pub fn chain_id(&self) -> &ChainId {
        &self.id
    }

    /// The digest of its stream.
    pub fn digest(&self) -> &DiffId {
        &self.diff_id
    }

    /// The digests of its stream and of those below it.
    pub fn diff_ids(&self) -> BottomFirst<DiffId> {
        BottomFirst(self.chain.diff_ids.clone())
    }

    /// Whether it, and all below it, is in the store now.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub fn exists(&self) -> Result<bool> {
        Ok(self
            .repository
            .store()
            .find_chain(Some(&self.id))?
            .is_some())
    }

    /// The directory with its own content, in the form of overlayfs: for reading.
    ///
    /// # Errors
    ///
    /// [`Reason::LayerUnknown`] if it is gone.
    pub fn path(&self) -> Result<PathBuf> {
        let layer = self.repository.store().layer(&self.id())?;
        Ok(layer.content()?.path().to_owned())
    }

    /// What it lies on; `None` for the lowest.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidLayer`] if there is no record of that.
    pub fn load_parent(&self) -> Result<Option<Self>> {
        let Some(id) = self.chain.parent() else {
            return Ok(None);
        };
        let parent = self.repository.store().recorded_chain(Some(&id))?;
        let Some(chain) = parent else {
            let message = format!("layer {}: no record of {id}, which it lies on", self.id);
            return Err(Reason::InvalidLayer
                .error(message)
                .with_hint("the records can be made again: save_parent"));
        };
        Ok(Some(Self::new(self.repository.clone(), chain)))
    }

    /// All that it lies on, down to the lowest. Records cannot lead in a circle: each has the name that all below it give
    /// it, and one with another name is refused.
    ///
    /// # Errors
    ///
    /// As [`load_parent`](Self::load_parent); [`Reason::InvalidLayer`] for more than 4096 layers.
    pub fn restore_parent(&self) -> Result<BottomFirst<Self>> {
        let mut below = Vec::new();
        let mut current = self.load_parent()?;
        while let Some(layer) = current {
            if below.len() >= MAX_DEPTH {
                let message = format!("layer {}: more than {MAX_DEPTH} below it", self.id);
                return Err(Reason::InvalidLayer.error(message));
            }
            current = layer.load_parent()?;
            below.push(layer);
        }
        below.reverse();
        Ok(BottomFirst(below))
    }

    /// Makes the records of all that it lies on, as far as they are missing. Saving twice is fine.
    ///
    /// # Errors
    ///
    /// [`Reason::ImageCompose`] or [`Reason::LayerUnknown`] if the layers are needed for that and are not there.
    pub fn save_parent(&self) -> Result<()> {
        for count in 1..=self.chain.diff_ids.len() {
            self.repository.stack(&self.chain.diff_ids[..count])?;
        }
        Ok(())
    }

    /// Writes its stream, byte for byte as it was, and returns the number of bytes.
    ///
    /// # Errors
    ///
    /// [`Reason::ImageCompose`] if the content store has no blob of it; [`Reason::WrongDiffId`] if that is another one;
    /// those of the writer. What was written is no whole stream then.
    pub fn pack(&self, writer: &mut dyn Write) -> Result<u64> {
        let mut hashed = Hashed {
            writer,
            hasher: oci_cas::Hasher::new(self.diff_id.0.algorithm()),
        };
        let mut stream = BlobLayer::open(self.repository.blobs(), &self.blob(&self.diff_id)?)?;
        let size = io::copy(&mut stream, &mut hashed)
            .context(|| format!("pack layer {}", self.diff_id))?;
        let got = hashed.hasher.finish();
        if got != self.diff_id.0 {
            let message = format!("pack layer {}: its blob has {got}", self.diff_id);
            return Err(Reason::WrongDiffId.error(message));
        }
        Ok(size)
    }

    /// Makes an image of it and those below it: with this configuration, of which only the layers are replaced. It needs
    /// a name ([`Store::tag`](crate::store::Store::tag)) to be found by one.
    ///
    /// # Errors
    ///
    /// [`Reason::ImageCompose`] if a blob is missing, or if the document is no configuration. No image is left then.
    pub fn save_config(&self, config: &[u8]) -> Result<StoredImage> {
        let compose = |error| Reason::ImageCompose.of_error(error);
        let blobs = self.repository.blobs();
        let diff_ids = &self.chain.diff_ids;
        let layers = diff_ids.iter().map(|diff_id| self.blob(diff_id));
        let layers = layers.collect::<Result<Vec<_>>>()?;

        ImageConfig::parse(config).map_err(compose)?;
        let mut document = parse_json(config).map_err(compose)?;
        let names = diff_ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        document["rootfs"] = serde_json::json!({"type": "layers", "diff_ids": names});
        let config = put(blobs, CONFIG, &to_go_json(&document))?;

        let mut manifest = parse_json(&empty_manifest(&config))?;
        manifest["layers"] = layers.iter().map(Descriptor::to_value).collect();
        let manifest = put(blobs, MANIFEST, &to_go_json(&manifest))?;

        let layout = self.repository.layout().to_owned();
        let image = StoredImage::new(manifest, config, layers, diff_ids.clone(), layout);
        self.repository.store().add_image(&image)?;
        Ok(image)
    }

    /// Takes it off those that it lies on.
    ///
    /// # Errors
    ///
    /// As [`Repository::remove_layer`].
    pub fn remove(self) -> Result<()> {
        self.repository.remove_layer(&self.id)
    }

    pub(super) fn repository(&self) -> &Repository<'s> {
        &self.repository
    }

    pub(super) fn chain(&self) -> &Chain {
        &self.chain
    }

    fn blob(&self, diff_id: &DiffId) -> Result<Descriptor> {
        self.repository.find_blob(diff_id)?.ok_or_else(|| {
            let message = format!("layer {diff_id}: the content store has no blob of it");
            Reason::ImageCompose.error(message)
        })
    }
}

/// Hashes what is written.
struct Hashed<'w> {
    writer: &'w mut dyn Write,
    hasher: oci_cas::Hasher,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.writer.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
