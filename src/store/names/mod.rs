//! Names, kinds, parents and labels of snapshots: one small file each, whatever their content is kept in.
//!
//! One process at a time changes them; anybody reads them. Each changes by one rename. A commit changes two at once, the
//! key's and the name's: the key's record says first what it is about to become. It has become that at the moment in which
//! the name's record appears, and from then on whoever finds the key's record passes it over.
//!
//! ```text
//! snapshots/lock           held by whoever adds, changes or takes away records
//! snapshots/<digest>.json  one snapshot, by the digest of its name, which may be any text
//! ```

mod info;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use filetime::FileTime;

use oci_cas::{Algorithm, Digest};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::lock::{LockFile, LockMode};
use crate::fs::{Dir, InodeId, failpoint};
use crate::image::{ChainId, DiffId};
use crate::store::json;
use crate::store::place::Store;
use crate::store::reason::Reason;

pub use info::{Info, Kind, Labels, SnapshotOptions, SnapshotUsage};
pub(crate) use info::{check_labels, check_name};

/// The directory of the records.
const DIRECTORY: &[u8] = b"snapshots";
const LOCK: &[u8] = b"lock";
const SUFFIX: &str = ".json";

/// A snapshot, and where its content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub info: Info,
    /// What is its alone: a container, a directory. A committed snapshot has the place that it had before.
    pub place: String,
    /// The content of a committed one, where that is not its place.
    pub content: Option<String>,
    /// Of a committed one in a store, the layers that it consists of, bottom first.
    pub layers: Vec<DiffId>,
    /// The room it took when it was committed.
    pub usage: Option<SnapshotUsage>,
    /// The name that it is about to be committed under.
    becoming: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    name: String,
    kind: String,
    parent: Option<String>,
    labels: Labels,
    /// Nanoseconds since 1970.
    created: u64,
    updated: u64,
    place: String,
    content: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<String>,
    /// Bytes and inodes.
    usage: Option<(u64, u64)>,
    becoming: Option<String>,
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn time(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

/// The present moment, as a record has it.
fn now() -> SystemTime {
    time(nanoseconds(SystemTime::now()))
}

impl Snapshot {
    /// A new one.
    pub(crate) fn new(
        kind: Kind,
        name: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
        place: String,
    ) -> Self {
        let now = now();
        Self {
            info: Info {
                kind,
                name: name.to_owned(),
                parent: parent.map(str::to_owned),
                labels: options.labels.clone(),
                created: now,
                updated: now,
            },
            place,
            content: None,
            layers: Vec::new(),
            usage: None,
            becoming: None,
        }
    }

    fn record(&self) -> Record {
        Record {
            name: self.info.name.clone(),
            kind: self.info.kind.word().to_owned(),
            parent: self.info.parent.clone(),
            labels: self.info.labels.clone(),
            created: nanoseconds(self.info.created),
            updated: nanoseconds(self.info.updated),
            place: self.place.clone(),
            content: self.content.clone(),
            layers: self.layers.iter().map(ToString::to_string).collect(),
            usage: self.usage.map(|usage| (usage.bytes, usage.inodes)),
            becoming: self.becoming.clone(),
        }
    }

    fn of(record: Record) -> Result<Self> {
        let kind = Kind::of_word(&record.kind).ok_or_else(|| {
            let message = format!(
                "snapshot {:?}: {:?} is not a kind",
                record.name, record.kind
            );
            Error::new(ErrorKind::InvalidData, message)
        })?;
        let layers = record.layers.iter().map(|text| text.parse());
        Ok(Self {
            info: Info {
                kind,
                name: record.name,
                parent: record.parent,
                labels: record.labels,
                created: time(record.created),
                updated: time(record.updated),
            },
            place: record.place,
            content: record.content,
            layers: layers.collect::<Result<_>>()?,
            usage: record
                .usage
                .map(|(bytes, inodes)| SnapshotUsage { bytes, inodes }),
            becoming: record.becoming,
        })
    }

    /// Fails unless it is active.
    pub(crate) fn active(self) -> Result<Self> {
        match self.info.kind {
            Kind::Active => Ok(self),
            kind => {
                let message = format!("snapshot {:?}: {kind}, not active", self.info.name);
                Err(Reason::Prerequisites.error(message))
            }
        }
    }

    /// Fails if it is committed.
    pub(crate) fn mountable(self) -> Result<Self> {
        if self.info.kind == Kind::Committed {
            let message = format!(
                "snapshot {:?}: committed, so that it has no mounts",
                self.info.name
            );
            return Err(Reason::Prerequisites
                .error(message)
                .with_hint("make a view of it"));
        }
        Ok(self)
    }
}

/// The records in a directory.
#[derive(Debug)]
pub(crate) struct Records {
    dir: Dir,
    timeout: Duration,
    cache: Option<RecordCache>,
}

/// Records that were read before, for a process that asks for all of them again and again. A file that has changed since is
/// another inode.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordCache(Arc<Mutex<Remembered>>);

/// By the names of their files.
type Remembered = HashMap<String, (InodeId, Times, Snapshot)>;

/// When a file was changed last, of content and of anything.
type Times = [FileTime; 2];

/// How old a file is before it is remembered: within one tick of the clock, an inode may be used again.
const SETTLED: Duration = Duration::from_millis(100);

impl RecordCache {
    /// Reads a record, unless it is the one that was read last.
    fn read(&self, records: &Records, file: &str) -> Result<Option<Snapshot>> {
        let Some(stat) = records.dir.try_stat(file.as_bytes())? else {
            return Ok(None);
        };
        let times = [stat.mtime, stat.ctime];
        if let Some((id, of, snapshot)) = self.lock().get(file)
            && (*id, *of) == (stat.id, times)
        {
            return Ok(Some(snapshot.clone()));
        }
        let read = records.read(file)?;
        let changed = u64::try_from(stat.ctime.unix_seconds()).unwrap_or(u64::MAX);
        let changed = Duration::new(changed, stat.ctime.nanoseconds());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        // What was replaced since the look at it is found out at the next one.
        if let Some(snapshot) = &read
            && now.is_ok_and(|now| now.saturating_sub(changed) > SETTLED)
        {
            let known = (stat.id, times, snapshot.clone());
            self.lock().insert(file.to_owned(), known);
        }
        Ok(read)
    }

    /// Forgets what is not there any more.
    fn keep(&self, there: &HashSet<String>) {
        self.lock().retain(|file, _| there.contains(file));
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a record's file: that of a snapshot may be any text.
fn file_name(name: &str) -> String {
    let digest = Digest::of(Algorithm::Sha256, name.as_bytes());
    format!("{}{SUFFIX}", digest.encoded())
}

impl Records {
    /// Opens the records in a directory, or makes room for them.
    pub(crate) fn open(base: &Dir, timeout: Duration) -> Result<Self> {
        // Whoever was faster has made the same.
        drop(base.create_dir(DIRECTORY, 0o700)?);
        let dir = base.open_dir(DIRECTORY)?;
        Ok(Self {
            dir,
            timeout,
            cache: None,
        })
    }

    /// The same, with what was read before.
    #[cfg_attr(not(feature = "serve"), expect(dead_code, reason = "the server's"))]
    pub(crate) fn remembered_by(mut self, cache: &RecordCache) -> Self {
        self.cache = Some(cache.clone());
        self
    }

    /// The records in a directory, if there are any.
    pub(crate) fn open_if_any(base: &Dir) -> Result<Option<Self>> {
        let dir = base.open_dir_if_any(DIRECTORY)?;
        let timeout = Duration::ZERO;
        Ok(dir.map(|dir| Self {
            dir,
            timeout,
            cache: None,
        }))
    }

    /// Keeps everybody else from changing records.
    pub(crate) fn lock(&self) -> Result<Locked<'_>> {
        let lock = LockFile::acquire(&self.dir, LOCK, LockMode::Exclusive, Some(self.timeout));
        Ok(Locked {
            records: self,
            _lock: lock.context(|| "lock snapshots")?,
        })
    }

    /// A snapshot by its name.
    pub(crate) fn get(&self, name: &str) -> Result<Snapshot> {
        check_name(name)?;
        self.find(name)?.ok_or_else(|| unknown(name))
    }

    /// A snapshot by its name, if there is one.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Snapshot>> {
        match self.read(&file_name(name))? {
            Some(snapshot) if self.is_past(&snapshot)? => Ok(None),
            found => Ok(found),
        }
    }

    /// All of them, in the order of their names.
    pub(crate) fn all(&self) -> Result<Vec<Snapshot>> {
        let mut found = Vec::new();
        let mut there = HashSet::new();
        for name in self.dir.names()? {
            let name = String::from_utf8_lossy(&name);
            if !name.ends_with(SUFFIX) || name.starts_with('.') {
                continue;
            }
            let read = match &self.cache {
                Some(cache) => {
                    there.insert(name.clone().into_owned());
                    cache.read(self, &name)?
                }
                None => self.read(&name)?,
            };
            if let Some(snapshot) = read.filter(|snapshot| file_name(&snapshot.info.name) == name)
                && !self.is_past(&snapshot)?
            {
                found.push(snapshot);
            }
        }
        if let Some(cache) = &self.cache {
            cache.keep(&there);
        }
        found.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        Ok(found)
    }

    fn read(&self, file: &str) -> Result<Option<Snapshot>> {
        let record = json::try_read::<Record>(&self.dir, file)?;
        record.map(Snapshot::of).transpose()
    }

    /// The files of records that a death has left of what this snapshot was before it was committed. Without its own record
    /// they would count again.
    fn past_of(&self, snapshot: &Snapshot) -> Result<Vec<String>> {
        let mut found = Vec::new();
        if snapshot.info.kind != Kind::Committed {
            return Ok(found);
        }
        for name in self.dir.names()? {
            let file = String::from_utf8_lossy(&name).into_owned();
            if !file.ends_with(SUFFIX) || file.starts_with('.') {
                continue;
            }
            let past = self.read(&file)?.is_some_and(|other| {
                other.becoming.as_ref() == Some(&snapshot.info.name)
                    && other.place == snapshot.place
            });
            if past {
                found.push(file);
            }
        }
        Ok(found)
    }

    /// Whether it has become something else.
    fn is_past(&self, snapshot: &Snapshot) -> Result<bool> {
        let Some(name) = &snapshot.becoming else {
            return Ok(false);
        };
        let become_that = self.read(&file_name(name))?;
        Ok(become_that.is_some_and(|other| other.place == snapshot.place))
    }

    fn write(&self, snapshot: &Snapshot) -> Result<()> {
        json::replace(
            &self.dir,
            &file_name(&snapshot.info.name),
            &snapshot.record(),
        )
    }
}

/// Records that nobody else changes.
#[derive(Debug)]
pub(crate) struct Locked<'r> {
    records: &'r Records,
    _lock: LockFile,
}

