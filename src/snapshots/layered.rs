//! Snapshots in the layer store: committed ones are chains, the others containers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::contract::{Info, Kind, Mount, SnapshotOptions, SnapshotUsage, Snapshotter};
use super::filter;
use super::mounter;
use crate::error::{Error, Result, ResultExt};
use crate::fs::usage::usage;
use crate::fs::{IdMap, MapOptions, XattrNamespace};
use crate::image::{ChainId, DiffId};
use crate::layer::LayerSource;
use crate::progress::{Progress, Silent};
use crate::store::names::{Records, Snapshot, check_labels, parent_of_commit};
use crate::store::trash::TrashEntry;
use crate::store::{
    Chain, CommitOptions, ContainerMeta, Key, LayerId, LayerProvider, MountOptions, MountRecord,
    Reason, Store, UnpackLimits,
};

/// What the keys of the containers of snapshots begin with.
const PREFIX: &str = "snapshot-";
/// The same, of snapshots that an engine has made.
pub(super) const ENGINE: &str = "engine-";

/// Snapshots in a [`Store`].
///
/// What is committed becomes a layer: equal changes on equal parents are kept once. `gc` takes nothing that a snapshot leads
/// to.
#[derive(Debug)]
pub struct StoreSnapshots<'s> {
    pub(super) store: &'s Store,
    pub(super) records: Records,
    /// What the places of those begin with that are made here.
    pub(super) prefix: &'static str,
}

impl<'s> StoreSnapshots<'s> {
    /// The snapshots in a store.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be written to.
    pub fn new(store: &'s Store) -> Result<Self> {
        let records = Records::open(store.dir(), store.options().lock_timeout)?;
        let prefix = PREFIX;
        Ok(Self {
            store,
            records,
            prefix,
        })
    }

    /// Mounts an active snapshot or a view, as [`Store::mount_container`] does: with a record, so that it cannot be removed
    /// or mounted elsewhere meanwhile. [`Store::unmount`] unmounts it.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyUnknown`] if there is none, [`Reason::Prerequisites`] if it is committed, and those of
    /// [`Store::mount_container`].
    pub fn mount(&self, key: &str, target: &Path) -> Result<MountRecord> {
        let container = container_of(&self.records.get(key)?.mountable()?)?;
        self.store
            .mount_container(&container, target, &MountOptions::default())
    }

    /// The chain of a committed snapshot, or that which another is laid on.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyUnknown`] if there is no such snapshot.
    pub fn chain(&self, key: &str) -> Result<Chain> {
        let snapshot = self.records.get(key)?;
        if snapshot.info.kind == Kind::Committed {
            return self.chain_of(Some(&snapshot));
        }
        let container = self.store.container(&container_of(&snapshot)?)?;
        self.store.chain(container.meta().chain.as_ref())
    }

    /// Unpacks the layers of an image, several at a time, and commits a snapshot for each of them, by the name of its chain.
    /// Nothing that is there is read. [`apply_layers`](super::apply_layers) does the same with any snapshotter, one layer
    /// after the other.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for no layers, and those of [`Store::unpack`].
    pub fn unpack(
        &self,
        diff_ids: &[DiffId],
        provider: &dyn LayerProvider,
        progress: &dyn Progress,
    ) -> Result<ChainId> {
        let _in_use = self.store.shared()?;
        let mut top = None;
        let limits = UnpackLimits::default();
        // The uppermost first: all others are there with it.
        self.store.unpack(diff_ids, provider, &limits, progress)?;
        for end in 1..=diff_ids.len() {
            let chain = self
                .store
                .unpack(&diff_ids[..end], provider, &limits, progress)?;
            self.keep(&chain)?;
            top = chain.id;
        }
        top.ok_or_else(|| {
            let message = "an image without layers has no chain";
            Error::new(crate::ErrorKind::InvalidInput, message)
        })
    }

