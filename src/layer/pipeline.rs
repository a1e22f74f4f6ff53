//! Three stages, each in its own thread, and the buffers that go round between them.

use std::io::Read;

use crossbeam_channel::{Receiver, Sender, bounded};
use oci_cas::{Algorithm, Digest};

use super::apply::Applier;
use super::consumer::Consumer;
use super::frame::{Chunk, Framer};
use super::options::ApplyOptions;
use crate::archive::Limits;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::tree::Tree;
use crate::fs::{Root, thread};
use crate::progress::Progress;

/// Bytes of a buffer: large enough that handing it over costs nothing, small enough to stay in the processor's cache.
const CHUNK_SIZE: usize = 256 << 10;

/// Number of buffers in a pipeline. With their steps they take about 9 MiB.
const CHUNK_COUNT: usize = 32;

/// The uncompressed tar stream of a layer.
pub trait LayerSource: Read {
    /// Says, after applying the layer has failed, whether the content was what was promised at all. Reads what is left.
    /// If it was not, that is the error that counts: what else went wrong came of it.
    ///
    /// # Errors
    ///
    /// Fails if the content is not what was promised.
    fn verdict(&mut self) -> Result<()>;
}

impl<S: LayerSource + ?Sized> LayerSource for Box<S> {
    fn verdict(&mut self) -> Result<()> {
        (**self).verdict()
    }
}

/// A reader about which nothing was promised.
pub(super) struct Unverified<R>(pub R);