impl Locked<'_> {
    /// Makes sure that a snapshot can be made: that the name is free, and the parent is committed. The parent.
    pub(crate) fn check_new(
        &self,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
    ) -> Result<Option<Snapshot>> {
        check_name(key)?;
        check_labels(&options.labels)?;
        self.check_free(key)?;
        parent.map(|parent| self.committed(parent)).transpose()
    }

    pub(crate) fn check_free(&self, name: &str) -> Result<()> {
        check_name(name)?;
        match self.records.find(name)? {
            Some(_) => Err(Reason::KeyExists.error(format!("snapshot {name:?}: it exists"))),
            None => Ok(()),
        }
    }

    fn committed(&self, name: &str) -> Result<Snapshot> {
        committed(self.records, name)
    }

    /// Writes a new record.
    pub(crate) fn insert(&self, snapshot: &Snapshot) -> Result<()> {
        self.records.write(snapshot)?;
        failpoint::hit("snapshot-recorded");
        Ok(())
    }

    /// Makes an active snapshot what it has become. Fails if it is not what it was any more, if the name was taken
    /// meanwhile, or if the parent is gone.
    pub(crate) fn commit(&self, active: &Snapshot, committed: &Snapshot) -> Result<()> {
        let mut active = self.still(active)?;
        self.check_free(&committed.info.name)?;
        if let Some(parent) = &committed.info.parent {
            self.committed(parent)?;
        }
        active.becoming = Some(committed.info.name.clone());
        self.records.write(&active)?;
        failpoint::hit("snapshot-becoming");
        self.records.write(committed)?;
        failpoint::hit("snapshot-committed");
        self.forget(&active)
    }

    /// The same snapshot as it is now; none of the same name that has come after it.
    pub(crate) fn still(&self, snapshot: &Snapshot) -> Result<Snapshot> {
        let name = &snapshot.info.name;
        let now = self.records.find(name)?;
        now.filter(|now| now.place == snapshot.place)
            .ok_or_else(|| unknown(name))
    }

    /// A snapshot that may be taken away.
    pub(crate) fn check_remove(&self, name: &str) -> Result<Snapshot> {
        let snapshot = self.records.get(name)?;
        if snapshot.info.kind == Kind::Committed {
            for other in self.records.all()? {
                if other.info.parent.as_deref() == Some(name) {
                    let message = format!(
                        "cannot remove snapshot {name:?}: {:?} is laid on it",
                        other.info.name
                    );
                    return Err(Reason::HasChildren.error(message));
                }
            }
        }
        Ok(snapshot)
    }

    /// Takes a record away.
    pub(crate) fn forget(&self, snapshot: &Snapshot) -> Result<()> {
        let dir = &self.records.dir;
        for past in self.records.past_of(snapshot)? {
            dir.remove_all(past.as_bytes())?;
        }
        dir.remove_all(file_name(&snapshot.info.name).as_bytes())?;
        dir.sync_names()?;
        failpoint::hit("snapshot-forgotten");
        Ok(())
    }

    /// Changes labels.
    pub(crate) fn update(&self, info: &Info, fields: &[&str]) -> Result<Info> {
        let mut snapshot = self.records.get(&info.name)?;
        let labels = &mut snapshot.info.labels;
        if fields.is_empty() {
            labels.clone_from(&info.labels);
        }
        for &field in fields {
            if field == "labels" {
                labels.clone_from(&info.labels);
                continue;
            }
            let Some(label) = field
                .strip_prefix("labels.")
                .filter(|label| !label.is_empty())
            else {
                let message = format!(
                    "update snapshot {:?}: field {field:?} cannot be changed",
                    info.name
                );
                return Err(Error::new(ErrorKind::InvalidInput, message)
                    .with_hint("fields are \"labels\" and \"labels.NAME\""));
            };
            match info.labels.get(label).filter(|value| !value.is_empty()) {
                Some(value) => drop(labels.insert(label.to_owned(), value.clone())),
                None => drop(labels.remove(label)),
            }
        }
        check_labels(labels)?;
        // Also where the clock stands still, or goes back.
        let next = snapshot.info.updated + Duration::from_nanos(1);
        snapshot.info.updated = now().max(next);
        self.records.write(&snapshot)?;
        Ok(snapshot.info)
    }
}

