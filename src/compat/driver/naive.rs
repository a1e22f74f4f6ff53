//! Differences by looking at both sides as a whole: for any driver whose layers can be opened and mounted.
//!
//! An entry is the same on both sides if its type, mode, owner, time of modification, extended attributes, target and
//! device are, and, of a regular file, the content. That is not read where both sides are the same inode, unchanged: the
//! number, the size and the time of change to the nanosecond tell, whatever device each mount shows.

use std::collections::{BTreeSet, HashSet};
use std::io::{Read, Write};

use super::incoming::{Unpromised, decode};
use super::mounts::MountHandle;
use super::traits::{
    AppliedDiff, CreateOptions, DiffDriver, Driver, GetOptions, LayerInfo, LayerPaths,
};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::{join, split};
use crate::fs::usage::Usage;
use crate::fs::{
    Access, Change, ChangeKind, Dir, FileReader, InodeKind, MapOptions, Root, Stat, escape_name,
};
use crate::image::DiffId;
use crate::layer::{ApplyOptions, GenerateOptions, apply_layers, generate_layer};
use crate::progress::Silent;
use crate::store::{Key, Reason};
use oci_cas::Algorithm;

/// How long a path may be, in bytes.
const MAX_PATH: usize = 4096;

/// Bytes that are compared at a time.
const BUFFER_SIZE: usize = 64 << 10;

/// Gives any driver the abilities of [`DiffDriver`]. What it does is right and not fast: both sides are walked as a whole.
#[derive(Debug)]
pub struct NaiveDiff<D>(D);

impl<D: Driver> NaiveDiff<D> {
    /// Wraps a driver.
    pub fn new(driver: D) -> Self {
        Self(driver)
    }

    /// The driver.
    pub fn inner(&self) -> &D {
        &self.0
    }

    fn sides(&self, key: &Key, parent: Option<&Key>) -> Result<(Option<Dir>, Dir)> {
        let old = parent.map(|parent| self.0.contents(parent)).transpose()?;
        Ok((old, self.0.contents(key)?))
    }
}

impl<D: Driver> DiffDriver for NaiveDiff<D> {
    fn apply(
        &self,
        key: &Key,
        _parent: Option<&Key>,
        stream: &mut (dyn Read + Send),
    ) -> Result<AppliedDiff> {
        let info = self.0.info(key)?;
        if info.diff_id.is_some() {
            let message = format!("layer {key}: committed, nothing can be applied to it any more");
            return Err(Reason::LayerExists.error(message));
        }
        apply(&self.0, key, &info.maps, !info.read_write, stream)
    }

    fn diff(&self, key: &Key, parent: Option<&Key>, out: &mut dyn Write) -> Result<()> {
        let (old, new) = self.sides(key, parent)?;
        let changes = compare(old.as_ref(), &new)?;
        let root = Root::from_dir(new, Access::Plain)?;
        let options = GenerateOptions {
            map_options: self.0.info(key)?.maps,
            ..GenerateOptions::default()
        };
        generate_layer(out, &root, &changes, &options, &Silent, &mut |_| {})
    }

    fn changes(&self, key: &Key, parent: Option<&Key>) -> Result<Vec<Change>> {
        let (old, new) = self.sides(key, parent)?;
        compare(old.as_ref(), &new)
    }

    fn diff_size(&self, key: &Key, parent: Option<&Key>) -> Result<u64> {
        let (old, new) = self.sides(key, parent)?;
        size(&new, &compare(old.as_ref(), &new)?)
    }
}

