//! Layers in: from blobs to committed snapshots, each named by the chain that it is the top of.
//!
//! The digest of what a blob holds is compared before its snapshot gets a name; whoever finds the name finds all of it.
//! [`apply_layers`] knows nothing but the contract, and so unpacks one layer over the other: what layers say of those
//! below them cannot be put right afterwards by a snapshotter that only knows directories.
//! [`StoreSnapshots::unpack`](super::StoreSnapshots::unpack) does it side by side.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use oci_cas::{Algorithm, StoreExt, VerifyingReader};

use super::contract::{Mount, SnapshotOptions, Snapshotter};
use super::mounter::Mounter;
use crate::archive::{Compression, Decoder};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::names::unique_name;
use crate::fs::{Access, Root};
use crate::image::{ChainId, Descriptor, DiffId, LAYER, LayerCompression, MediaKind};
use crate::layer::{self, ApplyOptions, LayerSource};
use crate::progress::Silent;
use crate::store::{LayerProvider, Reason};

/// The label by which a snapshotter may know what a snapshot is going to be.
pub(super) const TARGET: &str = "containerd.io/snapshot.ref";
/// The label that tells the topmost layer of a committed snapshot.
const DIFF_ID: &str = "containerd.io/snapshot/diff-id";

/// How often a name that is taken is tried anew.
const ATTEMPTS: usize = 8;

/// A layer, as what it is and as what it comes as.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerDesc {
    /// The uncompressed stream; only its digest counts.
    pub diff: Descriptor,
    /// The blob.
    pub blob: Descriptor,
}

impl LayerDesc {
    /// The digest of the uncompressed stream.
    pub fn diff_id(&self) -> DiffId {
        DiffId(self.diff.digest().clone())
    }
}

/// What applying a layer has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was unpacked.
    Unpacked,
    /// It was there already.
    Existed,
}

/// Unpacks blobs onto mounts.
pub trait Applier {
    /// Applies the layer that a blob has to what mounts show, and tells of the uncompressed stream: its digest by the
    /// algorithm, and its size.
    ///
    /// # Errors
    ///
    /// Fails if the blob is not what its descriptor says, or no layer, or if it cannot be unpacked. Part of it may be there
    /// then.
    fn apply(&self, blob: &Descriptor, onto: &[Mount], algorithm: Algorithm) -> Result<Descriptor>;
}

/// Unpacks the blobs of a content-addressed store.
#[derive(Clone, Copy)]
pub struct BlobApplier<'a> {
    /// Where the blobs are.
    pub blobs: &'a dyn oci_cas::Store,
    /// What makes the mounts.
    pub mounter: &'a dyn Mounter,
}

impl Applier for BlobApplier<'_> {
    fn apply(&self, blob: &Descriptor, onto: &[Mount], algorithm: Algorithm) -> Result<Descriptor> {
        let source = || BlobLayer::open(self.blobs, blob);
        apply_to_mounts(self.mounter, onto, algorithm, source)
    }
}

/// Applies a layer that a reader yields to what mounts show.
#[cfg_attr(not(feature = "serve"), expect(dead_code, reason = "the server's"))]
pub(crate) fn apply_reader(
    mounter: &dyn Mounter,
    onto: &[Mount],
    blob: &Descriptor,
    reader: Box<dyn Read + Send>,
) -> Result<Descriptor> {
    apply_to_mounts(mounter, onto, Algorithm::Sha256, || {
        BlobLayer::new(reader, blob)
    })
}

fn apply_to_mounts(
    mounter: &dyn Mounter,
    onto: &[Mount],
    algorithm: Algorithm,
    source: impl FnOnce() -> Result<BlobLayer>,
) -> Result<Descriptor> {
    let root = Root::from_dir(mounter.open(onto)?, Access::Plain)?;
    let source = source()?;
    let mut stream = None;
    let options = ApplyOptions::default();
    let layers = std::iter::once(Ok((algorithm, source)));
    layer::apply_layers(layers, &root, &options, &Silent, |applied| {
        stream = Some(Descriptor::new(LAYER, applied.digest, applied.size));
        Ok(())
    })?;
    stream.ok_or_else(|| Error::new(ErrorKind::Io, "the layer was not applied"))
}