/// The parent that a snapshot gets when it is committed.
pub(crate) fn parent_of_commit(
    records: &Records,
    active: &Snapshot,
    options: &SnapshotOptions,
) -> Result<Option<Snapshot>> {
    let present = active.info.parent.as_deref();
    match options.parent.as_deref() {
        Some(wanted) if present.is_some_and(|present| present != wanted) => {
            let message = format!(
                "snapshot {:?}: laid on {:?}, so that it cannot be on {wanted:?}",
                active.info.name,
                present.unwrap_or_default()
            );
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
        Some(wanted) => committed(records, wanted).map(Some),
        None => present.map(|present| records.get(present)).transpose(),
    }
}

fn committed(records: &Records, name: &str) -> Result<Snapshot> {
    let parent = records.get(name)?;
    match parent.info.kind {
        Kind::Committed => Ok(parent),
        kind => {
            let message = format!("snapshot {name:?}: {kind}, so that nothing can be laid on it");
            Err(Reason::ParentNotCommitted
                .error(message)
                .with_hint("commit it first"))
        }
    }
}

fn unknown(name: &str) -> Error {
    Reason::KeyUnknown.error(format!("snapshot {name:?}: there is none"))
}

/// A committed snapshot, as what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptChain {
    /// Its name.
    pub name: String,
    /// The chain that it is; none for the one without layers.
    pub chain: Option<ChainId>,
    /// The layers of the chain, bottom first.
    pub diff_ids: Vec<DiffId>,
}

impl Store {
    /// All snapshots in the store, in the order of their names.
    ///
    /// # Errors
    ///
    /// Fails if a record cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Info>> {
        let all = self.all_snapshots()?.into_iter();
        Ok(all.map(|snapshot| snapshot.info).collect())
    }

    /// What committed snapshots keep, in the order of their names.
    ///
    /// # Errors
    ///
    /// Fails if a record cannot be read.
    pub fn committed_snapshots(&self) -> Result<Vec<KeptChain>> {
        let all = self.all_snapshots()?.into_iter();
        let committed = all.filter(|snapshot| snapshot.info.kind == Kind::Committed);
        let kept = committed.map(|snapshot| {
            let chain = snapshot.content.as_deref();
            Ok(KeptChain {
                name: snapshot.info.name,
                chain: chain.map(str::parse).transpose()?,
                diff_ids: snapshot.layers,
            })
        });
        kept.collect()
    }

    fn all_snapshots(&self) -> Result<Vec<Snapshot>> {
        match Records::open_if_any(self.dir())? {
            Some(records) => records.all(),
            None => Ok(Vec::new()),
        }
    }
}
