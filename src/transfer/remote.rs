//! A repository of a registry as a store of blobs: what is fetched is kept in a layout, and used from there.
//!
//! ```text
//! registry -> verified -+-> ingest into the layout      (in a thread of its own)
//!                       +-> channel -> who reads the blob at the same time
//! ```
//!
//! A layer that is opened streams to its reader while it is stored; those after it are fetched meanwhile, when it is known
//! that they are wanted ([`Layout::announce`](crate::layout::Layout::announce)). A reader that gives up ends its fetch, and
//! half a blob leaves nothing behind.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use oci_cas::{Algorithm, Blob, Digest, Ingest, Store, StoreExt, VerifyingReader};

use super::registry::RepositoryReader;
use crate::image::{Descriptor, Index, Manifest, MediaKind};
use crate::layout::LeasedLayout;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Bytes of a piece on its way.
const PIECE_SIZE: usize = 128 << 10;

/// Pieces between a fetch and its reader.
const PIECE_COUNT: usize = 8;

/// Layers that are fetched before they are asked for, at the same time.
const AHEAD_COUNT: usize = 2;

/// Most bytes of a blob that is fetched whole before it is read.
const SMALL: u64 = 256 << 10;

/// A repository, and the layout that keeps what was fetched.
pub(crate) struct RemoteBlobs {
    shared: Arc<Shared>,
}

struct Shared {
    reader: RepositoryReader,
    keep: Arc<LeasedLayout>,
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    /// What documents have named: only that can be fetched.
    known: BTreeMap<Digest, Descriptor>,
    /// What is being fetched, and whether nobody reads it meanwhile.
    running: BTreeMap<Digest, bool>,
    wanted: VecDeque<Descriptor>,
    threads: Vec<JoinHandle<()>>,
    /// What could not be kept, although its reader had it.
    failure: Option<Error>,
}

impl RemoteBlobs {
    pub(crate) fn new(reader: RepositoryReader, keep: Arc<LeasedLayout>) -> Self {
        Self {
            shared: Arc::new(Shared {
                reader,
                keep,
                state: Mutex::default(),
                changed: Condvar::new(),
                stop: AtomicBool::new(false),
            }),
        }
    }

    /// Fetches the manifest or the index of a reference, and keeps it.
    pub(crate) fn root(&self, reference: &str) -> Result<Descriptor> {
        self.shared.document(reference)
    }

    /// Fetches layers that will be read soon.
    pub(crate) fn announce(&self, layers: &[Descriptor]) -> Result<()> {
        let mut state = self.shared.state();
        // The first one is opened right away.
        state.wanted.extend(layers.iter().skip(1).cloned());
        let count = AHEAD_COUNT.min(state.wanted.len());
        for _ in 0..count {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new()
                .name("fetch".to_owned())
                .spawn(move || shared.fetch_ahead());
            state.threads.push(thread.context(|| "start thread fetch")?);
        }
        Ok(())
    }

    /// Waits until all that was fetched is kept.
    pub(crate) fn finish(&self) -> Result<()> {
        let threads = std::mem::take(&mut self.shared.state().threads);
        for thread in threads {
            if let Err(payload) = thread.join() {
                std::panic::resume_unwind(payload);
            }
        }
        self.shared.state().failure.take().map_or(Ok(()), Err)
    }
}

impl Drop for RemoteBlobs {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let threads = std::mem::take(&mut self.shared.state().threads);
        for thread in threads {
            // What it could not keep is fetched again when it is needed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches and keeps a manifest or an index.
    fn document(&self, reference: &str) -> Result<Descriptor> {
        let (descriptor, bytes) = self.reader.manifest(reference)?;
        let digest = self
            .keep
            .store()
            .put(descriptor.digest().algorithm(), &bytes);
        digest.context(|| "keep a manifest")?;
        self.learn(&descriptor, &bytes)?;
        Ok(descriptor)
    }

    /// Remembers what a document names.
    fn learn(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        let named = match descriptor.kind() {
            MediaKind::Index => Index::parse(bytes, descriptor.media_type())?.manifests,
            MediaKind::Manifest => {
                let manifest = Manifest::parse(bytes, descriptor.media_type())?;
                let mut named = manifest.layers;
                named.push(manifest.config);
                named
            }
            _ => return Ok(()),
        };
        let named = named.into_iter().map(|it| (it.digest().clone(), it));
        self.state().known.extend(named);
        Ok(())
    }

    /// Opens a blob that the layout does not have.
    fn fetch(self: &Arc<Self>, descriptor: &Descriptor) -> Result<Blob> {
        let digest = descriptor.digest();
        if matches!(descriptor.kind(), MediaKind::Index | MediaKind::Manifest) {
            self.document(&digest.to_string())?;
            return Ok(self.keep.store().open(digest)?);
        }
        if descriptor.size() <= SMALL {
            self.transfer(descriptor, None)?;
            return Ok(self.keep.store().open(digest)?);
        }
        let (sender, receiver) = bounded(PIECE_COUNT);
        let tracked = self.state().running.insert(digest.clone(), false).is_none();
        let (shared, wanted) = (self.clone(), descriptor.clone());
        let thread = std::thread::Builder::new()
            .name("fetch".to_owned())
            .spawn(move || {
                let fetched = shared.transfer(&wanted, Some(&sender));
                if let Err(error) = fetched {
                    // The reader shows it; when it has all, only the layout lacks something.
                    if let Err(unsent) = sender.send(Err(error.into())) {
                        let error = unsent.into_inner().err();
                        let error = error
                            .map(|error| Error::io("keep", wanted.digest().to_string(), error));
                        let mut state = shared.state();
                        state.failure = state.failure.take().or(error);
                    }
                }
                drop(sender);
                if tracked {
                    shared.ended(wanted.digest());
                }
            });
        match thread {
            Ok(thread) => self.state().threads.push(thread),
            Err(error) => {
                self.ended(digest);
                return Err(error).context(|| "start thread fetch");
            }
        }
        let reader = PieceReader {
            receiver,
            piece: Vec::new(),
            used: 0,
        };
        Ok(Blob {
            reader: Box::new(reader),
            size: descriptor.size(),
        })
    }

    /// Brings a blob into the layout, and each piece to a reader.
    fn transfer(&self, descriptor: &Descriptor, reader: Option<&Sender<Piece>>) -> Result<()> {
        let (digest, size) = (descriptor.digest(), descriptor.size());
        let failed = || format!("fetch blob {digest}");
        let blob = self.reader.blob(descriptor).context(failed)?;
        let mut blob = VerifyingReader::new(blob, digest.clone(), size);
        let mut ingest = self
            .keep
            .store()
            .ingest(digest.algorithm())
            .context(failed)?;
        loop {
            let mut piece = vec![0; PIECE_SIZE];
            let count = match blob.read(&mut piece) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context(failed),
            };
            if count == 0 {
                break;
            }
            piece.truncate(count);
            ingest.write_all(&piece).context(failed)?;
            match reader {
                Some(reader) if reader.send(Ok(piece)).is_err() => return Ok(()),
                None if self.stop.load(Ordering::SeqCst) => return Ok(()),
                _ => {}
            }
        }
        if let Some(reader) = reader {
            // The end, before the blob is on disk: the reader need not wait for that.
            let _ = reader.send(Ok(Vec::new()));
            let mut state = self.state();
            state.running.insert(digest.clone(), true);
            drop(state);
            self.changed.notify_all();
        }
        ingest.commit().context(failed)?;
        Ok(())
    }