/// Brings a layer on top of a chain of others, bottom first, whose snapshot is there.
///
/// After a failure, and after a death, nothing has the chain's name. A snapshot of another name may stay after a death.
///
/// # Errors
///
/// [`Reason::WrongDiffId`] if the blob holds another stream than was promised; those of the snapshotter, of which
/// [`Reason::KeyUnknown`] says that the chain is not there; those of the applier.
pub fn apply_layer(
    snapshots: &dyn Snapshotter,
    applier: &dyn Applier,
    layer: &LayerDesc,
    chain: &[DiffId],
) -> Result<Applied> {
    let diff_id = layer.diff_id();
    let parent = ChainId::of(chain);
    let id = match &parent {
        Some(parent) => parent.with_layer(&diff_id),
        None => ChainId::bottom(&diff_id),
    };
    let name = id.to_string();
    if exists(snapshots, &name)? {
        return Ok(Applied::Existed);
    }
    let parent = parent.map(|parent| parent.to_string());
    let Some((extraction, mounts)) = prepare(snapshots, &name, parent.as_deref())? else {
        return Ok(Applied::Existed);
    };
    let stream = applier
        .apply(&layer.blob, &mounts, diff_id.0.algorithm())
        .context(|| format!("unpack layer {diff_id}"))?;
    if *stream.digest() != diff_id.0 {
        let message = format!(
            "diffid mismatch: expected {diff_id}, got {}",
            stream.digest()
        );
        return Err(Reason::WrongDiffId.error(message));
    }
    let label = (DIFF_ID.to_owned(), diff_id.to_string());
    let options = SnapshotOptions::with_labels([label]);
    match snapshots.commit(&name, extraction.key(), &options) {
        // Somebody else was faster: the extraction goes.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Applied::Existed),
        Err(error) => Err(error),
        Ok(()) => {
            extraction.keep();
            Ok(Applied::Unpacked)
        }
    }
}

/// Brings the layers of an image, bottom first, into snapshots, and tells the name of the uppermost. What is there already
/// is not read: the uppermost is looked for first.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] for no layers, and those of [`apply_layer`]. The layers below the one that failed stay.
pub fn apply_layers(
    snapshots: &dyn Snapshotter,
    applier: &dyn Applier,
    layers: &[LayerDesc],
) -> Result<ChainId> {
    let diff_ids: Vec<DiffId> = layers.iter().map(LayerDesc::diff_id).collect();
    let Some(top) = ChainId::of(&diff_ids) else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "there are no layers to apply",
        ));
    };
    let mut present = layers.len();
    while let Some(chain) = ChainId::of(&diff_ids[..present]) {
        if exists(snapshots, &chain.to_string())? {
            break;
        }
        present -= 1;
    }
    for (place, layer) in layers.iter().enumerate().skip(present) {
        apply_layer(snapshots, applier, layer, &diff_ids[..place])?;
    }
    Ok(top)
}

