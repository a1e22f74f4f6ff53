//! A layer on its way into the store, in one pass:
//!
//! ```text
//! producer -> Tee (diff ID, size) -> Encoder -> buffer -> ingest (digest, size)
//! ```

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use oci_cas::{Algorithm, Hasher};

use super::Layout;
use crate::archive::{Compression, Encoder, EncoderOptions};
use crate::image::{
    Descriptor, DiffId, Document, LAYER, LayerCompression, Manifest, MediaKind, object_mut,
    set_annotations,
};
use crate::{Result, ResultExt};

/// Annotation of a layer: size of the uncompressed stream in bytes, decimal.
pub const UNCOMPRESSED_SIZE: &str = "ci.umo.uncompressed_blob_size";

/// Bytes that are written to the store at a time.
const BUFFER_SIZE: usize = 256 << 10;

impl Layout {
    /// Stores a layer: `produce` writes its uncompressed tar stream to the writer that it is given. The stream is hashed,
    /// compressed and stored in one pass, and never held as a whole.
    ///
    /// Returns the layer's descriptor and diff ID. The descriptor has `annotations`, and the size of the stream in bytes
    /// as [`UNCOMPRESSED_SIZE`] where it differs from the blob's, which it does not without compression. The blob is safe
    /// from [`Layout::gc`] until this layout object next changes the index.
    ///
    /// # Errors
    ///
    /// Those of `produce`, of the encoder's options, and of writing. Nothing is left behind.
    pub fn store_layer(
        &self,
        options: EncoderOptions,
        annotations: &BTreeMap<String, String>,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
    ) -> Result<(Descriptor, DiffId)> {
        let storing = || format!("store a layer in {}", self.path.display());
        let ingest = self.store().ingest(Algorithm::Sha256).context(storing)?;
        let buffer = BufWriter::with_capacity(BUFFER_SIZE, ingest);
        let mut tee = Tee {
            out: Encoder::new(buffer, options)?,
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
        };
        produce(&mut tee)?;
        let buffer = tee.out.finish().context(|| "compress a layer")?;
        let ingest = buffer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .context(storing)?;
        let (digest, blob_size) = ingest.commit().context(storing)?;
        let mut annotations = annotations.clone();
        if tee.size != blob_size {
            annotations.insert(UNCOMPRESSED_SIZE.to_owned(), tee.size.to_string());
        }
        let media_type = format!("{LAYER}{}", suffix(options.compression));
        let mut descriptor = Descriptor::new(&media_type, digest, blob_size).to_value();
        set_annotations(
            Document::Descriptor,
            object_mut(&mut descriptor)?,
            &annotations,
        )?;
        let diff_id = DiffId(tee.hasher.finish());
        Ok((Descriptor::from_value(&descriptor)?, diff_id))
    }

    /// The compression that a new layer of this image should have: that of the topmost layer that is compressed in a
    /// known way, else gzip. Hence never none.
    #[allow(
        clippy::unused_self,
        reason = "which compressions there are may become a matter of the layout"
    )]
    pub fn auto_compression(&self, manifest: &Manifest) -> Compression {
        let known = |layer: &Descriptor| match layer.kind() {
            MediaKind::Layer(LayerCompression::Gzip) => Some(Compression::Gzip),
            MediaKind::Layer(LayerCompression::Zstd) => Some(Compression::Zstd),
            MediaKind::Layer(LayerCompression::None) => None,
            _ => match layer.media_type().rsplit_once('+')?.1 {
                "gzip" => Some(Compression::Gzip),
                "zstd" => Some(Compression::Zstd),
                _ => None,
            },
        };
        let mut layers = manifest.layers.iter().rev();
        layers.find_map(known).unwrap_or(Compression::Gzip)
    }
}

/// The size of a layer's uncompressed stream in bytes, as far as it is known without reading the layer.
pub fn uncompressed_size(layer: &Descriptor) -> Option<u64> {
    match layer.kind() {
        MediaKind::Layer(LayerCompression::None) => Some(layer.size()),
        _ => layer.annotation(UNCOMPRESSED_SIZE)?.parse().ok(),
    }
}

fn suffix(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "",
        Compression::Gzip => "+gzip",
        Compression::Zstd => "+zstd",
    }
}

/// Hashes and counts what passes.
struct Tee<W> {
    out: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.out.write(data)?;
        self.hasher.update(&data[..count]);
        self.size += count as u64;
        Ok(count)
    }

    /// Does nothing: the end of the stream is not the producer's to say, and a flush in its middle would cost
    /// compression.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
