//! Layers from the content store.

use std::io::{self, Read};

use oci_cas::{Algorithm, Digest, Store as Blobs, StoreExt};

use crate::archive::{Compression, Decoder};
use crate::error::{Result, ResultExt};
use crate::image::{Descriptor, DiffId, LAYER, LayerCompression, MediaKind};
use crate::layer::LayerSource;
use crate::store::{LayerProvider, Reason};

/// The largest document that is read, in bytes.
const DOCUMENT_SIZE: u64 = 20 << 20;

/// The layers of an image, bottom first; those without a descriptor are not at hand.
pub(super) struct BlobLayers<'a> {
    pub blobs: &'a dyn Blobs,
    pub layers: Vec<Option<Descriptor>>,
}

impl LayerProvider for BlobLayers<'_> {
    fn open(&self, index: usize) -> Result<Box<dyn LayerSource + '_>> {
        let Some(Some(layer)) = self.layers.get(index) else {
            let message = format!("layer {index}: its blob is not at hand");
            return Err(Reason::ImageCompose.error(message));
        };
        Ok(Box::new(BlobLayer::open(self.blobs, layer)?))
    }
}

/// The uncompressed stream of a blob.
pub(super) struct BlobLayer<'a> {
    decoder: Decoder<'static>,
    blobs: &'a dyn Blobs,
    digest: Digest,
    size: u64,
}

impl<'a> BlobLayer<'a> {
    pub fn open(blobs: &'a dyn Blobs, layer: &Descriptor) -> Result<Self> {
        let compression = match layer.kind() {
            MediaKind::Layer(LayerCompression::None) => Compression::None,
            MediaKind::Layer(LayerCompression::Gzip) => Compression::Gzip,
            MediaKind::Layer(LayerCompression::Zstd) => Compression::Zstd,
            _ => {
                let media_type = layer.media_type();
                let message = format!("layer {}: {media_type:?} is not a layer", layer.digest());
                return Err(Reason::InvalidLayer.error(message));
            }
        };
        let (digest, size) = (layer.digest().clone(), layer.size());
        let blob = blobs.open_verified(&digest, size)?;
        Ok(Self {
            decoder: Decoder::new(blob, compression)?,
            blobs,
            digest,
            size,
        })
    }
}

impl Read for BlobLayer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer)
    }
}

impl LayerSource for BlobLayer<'_> {
    fn verdict(&mut self) -> Result<()> {
        // The decoder has the first reader. Failures are rare enough to read once more.
        let mut blob = self.blobs.open_verified(&self.digest, self.size)?;
        io::copy(&mut blob, &mut io::sink())
            .map(|_| ())
            .context(|| format!("read blob {}", self.digest))
    }
}

/// The blob that is the stream of a layer itself, if there is one.
pub(super) fn plain_blob(blobs: &dyn Blobs, diff_id: &DiffId) -> Result<Option<Descriptor>> {
    let size = blobs.stat(&diff_id.0)?;
    Ok(size.map(|size| Descriptor::new(LAYER, diff_id.0.clone(), size)))
}

/// Stores a document.
pub(super) fn put(blobs: &dyn Blobs, media_type: &str, document: &[u8]) -> Result<Descriptor> {
    let digest = blobs.put(Algorithm::Sha256, document)?;
    Ok(Descriptor::new(media_type, digest, document.len() as u64))
}

/// Reads a document.
pub(super) fn read_document(blobs: &dyn Blobs, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let (digest, size) = (descriptor.digest(), descriptor.size());
    if size > DOCUMENT_SIZE {
        let message = format!("document {digest}: {size} bytes are more than {DOCUMENT_SIZE}");
        return Err(Reason::ImageCompose.error(message));
    }
    blobs
        .read_verified(digest, size)
        .context(|| format!("read document {digest}"))
        .map_err(|error| Reason::ImageCompose.of_error(error))
}