fn exists(snapshots: &dyn Snapshotter, name: &str) -> Result<bool> {
    match snapshots.stat(name) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Prepares a snapshot to unpack into; `None` if the snapshotter has what is wanted after all.
fn prepare<'s>(
    snapshots: &'s dyn Snapshotter,
    name: &str,
    parent: Option<&str>,
) -> Result<Option<(Temporary<'s>, Vec<Mount>)>> {
    let options = SnapshotOptions::with_labels([(TARGET.to_owned(), name.to_owned())]);
    let mut attempt = 1;
    loop {
        let key = format!("{} {name}", unique_name("extract-"));
        match snapshots.prepare(&key, parent, &options) {
            Ok(mounts) => return Ok(Some((Temporary::new(snapshots, key), mounts))),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // That is how a snapshotter says that it has the target from elsewhere.
                if exists(snapshots, name)? {
                    return Ok(None);
                }
                if attempt == ATTEMPTS {
                    return Err(error);
                }
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// A snapshot that is removed in every case, unless it has become something else.
pub(super) struct Temporary<'s> {
    snapshots: &'s dyn Snapshotter,
    key: Option<String>,
}

impl<'s> Temporary<'s> {
    pub(super) fn new(snapshots: &'s dyn Snapshotter, key: String) -> Self {
        let key = Some(key);
        Self { snapshots, key }
    }

    pub(super) fn key(&self) -> &str {
        self.key.as_deref().unwrap_or_default()
    }

    pub(super) fn keep(mut self) {
        self.key = None;
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            // Whatever ends the work is the error that matters.
            let _ = self.snapshots.remove(key);
        }
    }
}

/// The layers of an image in a content-addressed store, for [`StoreSnapshots::unpack`](super::StoreSnapshots::unpack) and
/// [`Store::unpack`](crate::store::Store::unpack).
#[derive(Clone, Copy)]
pub struct BlobLayers<'a> {
    /// Where the blobs are.
    pub blobs: &'a dyn oci_cas::Store,
    /// The layers, bottom first.
    pub layers: &'a [LayerDesc],
}

impl LayerProvider for BlobLayers<'_> {
    fn open(&self, index: usize) -> Result<Box<dyn LayerSource + '_>> {
        let Some(layer) = self.layers.get(index) else {
            let message = format!("the image has no layer {index}");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        };
        Ok(Box::new(BlobLayer::open(self.blobs, &layer.blob)?))
    }
}

type Blob = VerifyingReader<Box<dyn Read + Send>>;

/// A blob that the decoder reads and the layer checks to its end.
#[derive(Clone)]
struct SharedBlob(Arc<Mutex<Blob>>);

impl Read for SharedBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(buffer)
    }
}

/// The uncompressed stream of a blob whose digest and size are checked.
pub(super) struct BlobLayer {
    decoder: Decoder<'static>,
    blob: SharedBlob,
}

impl BlobLayer {
    fn open(blobs: &dyn oci_cas::Store, blob: &Descriptor) -> Result<Self> {
        let compression = compression_of(blob)?;
        Self::verified(
            blobs.open_verified(blob.digest(), blob.size())?,
            compression,
        )
    }

    /// The stream of a blob that a reader yields.
    pub(super) fn new(reader: Box<dyn Read + Send>, blob: &Descriptor) -> Result<Self> {
        let compression = compression_of(blob)?;
        let reader = VerifyingReader::new(reader, blob.digest().clone(), blob.size());
        Self::verified(reader, compression)
    }

    fn verified(reader: Blob, compression: Compression) -> Result<Self> {
        let mut blob = SharedBlob(Arc::new(Mutex::new(reader)));
        match Decoder::new(blob.clone(), compression) {
            Ok(decoder) => Ok(Self { decoder, blob }),
            // If the blob is not what was promised, that is why.
            Err(error) => Err(drain(&mut blob).err().unwrap_or(error)),
        }
    }
}

/// How a layer is compressed.
pub(crate) fn compression_of(blob: &Descriptor) -> Result<Compression> {
    match blob.kind() {
        MediaKind::Layer(LayerCompression::None) => Ok(Compression::None),
        MediaKind::Layer(LayerCompression::Gzip) => Ok(Compression::Gzip),
        MediaKind::Layer(LayerCompression::Zstd) => Ok(Compression::Zstd),
        _ => {
            let message = format!("{:?} is not a media type of a layer", blob.media_type());
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

/// Reads the rest of a blob, and checks all of it.
fn drain(blob: &mut SharedBlob) -> Result<()> {
    io::copy(blob, &mut io::sink()).context(|| "read layer")?;
    Ok(())
}

impl Read for BlobLayer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer)
    }
}

impl LayerSource for BlobLayer {
    fn verdict(&mut self) -> Result<()> {
        drain(&mut self.blob)
    }
}
