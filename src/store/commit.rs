//! What a container has changed becomes a layer on its chain, without leaving the store.
//!
//! ```text
//! upper directory -> changes -> generate_layer -> channel -> add_layer -> layers/<diff ID>
//!                                (a thread)                                  |
//!                                                      register <------------+-> chains/<chain ID>
//! ```
//!
//! It takes as much work as there are changes. Nothing of the container is written to; until it is taken away, it goes on
//! to be what it was. A death on the way leaves at most a layer that nothing refers to.

use std::io::{self, BufWriter, Read, Write};
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded};
use oci_cas::Algorithm;

use super::chain::Chain;
use super::container::Container;
use super::id::{Key, LayerId};
use super::layer::LAYER;
use super::place::Store;
use super::reason::Reason;
use super::unpack::{LayerProvider, UnpackLimits};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::names::parents;
use crate::fs::{Access, Change, ChangeKind, InodeKind, Root, failpoint, thread};
use crate::image::{ChainId, DiffId};
use crate::layer::{GenerateOptions, LayerSource, generate_linked_layer};
use crate::overlay::{Changes, Stack};
use crate::progress::{Progress, Silent};

/// Bytes that are handed from the generator to the unpacker at a time.
const CHUNK_SIZE: usize = 256 << 10;
/// How many such pieces are on the way at most.
const CHUNKS: usize = 8;

/// How a container is committed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CommitOptions<'a> {
    /// Paths (clean, relative) whose changes are left out, with all below them.
    pub masks: &'a [Vec<u8>],
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970: newer times of modification are lowered to it.
    pub source_date_epoch: Option<i64>,
    /// The chain that the layer is laid on, in place of the container's own. The root is told as changed only if its
    /// attributes are none that a new root has.
    pub over: Option<&'a Chain>,
    /// Whether sockets, which no archive can hold, are left out. Otherwise they are an error.
    pub skip_sockets: bool,
    /// Whether the container goes when its layer is there.
    pub remove: bool,
}

/// What a commit has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The chain of the container with one more layer.
    pub chain: Chain,
    /// The digest of the layer's stream.
    pub diff_id: DiffId,
    /// The layer by itself.
    pub layer: LayerId,
}

impl Store {
    /// Makes a layer of what a container has changed, and lays it on the chain that the container is on. The container may
    /// be mounted and in use, but what is changed meanwhile may be in the layer or not, and a file that is written to while
    /// it is read is an error.
    ///
    /// After a failure, the layer may be there; nothing refers to it, and `gc` takes it.
    ///
    /// # Errors
    ///
    /// - [`Reason::KeyUnknown`] if there is no such container; [`Reason::Prerequisites`] if nothing can be written to it
    /// - [`Reason::InUse`] if it is to go and is mounted
    /// - those of [`Store::changes_of`], and of [`generate_linked_layer`]
    /// - [`Reason::MountFailed`] if the container cannot be mounted for reading
    /// - whatever keeps the store from being written
    pub fn commit_container(
        &self,
        key: &Key,
        options: &CommitOptions<'_>,
        progress: &dyn Progress,
    ) -> Result<Committed> {
        let _in_use = self.shared()?;
        let committed = {
            let _one_at_a_time = self.lock_container(key)?;
            self.commit_locked(key, options, progress)
                .context(|| format!("commit container {key}"))?
        };
        if options.remove {
            self.remove_container(key)?;
        }
        Ok(committed)
    }

    fn commit_locked(
        &self,
        key: &Key,
        options: &CommitOptions<'_>,
        progress: &dyn Progress,
    ) -> Result<Committed> {
        if options.remove && self.live_mount_of(key)?.is_some() {
            let error = Reason::InUse.error("it is mounted, and is to be removed");
            return Err(error.with_hint("unmount it first"));
        }
        let (content, below) = self.content_of(key, options)?;
        std::thread::scope(|scope| {
            let content = Generator {
                scope,
                content: &content,
            };
            let diff_id = self.add_layer(content.start()?, &UnpackLimits::default(), progress)?;
            failpoint::hit("commit-layer");
            let diff_ids = [&below.diff_ids[..], std::slice::from_ref(&diff_id)].concat();
            let chain = match self.find_chain(ChainId::of(&diff_ids).as_ref())? {
                Some(chain) => chain,
                None => self.register(&diff_ids, &content, progress)?,
            };
            let layer = LayerId::of(&diff_id);
            Ok(Committed {
                chain,
                diff_id,
                layer,
            })
        })
    }

