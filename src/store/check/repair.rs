//! Putting a store right.
//!
//! What takes long is made beside what is there; then nobody else uses the store for as long as two renames take. What is
//! in use by a mount is left alone. A layer that was unpacked is unpacked again from its blob. Of all others nothing is
//! kept: variants, copies with other owners, merged layers and patches are made again when the chains that have them are
//! registered again, and the record of a chain stays until its next one is written, so that a death on the way loses none.

use super::CheckOptions;
use super::known::{Known, live_mounts};
use super::layer::Level;
use super::report::{Action, CheckReport, Object, Problem, ProblemKind};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::failpoint;
use crate::image::{ChainId, DiffId};
use crate::layer::LayerSource;
use crate::progress::Progress;
use crate::store::layer::LAYER;
use crate::store::{
    Chain, LayerId, LayerProvider, MountRecord, Reason, Store, StoredImage, UnpackLimits,
};

/// Where the blobs of images are found.
pub trait LayerBlobs: Sync {
    /// Opens the uncompressed stream of the layer at a place in an image, from 0.
    ///
    /// # Errors
    ///
    /// Fails if the blob is not at hand any more.
    fn open(&self, image: &StoredImage, index: usize) -> Result<Box<dyn LayerSource + '_>>;
}

/// The layers of a chain, each from whichever image has it.
struct OfImages<'a> {
    store: &'a Store,
    blobs: &'a dyn LayerBlobs,
    diff_ids: &'a [DiffId],
}

impl LayerProvider for OfImages<'_> {
    fn open(&self, index: usize) -> Result<Box<dyn LayerSource + '_>> {
        let diff_id = self
            .diff_ids
            .get(index)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no layer {index}")))?;
        open_blob(self.store, self.blobs, diff_id)
    }
}

/// Opens the blob of a layer in the first image that still has it.
fn open_blob<'b>(
    store: &Store,
    blobs: &'b dyn LayerBlobs,
    diff_id: &DiffId,
) -> Result<Box<dyn LayerSource + 'b>> {
    let mut failed = None;
    for (image, place) in store.images_with_layer(diff_id)? {
        match blobs.open(&image, place) {
            Ok(source) => return Ok(source),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| {
        let message = format!("layer {diff_id}: no image of the store has it any more");
        Reason::LayerUnknown.error(message)
    }))
}

impl Store {
    /// Puts right what a check has found, as far as that can be.
    pub(super) fn repair(
        &self,
        report: &mut CheckReport,
        blobs: &dyn LayerBlobs,
        progress: &dyn Progress,
    ) -> Result<()> {
        let repair = Repair {
            store: self,
            known: Known::of(self)?,
            blobs,
            progress,
        };
        let mut problems: Vec<&mut Problem> = report.problems.iter_mut().collect();
        problems.sort_by_key(|problem| rank(&problem.object));
        for problem in problems {
            problem.action = repair.one(problem).unwrap_or_else(|error| {
                let hints = error.hints();
                let hint = hints.first().map(|hint| format!(" ({hint})"));
                Action::Failed(error.chain() + &hint.unwrap_or_default())
            });
            failpoint::hit("repaired");
        }
        Ok(())
    }
}

/// The order of the work: what is made of others comes after them.
fn rank(object: &Object) -> u8 {
    match object {
        Object::Mount(_) => 0,
        Object::Layer(id) if id.is_plain() || id.is_tar() => 1,
        Object::Patch(_) => 2,
        Object::Layer(id) if id.before_map().is_some() => 5,
        // A merged layer is a copy of others, variants among them.
        Object::Layer(id) if id.diff_id().is_none() => 4,
        Object::Layer(_) => 3,
        _ => 6,
    }
}

struct Repair<'a> {
    store: &'a Store,
    known: Known,
    blobs: &'a dyn LayerBlobs,
    progress: &'a dyn Progress,
}

