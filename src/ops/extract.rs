//! From a manifest to a root: every layer verified, decompressed and applied in one pass.
//!
//! What each layer must be is known beforehand: the digest and size of its blob from the manifest, the digest of its
//! stream from the configuration. Both are checked as the bytes pass; whoever uses the root must therefore keep it out
//! of sight until this is through.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use oci_cas::Digest;

use super::read_ahead::ReadAhead;
use super::unpack::{LayerCallback, UnpackOptions};
use crate::archive::{Compression, Decoder};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::tree::Tree;
use crate::fs::{Inode, Metadata, Root, Times};
use crate::image::{
    Descriptor, DiffId, ImageConfig, LayerCompression, Manifest, MediaKind, Platform,
};
use crate::layer::{Applied, ApplyOptions, LayerSource, apply_layers};
use crate::layout::{DescriptorPath, ImageSource, Layout, LeasedLayout};
use crate::progress::{Event, Progress};

/// A layer of an image, and all that it must be.
pub(super) struct Layer<'a> {
    /// Place in the image.
    pub index: usize,
    pub descriptor: &'a Descriptor,
    pub diff_id: &'a DiffId,
    compression: Compression,
}

impl Layer<'_> {
    /// Checks that the stream that was read is the one that the configuration promised.
    pub(super) fn check(&self, got: &Digest) -> Result<()> {
        if *got == self.diff_id.0 {
            return Ok(());
        }
        let (digest, expected) = (self.descriptor.digest(), &self.diff_id.0);
        let message = format!("layer {digest}: diffid mismatch: expected {expected}, got {got}");
        Err(Error::new(ErrorKind::Verification, message))
    }
}

/// Checks that an image can be unpacked, and pairs its layers with what their content must be.
pub(super) fn layers<'a>(
    manifest: &'a Manifest,
    config: &'a ImageConfig,
) -> Result<Vec<Layer<'a>>> {
    if config.rootfs_type() != "layers" {
        let message = format!(
            "the image's rootfs.type is {:?}, not \"layers\"",
            config.rootfs_type()
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let (blobs, diff_ids) = (manifest.layers.len(), config.diff_ids().len());
    if blobs != diff_ids {
        let message = format!(
            "the manifest has {blobs} layers, but the configuration has {diff_ids} diff IDs"
        );
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    let pairs = manifest.layers.iter().zip(config.diff_ids()).enumerate();
    pairs
        .map(|(index, (descriptor, diff_id))| {
            let compression = match descriptor.kind() {
                MediaKind::Layer(LayerCompression::None) => Compression::None,
                MediaKind::Layer(LayerCompression::Gzip) => Compression::Gzip,
                MediaKind::Layer(LayerCompression::Zstd) => Compression::Zstd,
                _ => {
                    let message = format!(
                        "layer {}: unknown media type {:?}",
                        descriptor.digest(),
                        descriptor.media_type()
                    );
                    return Err(Error::new(ErrorKind::Unsupported, message));
                }
            };
            Ok(Layer {
                index,
                descriptor,
                diff_id,
                compression,
            })
        })
        .collect()
}

/// Leaves out the layers below the one that an earlier call ended before.
fn skip_to<'a>(mut layers: Vec<Layer<'a>>, options: &UnpackOptions) -> Result<Vec<Layer<'a>>> {
    if let Some(start) = &options.start_from {
        let Some(place) = layers
            .iter()
            .position(|layer| layer.descriptor.digest() == start)
        else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("start from layer {start}: the image has no such layer"),
            ));
        };
        layers.drain(..place);
    }
    Ok(layers)
}

/// An image of a layout.
#[derive(Clone, Copy)]
pub(super) struct Image<'a> {
    pub layout: &'a LeasedLayout,
    /// From the entry in the index to the manifest; empty if it is not known.
    pub path: &'a [Descriptor],
    pub manifest: &'a Manifest,
    pub config: &'a ImageConfig,
}

impl Image<'_> {
    /// Checks what can be checked without reading a layer.
    pub(super) fn check(&self) -> Result<()> {
        layers(self.manifest, self.config).map(|_| ())
    }
}

/// An image that was found by its name.
pub(super) struct Found {
    layout: LeasedLayout,
    path: DescriptorPath,
    manifest: Manifest,
    config: ImageConfig,
}

impl Found {
    pub(super) fn open(source: &dyn ImageSource, platform: Option<&Platform>) -> Result<Self> {
        let (layout, path) = source.open(platform)?;
        Self::of(layout, path)
    }

    /// An image of a layout, by the way to its manifest.
    pub(super) fn at(layout: &std::path::Path, path: DescriptorPath) -> Result<Self> {
        Self::of(LeasedLayout::open(layout)?, path)
    }

    fn of(layout: LeasedLayout, path: DescriptorPath) -> Result<Self> {
        let manifest = layout.manifest(path.target())?;
        let config = layout.image_config(&manifest)?;
        Ok(Self {
            layout,
            path,
            manifest,
            config,
        })
    }

    /// From the entry in the index to the manifest.
    pub(super) fn path(&self) -> &DescriptorPath {
        &self.path
    }

