//! `diff.v1`: layers out of containerd's content store into ours, and back.

use std::collections::HashMap;
use std::io::{BufWriter, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use oci_cas::{Algorithm, Hasher};
use tokio::sync::Mutex;
use tonic::Status;

use super::content::{Caller, Writing};
use super::mounts::from_wire;
use super::root::{Root, blocking, status};
use super::wire;
use crate::archive::{Compression, Encoder, EncoderOptions};
use crate::error::{Error, ErrorKind, Result as Done, ResultExt};
use crate::fs::names::unique_name;
use crate::image::Descriptor;
use crate::snapshots::{
    Mount, Tee, UNCOMPRESSED, apply_reader, compression_of, lowers_of, write_between,
};

/// Bytes that are handed to containerd in one message.
const PIECE: usize = 1 << 20;
/// containerd's own type of a layer, where none is asked for.
const DEFAULT_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The label by which a caller wants the blob to have a name.
const REFERENCE: &str = "containerd.io/content.reference";
/// The longest reference, in bytes.
const MAX_REFERENCE: usize = 1024;

/// Locks of blobs that are being applied, by their digests: of several pulls of one blob, one reads it.
type Locks = HashMap<String, Weak<Mutex<()>>>;

static APPLYING: LazyLock<Mutex<Locks>> = LazyLock::new(Mutex::default);

async fn lock_of(digest: &str) -> Arc<Mutex<()>> {
    let mut locks = APPLYING.lock().await;
    locks.retain(|_, lock| lock.strong_count() > 0);
    if let Some(lock) = locks.get(digest).and_then(Weak::upgrade) {
        return lock;
    }
    let lock = Arc::default();
    locks.insert(digest.to_owned(), Arc::downgrade(&lock));
    lock
}

fn descriptor_of(told: Option<wire::Descriptor>) -> Done<Descriptor> {
    let told = told.ok_or_else(|| {
        let message = "apply a layer: it is not said which one";
        Error::new(ErrorKind::InvalidInput, message)
    })?;
    let size = u64::try_from(told.size).ok();
    let size = size.ok_or_else(|| {
        let message = format!("{} is not the size of a blob", told.size);
        Error::new(ErrorKind::InvalidInput, message)
    })?;
    let invalid = |error| Error::from(error).with_code("invalid-digest");
    let digest = told.digest.parse().map_err(invalid)?;
    let blob = Descriptor::new(&told.media_type, digest, size);
    // What is no layer of ours is for the next differ.
    compression_of(&blob)?;
    Ok(blob)
}

fn told(descriptor: &Descriptor) -> wire::Descriptor {
    wire::Descriptor {
        media_type: descriptor.media_type().to_owned(),
        digest: descriptor.digest().to_string(),
        size: i64::try_from(descriptor.size()).unwrap_or(i64::MAX),
        annotations: wire::Labels::new(),
    }
}

pub(super) async fn apply(
    root: Root,
    request: wire::ApplyRequest,
    caller: Caller,
) -> Result<wire::ApplyResponse, Status> {
    let blob = descriptor_of(request.diff).map_err(|error| status(&error))?;
    let mounts = from_wire(request.mounts).map_err(|error| status(&error))?;
    let digest = blob.digest().to_string();
    tracing::debug!(digest, "apply");
    let lock = lock_of(&digest).await;
    let _one_at_a_time = lock.lock().await;
    let applied = blocking(move || apply_blocking(&root, &blob, &mounts, &caller)).await?;
    Ok(wire::ApplyResponse {
        applied: Some(told(&applied)),
    })
}

fn apply_blocking(
    root: &Root,
    blob: &Descriptor,
    mounts: &[Mount],
    caller: &Caller,
) -> Done<Descriptor> {
    let digest = blob.digest().to_string();
    let read = Arc::new(AtomicU64::new(0));
    let open = || -> Done<Box<dyn Read + Send>> {
        let reading = root.content.open(&digest, caller, Arc::clone(&read));
        Ok(Box::new(reading))
    };
    let apply = || -> Done<(Descriptor, bool)> {
        if let Some(container) = root.engine.container_of(mounts)? {
            let snapshots = root.engine.snapshots()?;
            if let Some(applied) = snapshots.apply_to(&container, blob, &open)? {
                return Ok(applied);
            }
        }
        let stream = apply_reader(&root.engine.mounter, mounts, blob, open()?)?;
        Ok((stream, true))
    };
    let applied = apply();
    root.counts
        .read
        .fetch_add(read.load(Ordering::Relaxed), Ordering::Relaxed);
    let (stream, was_read) = applied.context(|| format!("apply layer {digest}"))?;
    let count = if was_read {
        &root.counts.unpacked
    } else {
        &root.counts.reused
    };
    count.fetch_add(1, Ordering::Relaxed);
    Ok(stream)
}

pub(super) async fn diff(
    root: Root,
    request: wire::DiffRequest,
    caller: Caller,
) -> Result<wire::DiffResponse, Status> {
    let diff = blocking(move || diff_blocking(&root, request, &caller)).await?;
    Ok(wire::DiffResponse { diff: Some(diff) })
}

fn diff_blocking(
    root: &Root,
    request: wire::DiffRequest,
    caller: &Caller,
) -> Done<wire::Descriptor> {
    let (left, right) = (from_wire(request.left)?, from_wire(request.right)?);
    let media_type = match request.media_type.as_str() {
        "" => DEFAULT_TYPE,
        media_type => media_type,
    };
    let nothing = oci_cas::Digest::of(Algorithm::Sha256, b"");
    let compression = compression_of(&Descriptor::new(media_type, nothing, 0))?;
    let labels = request.labels;
    let reference = match request.reference.as_str() {
        "" => labels
            .get(REFERENCE)
            .cloned()
            .unwrap_or_else(|| unique_name("bundle-diff-")),
        reference => reference.to_owned(),
    };
    if reference.len() > MAX_REFERENCE {
        let message = format!("a reference of {} bytes is too long", reference.len());
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    let epoch = request.source_date_epoch.map(|time| time.seconds);
    let make = || -> Done<(String, u64)> {
        let writing = root.content.write(reference, caller)?;
        let mut blob = Blob::new(writing, compression)?;
        match own_changes(root, &left, &right)? {
            Some(container) => {
                let snapshots = root.engine.snapshots()?;
                snapshots.write_diff(&container, epoch, &mut blob)?;
            }
            None => write_between(&root.engine.mounter, &left, &right, epoch, &mut blob)?,
        }
        blob.finish(labels)
    };
    let (digest, size) = make().context(|| "make a layer")?;
    Ok(wire::Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size: i64::try_from(size).unwrap_or(i64::MAX),
        annotations: wire::Labels::new(),
    })
}

/// The container of which a difference is all that was changed in it: `right` is its mount, `left` that of what it is laid
/// on.
fn own_changes(root: &Root, left: &[Mount], right: &[Mount]) -> Done<Option<crate::store::Key>> {
    let (Some(container), [left], [right]) = (root.engine.container_of(right)?, left, right) else {
        return Ok(None);
    };
    let lowers = lowers_of(right);
    Ok((lowers_of(left) == lowers).then_some(container))
}

/// A blob that is compressed and hashed on its way to containerd.
struct Blob {
    stream: Tee<Encoder<BufWriter<Tee<Writing>>>>,
}

impl Blob {
    fn new(writing: Writing, compression: Compression) -> Done<Self> {
        let hasher = || Hasher::new(Algorithm::Sha256);
        let out = Tee {
            out: writing,
            hasher: hasher(),
        };
        let buffer = BufWriter::with_capacity(PIECE, out);
        Ok(Self {
            stream: Tee {
                out: Encoder::new(buffer, EncoderOptions::new(compression))?,
                hasher: hasher(),
            },
        })
    }

    /// Ends it. Its digest and its size.
    fn finish(self, mut labels: wire::Labels) -> Done<(String, u64)> {
        let buffer = self.stream.out.finish().context(|| "compress")?;
        let out = buffer
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .context(|| "write to containerd")?;
        let stream = self.stream.hasher.finish().to_string();
        labels.insert(UNCOMPRESSED.to_owned(), stream);
        let digest = out.hasher.finish().to_string();
        let size = out.out.commit(&digest, labels);
        Ok((digest, size.context(|| "write to containerd")?))
    }
}

impl Write for Blob {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.stream.write(data)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}