impl<D: Driver> Driver for NaiveDiff<D> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn status(&self) -> Result<Vec<(&'static str, String)>> {
        self.0.status()
    }

    fn create(&self, key: &Key, parent: Option<&Key>, options: &CreateOptions) -> Result<()> {
        self.0.create(key, parent, options)
    }

    fn create_read_write(
        &self,
        key: &Key,
        parent: Option<&Key>,
        options: &CreateOptions,
    ) -> Result<()> {
        self.0.create_read_write(key, parent, options)
    }

    fn create_from_template(
        &self,
        key: &Key,
        template: &Key,
        options: &CreateOptions,
        read_write: bool,
    ) -> Result<()> {
        self.0
            .create_from_template(key, template, options, read_write)
    }

    fn commit(&self, key: &Key) -> Result<DiffId> {
        self.0.commit(key)
    }

    fn exists(&self, key: &Key) -> Result<bool> {
        self.0.exists(key)
    }

    fn list(&self) -> Result<Vec<Key>> {
        self.0.list()
    }

    fn metadata(&self, key: &Key) -> Result<LayerPaths> {
        self.0.metadata(key)
    }

    fn info(&self, key: &Key) -> Result<LayerInfo> {
        self.0.info(key)
    }

    fn get(&self, key: &Key, options: &GetOptions) -> Result<MountHandle> {
        self.0.get(key, options)
    }

    fn put(&self, handle: &MountHandle) -> Result<()> {
        self.0.put(handle)
    }

    fn contents(&self, key: &Key) -> Result<Dir> {
        self.0.contents(key)
    }

    fn remove(&self, key: &Key) -> Result<()> {
        self.0.remove(key)
    }

    fn usage(&self, key: &Key) -> Result<Usage> {
        self.0.usage(key)
    }

    fn cleanup(&self) -> Result<Vec<Key>> {
        self.0.cleanup()
    }
}

/// Applies a stream to a layer through its mount, and commits the layer if it is to be.
pub(super) fn apply(
    driver: &dyn Driver,
    key: &Key,
    maps: &MapOptions,
    commit: bool,
    stream: &mut (dyn Read + Send),
) -> Result<AppliedDiff> {
    let mounted = driver.get(key, &GetOptions::default())?;
    let applied = apply_to(&mounted, maps, stream);
    let put = driver.put(&mounted);
    let applied = applied?;
    put?;
    if commit {
        driver.commit(key)?;
    }
    Ok(applied)
}

fn apply_to(
    mounted: &MountHandle,
    maps: &MapOptions,
    stream: &mut (dyn Read + Send),
) -> Result<AppliedDiff> {
    let root = Root::open(mounted.path(), Access::Plain)?;
    let (decoder, _) = decode(stream)?;
    let layers = std::iter::once(Ok((Algorithm::Sha256, Unpromised(decoder))));
    let options = ApplyOptions::new(maps.clone());
    let mut last = None;
    apply_layers(layers, &root, &options, &Silent, |applied| {
        last = Some(applied);
        Ok(())
    })?;
    let applied = last.ok_or_else(|| Error::new(ErrorKind::Io, "the layer was not applied"))?;
    Ok(AppliedDiff {
        diff_id: DiffId(applied.digest),
        stream_size: applied.size,
    })
}

/// Tells how a tree differs from another, or from nothing; sorted by path. Of what is gone the topmost path is told, and
/// of a directory that has become something else all that was in it.
///
/// # Errors
///
/// [`ErrorKind::LimitExceeded`] for a path above 4 KiB, and those of the file systems.
pub(super) fn compare(old: Option<&Dir>, new: &Dir) -> Result<Vec<Change>> {
    let mut walk = Walk {
        old,
        new,
        changes: Vec::new(),
        pending: vec![Vec::new()],
        buffers: (vec![0; BUFFER_SIZE], vec![0; BUFFER_SIZE]),
    };
    let is_same = match old {
        Some(old) => same_attributes((old, b""), &old.stat_self()?, (new, b""), &new.stat_self()?)?,
        None => false,
    };
    if !is_same {
        walk.tell(b".", ChangeKind::Modified);
    }
    while let Some(path) = walk.pending.pop() {
        walk.directory(&path)?;
    }
    walk.changes.sort_unstable();
    Ok(walk.changes)
}

/// The bytes of the regular files among changes, each inode counted once.
///
/// # Errors
///
/// Fails if they cannot be looked at.
pub(super) fn size(root: &Dir, changes: &[Change]) -> Result<u64> {
    let (mut seen, mut size) = (HashSet::new(), 0u64);
    for change in changes {
        if change.kind == ChangeKind::Deleted || change.path == b"." {
            continue;
        }
        let (parent, name) = split(&change.path);
        let stat = open(root, parent)?.stat(name)?;
        if stat.kind == InodeKind::File && (stat.nlink < 2 || seen.insert(stat.id)) {
            size = size.saturating_add(stat.size);
        }
    }
    Ok(size)
}

struct Walk<'a> {
    old: Option<&'a Dir>,
    new: &'a Dir,
    changes: Vec<Change>,
    /// Directories of the new side that are yet to be walked.
    pending: Vec<Vec<u8>>,
    buffers: (Vec<u8>, Vec<u8>),
}

