//! Snapshots as plain directories, each a full copy of its parent: nothing is shared, nothing is mounted but by bind.
//!
//! It is slow and simple, works on any file system, and is the other opinion when the first one is doubted.
//!
//! ```text
//! trees/<place>/fs   the root of a snapshot
//! snapshots/         the records
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::contract::{Info, Kind, Mount, SnapshotOptions, SnapshotUsage, Snapshotter};
use super::filter;
use super::layered::room;
use super::mounter;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::copy::{CopyOptions, copy_tree};
use crate::fs::names::{absolute, unique_name};
use crate::fs::staging::Staging;
use crate::fs::usage::usage;
use crate::fs::{Access, Dir, fault};
use crate::store::names::{Records, Snapshot, check_labels, parent_of_commit};

/// The directory of all trees.
const TREES: &[u8] = b"trees";
/// The root of a snapshot, in a directory of its own that nobody else looks into.
const CONTENT: &[u8] = b"fs";
/// What directories in the making begin with.
const STAGING: &str = "s-";
/// How long to wait for others.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Snapshots in a directory, each a full copy of its parent.
///
/// A snapshot cannot be committed onto a parent that it was not prepared on.
#[derive(Debug)]
pub struct CopyingSnapshots {
    dir: Dir,
    path: PathBuf,
    records: Records,
}

impl CopyingSnapshots {
    /// The snapshots in a directory, which exists.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be written to.
    pub fn new(path: &Path) -> Result<Self> {
        let path = absolute(path)?;
        let dir = Dir::open(&path, Access::Plain)?;
        // Whoever was faster has made the same.
        drop(dir.create_dir(TREES, 0o700)?);
        let records = Records::open(&dir, TIMEOUT)?;
        Ok(Self { dir, path, records })
    }

    fn trees(&self) -> Result<Dir> {
        self.dir.open_dir(TREES)
    }

    fn tree(&self, snapshot: &Snapshot) -> Result<Dir> {
        let path = [snapshot.place.as_bytes(), b"/", CONTENT].concat();
        self.trees()?.open_below(&path)
    }

    fn mounts_of(&self, snapshot: &Snapshot) -> Result<Vec<Mount>> {
        let read_only = snapshot.info.kind == Kind::View;
        Ok(vec![mounter::bind(self.tree(snapshot)?.path(), read_only)])
    }

    fn make(
        &self,
        kind: Kind,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        let locked = self.records.lock()?;
        let below = locked.check_new(key, parent, options)?;
        let staging = Staging::create(&self.path, STAGING, Access::Plain)?;
        let content = staging.dir().create_dir(CONTENT, 0o755)?;
        let content = content.ok_or_else(|| {
            let message = "somebody else writes to a staging directory";
            Error::new(ErrorKind::AlreadyExists, message)
        })?;
        // Whatever the umask says.
        content.set_mode(0o755)?;
        if let Some(below) = &below {
            copy_tree(&self.tree(below)?, &content, CopyOptions::default())?;
        }
        staging.sync()?;
        let place = unique_name("t-");
        staging.publish_into(&self.trees()?, place.as_bytes())?;
        fault::point("snapshot-copied");
        let snapshot = Snapshot::new(kind, key, parent, options, place);
        locked.insert(&snapshot)?;
        self.mounts_of(&snapshot)
    }
}

impl Snapshotter for CopyingSnapshots {
    fn stat(&self, key: &str) -> Result<Info> {
        Ok(self.records.get(key)?.info)
    }

    fn update(&self, info: &Info, fields: &[&str]) -> Result<Info> {
        self.records.lock()?.update(info, fields)
    }

    fn usage(&self, key: &str) -> Result<SnapshotUsage> {
        let snapshot = self.records.get(key)?;
        match snapshot.usage {
            Some(usage) => Ok(usage),
            None => Ok(room(usage(&self.tree(&snapshot)?)?)),
        }
    }

    fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        self.mounts_of(&self.records.get(key)?.mountable()?)
    }

    fn prepare(
        &self,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        self.make(Kind::Active, key, parent, options)
            .context(|| format!("prepare snapshot {key:?}"))
    }

    fn view(
        &self,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        self.make(Kind::View, key, parent, options)
            .context(|| format!("make view {key:?}"))
    }

    fn commit(&self, name: &str, key: &str, options: &SnapshotOptions) -> Result<()> {
        let committed = (|| {
            check_labels(&options.labels)?;
            let active = self.records.get(key)?.active()?;
            let locked = self.records.lock()?;
            locked.check_free(name)?;
            let parent = parent_of_commit(&self.records, &active, options)?;
            if active.info.parent.is_none() && parent.is_some() {
                let message = "a copy cannot be laid on what it was not copied from";
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            let tree = self.tree(&active)?;
            let parent = active.info.parent.as_deref();
            let place = active.place.clone();
            let mut committed = Snapshot::new(Kind::Committed, name, parent, options, place);
            committed.usage = Some(room(usage(&tree)?));
            tree.sync_file_system()?;
            locked.commit(&active, &committed)
        })();
        committed.context(|| format!("commit snapshot {key:?} as {name:?}"))
    }

    fn remove(&self, key: &str) -> Result<()> {
        let locked = self.records.lock()?;
        let snapshot = locked.check_remove(key)?;
        locked.forget(&snapshot)?;
        self.trees()?.remove_all(snapshot.place.as_bytes())
    }

    fn walk(&self, filters: &[&str], visit: &mut dyn FnMut(&Info) -> Result<()>) -> Result<()> {
        filter::walk(&self.records, filters, visit)
    }

    fn cleanup(&self) -> Result<()> {
        let _locked = self.records.lock()?;
        let known = self.records.all()?;
        let trees = self.trees()?;
        let mut outcome = Ok(());
        for name in trees.names()? {
            if !known.iter().any(|known| known.place.as_bytes() == name) {
                outcome = outcome.and(trees.remove_all(&name));
            }
        }
        outcome
    }

    /// Holds nothing.
    fn close(&self) -> Result<()> {
        Ok(())
    }
}