    /// Commits a chain by its own name, unless something has that name: it stays until the snapshot is removed. The chain
    /// without layers has no name, and needs nothing to stay.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if others change snapshots for longer than the lock may be waited for,
    /// and whatever keeps the store from being read or written. Nothing is recorded then.
    pub fn keep(&self, chain: &Chain) -> Result<()> {
        let Some(name) = chain.id.as_ref().map(ToString::to_string) else {
            return Ok(());
        };
        let _in_use = self.store.shared()?;
        if self.records.find(&name)?.is_some() {
            return Ok(());
        }
        let top = chain.layers.first();
        let top = top.map(|layer| self.store.layer_usage(layer));
        let taken = top.transpose()?;
        let locked = self.records.lock()?;
        if self.records.find(&name)?.is_some() {
            // Somebody else was faster.
            return Ok(());
        }
        let parent = chain.parent().map(|parent| parent.to_string());
        let parent = parent
            .map(|parent| self.records.find(&parent))
            .transpose()?;
        let parent = parent.flatten().map(|parent| parent.info.name);
        let options = SnapshotOptions::default();
        let place = format!("chain {name}");
        let mut snapshot =
            Snapshot::new(Kind::Committed, &name, parent.as_deref(), &options, place);
        snapshot.content = Some(name);
        snapshot.layers.clone_from(&chain.diff_ids);
        snapshot.usage = taken.map(room);
        locked.insert(&snapshot)
    }

    /// The chain of a committed snapshot; without one, the chain without layers.
    pub(super) fn chain_of(&self, committed: Option<&Snapshot>) -> Result<Chain> {
        let Some(committed) = committed else {
            return self
                .store
                .unpack(&[], &Nothing, &UnpackLimits::default(), &Silent);
        };
        let id = committed.content.as_deref().map(str::parse).transpose()?;
        self.store.chain(id.as_ref())
    }

    /// Makes a snapshot; `meta` says what its container is beside.
    pub(super) fn make(
        &self,
        kind: Kind,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
        meta: ContainerMeta,
    ) -> Result<Vec<Mount>> {
        let _in_use = self.store.shared()?;
        let locked = self.records.lock()?;
        let below = locked.check_new(key, parent, options)?;
        let chain = self.chain_of(below.as_ref())?;
        let container = Key::new(crate::fs::names::unique_name(self.prefix))?;
        let meta = ContainerMeta {
            view: kind == Kind::View || meta.view,
            ..meta
        };
        self.store.prepare(&container, &chain, meta)?;
        let snapshot = Snapshot::new(kind, key, parent, options, container.to_string());
        let mounts = locked
            .insert(&snapshot)
            .and_then(|()| self.mounts_of(&container));
        mounts.inspect_err(|_| {
            // The error that matters is the one being returned.
            let _ = locked.forget(&snapshot);
            let _ = self.store.remove_container(&container);
        })
    }

    fn mounts_of(&self, container: &Key) -> Result<Vec<Mount>> {
        let container = self.store.container(container)?;
        let meta = container.meta();
        let mut chain = self.store.chain(meta.chain.as_ref())?;
        if let Some(layer) = &meta.applied {
            chain = self.above(&chain, layer, &Nothing)?;
        }
        let lowers = self.store.lowers(&chain)?;
        let lowers = lowers.dirs().map(|dir| Ok(dir?.path().to_owned()));
        let lowers = lowers.collect::<Result<Vec<_>>>()?;
        let lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
        let (upper, work) = (container.upper()?, container.work()?);
        let writable = !meta.view;
        let upper = writable.then(|| (upper.path(), work.path()));
        let user = self.store.marks() == XattrNamespace::User;
        let mut mount = mounter::overlay(&lowers, upper, user);
        mount.options.extend(id_map_options(&meta.maps));
        Ok(vec![mount])
    }

