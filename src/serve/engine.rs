//! What the services do in the store. All of it blocks.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::mounts::{Places, sweep};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{IdMap, IdRange, failpoint};
use crate::image::DiffId;
use crate::snapshots::engine::{Purpose, target_of};
use crate::snapshots::{
    Info, Kind, Mount, SnapshotOptions, SnapshotUsage, Snapshotter, StoreSnapshots, SystemMounter,
    upper_of,
};
use crate::store::names::RecordCache;
use crate::store::trash::TrashEntry;
use crate::store::{GcOptions, Key, Reason, Store, StoreOptions};

/// Labels of containerd's.
const DIFF_ID: &str = "containerd.io/snapshot/diff-id";
const UID_MAP: &str = "containerd.io/snapshot/uidmapping";
const GID_MAP: &str = "containerd.io/snapshot/gidmapping";
const MAX_SIZE: &str = "containerd.io/snapshot/max-size";

/// What the names of snapshots begin with that containerd has not asked for by that name.
const OWN: &str = "bundle/";

/// Ranges that an id map has at most.
const MAX_RANGES: usize = 340;

/// How long `gc` waits for others before it lets them pass and tries again.
const COLLECT_WAIT: Duration = Duration::from_millis(200);
/// How long between two tries, and how many there are.
const COLLECT_PAUSE: Duration = Duration::from_secs(2);
const COLLECT_TRIES: u32 = 30;

/// How much of the time may be spent on measuring a snapshot that is asked for again and again: one part of this many.
const MEASURING: u32 = 20;
/// What takes no longer than this is measured each time.
const CHEAP: Duration = Duration::from_millis(10);
/// How many measurements are kept.
const MAX_MEASURED: usize = 4096;

/// How containerd is told that a layer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    /// Prepare fails with `AlreadyExists`, and List has a snapshot for it: containerd 2.0 to 2.3.
    Existing,
    /// Prepare answers with a mount that cannot be written to: containerd 2.4.
    Staged,
}

/// What snapshots took, and until when that is not measured again.
type Measured = HashMap<String, (Instant, SnapshotUsage)>;

/// The store, and what the server knows beside it.
#[derive(Debug)]
pub(super) struct Engine {
    pub store: Store,
    pub mounter: SystemMounter,
    pub places: Places,
    records: RecordCache,
    measured: Mutex<Measured>,
    is_collecting: AtomicBool,
}

impl Engine {
    pub(super) fn new(store: Store, runtime: &Path) -> Result<Self> {
        let places = Places::new(store.path(), runtime)?;
        let engine = Self {
            mounter: SystemMounter::new(store.path().join("staging")),
            places,
            store,
            records: RecordCache::default(),
            measured: Mutex::default(),
            is_collecting: AtomicBool::new(false),
        };
        // Whatever a killed server has left in the making.
        engine.snapshots()?.cleanup()?;
        Ok(engine)
    }

