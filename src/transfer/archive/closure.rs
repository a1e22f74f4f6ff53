//! The blobs that images consist of, and whether they are all there.
//!
//! An image is complete when every document and every layer below its descriptor is in the store with the size that is
//! promised, but for two things that the field leaves out on purpose: layers that must not be distributed, and, of an
//! index of several platforms, images that are not all there, as long as one is.

use std::collections::{BTreeMap, BTreeSet};

use oci_cas::{Digest, Store, StoreExt};

use super::DOCUMENT_SIZE;
use super::diff_id::check_counts;
use crate::image::{Descriptor, ImageConfig, Index, Manifest, MediaKind};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Indexes that may lie within each other.
const INDEX_DEPTH: usize = 32;

/// Most blobs of all images together.
const BLOB_COUNT: usize = 100_000;

/// Walks over images and collects their blobs.
pub(crate) struct Closure<'a> {
    blobs: &'a dyn Store,
    /// Documents that were read.
    read: BTreeSet<Digest>,
    /// What there is to copy: digests and sizes in bytes.
    found: BTreeMap<Digest, u64>,
    /// Those of them that are layers.
    layers: BTreeSet<Digest>,
    /// Layers that are left out, whether they are there or not.
    without: BTreeSet<Digest>,
}

impl<'a> Closure<'a> {
    /// Begins without an image.
    pub(crate) fn new(blobs: &'a dyn Store) -> Self {
        Self {
            blobs,
            read: BTreeSet::new(),
            found: BTreeMap::new(),
            layers: BTreeSet::new(),
            without: BTreeSet::new(),
        }
    }

    /// Leaves layers out.
    pub(crate) fn without(self, layers: &BTreeSet<Digest>) -> Self {
        Self {
            without: layers.clone(),
            ..self
        }
    }

    /// Adds an image: a manifest, or an index of some.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] for a missing blob, [`ErrorKind::Verification`] for one of another size or a document of
    /// another digest, [`ErrorKind::LimitExceeded`], or what is wrong with a document.
    pub(crate) fn add(&mut self, image: &Descriptor) -> Result<()> {
        self.add_document(image, 0)
            .context(|| format!("image {}", image.digest()))
    }

    /// Whether a blob is one of an image's.
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.found.contains_key(digest)
    }

    /// The blobs of all layers.
    pub(crate) fn into_layers(self) -> BTreeSet<Digest> {
        self.layers
    }

    /// The blobs of all images, each once, sorted by digest, with their sizes in bytes.
    pub(crate) fn into_blobs(self) -> BTreeMap<Digest, u64> {
        self.found
    }

    fn add_document(&mut self, descriptor: &Descriptor, depth: usize) -> Result<()> {
        self.add_blob(descriptor)?;
        let kind = descriptor.kind();
        if !matches!(kind, MediaKind::Index | MediaKind::Manifest)
            || !self.read.insert(descriptor.digest().clone())
        {
            return Ok(());
        }
        let bytes = read_document(self.blobs, descriptor)?;
        let parse = || format!("parse {}", descriptor.digest());
        if kind == MediaKind::Index {
            let index = Index::parse(&bytes, descriptor.media_type()).context(parse)?;
            return self.add_index(&index, depth);
        }
        let manifest = Manifest::parse(&bytes, descriptor.media_type()).context(parse)?;
        self.add_blob(&manifest.config)?;
        let without = std::mem::take(&mut self.without);
        let layers = manifest.layers.iter();
        for layer in layers.filter(|layer| !without.contains(layer.digest())) {
            if is_distributable(layer) || self.is_there(layer)? {
                self.add_blob(layer)?;
                self.layers.insert(layer.digest().clone());
            }
        }
        self.without = without;
        Ok(())
    }

    fn add_index(&mut self, index: &Index, depth: usize) -> Result<()> {
        if depth == INDEX_DEPTH {
            let message = format!("indexes lie more than {INDEX_DEPTH} deep in each other");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let (mut there, mut lacking) = (0, None);
        for child in &index.manifests {
            match self.add_document(child, depth + 1) {
                Ok(()) => there += 1,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    lacking.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match lacking {
            Some(error) if there == 0 => Err(error),
            _ => Ok(()),
        }
    }

    fn add_blob(&mut self, descriptor: &Descriptor) -> Result<()> {
        if !self.is_there(descriptor)? {
            return Err(missing(descriptor));
        }
        if self.blobs.stat(descriptor.digest())?.is_some() {
            let digest = descriptor.digest().clone();
            self.found.insert(digest, descriptor.size());
        }
        if self.found.len() > BLOB_COUNT {
            let message = format!("more than {BLOB_COUNT} blobs");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(())
    }

    /// Whether a blob is in the store, or in its own descriptor.
    fn is_there(&self, descriptor: &Descriptor) -> Result<bool> {
        match self.blobs.stat(descriptor.digest())? {
            None => Ok(descriptor.data().is_some()),
            Some(size) if size == descriptor.size() => Ok(true),
            Some(size) => {
                let message = format!(
                    "blob {} has {size} bytes, its descriptor says {}",
                    descriptor.digest(),
                    descriptor.size()
                );
                Err(Error::new(ErrorKind::Verification, message))
            }
        }
    }
}

fn missing(descriptor: &Descriptor) -> Error {
    let message = format!("blob {} is missing", descriptor.digest());
    Error::new(ErrorKind::NotFound, message)
}

/// Whether a layer must be there: those of a base system whose licence forbids to pass it on need not.
pub(crate) fn is_distributable(layer: &Descriptor) -> bool {
    let media_type = layer.media_type();
    !["nondistributable", "foreign"]
        .iter()
        .any(|word| media_type.contains(word))
}

/// Reads a document whole, of at most [`DOCUMENT_SIZE`] bytes, verified.
pub(crate) fn read_document(blobs: &dyn Store, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let (digest, size) = (descriptor.digest(), descriptor.size());
    if size > DOCUMENT_SIZE {
        let message = format!("document {digest} has {size} bytes, the limit is {DOCUMENT_SIZE}");
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    match descriptor.data() {
        Some(data) => Ok(data),
        None => blobs
            .read_verified(digest, size)
            .context(|| format!("read document {digest}")),
    }
}

/// An image of one platform, with its layers and their diff IDs in the same order.
pub(super) struct Image {
    pub(super) manifest: Manifest,
    pub(super) config: ImageConfig,
}

impl Image {
    /// Reads an image. `None` for what is none: an index, or a manifest of something else.
    ///
    /// # Errors
    ///
    /// As [`read_document`], what is wrong with a document, and [`ErrorKind::InvalidData`] when the numbers of layers and
    /// diff IDs differ.
    pub(super) fn read(blobs: &dyn Store, descriptor: &Descriptor) -> Result<Option<Self>> {
        if descriptor.kind() != MediaKind::Manifest {
            return Ok(None);
        }
        let bytes = read_document(blobs, descriptor)?;
        let manifest = Manifest::parse(&bytes, descriptor.media_type())?;
        if manifest.config.kind() != MediaKind::Config {
            return Ok(None);
        }
        let config = ImageConfig::parse(&read_document(blobs, &manifest.config)?)?;
        check_counts(manifest.layers.len(), config.diff_ids().len())?;
        Ok(Some(Self { manifest, config }))
    }
}
