//! Layers into the store: each once, several at a time, whoever else wants them at the same moment.
//!
//! What is missing is locked by name, in the order of the names, so that processes which want the same layers wait for
//! each other and never in a circle; whoever comes second finds the layer there. Each layer is unpacked into a staging
//! directory of its own. When all of an image are complete and verified, a `syncfs` makes them durable, for which little is
//! left to do as content is written to disk all the while; and only then they get their names. A death before leaves staging
//! directories, which the next process removes; a death in between leaves some of the layers, each complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::chain::Chain;
use super::form::{LayerForm, is_beyond_erofs};
use super::id::LayerId;
use super::layer::{CONTENT, LayerMeta, now, write_meta, write_record};
use super::patch::Attributes;
use super::place::{Store, SyncPolicy};
use super::reason::Reason;
use crate::archive::Limits;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::fs::staging::Staging;
use crate::fs::tree::Tree;
use crate::fs::{Access, Dir, Root, failpoint, thread};
use crate::image::{ChainId, DiffId};
use crate::layer::{ApplyOptions, LayerSource, LowerDependencies, unpack_changeset};
use crate::progress::Progress;
use oci_cas::Algorithm;

/// How long content gathers before it is written to disk.
const WRITE_BEHIND: Duration = Duration::from_millis(300);

/// Where the content of layers comes from.
pub trait LayerProvider: Sync {
    /// Opens the uncompressed stream of the layer at a place in the image, from 0.
    ///
    /// # Errors
    ///
    /// Fails if the content is not at hand.
    fn open(&self, index: usize) -> Result<Box<dyn LayerSource + '_>>;

    /// The layer at a place in the image is in the store now.
    fn finished(&self, _index: usize) {}
}

/// What an unpack may take.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UnpackLimits {
    /// How many bytes the files of one layer may have, holes counted.
    pub max_size: Option<u64>,
    /// Limits of the archive reader.
    pub archive: Limits,
}

/// A layer that is to be unpacked.
struct Job<'a> {
    index: usize,
    diff_id: &'a DiffId,
}

impl UnpackLimits {
    /// With a limit of the files of a layer, or without, and the defaults for the rest.
    pub fn new(max_size: Option<u64>) -> Self {
        Self {
            max_size,
            ..Self::default()
        }
    }
}

impl Store {
    /// Brings the layers of an image into the store and stacks them. Those that are there are not read.
    ///
    /// After a failure, layers that were complete may stay; nothing refers to them, and `gc` takes them.
    ///
    /// # Errors
    ///
    /// [`Reason::WrongDiffId`] if a stream is not what the image promised; otherwise those of the provider and of
    /// [`unpack_changeset`], and whatever keeps the store from being written.
    pub fn unpack(
        &self,
        diff_ids: &[DiffId],
        provider: &dyn LayerProvider,
        limits: &UnpackLimits,
        progress: &dyn Progress,
    ) -> Result<Chain> {
        let _in_use = self.shared()?;
        if let Some(chain) = self.find_chain(ChainId::of(diff_ids).as_ref())? {
            return Ok(chain);
        }
        if self.keeps_tars(diff_ids)? {
            self.unpack_missing(diff_ids, LayerForm::Tar, provider, limits, progress)?;
            match self.register_erofs(diff_ids) {
                Err(error) if is_beyond_erofs(&error) => {
                    let why = error.chain();
                    progress.warn(format_args!(
                        "the image is unpacked into directories: {why}"
                    ));
                }
                other => return other,
            }
        }
        self.unpack_missing(diff_ids, LayerForm::Dir, provider, limits, progress)?;
        self.register(diff_ids, provider, progress)
    }

    /// Brings the layers into the store that are not in it.
    fn unpack_missing(
        &self,
        diff_ids: &[DiffId],
        form: LayerForm,
        provider: &dyn LayerProvider,
        limits: &UnpackLimits,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut missing = BTreeMap::new();
        for (index, diff_id) in diff_ids.iter().enumerate() {
            let Some(id) = form.layer(diff_id) else {
                continue;
            };
            if !self.has_layer(&id)? {
                missing.entry(id).or_insert(Job { index, diff_id });
            }
        }
        // In the order of their names, so that nobody waits in a circle.
        let names: BTreeSet<String> = missing.keys().map(lock_of).collect();
        let locks = names.iter().map(|name| self.lock_name(name));
        let _once = locks.collect::<Result<Vec<_>>>()?;
        let mut jobs = Vec::new();
        for (id, job) in missing {
            // Somebody else may have made it while we waited.
            if self.has_layer(&id)? {
                provider.finished(job.index);
            } else {
                jobs.push(job);
            }
        }
        if jobs.is_empty() {
            return Ok(());
        }
        // The lowest first: they tend to be the largest.
        jobs.sort_by_key(|job| std::cmp::Reverse(job.index));
        let staging = self.staging()?;
        let staged = jobs
            .iter()
            .filter_map(|job| Some((job.index, form.layer(job.diff_id)?)));
        let staged: Vec<_> = staged.collect();
        self.write_behind(|| {
            self.stage_all(jobs, staging.dir(), &|index, diff_id, dir| {
                let source = provider.open(index)?;
                match form {
                    LayerForm::Tar => Self::stage_tar(dir, source, diff_id, limits),
                    LayerForm::Dir => self.stage_layer(dir, source, diff_id, limits, progress),
                }
            })
        })?;
        failpoint::hit("unpack-staged");
        self.sync()?;
        failpoint::hit("unpack-synced");
        for (index, id) in &staged {
            self.rename_layer(id, &staging, &entry_of(*index))?;
            failpoint::hit("unpack-published");
        }
        // In this order: see `publish_into` of `Staging`.
        staging.dir().sync_names()?;
        let parents: BTreeSet<&str> = staged.iter().map(|(_, id)| id.place().0).collect();
        let layers = self.sub("layers")?;
        for parent in parents {
            layers.open_dir(parent.as_bytes())?.sync_names()?;
        }
        for (index, _) in staged {
            provider.finished(index);
        }
        Ok(())
    }