    pub(super) fn image(&self) -> Image<'_> {
        Image {
            layout: &self.layout,
            path: &self.path.0,
            manifest: &self.manifest,
            config: &self.config,
        }
    }
}

/// What the root is that an image is extracted to, and what is wanted beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// It may have something in it.
    Existing,
    /// It is empty and nobody else's.
    Fresh,
    /// It is empty and nobody else's, and a record of what was made is wanted.
    Recorded,
}

/// Applies the layers of an image to a root and returns the record of what was made, if the target asks for it.
///
/// On failure the root holds part of the image.
pub(super) fn extract(
    image: Image<'_>,
    root: &Root,
    target: Target,
    options: &UnpackOptions,
    progress: &dyn Progress,
    after_layer: LayerCallback<'_>,
) -> Result<Tree> {
    let Image {
        layout,
        manifest,
        config,
        ..
    } = image;
    let layers = skip_to(layers(manifest, config)?, options)?;
    let count = manifest.layers.len();
    let mut apply = ApplyOptions::new(options.map_options.clone());
    apply.keep_dirlinks = options.keep_dirlinks;
    apply.max_size = options.max_size;
    let fresh = target != Target::Existing;
    apply.file_digests = target == Target::Recorded;
    apply.fresh = fresh;
    if options.start_from.is_none() {
        prepare_root(root, fresh, options)?;
    }
    let wanted: Vec<Descriptor> = layers.iter().map(|it| it.descriptor.clone()).collect();
    layout.announce(&wanted)?;
    let sources = layers.iter().map(|layer| {
        let descriptor = layer.descriptor;
        let (digest, size) = (descriptor.digest(), descriptor.size());
        progress.event(Event::LayerStarted {
            index: layer.index,
            count,
            digest,
            size,
        });
        let source =
            LayerReader::open(layout, layer, progress).context(|| format!("layer {digest}"))?;
        Ok((layer.diff_id.0.algorithm(), source))
    });
    apply_layers(sources, root, &apply, progress, |applied: Applied| {
        let layer = &layers[applied.index];
        layer.check(&applied.digest)?;
        progress.event(Event::LayerFinished { index: layer.index });
        after_layer(manifest, layer.descriptor)
    })
}

/// Gives the root what it has when no layer says anything of it.
fn prepare_root(root: &Root, fresh: bool, options: &UnpackOptions) -> Result<()> {
    let owner = (!options.map_options.rootless)
        .then(|| options.map_options.to_host(0, 0))
        .transpose()?;
    let mode = fresh.then_some(0o755);
    let metadata = Metadata {
        owner,
        mode,
        xattrs: Vec::new(),
        clear_xattrs: fresh,
        times: Times::EPOCH,
    };
    Inode::of(root.dir()).apply(&metadata, crate::fs::Rules::default(), &mut |_| {})
}

/// The stream of a layer: verified below, decompressed above.
pub(super) struct LayerReader<'a> {
    decoder: Decoder<'static>,
    blob: SharedBlob,
    digest: Digest,
    index: usize,
    progress: &'a dyn Progress,
}

/// The blob, which the decoder reads and the layer closes. Both are in one thread; the lock is never waited for.
#[derive(Clone)]
struct SharedBlob(Arc<Mutex<ReadAhead>>);

impl SharedBlob {
    fn with<T>(&self, work: impl FnOnce(&mut ReadAhead) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Read for SharedBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|blob| blob.read(buffer))
    }
}

impl<'a> LayerReader<'a> {
    pub(super) fn open(
        layout: &Layout,
        layer: &Layer<'_>,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let blob = SharedBlob(Arc::new(Mutex::new(ReadAhead::start(
            layout.open_blob(layer.descriptor)?,
        )?)));
        let decoder = match Decoder::new(blob.clone(), layer.compression) {
            Ok(decoder) => decoder,
            // If the blob is not what the manifest promised, that is why.
            Err(error) => {
                return Err(blob
                    .with(ReadAhead::finish)
                    .map_or_else(Error::from, |_| error));
            }
        };
        Ok(Self {
            decoder,
            blob,
            digest: layer.descriptor.digest().clone(),
            index: layer.index,
            progress,
        })
    }

    /// Reads what the decoder left of the blob, and checks all of it. Returns how many bytes were left.
    fn close(&self) -> Result<u64> {
        let closed = self.blob.with(ReadAhead::finish);
        closed.context(|| format!("layer {}", self.digest))
    }

    /// What is to be done where the stream ends.
    fn finish(&self) -> Result<()> {
        let left = self.close()?;
        if left > 0 {
            self.progress.warn(format_args!(
                "layer {}: {left} bytes after the end of the stream",
                self.index
            ));
        }
        Ok(())
    }
}

impl Read for LayerReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        let position = self.blob.with(|blob| blob.position());
        self.progress.event(Event::LayerAdvanced {
            index: self.index,
            position,
        });
        if count == 0 && !buffer.is_empty() {
            self.finish()?;
        }
        Ok(count)
    }
}

impl LayerSource for LayerReader<'_> {
    fn verdict(&mut self) -> Result<()> {
        self.close().map(drop)
    }
}