    pub(super) fn snapshots(&self) -> Result<StoreSnapshots<'_>> {
        StoreSnapshots::of_engine(&self.store, &self.records)
    }

    /// Makes a snapshot. `reuse` says how a layer is told that is there; without it, it isn't looked for.
    ///
    /// # Errors
    ///
    /// Those of [`Snapshotter::prepare`]; [`ErrorKind::AlreadyExists`] also if the layer is there.
    pub(super) fn make(
        &self,
        kind: Kind,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
        reuse: Option<Reuse>,
    ) -> Result<Vec<Mount>> {
        if options.labels.contains_key(MAX_SIZE) {
            let message = format!("snapshot {key:?}: label {MAX_SIZE:?}: sizes are not limited");
            return Err(Reason::QuotaUnsupported.error(message));
        }
        let mut purpose = Purpose {
            target: target_of(key, options).filter(|_| kind == Kind::Active),
            ..Purpose::default()
        };
        purpose.maps.uid = id_map(options, UID_MAP)?;
        purpose.maps.gid = id_map(options, GID_MAP)?;
        let snapshots = self.snapshots()?;
        if let (Some(target), Some(reuse)) = (&purpose.target, reuse) {
            let label = options.labels.get(DIFF_ID);
            let known: Option<DiffId> = label.map(|label| label.parse()).transpose()?;
            let found = snapshots.recognise(parent, target, known.as_ref())?;
            match (found, reuse) {
                (Some(layer), Reuse::Existing) => {
                    let name = own_name(&target.to_string(), parent);
                    snapshots.commit_known(&name, parent, &layer, options)?;
                    failpoint::hit("serve-existing");
                    let message = format!("layer {layer} is there, in snapshot {name:?}");
                    return Err(Error::new(ErrorKind::AlreadyExists, message));
                }
                (found, Reuse::Staged) => purpose.staged = found,
                (None, Reuse::Existing) => {}
            }
        }
        let mounts = snapshots.make_for(kind, key, parent, options, &purpose);
        failpoint::hit("serve-prepared");
        self.places.shorten(&self.store, mounts?)
    }

    pub(super) fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        let mounts = self.snapshots()?.mounts(key)?;
        self.places.shorten(&self.store, mounts)
    }

    pub(super) fn commit(&self, name: &str, key: &str, options: &SnapshotOptions) -> Result<()> {
        let committed = self.snapshots()?.commit(name, key, options);
        self.forget_usage(key);
        committed
    }

    /// Takes a snapshot away. What deletes its files is for the caller to call, when it suits.
    pub(super) fn remove(&self, key: &str) -> Result<impl FnOnce() + Send + use<>> {
        let thrown = self.snapshots()?.take(key)?;
        self.forget_usage(key);
        Ok(move || {
            if let Some(Err(error)) = thrown.map(TrashEntry::empty) {
                tracing::warn!(error = error.chain(), "what was removed stays in the trash");
            }
        })
    }

    pub(super) fn list(&self, filters: &[String]) -> Result<Vec<Info>> {
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let mut found = Vec::new();
        self.snapshots()?.walk(&filters, &mut |info| {
            found.push(info.clone());
            Ok(())
        })?;
        Ok(found)
    }

    /// The room that a snapshot takes. What has taken long to measure is not measured again at once.
    pub(super) fn usage(&self, key: &str) -> Result<SnapshotUsage> {
        let now = Instant::now();
        if let Some((until, usage)) = self.lock_measured().get(key)
            && now < *until
        {
            return Ok(*usage);
        }
        let usage = self.snapshots()?.usage(key)?;
        let mut measured = self.lock_measured();
        if measured.len() >= MAX_MEASURED {
            measured.clear();
        }
        let took = now.elapsed();
        if took > CHEAP {
            measured.insert(key.to_owned(), (now + took * MEASURING, usage));
        }
        Ok(usage)
    }

    fn forget_usage(&self, key: &str) {
        self.lock_measured().remove(key);
    }

    fn lock_measured(&self) -> std::sync::MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes away what no snapshot leads to. Layers go behind, by what is returned, if that isn't going on already.
    pub(super) fn cleanup(self: &Arc<Self>) -> Result<Option<impl FnOnce() + Send + use<>>> {
        self.snapshots()?.cleanup()?;
        sweep(&self.store)?;
        if self.is_collecting.swap(true, Ordering::SeqCst) {
            return Ok(None);
        }
        let engine = Arc::clone(self);
        Ok(Some(move || {
            let collected = engine.collect();
            engine.is_collecting.store(false, Ordering::SeqCst);
            match collected {
                Ok(layers) => tracing::info!(layers, "layers were taken away"),
                Err(error) => {
                    tracing::warn!(error = error.chain(), "layers stay for the next time");
                }
            }
        }))
    }

    /// Takes layers away that nothing needs, when nobody uses the store. Those who come meanwhile wait for moments only.
    fn collect(&self) -> Result<usize> {
        let mut options = StoreOptions::new(self.store.path());
        options.create = false;
        options.lock_timeout = COLLECT_WAIT;
        let mut tries = 1;
        loop {
            // A lock of its own, which excludes the leases of the server.
            match Store::open(options.clone())?.gc(GcOptions::default()) {
                Ok(report) => return Ok(report.layers.len()),
                Err(error) if error.kind() == ErrorKind::Busy && tries < COLLECT_TRIES => {
                    tries += 1;
                    std::thread::sleep(COLLECT_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The container that mounts write to, if it is one of this store's.
    pub(super) fn container_of(&self, mounts: &[Mount]) -> Result<Option<Key>> {
        let [mount] = mounts else { return Ok(None) };
        let Some(upper) = upper_of(mount) else {
            return Ok(None);
        };
        let upper = self.places.in_store(&upper);
        let Some(path) = upper.strip_prefix(self.store.path()).ok() else {
            return Ok(None);
        };
        let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
        let ["active", key, "fs"] = parts[..] else {
            return Ok(None);
        };
        match Key::new(key).and_then(|key| self.store.container(&key)) {
            Ok(container) => Ok(Some(container.key().clone())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The name of the snapshot of a chain that was made because the store has it.
fn own_name(chain: &str, parent: Option<&str>) -> String {
    let parent = parent.unwrap_or_default();
    let digest = oci_cas::Digest::of(oci_cas::Algorithm::Sha256, parent.as_bytes());
    format!("{OWN}{chain}/{}", &digest.encoded()[..16])
}

/// An id map, as a label has it: `container:host:size`, several of them separated by commas.
fn id_map(options: &SnapshotOptions, label: &str) -> Result<IdMap> {
    let Some(text) = options.labels.get(label).filter(|text| !text.is_empty()) else {
        return Ok(IdMap::default());
    };
    let parse = |part: &str| {
        let mut numbers = part.splitn(3, ':').map(|number| number.trim().parse().ok());
        Some(IdRange {
            container: numbers.next()??,
            host: numbers.next()??,
            size: numbers.next()??,
        })
    };
    let ranges: Option<Vec<IdRange>> = text.split(',').take(MAX_RANGES + 1).map(parse).collect();
    match ranges {
        Some(ranges) if ranges.len() <= MAX_RANGES => Ok(IdMap(ranges)),
        _ => {
            let shown: String = text.chars().take(64).collect();
            let message = format!("label {label:?}: {shown:?} is not an id map");
            Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("ranges are container:host:size, separated by commas"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_maps_are_ranges_between_commas() {
        let read = |text: &str| {
            let label = (UID_MAP.to_owned(), text.to_owned());
            id_map(&SnapshotOptions::with_labels([label]), UID_MAP)
        };
        let range = |container, host, size| IdRange {
            container,
            host,
            size,
        };
        assert_eq!(
            read("0:100000:65536").unwrap().0,
            [range(0, 100_000, 65536)]
        );
        let two = read("0:1000:1,1:200000:9").unwrap();
        assert_eq!(two.0, [range(0, 1000, 1), range(1, 200_000, 9)]);
        assert!(read("").unwrap().0.is_empty());
        for text in ["0", "0:1", "a:b:c", "0:1:2:3", "0:1:2,", "0:-1:2"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(&vec!["0:1:1"; 400].join(",")).is_err());
    }

    #[test]
    fn a_snapshot_of_our_own_has_one_name_for_each_parent() {
        assert_ne!(own_name("sha256:1", None), own_name("sha256:1", Some("a")));
        assert_eq!(
            own_name("sha256:1", Some("a")),
            own_name("sha256:1", Some("a"))
        );
    }
}