    /// Fetches announced layers until there are none left.
    fn fetch_ahead(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            let next = {
                let mut state = self.state();
                let Some(next) = state.wanted.pop_front() else {
                    return;
                };
                if state.running.contains_key(next.digest()) {
                    continue;
                }
                state.running.insert(next.digest().clone(), true);
                next
            };
            let there = matches!(self.keep.store().stat(next.digest()), Ok(Some(_)));
            // What goes wrong, does so again when it is asked for.
            let _ = there || self.transfer(&next, None).is_ok();
            self.ended(next.digest());
        }
    }

    fn ended(&self, digest: &Digest) {
        self.state().running.remove(digest);
        self.changed.notify_all();
    }

    /// Waits while something is fetched that nobody reads.
    fn wait(&self, digest: &Digest) {
        let mut state = self.state();
        while state.running.get(digest) == Some(&true) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Store for RemoteBlobs {
    fn open(&self, digest: &Digest) -> oci_cas::Result<Blob> {
        let shared = &self.shared;
        shared.wait(digest);
        let known = shared.state().known.get(digest).cloned();
        match (shared.keep.store().open(digest), known) {
            (Ok(blob), Some(known))
                if matches!(known.kind(), MediaKind::Index | MediaKind::Manifest) =>
            {
                let bytes = shared.keep.store().read_verified(digest, known.size())?;
                shared.learn(&known, &bytes).map_err(to_cas)?;
                Ok(blob)
            }
            (Err(error), Some(known)) if error.kind() == oci_cas::ErrorKind::NotFound => {
                shared.fetch(&known).map_err(to_cas)
            }
            (opened, _) => opened,
        }
    }

    fn stat(&self, digest: &Digest) -> oci_cas::Result<Option<u64>> {
        let known = self.shared.state().known.get(digest).map(Descriptor::size);
        match known {
            Some(size) => Ok(Some(size)),
            None => self.shared.keep.store().stat(digest),
        }
    }

    fn ingest(&self, algorithm: Algorithm) -> oci_cas::Result<Box<dyn Ingest + '_>> {
        self.shared.keep.store().ingest(algorithm)
    }

    fn remove(&self, _: &Digest) -> oci_cas::Result<bool> {
        let message = "a registry's image is not changed";
        Err(oci_cas::Error::new(
            oci_cas::ErrorKind::Unsupported,
            message,
        ))
    }

    fn list(&self) -> oci_cas::Result<Vec<Digest>> {
        Ok(self.shared.state().known.keys().cloned().collect())
    }
}

/// An error of ours as one of the store's.
fn to_cas(error: Error) -> oci_cas::Error {
    let kind = match error.kind() {
        ErrorKind::NotFound => oci_cas::ErrorKind::NotFound,
        ErrorKind::Verification => oci_cas::ErrorKind::Mismatch,
        ErrorKind::PermissionDenied => oci_cas::ErrorKind::PermissionDenied,
        _ => oci_cas::ErrorKind::Io,
    };
    oci_cas::Error::new(kind, "ask the registry").with_source(error)
}

/// A piece of a blob; an empty one is its end.
type Piece = io::Result<Vec<u8>>;

/// The pieces of a blob as they come.
struct PieceReader {
    receiver: Receiver<Piece>,
    piece: Vec<u8>,
    used: usize,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.piece.len() {
            // After the end, nothing comes any more.
            self.piece = self.receiver.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
            self.used = 0;
        }
        let count = buffer.len().min(self.piece.len() - self.used);
        buffer[..count].copy_from_slice(&self.piece[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}