    /// A chain with one more layer, which is there.
    pub(super) fn above(
        &self,
        below: &Chain,
        layer: &DiffId,
        provider: &dyn LayerProvider,
    ) -> Result<Chain> {
        let diff_ids = [&below.diff_ids[..], std::slice::from_ref(layer)].concat();
        let limits = UnpackLimits::default();
        self.store.unpack(&diff_ids, provider, &limits, &Silent)
    }

    fn commit_active(
        &self,
        name: &str,
        active: &Snapshot,
        options: &SnapshotOptions,
    ) -> Result<()> {
        let parent = parent_of_commit(&self.records, active, options)?;
        let container = container_of(active)?;
        let is_rebased = active.info.parent.is_none() && parent.is_some();
        let over = is_rebased
            .then(|| self.chain_of(parent.as_ref()))
            .transpose()?;
        let (chain, taken) = self.chain_of_commit(&container, over.as_ref())?;
        let parent = parent.map(|parent| parent.info.name);
        let place = active.place.clone();
        let mut committed = Snapshot::new(Kind::Committed, name, parent.as_deref(), options, place);
        committed.content = chain.id.map(|id| id.to_string());
        committed.layers = chain.diff_ids;
        committed.usage = taken;
        self.records.lock()?.commit(active, &committed)?;
        // Where it is still mounted it stays for `cleanup`.
        match self.store.remove_container(&container) {
            Err(error) if Reason::of(&error) != Some(Reason::InUse) => Err(error),
            _ => Ok(()),
        }
    }
}

impl StoreSnapshots<'_> {
    /// The chain that a container becomes, and the room that its changes took, where that is known.
    fn chain_of_commit(
        &self,
        container: &Key,
        over: Option<&Chain>,
    ) -> Result<(Chain, Option<SnapshotUsage>)> {
        let opened = self.store.container(container)?;
        let Some(layer) = &opened.meta().applied else {
            let taken = usage(&opened.upper()?)?;
            let commit = CommitOptions {
                over,
                skip_sockets: true,
                ..CommitOptions::default()
            };
            let made = self.store.commit_container(container, &commit, &Silent)?;
            return Ok((made.chain, Some(room(taken))));
        };
        if !opened.upper()?.names()?.is_empty() {
            let message = "it was written to, and its layer comes from elsewhere";
            return Err(Reason::Prerequisites.error(message));
        }
        let below = match over {
            Some(chain) => chain.clone(),
            None => self.store.chain(opened.meta().chain.as_ref())?,
        };
        Ok((self.above(&below, layer, &Nothing)?, None))
    }

    /// Forgets a snapshot. Its container, if it has one, is in the trash then.
    pub(crate) fn take(&self, key: &str) -> Result<Option<TrashEntry>> {
        let _in_use = self.store.shared()?;
        let locked = self.records.lock()?;
        let snapshot = locked.check_remove(key)?;
        if snapshot.info.kind == Kind::Committed {
            return locked.forget(&snapshot).map(|()| None);
        }
        let container = container_of(&snapshot)?;
        if let Some(mount) = self.store.live_mount_of(&container)? {
            let message = format!(
                "cannot remove snapshot {key:?}: mounted on {}",
                mount.target.display()
            );
            return Err(Reason::InUse.error(message).with_hint("unmount it first"));
        }
        locked.forget(&snapshot)?;
        drop(locked);
        self.store.discard_container(&container).map(Some)
    }
}

/// The owners of a container, as containerd's mounts are told.
fn id_map_options(maps: &MapOptions) -> Vec<OsString> {
    let option = |name: &str, map: &IdMap| {
        let ranges = map.0.iter();
        let ranges =
            ranges.map(|range| format!("{}:{}:{}", range.container, range.host, range.size));
        let ranges: Vec<String> = ranges.collect();
        (!ranges.is_empty()).then(|| format!("{name}={}", ranges.join(",")).into())
    };
    let options = [option("uidmap", &maps.uid), option("gidmap", &maps.gid)];
    options.into_iter().flatten().collect()
}