    /// Writes what [`commit_container`](Self::commit_container) makes a layer of, as the uncompressed stream of one. It takes
    /// as much work as there are changes, and nothing is left in the store.
    #[cfg_attr(not(feature = "serve"), expect(dead_code, reason = "the server's"))]
    pub(crate) fn write_changes(
        &self,
        key: &Key,
        options: &CommitOptions<'_>,
        out: impl Write,
    ) -> Result<()> {
        let _in_use = self.shared()?;
        let _one_at_a_time = self.lock_container(key)?;
        let (content, _) = self.content_of(key, options)?;
        content.generate(out)
    }

    /// What becomes a layer, and the chain that it is laid on.
    fn content_of(&self, key: &Key, options: &CommitOptions<'_>) -> Result<(Content, Chain)> {
        let container = self.container(key)?;
        if container.meta().view {
            return Err(Reason::Prerequisites.error("nothing can be written to a view"));
        }
        let below = match options.over {
            Some(chain) => chain.clone(),
            None => self.chain(container.meta().chain.as_ref())?,
        };
        let changes = self.changes_over(&container, &below, options)?;
        let mount = self.mount_contents_over(&container, &below)?;
        let content = Content {
            root: Root::from_dir(mount.root()?, Access::Plain)?,
            changes,
            options: GenerateOptions {
                map_options: container.meta().maps.clone(),
                source_date_epoch: options.source_date_epoch,
            },
            top: below.diff_ids.len(),
        };
        Ok((content, below))
    }

    /// Unpacks the uncompressed stream of a layer whose digest is not known beforehand, and tells it. Nothing refers to the
    /// layer, so that the next `gc` takes it unless it has become part of a chain of an image or a container.
    ///
    /// # Errors
    ///
    /// Those of [`unpack_changeset`](crate::layer::unpack_changeset), and whatever keeps the store from being written.
    /// Nothing is left then.
    pub fn add_layer(
        &self,
        source: impl LayerSource,
        limits: &UnpackLimits,
        progress: &dyn Progress,
    ) -> Result<DiffId> {
        let _in_use = self.shared()?;
        let staging = self.staging()?;
        let dir = staging.dir().create_new_dir(LAYER, 0o700)?;
        let diff_id = self
            .stage_stream(&dir, source, Algorithm::Sha256, limits, progress)
            .context(|| "unpack a layer")?;
        let id = LayerId::of(&diff_id);
        if !self.has_layer(&id)? {
            self.sync()?;
            failpoint::hit("layer-synced");
            self.publish_layer(&id, &staging, LAYER)?;
        }
        Ok(diff_id)
    }

    /// The changes of a container against a chain as [`changes_of`](Self::changes_of) tells them, without the sockets among
    /// them, which no layer can hold; and the paths of these.
    ///
    /// # Errors
    ///
    /// As [`changes_of`](Self::changes_of).
    pub(crate) fn packable_changes_of(
        &self,
        container: &Container,
        chain: &Chain,
        masks: &[Vec<u8>],
    ) -> Result<(Changes, Vec<Vec<u8>>)> {
        let mut changes = self.changes_of(container, chain, masks)?;
        let own = Stack::new(vec![container.upper()?], self.marks());
        let lower = self.mapped_stack(chain, &container.meta().maps)?;
        let sockets = skip_sockets(&mut changes.changes, &own, &lower)?;
        Ok((changes, sockets))
    }

    /// What of the changes of a container over a chain becomes a layer.
    fn changes_over(
        &self,
        container: &Container,
        below: &Chain,
        options: &CommitOptions<'_>,
    ) -> Result<Changes> {
        let mut changes = self.changes_laid_over(container, below, options.masks)?;
        let own = Stack::new(vec![container.upper()?], self.marks());
        if options.skip_sockets {
            let lower = self.mapped_stack(below, &container.meta().maps)?;
            skip_sockets(&mut changes.changes, &own, &lower)?;
        }
        if options.over.is_some() && has_new_root(&own)? {
            changes.changes.retain(|change| change.path != b".");
        }
        Ok(changes)
    }
}

