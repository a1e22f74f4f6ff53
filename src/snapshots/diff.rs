//! Layers out: what a snapshot has changed of its parent, as a blob.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use oci_cas::{Algorithm, Hasher};

use super::apply::Temporary;
use super::contract::{Kind, Labels, Mount, SnapshotOptions, Snapshotter};
use super::mounter::{Mounter, for_reading};
use crate::archive::{Compression, Encoder, EncoderOptions};
use crate::error::{Result, ResultExt};
use crate::fs::names::unique_name;
use crate::fs::{Access, Dir, Root, XattrNamespace};
use crate::image::{Descriptor, Document, LAYER, object_mut, set_annotations};
use crate::layer::{GenerateOptions, generate_layer};
use crate::overlay::changes_between;
use crate::overlay::stack::Stack;
use crate::progress::Silent;
use crate::store::commit::skip_sockets;

/// The annotation that tells the digest of the uncompressed stream.
pub(crate) const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// Bytes that are written to the blob at a time.
const BUFFER_SIZE: usize = 256 << 10;

/// What kind of layer is wanted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiffOptions {
    /// The compression.
    pub compression: Compression,
    /// The media type; `None` is OCI's for the compression.
    pub media_type: Option<String>,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970: newer times of modification are lowered to it.
    pub source_date_epoch: Option<i64>,
    /// Annotations of the descriptor, beside `containerd.io/uncompressed`.
    pub labels: Labels,
}

impl Default for DiffOptions {
    /// A layer of OCI's, compressed by gzip.
    fn default() -> Self {
        Self {
            compression: Compression::Gzip,
            media_type: None,
            source_date_epoch: None,
            labels: Labels::new(),
        }
    }
}

/// Makes layers of what two mounts show.
pub trait MountDiffer {
    /// Makes a layer of what is to be changed in what `lower` shows to have what `upper` shows; without mounts, `lower` is
    /// empty. Nothing is written to either, also where the mounts say otherwise. Sockets are left out.
    ///
    /// # Errors
    ///
    /// Fails if the mounts cannot be made or read, or the blob cannot be written. No blob is left then.
    fn diff(&self, lower: &[Mount], upper: &[Mount], options: &DiffOptions) -> Result<Descriptor>;
}

/// Compares what mounts show, name by name, and writes the layer to a content-addressed store.
#[derive(Clone, Copy)]
pub struct BlobDiffer<'a> {
    /// Where the blob goes.
    pub blobs: &'a dyn oci_cas::Store,
    /// What makes the mounts.
    pub mounter: &'a dyn Mounter,
}

impl MountDiffer for BlobDiffer<'_> {
    fn diff(&self, lower: &[Mount], upper: &[Mount], options: &DiffOptions) -> Result<Descriptor> {
        write_blob(self.blobs, options, |out| {
            write_between(self.mounter, lower, upper, options.source_date_epoch, out)
        })
    }
}

/// Compares what mounts show, name by name, and writes the uncompressed stream of the layer.
pub(crate) fn write_between(
    mounter: &dyn Mounter,
    lower: &[Mount],
    upper: &[Mount],
    source_date_epoch: Option<i64>,
    out: &mut dyn Write,
) -> Result<()> {
    let open = |mounts: &[Mount]| match mounts {
        [] => Ok(None),
        mounts => mounter.open(&for_reading(mounts)).map(Some),
    };
    let (lower, upper) = (open(lower)?, open(upper)?);
    // What a mount shows has no marks any more.
    let stack = |dir: &Option<Dir>| -> Result<Stack> {
        let dirs = dir.iter().map(|dir| dir.open_dir(b"."));
        Ok(Stack::new(
            dirs.collect::<Result<_>>()?,
            XattrNamespace::User,
        ))
    };
    let (old, new) = (stack(&lower)?, stack(&upper)?);
    let mut changes = changes_between(&old, &new)?;
    skip_sockets(&mut changes, &new, &old)?;
    let generate = GenerateOptions {
        source_date_epoch,
        ..GenerateOptions::default()
    };
    let Some(upper) = upper else { return Ok(()) };
    let root = Root::from_dir(upper, Access::Plain)?;
    generate_layer(out, &root, &changes, &generate, &Silent, &mut |_| {})
}

/// Writes the blob of a layer; `produce` writes its uncompressed stream.
fn write_blob(
    blobs: &dyn oci_cas::Store,
    options: &DiffOptions,
    produce: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Descriptor> {
    let ingest = blobs
        .ingest(Algorithm::Sha256)
        .context(|| "store a layer")?;
    let buffer = BufWriter::with_capacity(BUFFER_SIZE, ingest);
    let mut tee = Tee {
        out: Encoder::new(buffer, EncoderOptions::new(options.compression))?,
        hasher: Hasher::new(Algorithm::Sha256),
    };
    produce(&mut tee)?;
    let buffer = tee.out.finish().context(|| "compress a layer")?;
    let ingest = buffer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)
        .context(|| "store a layer")?;
    let (digest, size) = ingest.commit().context(|| "store a layer")?;
    let suffix = match options.compression {
        Compression::None => "",
        Compression::Gzip => "+gzip",
        Compression::Zstd => "+zstd",
    };
    let media_type = match &options.media_type {
        Some(media_type) => media_type.clone(),
        None => format!("{LAYER}{suffix}"),
    };
    let mut annotations: BTreeMap<String, String> = options.labels.clone();
    annotations.insert(UNCOMPRESSED.to_owned(), tee.hasher.finish().to_string());
    let mut value = Descriptor::new(&media_type, digest, size).to_value();
    set_annotations(Document::Descriptor, object_mut(&mut value)?, &annotations)?;
    Descriptor::from_value(&value)
}

/// Hashes what passes.
pub(crate) struct Tee<W> {
    pub out: W,
    pub hasher: Hasher,
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.out.write(data)?;
        self.hasher.update(&data[..count]);
        Ok(count)
    }

    /// Does nothing: a flush in the middle of the stream would cost compression.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes a layer of what a snapshot has changed of its parent. The views that are made for this are removed again in every
/// case but a death.
///
/// # Errors
///
/// [`Reason::KeyUnknown`](crate::store::Reason::KeyUnknown) if there is no such snapshot, and those of the snapshotter and of
/// the differ.
pub fn create_diff(
    snapshots: &dyn Snapshotter,
    differ: &dyn MountDiffer,
    key: &str,
    options: &DiffOptions,
) -> Result<Descriptor> {
    let info = snapshots.stat(key)?;
    let view = |parent: Option<&str>| -> Result<(Temporary<'_>, Vec<Mount>)> {
        let name = format!(
            "{} of {}",
            unique_name("view-"),
            parent.unwrap_or("nothing")
        );
        let mounts = snapshots.view(&name, parent, &SnapshotOptions::default())?;
        Ok((Temporary::new(snapshots, name), mounts))
    };
    let below = view(info.parent.as_deref())?;
    let (_upper, upper) = match info.kind {
        Kind::Committed => view(Some(key)).map(|(guard, mounts)| (Some(guard), mounts))?,
        _ => (None, snapshots.mounts(key)?),
    };
    let diff = differ.diff(&below.1, &upper, options);
    diff.context(|| format!("make a layer of snapshot {key:?}"))
}