impl Repair<'_> {
    fn one(&self, problem: &Problem) -> Result<Action> {
        match (&problem.object, problem.what) {
            (Object::Mount(_), ProblemKind::Dead) => {
                let _alone = self.store.exclusive()?;
                self.store.forget_dead_mounts()?;
                Ok(Action::Removed)
            }
            (Object::Layer(id), _) => self.layer(id),
            (Object::Patch(id), _) => {
                let chains = self.known.chains_under(id);
                self.take_away("patches", &id.to_string(), &chains)?;
                self.register(&chains)
            }
            (Object::Chain(id), what) => self.chain(id.as_ref(), what),
            (Object::Image(digest), ProblemKind::Incomplete) => {
                let image = self.store.find_image(digest)?;
                let image = image.ok_or_else(|| cannot("it is gone"))?;
                self.unpack(&image.diff_ids)?;
                Ok(Action::Repaired)
            }
            (Object::Container(key), ProblemKind::Incomplete) => {
                let chain = self.store.container(key)?.meta().chain.clone();
                if self.store.find_chain(chain.as_ref())?.is_none() {
                    self.unpack(&self.layers_of(chain.as_ref())?)?;
                }
                Ok(Action::Repaired)
            }
            (Object::Snapshot(name), ProblemKind::Incomplete) => {
                let mut snapshots = self.known.snapshots.iter();
                let found = snapshots.find(|known| known.name == *name);
                let found = found.ok_or_else(|| cannot("it is gone"))?;
                self.unpack(&found.diff_ids)?;
                Ok(Action::Repaired)
            }
            (Object::Name(name), ProblemKind::Incomplete) => {
                // Somebody may have brought the image in by now.
                match self.store.image(name) {
                    Ok(_) => return Ok(Action::Repaired),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                match self.store.untag(name) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    other => other?,
                }
                Ok(Action::Removed)
            }
            (Object::Entry(path), ProblemKind::Leftover) => self.leftover(path),
            (Object::Image(_), _) => {
                Err(cannot("nothing else says what the image is")
                    .with_hint("unpack the image again"))
            }
            (Object::Container(_), _) => Err(cannot("what is in a container is never touched")),
            _ => Err(cannot("it is not known whether it is needed")
                .with_hint("remove it by hand if it is not")),
        }
    }

    fn layer(&self, id: &LayerId) -> Result<Action> {
        let chains = self.known.chains_with(id);
        if !id.is_plain() && !id.is_tar() {
            // Before anything goes, it must be at hand of what it is made again.
            if let (Some(diff_id), None) = (id.diff_id(), id.before_map()) {
                drop(open_blob(self.store, self.blobs, &diff_id)?);
            }
            let (dir, name) = id.place();
            self.refuse_mounted(&chains)?;
            self.store.unmount_erofs(id)?;
            self.take_away(&format!("layers/{dir}"), name, &chains)?;
            if id.before_map().is_some() {
                // It is made again by the next mount with these owners.
                return Ok(Action::Removed);
            }
            return self.register(&chains);
        }
        let diff_id = id.diff_id().ok_or_else(|| cannot("it has no digest"))?;
        // What cannot succeed does not begin.
        self.refuse_mounted(&chains)?;
        let staging = self.store.staging()?;
        let made = staging.dir().create_new_dir(LAYER, 0o700)?;
        let source = open_blob(self.store, self.blobs, &diff_id)?;
        let limits = UnpackLimits::default();
        let staged = if id.is_tar() {
            Store::stage_tar(&made, source, &diff_id, &limits)
        } else {
            self.store
                .stage_layer(&made, source, &diff_id, &limits, self.progress)
        };
        staged.context(|| "unpack it again")?;
        self.store.sync()?;
        let thrown = {
            let _alone = self.store.exclusive()?;
            self.refuse_mounted(&chains)?;
            for layer in chains.iter().flat_map(|chain| &chain.layers) {
                self.store.unmount_erofs(layer)?;
            }
            let parent = self.store.layer_parent(id)?;
            let name = id.place().1.as_bytes();
            let thrown = self.store.throw_away(&parent, name)?;
            failpoint::hit("repair-layer");
            self.store.publish_layer(id, &staging, LAYER)?;
            thrown
        };
        thrown.empty()?;
        let left = self.store.check_one_layer(id, Level::Full);
        match left.first() {
            None => Ok(Action::Repaired),
            Some(problem) => Err(cannot(&format!("it is still wrong: {}", problem.detail))),
        }
    }

    fn chain(&self, id: Option<&ChainId>, what: ProblemKind) -> Result<Action> {
        if what == ProblemKind::Unreadable {
            let layers = self.layers_of(id);
            let is_needed = !self.known.dependants(&[id.cloned()]).is_empty();
            if layers.is_err() && is_needed {
                return layers.map(|_| Action::Repaired);
            }
            {
                let _alone = self.store.exclusive()?;
                self.store.remove_chain(id)?;
            }
            let Ok(layers) = layers else {
                return Ok(Action::Removed);
            };
            self.unpack(&layers)?;
        } else if self.store.find_chain(id)?.is_none() {
            self.unpack(&self.layers_of(id)?)?;
        }
        Ok(Action::Repaired)
    }

    /// Takes away what is in the trash, or in the making, of processes that are dead.
    fn leftover(&self, path: &str) -> Result<Action> {
        let _alone = self.store.exclusive()?;
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = match dir {
            "" => self.store.dir().open_dir(b".")?,
            dir => self.store.sub(dir)?,
        };
        match dir.remove_all(name.as_bytes()) {
            // Whoever stages sweeps up what he finds.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other?,
        }
        Ok(Action::Removed)
    }

    fn layers_of(&self, id: Option<&ChainId>) -> Result<Vec<DiffId>> {
        let layers = self.known.diff_ids_of(id);
        layers.ok_or_else(|| {
            cannot("nothing says of which layers it consists").with_hint("unpack the image again")
        })
    }

    /// Moves something that is made again to the trash.
    fn take_away(&self, dir: &str, name: &str, chains: &[&Chain]) -> Result<()> {
        let thrown = {
            let _alone = self.store.exclusive()?;
            self.refuse_mounted(chains)?;
            let dir = self.store.dir().open_below(dir.as_bytes())?;
            self.store.throw_away(&dir, name.as_bytes())?
        };
        failpoint::hit("repair-taken");
        thrown.empty()
    }

    fn register(&self, chains: &[&Chain]) -> Result<Action> {
        for chain in chains {
            self.unpack(&chain.diff_ids)?;
        }
        Ok(if chains.is_empty() {
            Action::Removed
        } else {
            Action::Repaired
        })
    }

    fn unpack(&self, diff_ids: &[DiffId]) -> Result<()> {
        let provider = OfImages {
            store: self.store,
            blobs: self.blobs,
            diff_ids,
        };
        let limits = UnpackLimits::default();
        self.store
            .unpack(diff_ids, &provider, &limits, self.progress)?;
        Ok(())
    }

    /// Refuses to touch what a mount shows.
    fn refuse_mounted(&self, chains: &[&Chain]) -> Result<()> {
        let uses = |mount: &MountRecord| chains.iter().any(|chain| chain.id == mount.chain);
        match live_mounts(self.store)?.iter().find(|mount| uses(mount)) {
            None => Ok(()),
            Some(mount) => {
                let message = format!("mounted at {}", mount.target.display());
                Err(Reason::InUse.error(message).with_hint("unmount it first"))
            }
        }
    }
}

fn cannot(why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, why)
}

impl CheckOptions {
    /// Everything, and put right.
    pub fn repairing() -> Self {
        Self {
            repair: true,
            ..Self::default()
        }
    }
}