/// Leaves out the sockets of an upper directory, and says which they were. What they hide of the layers below is gone.
pub(crate) fn skip_sockets(
    changes: &mut Vec<Change>,
    own: &Stack,
    lower: &Stack,
) -> Result<Vec<Vec<u8>>> {
    let mut kept: Vec<Change> = Vec::with_capacity(changes.len());
    let mut sockets: Vec<Vec<u8>> = Vec::new();
    for mut change in changes.drain(..) {
        let is_root = change.path == b".";
        if !is_root && change.kind != ChangeKind::Deleted {
            let found = own.lookup(&change.path)?;
            if found.is_some_and(|found| found.stat.kind == InodeKind::Socket) {
                sockets.push(change.path.clone());
                if lower.lookup(&change.path)?.is_none() {
                    continue;
                }
                change.kind = ChangeKind::Deleted;
            }
        } else if parents(&change.path).any(|dir| sockets.iter().any(|socket| socket == dir)) {
            // What was in a directory goes with it.
            continue;
        }
        kept.push(change);
    }
    *changes = kept;
    Ok(sockets)
}

/// Whether the root of an upper directory has the attributes that the root of a container without layers begins with.
fn has_new_root(own: &Stack) -> Result<bool> {
    let Some(root) = own.lookup(b"")? else {
        return Ok(false);
    };
    let (mode, owner) = (root.stat.mode & 0o7777, (root.stat.uid, root.stat.gid));
    Ok(mode == 0o755 && owner == (0, 0) && root.xattrs()?.is_empty())
}

/// What a layer is made of.
struct Content {
    root: Root,
    changes: Changes,
    options: GenerateOptions,
    /// The place of the layer in its chain.
    top: usize,
}

impl Content {
    fn generate(&self, out: impl Write) -> Result<()> {
        let Changes { changes, links, .. } = &self.changes;
        generate_linked_layer(
            out,
            &self.root,
            changes,
            links,
            &self.options,
            &Silent,
            &mut |_| {},
        )
    }
}

/// Makes the stream of a layer, as often as it is wanted: each time the same.
struct Generator<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    content: &'scope Content,
}

impl Generator<'_, '_> {
    /// Begins to make the stream, in a thread of its own.
    fn start(&self) -> Result<Stream> {
        let (sender, receiver) = bounded(CHUNKS);
        let content = self.content;
        thread::spawn(self.scope, "generate", move || {
            let mut out = BufWriter::with_capacity(CHUNK_SIZE, Chunks(&sender));
            let generated = content
                .generate(&mut out)
                .and_then(|()| out.flush().context(|| "hand on a layer"));
            // Whoever does not listen any more has an error of its own.
            let _ = sender.send(generated.map(|()| Piece::End));
        })?;
        Ok(Stream {
            receiver,
            piece: Vec::new(),
            taken: 0,
            outcome: None,
        })
    }
}

impl LayerProvider for Generator<'_, '_> {
    fn open(&self, index: usize) -> Result<Box<dyn LayerSource + '_>> {
        if index == self.content.top {
            return Ok(Box::new(self.start()?));
        }
        let message = format!("layer {index} of the chain has to be unpacked again");
        let error = Reason::LayerUnknown.error(message);
        Err(error.with_hint("unpack the image again"))
    }
}

/// A piece of a stream on its way between threads.
enum Piece {
    Bytes(Vec<u8>),
    End,
}

/// The end of the channel that the generator writes to.
struct Chunks<'a>(&'a Sender<Result<Piece>>);

impl Write for Chunks<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let sent = self.0.send(Ok(Piece::Bytes(data.to_vec())));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The stream of a layer that another thread makes.
struct Stream {
    receiver: Receiver<Result<Piece>>,
    piece: Vec<u8>,
    taken: usize,
    /// How it has ended; the error is taken by the verdict.
    outcome: Option<Result<()>>,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.piece.len() {
            match &self.outcome {
                Some(Ok(())) => return Ok(0),
                Some(Err(error)) => return Err(io::Error::other(error.chain())),
                None => self.receive(),
            }
        }
        let count = (&self.piece[self.taken..]).read(buffer)?;
        self.taken += count;
        Ok(count)
    }
}

impl Stream {
    fn receive(&mut self) {
        (self.piece, self.taken) = (Vec::new(), 0);
        match self.receiver.recv() {
            Ok(Ok(Piece::Bytes(piece))) => self.piece = piece,
            Ok(Ok(Piece::End)) => self.outcome = Some(Ok(())),
            Ok(Err(error)) => self.outcome = Some(Err(error)),
            // It has panicked, and the scope goes on with that.
            Err(_) => {
                let error = Error::new(ErrorKind::Io, "the stream of the layer ended early");
                self.outcome = Some(Err(error));
            }
        }
    }
}

impl LayerSource for Stream {
    fn verdict(&mut self) -> Result<()> {
        while self.outcome.is_none() {
            self.receive();
        }
        self.outcome.take().unwrap_or(Ok(()))
    }
}