impl<R: Read> Read for Unverified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> LayerSource for Unverified<R> {
    fn verdict(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What is known of a layer when it has been applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Place of the layer among those applied, from 0.
    pub index: usize,
    /// Digest of the whole uncompressed stream, including what follows the end of the archive.
    pub digest: Digest,
    /// Bytes of the uncompressed stream.
    pub size: u64,
}

enum Raw {
    Begin(Algorithm),
    Chunk(Chunk),
    End,
    Failed(Error),
}

/// What the last stage gets.
pub(super) enum Framed {
    Chunk(Chunk),
    LayerEnd(Digest, u64),
    Failed(Error),
}

/// Applies one layer, given as an uncompressed tar stream, to a root, and says what digest the stream had.
///
/// On failure the root holds part of the layer.
///
/// ```
/// use oci_bundle::fs::{Access, Root};
/// use oci_bundle::layer::{ApplyOptions, unpack_layer};
/// use oci_bundle::progress::Silent;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// let root = Root::open(dir.path(), Access::Plain)?;
/// // The empty archive: two blocks of zeros.
/// let applied = unpack_layer(&[0; 1024][..], &root, &ApplyOptions::default(), &Silent)?;
/// assert_eq!(applied.size, 1024);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Fails if the reader does, if the stream is no sound archive or exceeds a limit, and if an entry cannot be made.
pub fn unpack_layer(
    reader: impl Read,
    root: &Root,
    options: &ApplyOptions,
    progress: &dyn Progress,
) -> Result<Applied> {
    let mut last = None;
    let layers = std::iter::once(Ok((Algorithm::Sha256, Unverified(reader))));
    apply_layers(layers, root, options, progress, |applied| {
        last = Some(applied);
        Ok(())
    })?;
    last.ok_or_else(|| Error::new(ErrorKind::Io, "the layer was not applied"))
}

/// Applies layers, bottom first, to a root and returns the record of what was made. Each comes with the algorithm by
/// which its stream is to be hashed; `on_layer` is called after each with the result, and may end the work by an error.
///
/// A layer is read while the one before it is still being written. On failure the root holds part of the layers.
///
/// # Errors
///
/// Fails if a reader does, if a stream is no sound archive or exceeds a limit, if an entry cannot be made, and with
/// what `on_layer` or [`LayerSource::verdict`] return.
pub fn apply_layers<S: LayerSource>(
    layers: impl Iterator<Item = Result<(Algorithm, S)>>,
    root: &Root,
    options: &ApplyOptions,
    progress: &dyn Progress,
    on_layer: impl FnMut(Applied) -> Result<()> + Send,
) -> Result<Tree> {
    run(
        layers,
        &options.limits,
        options.file_digests,
        |framed, empty| apply_all(framed, empty, root, options, progress, on_layer),
    )
}

/// Runs the pipeline over layers, bottom first, with `consume` as its last stage, which [`drive`] makes of a
/// [`Consumer`].
pub(super) fn run<S: LayerSource, T: Send>(
    layers: impl Iterator<Item = Result<(Algorithm, S)>>,
    limits: &Limits,
    file_digests: bool,
    consume: impl FnOnce(&Receiver<Framed>, &Sender<Chunk>) -> Result<T> + Send,
) -> Result<T> {
    let (raw_sender, raw) = bounded(CHUNK_COUNT);
    let (framed_sender, framed) = bounded(CHUNK_COUNT);
    let (empty_sender, empty) = bounded(CHUNK_COUNT);
    for _ in 0..CHUNK_COUNT {
        // There is room for all of them. The memory is touched, and so taken, only when a buffer is first used.
        let _ = empty_sender.send(Chunk::default());
    }
    std::thread::scope(|scope| {
        let framing = thread::spawn(scope, "frame", move || {
            frame_all(&raw, &framed_sender, limits, file_digests);
        })?;
        let applying = thread::spawn(scope, "apply", move || consume(&framed, &empty_sender))?;
        let verdict = read_all(layers, &raw_sender, &empty);
        drop((raw_sender, empty));
        thread::join(framing);
        let applied = thread::join(applying);
        // A layer that is not what it was promised to be explains every other failure.
        verdict?;
        applied
    })
}

/// The first stage. An error of a reader goes down the pipeline, where it comes up after everything before it.
fn read_all<S: LayerSource>(
    layers: impl Iterator<Item = Result<(Algorithm, S)>>,
    raw: &Sender<Raw>,
    empty: &Receiver<Chunk>,
) -> Result<()> {
    for layer in layers {
        let (algorithm, mut source) = match layer {
            Ok(layer) => layer,
            Err(error) => {
                let _ = raw.send(Raw::Failed(error));
                return Ok(());
            }
        };
        if raw.send(Raw::Begin(algorithm)).is_err() {
            return Ok(());
        }
        match read_layer(&mut source, raw, empty) {
            // A later stage has given up.
            Ok(false) => return source.verdict(),
            Ok(true) if raw.send(Raw::End).is_err() => return source.verdict(),
            Ok(true) => {}
            Err(error) => {
                source.verdict()?;
                let _ = raw.send(Raw::Failed(error));
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads a layer into chunks. `false` if nobody takes them any more.
fn read_layer(source: &mut impl Read, raw: &Sender<Raw>, empty: &Receiver<Chunk>) -> Result<bool> {
    loop {
        let Ok(mut chunk) = empty.recv() else {
            return Ok(false);
        };
        chunk.data.resize(CHUNK_SIZE, 0);
        chunk.used = 0;
        let mut ended = false;
        while chunk.used < CHUNK_SIZE && !ended {
            match source.read(&mut chunk.data[chunk.used..]) {
                Ok(0) => ended = true,
                Ok(count) => chunk.used += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context(|| "read layer"),
            }
        }
        if raw.send(Raw::Chunk(chunk)).is_err() {
            return Ok(false);
        }
        if ended {
            return Ok(true);
        }
    }
}

/// The second stage. Whatever fails is handed on, behind the steps that came before it.
fn frame_all(raw: &Receiver<Raw>, framed: &Sender<Framed>, limits: &Limits, file_digests: bool) {
    let mut current = None;
    for message in raw {
        let send = |message| framed.send(message).is_ok();
        let proceed = match (message, &mut current) {
            (Raw::Begin(algorithm), _) => {
                current = Some(Framer::new(limits.clone(), algorithm, file_digests));
                true
            }
            (Raw::Chunk(mut chunk), Some(layer)) => match layer.frame(&mut chunk) {
                Ok(()) => send(Framed::Chunk(chunk)),
                Err(error) => {
                    send(Framed::Chunk(chunk));
                    send(Framed::Failed(error));
                    false
                }
            },
            (Raw::End, _) => match current.take().map(Framer::finish) {
                Some(Ok((digest, size))) => send(Framed::LayerEnd(digest, size)),
                Some(Err(error)) => {
                    send(Framed::Failed(error));
                    false
                }
                None => false,
            },
            (Raw::Failed(error), _) => {
                send(Framed::Failed(error));
                false
            }
            (Raw::Chunk(_), None) => false,
        };
        if !proceed {
            return;
        }
    }
}

/// The third stage of applying.
fn apply_all(
    framed: &Receiver<Framed>,
    empty: &Sender<Chunk>,
    root: &Root,
    options: &ApplyOptions,
    progress: &dyn Progress,
    on_layer: impl FnMut(Applied) -> Result<()>,
) -> Result<Tree> {
    crate::fs::private_umask()?;
    let mut applier = Applier::new(root, options, progress)?;
    drive(framed, empty, &mut applier, on_layer)?;
    applier.into_tree()
}

/// Gives a consumer all steps of all layers, and the buffers back.
pub(super) fn drive(
    framed: &Receiver<Framed>,
    empty: &Sender<Chunk>,
    consumer: &mut impl Consumer,
    mut on_layer: impl FnMut(Applied) -> Result<()>,
) -> Result<()> {
    let mut index = 0;
    for message in framed {
        match message {
            Framed::Chunk(mut chunk) => {
                consumer.chunk(&chunk.data[..chunk.used])?;
                for step in chunk.steps.drain(..) {
                    consumer.step(step, &chunk.data[..chunk.used])?;
                }
                // The first stage may be through already.
                let _ = empty.send(chunk);
            }
            Framed::LayerEnd(digest, size) => {
                consumer.finish_layer()?;
                on_layer(Applied {
                    index,
                    digest,
                    size,
                })?;
                index += 1;
            }
            Framed::Failed(error) => return Err(error),
        }
    }
    Ok(())
}