impl Snapshotter for StoreSnapshots<'_> {
    fn stat(&self, key: &str) -> Result<Info> {
        Ok(self.records.get(key)?.info)
    }

    fn update(&self, info: &Info, fields: &[&str]) -> Result<Info> {
        self.records.lock()?.update(info, fields)
    }

    fn usage(&self, key: &str) -> Result<SnapshotUsage> {
        let snapshot = self.records.get(key)?;
        if let Some(usage) = snapshot.usage {
            return Ok(usage);
        }
        if snapshot.info.kind == Kind::Committed {
            let top = snapshot.layers.last().map(LayerId::of);
            let taken = top.map(|layer| usage(&self.store.layer(&layer)?.content()?));
            return Ok(taken.transpose()?.map(room).unwrap_or_default());
        }
        let container = self.store.container(&container_of(&snapshot)?)?;
        Ok(room(usage(&container.upper()?)?))
    }

    fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        self.mounts_of(&container_of(&self.records.get(key)?.mountable()?)?)
    }

    fn prepare(
        &self,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        self.make(Kind::Active, key, parent, options, ContainerMeta::default())
            .context(|| format!("prepare snapshot {key:?}"))
    }

    fn view(
        &self,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        self.make(Kind::View, key, parent, options, ContainerMeta::default())
            .context(|| format!("make view {key:?}"))
    }

    fn commit(&self, name: &str, key: &str, options: &SnapshotOptions) -> Result<()> {
        let committed = (|| {
            let _in_use = self.store.shared()?;
            check_labels(&options.labels)?;
            let active = self.records.get(key)?.active()?;
            self.records.lock()?.check_free(name)?;
            self.commit_active(name, &active, options)
        })();
        committed.context(|| format!("commit snapshot {key:?} as {name:?}"))
    }

    fn remove(&self, key: &str) -> Result<()> {
        match self.take(key)? {
            Some(thrown) => thrown.empty(),
            None => Ok(()),
        }
    }

    fn walk(&self, filters: &[&str], visit: &mut dyn FnMut(&Info) -> Result<()>) -> Result<()> {
        let prefix = if self.prefix == ENGINE { ENGINE } else { "" };
        filter::walk(&self.records, prefix, filters, visit)
    }

    /// Layers that nothing leads to are for [`Store::gc`].
    fn cleanup(&self) -> Result<()> {
        let _in_use = self.store.shared()?;
        let locked = self.records.lock()?;
        let known: Vec<String> = self
            .records
            .all()?
            .into_iter()
            .filter_map(holds_place)
            .collect();
        let mut outcome = Ok(());
        for container in self.store.containers()? {
            let key = container.key();
            let is_ours = [PREFIX, ENGINE]
                .iter()
                .any(|prefix| key.as_str().starts_with(prefix));
            if !is_ours || known.iter().any(|known| known == key.as_str()) {
                continue;
            }
            if self.store.live_mount_of(key)?.is_none() {
                let removed = self.store.remove_container(key);
                let is_gone = |error: &Error| error.kind() == crate::ErrorKind::NotFound;
                outcome = outcome.and(
                    removed.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) }),
                );
            }
        }
        drop(locked);
        outcome
    }

    /// Holds nothing.
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// The place of a snapshot that has something of its own there.
fn holds_place(snapshot: Snapshot) -> Option<String> {
    (snapshot.info.kind != Kind::Committed).then_some(snapshot.place)
}

fn container_of(snapshot: &Snapshot) -> Result<Key> {
    Key::new(snapshot.place.clone())
}

pub(super) fn room(usage: crate::fs::usage::Usage) -> SnapshotUsage {
    SnapshotUsage {
        bytes: usage.bytes,
        inodes: usage.inodes,
    }
}

/// The layers of the chain that has none.
pub(super) struct Nothing;

impl LayerProvider for Nothing {
    fn open(&self, index: usize) -> Result<Box<dyn LayerSource + '_>> {
        Err(Reason::LayerUnknown.error(format!("there is no layer {index}")))
    }
}