    /// Stages layers, and has written to disk again and again what there is of them, so that little is left to the sync
    /// at the end.
    fn write_behind(&self, stage: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.options().sync == SyncPolicy::None {
            return stage();
        }
        let (staged, is_staged) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let behind = thread::spawn(scope, "sync", move || {
                while is_staged.recv_timeout(WRITE_BEHIND) == Err(RecvTimeoutError::Timeout) {
                    // The kernel tells of what could not be written once: the last sync would not hear of it any more.
                    self.sync()?;
                }
                Ok(())
            });
            let result = stage();
            drop(staged);
            // Without that thread, all of it is left to the sync at the end.
            let written = behind.map_or(Ok(()), thread::join);
            result.and(written)
        })
    }

    /// Makes a directory for each layer and has it filled, several at a time.
    fn stage_all(
        &self,
        jobs: Vec<Job<'_>>,
        staging: &Dir,
        stage: &(dyn Fn(usize, &DiffId, &Dir) -> Result<()> + Sync),
    ) -> Result<()> {
        let workers = self.options().jobs.clamp(1, jobs.len().max(1));
        let queue = Mutex::new(jobs);
        let failed = AtomicBool::new(false);
        let work = || -> Result<()> {
            while !failed.load(Ordering::Relaxed) {
                let job = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(job) = job else { break };
                let made = staging
                    .create_new_dir(&entry_of(job.index), 0o700)
                    .and_then(|dir| stage(job.index, job.diff_id, &dir));
                made.context(|| format!("unpack layer {}", job.diff_id))
                    .inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            }
            Ok(())
        };
        thread::side_by_side(workers, "unpack", &work)
            .into_iter()
            .collect()
    }

    /// Unpacks a stream into a staged layer, and makes sure that it is the one that was promised.
    pub(crate) fn stage_layer(
        &self,
        dir: &Dir,
        source: impl LayerSource,
        diff_id: &DiffId,
        limits: &UnpackLimits,
        progress: &dyn Progress,
    ) -> Result<()> {
        let algorithm = diff_id.0.algorithm();
        let got = self.stage_stream(dir, source, algorithm, limits, progress)?;
        if got != *diff_id {
            let message = format!("diffid mismatch: expected {diff_id}, got {got}");
            return Err(Reason::WrongDiffId.error(message));
        }
        Ok(())
    }

    /// Unpacks a stream into a staged layer, and says which one it is.
    pub(crate) fn stage_stream(
        &self,
        dir: &Dir,
        source: impl LayerSource,
        algorithm: Algorithm,
        limits: &UnpackLimits,
        progress: &dyn Progress,
    ) -> Result<DiffId> {
        let content = dir.create_new_dir(CONTENT, 0o700)?;
        Attributes::implied().apply(&content, self.marks())?;
        let root = Root::from_dir(content, Access::Plain)?;
        let options = ApplyOptions {
            limits: limits.archive.clone(),
            max_size: limits.max_size,
            file_digests: true,
            fresh: true,
            ..ApplyOptions::default()
        };
        let unpacked =
            unpack_changeset(source, algorithm, &root, &options, self.marks(), progress)?;
        let applied = unpacked.applied;
        self.describe(dir, &unpacked.tree, unpacked.changeset, applied.size)?;
        failpoint::hit("layer-staged");
        Ok(DiffId(applied.digest))
    }

    /// Writes down what is known of a staged layer.
    pub(crate) fn describe(
        &self,
        dir: &Dir,
        tree: &Tree,
        changeset: LowerDependencies,
        stream_size: u64,
    ) -> Result<()> {
        write_record(dir, tree, &changeset, self.marks())?;
        let meta = LayerMeta {
            stream_size,
            created: now(),
            changeset,
        };
        write_meta(dir, &meta)
    }

    /// Gives a complete layer, an entry of a staging directory, its name. Somebody else's, of the same content, counts as
    /// well.
    pub(crate) fn publish_layer(
        &self,
        id: &LayerId,
        staging: &Staging,
        entry: &[u8],
    ) -> Result<()> {
        self.rename_layer(id, staging, entry)?;
        // In this order: see `publish_into` of `Staging`.
        staging.dir().sync_names()?;
        self.layer_parent(id)?.sync_names()
    }

    fn rename_layer(&self, id: &LayerId, staging: &Staging, entry: &[u8]) -> Result<()> {
        let renamed = staging.move_entry(entry, &self.layer_parent(id)?, id.place().1.as_bytes());
        renamed.or_else(|error| match error.kind() {
            ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })
    }
}

/// The name of a staged layer.
fn entry_of(index: usize) -> Vec<u8> {
    index.to_string().into_bytes()
}

/// What whoever makes a layer locks: one of few names, so that an image of many layers takes few descriptors.
pub(crate) fn lock_of(id: &LayerId) -> String {
    let (_, name) = id.place();
    let first = name.bytes().next().map_or('-', char::from);
    format!("layers-{first}")
}