/// A name in an open directory; empty for the directory itself.
type Place<'a> = (&'a Dir, &'a [u8]);

impl Walk<'_> {
    fn tell(&mut self, path: &[u8], kind: ChangeKind) {
        let path = path.to_vec();
        self.changes.push(Change { path, kind });
    }

    fn directory(&mut self, path: &[u8]) -> Result<()> {
        let new = open(self.new, path)?;
        let old = match self.old {
            Some(old) => open_if_any(old, path)?,
            None => None,
        };
        let old_names: BTreeSet<Vec<u8>> = match &old {
            Some(old) => old.names()?.into_iter().collect(),
            None => BTreeSet::new(),
        };
        let new_names = new.names()?;
        for name in &old_names {
            if new_names.binary_search(name).is_err() {
                self.tell(&join(path, name), ChangeKind::Deleted);
            }
        }
        for name in new_names {
            let path = join(path, &name);
            let stat = new.stat(&name)?;
            let known = old.as_ref().filter(|_| old_names.contains(&name));
            match known {
                None => self.tell(&path, ChangeKind::Added),
                Some(old) => {
                    let before = old.stat(&name)?;
                    if !self.is_same((old, &name), &before, (&new, &name), &stat)? {
                        self.tell(&path, ChangeKind::Modified);
                    }
                    if before.is_dir() && !stat.is_dir() {
                        self.gone(&path)?;
                    }
                }
            }
            if stat.is_dir() {
                self.pending.push(path);
            }
        }
        Ok(())
    }

    /// Tells of what was in a directory that is none any more.
    fn gone(&mut self, path: &[u8]) -> Result<()> {
        let Some(old) = self.old else {
            return Ok(());
        };
        for name in open(old, path)?.names()? {
            self.tell(&join(path, &name), ChangeKind::Deleted);
        }
        Ok(())
    }

    fn is_same(
        &mut self,
        old: Place<'_>,
        before: &Stat,
        new: Place<'_>,
        after: &Stat,
    ) -> Result<bool> {
        if !same_attributes(old, before, new, after)? {
            return Ok(false);
        }
        match after.kind {
            InodeKind::Symlink => Ok(old.0.read_link(old.1)? == new.0.read_link(new.1)?),
            InodeKind::File => {
                let key = |stat: &Stat| (stat.id.ino, stat.ctime);
                Ok(key(before) == key(after) || self.same_content(old, new)?)
            }
            _ => Ok(true),
        }
    }

    fn same_content(&mut self, old: Place<'_>, new: Place<'_>) -> Result<bool> {
        let mut before = FileReader::open(old.0, old.1)?;
        let mut after = FileReader::open(new.0, new.1)?;
        loop {
            // Both read as much as there is, and both are of one size.
            let one = before.read(&mut self.buffers.0)?;
            let other = after.read(&mut self.buffers.1)?;
            if one != other {
                return Ok(false);
            }
            if one.is_empty() {
                return Ok(true);
            }
        }
    }
}

fn same_attributes(old: Place<'_>, before: &Stat, new: Place<'_>, after: &Stat) -> Result<bool> {
    let key = |stat: &Stat| {
        // The size of a directory is the file system's own.
        let size = if stat.is_dir() { 0 } else { stat.size };
        (
            stat.kind, stat.mode, stat.uid, stat.gid, size, stat.mtime, stat.rdev,
        )
    };
    let xattrs = |(dir, name): Place<'_>| match name {
        b"" => dir.xattrs_self(),
        name => dir.xattrs(name),
    };
    Ok(key(before) == key(after) && xattrs(old)? == xattrs(new)?)
}

fn open(root: &Dir, path: &[u8]) -> Result<Dir> {
    if path.len() > MAX_PATH {
        let shown = escape_name(path);
        let message = format!("compare {shown}: path longer than {MAX_PATH} bytes");
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    match path {
        b"" => root.open_dir(b"."),
        path => root.open_below(path),
    }
}

/// Opens a directory, unless there is none of that path.
fn open_if_any(root: &Dir, path: &[u8]) -> Result<Option<Dir>> {
    match open(root, path) {
        Ok(dir) => Ok(Some(dir)),
        Err(error) => {
            let (parent, name) = split(path);
            match open(root, parent).and_then(|dir| dir.try_stat(name)) {
                Ok(Some(stat)) if stat.is_dir() => Err(error),
                _ => Ok(None),
            }
        }
    }
}
