//! What has changed in a tree since it was recorded: one walk, and no more of it read than must be.
//!
//! Each directory's names are merged with those of the record. An inode that a stat index proves costs its `statx`. Of
//! any other, what `statx` says is compared first, then link and xattrs, and only if all of that is the same the
//! content is hashed: a file whose size has changed is not read here, because it is going to be packed anyway.
//!
//! If a new record is asked for, the walk takes down what it sees. It lacks the digests of what is going to be packed,
//! which are told later ([`Record::packed`]). What a program changes while the walk is under way may or may not be in
//! the record; it is never taken for unchanged later, because the proof of each inode is its `statx` from before it was
//! read, and the reference time of the new index is from before the walk.

use super::Attributes;
use super::baseline::{Baseline, Old, OldChildren};
use super::index::Reference;
use super::manifest::MAX_PATH;
use super::record::{Record, Recorder};
use crate::fs::tree::StatStamp;
use crate::fs::xattr::Xattrs;
use crate::fs::{Change, ChangeKind, Dir, InodeId, InodeKind, Stat, hash_file, sha256_of_file};
use crate::{Error, ErrorKind, Result, ResultExt};
use filetime::FileTime;
use std::collections::HashMap;

/// What is compared, and what for.
#[derive(Clone, Copy, Debug)]
pub struct DiffOptions<'a> {
    /// What the tree was like.
    pub baseline: Baseline<'a>,
    /// Paths (clean, relative) whose changes are left out, with all below them. Nothing, or `.`, leaves nothing out.
    pub masks: &'a [Vec<u8>],
    /// Asks for a new record: [`Reference::now`], from before the walk.
    pub record: Option<Reference>,
}

/// What has changed.
#[derive(Debug)]
pub struct Diff {
    /// The changes, sorted by the bytes of their paths. Of what is gone with all below it, only the topmost path is told;
    /// of what was a directory and is something else now, each name that was in it is told too.
    pub changes: Vec<Change>,
    /// The new record, if it was asked for: of all that is there, masked or not.
    pub record: Option<Record>,
    /// How many files were read to find this out.
    pub files_read: u64,
    /// How many changes the masks leave out. What cannot be read there counts as changed.
    pub masked_count: u64,
    /// Paths of sockets, masks aside, sorted. No layer has any: to the changes and to the record they are not there.
    pub sockets: Vec<Vec<u8>>,
}

/// Walks a directory and tells how it differs from what was recorded.
///
/// The keywords are umoci's ten; an index also tells of device numbers, which a manifest does not have.
///
/// # Errors
///
/// [`ErrorKind::LimitExceeded`] for a path above 4 KiB, and those of the file system.
///
/// ```
/// use oci_bundle::fs::{Access, ChangeKind, Dir};
/// use oci_bundle::mtree::{Baseline, DiffOptions, Manifest, diff};
///
/// # let scratch = tempfile::tempdir()?;
/// # let path = scratch.path();
/// std::fs::write(path.join("new"), "")?;
/// // A manifest says only what its keywords say: of this root, that it is a directory.
/// let manifest = Manifest::parse(&b"#mtree v2.0\n. type=dir\n    gone type=file\n..\n"[..])?;
/// let options = DiffOptions { baseline: Baseline::Manifest(&manifest), masks: &[], record: None };
///
/// let changes = diff(&Dir::open(path, Access::Plain)?, &options)?.changes;
/// let kinds: Vec<_> = changes.iter().map(|change| (&change.path[..], change.kind)).collect();
/// assert!(kinds.contains(&(&b"gone"[..], ChangeKind::Deleted)));
/// assert!(kinds.contains(&(&b"new"[..], ChangeKind::Added)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn diff(root: &Dir, options: &DiffOptions<'_>) -> Result<Diff> {
    let mut walk = Walk::new(options);
    let below = walk.enter(root, b".", options.baseline.root())?;
    let mut open = vec![(None::<Dir>, below.into_iter(), 0)];
    while let Some((dir, below, parent)) = open.last_mut() {
        let Some(next) = below.next() else {
            walk.path.truncate(*parent);
            open.pop();
            if let Some(recorder) = &mut walk.recorder {
                recorder.leave();
            }
            continue;
        };
        let before = walk.descend(&next.name)?;
        let opened = dir.as_ref().unwrap_or(root).open_dir(&next.name);
        let entered = opened.context(|| walk.describe()).and_then(|child| {
            let below = walk.enter(&child, &next.name, next.old)?;
            Ok((child, below))
        });
        match entered {
            Ok((child, below)) => open.push((Some(child), below.into_iter(), before)),
            Err(_) if walk.only_counts() => {
                walk.masked_count += 1;
                walk.path.truncate(before);
            }
            Err(error) => return Err(error),
        }
    }
    walk.finish()
}

/// A directory that is yet to be walked, and what had its name.
struct Below<'a> {
    name: Vec<u8>,
    old: Option<Old<'a>>,
}

/// An inode of the walk: an open directory itself, or a name in it.
#[derive(Clone, Copy)]
struct Place<'a> {
    dir: &'a Dir,
    name: Option<&'a [u8]>,
}

/// What has been learnt of an inode so far.
struct Seen {
    stat: Stat,
    link: Option<Vec<u8>>,
    xattrs: Option<Xattrs>,
    sha256: Option<[u8; 32]>,
}

impl Seen {
    fn new(stat: Stat) -> Self {
        Self {
            stat,
            link: None,
            xattrs: None,
            sha256: None,
        }
    }

    fn attributes(&self) -> Attributes<'_> {
        Attributes {
            kind: self.stat.kind,
            size: self.stat.size,
            uid: self.stat.uid,
            gid: self.stat.gid,
            mode: self.stat.mode,
            nlink: self.stat.nlink,
            mtime: self.stat.mtime,
            link: self.link.as_deref().unwrap_or_default(),
            sha256: self.sha256,
            xattrs: self.xattrs.as_deref().unwrap_or_default(),
            other: Vec::new(),
        }
    }

    /// Learns link and xattrs, where the inode has them and they are not known.
    fn read_attributes(&mut self, place: Place<'_>) -> Result<()> {
        match (self.stat.kind, place.name) {
            (InodeKind::Symlink, Some(name)) if self.link.is_none() => {
                self.link = Some(place.dir.read_link(name)?);
            }
            (InodeKind::File, Some(name)) if self.xattrs.is_none() => {
                self.xattrs = Some(place.dir.xattrs(name)?);
            }
            (InodeKind::Directory, None) if self.xattrs.is_none() => {
                self.xattrs = Some(place.dir.xattrs_self()?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes over what was recorded of an inode that is proven to be the same.
    fn take_over(&mut self, old: &Old<'_>) {
        if let Old::Node(node) = old {
            self.link = Some(node.link.to_vec());
            self.xattrs = Some(node.xattrs());
            self.sha256 = node.sha256;
        }
    }
}

struct Walk<'a> {
    baseline: Baseline<'a>,
    masks: &'a [Vec<u8>],
    recorder: Option<Recorder>,
    buffer: Vec<u8>,
    /// Digests of inodes with several names, which are read under one of them; and the ctime they had.
    shared: HashMap<(InodeId, bool), (FileTime, [u8; 32])>,
    /// Path of what is looked at.
    path: Vec<u8>,
    changes: Vec<Change>,
    files_read: u64,
    masked_count: u64,
    sockets: Vec<Vec<u8>>,
}

impl<'a> Walk<'a> {
    fn new(options: &DiffOptions<'a>) -> Self {
        Self {
            baseline: options.baseline,
            masks: options.masks,
            recorder: options
                .record
                .map(|reference| Recorder::new(reference.device)),
            buffer: Vec::new(),
            shared: HashMap::new(),
            path: Vec::new(),
            changes: Vec::new(),
            files_read: 0,
            masked_count: 0,
            sockets: Vec::new(),
        }
    }

    fn finish(mut self) -> Result<Diff> {
        self.changes.sort_unstable();
        self.sockets.sort_unstable();
        Ok(Diff {
            changes: self.changes,
            record: self.recorder.map(Recorder::finish).transpose()?,
            files_read: self.files_read,
            masked_count: self.masked_count,
            sockets: self.sockets,
        })
    }

    /// Looks at a directory and at what in it is none; returns its subdirectories.
    fn enter(&mut self, dir: &Dir, name: &[u8], old: Option<Old<'a>>) -> Result<Vec<Below<'a>>> {
        let stat = dir.stat_self().context(|| self.describe())?;
        let mut seen = Seen::new(stat);
        let place = Place { dir, name: None };
        let change = self.judge(place, old.as_ref(), &mut seen);
        if let Some(kind) = change.context(|| self.describe())? {
            self.tell(self.path.clone(), kind);
        }
        if let Some(recorder) = &mut self.recorder {
            seen.read_attributes(place)
                .context(|| describe(&self.path))?;
            recorder.enter(name, &seen.attributes(), Some(&StatStamp::of(&seen.stat)));
        }
        let children = old.map_or(OldChildren::None, |old| old.children());
        self.merge(dir, children)
    }

    /// Merges the names in a directory with those that were there.
    fn merge(&mut self, dir: &Dir, old: OldChildren<'a>) -> Result<Vec<Below<'a>>> {
        let mut old = old.peekable();
        let mut below = Vec::new();
        // No directories, and none was there that was none either: new, unless a directory had the name.
        let mut unknown = Vec::new();
        for name in dir.names().context(|| self.describe())? {
            while let Some(gone) = old.next_if(|old| !old.is_directory() && old.name() < &name[..])
            {
                self.tell_gone(&gone);
            }
            let same = old.next_if(|old| !old.is_directory() && old.name() == name);
            let before = self.descend(&name)?;
            let stat = dir.stat(&name).context(|| self.describe())?;
            if stat.is_dir() {
                below.push(Below { name, old: same });
            } else if stat.kind == InodeKind::Socket {
                if !self.is_masked(&self.path) {
                    self.sockets.push(self.path.clone());
                }
                self.path.truncate(before);
                if let Some(gone) = same {
                    self.tell_gone(&gone);
                }
            } else {
                let result = self.leaf(dir, &name, stat, same.as_ref());
                if result.is_err() && self.only_counts() {
                    self.masked_count += 1;
                } else {
                    result?;
                }
                if same.is_none() {
                    unknown.push((name, ChangeKind::Added));
                }
            }
            self.path.truncate(before);
        }
        while let Some(gone) = old.next_if(|old| !old.is_directory()) {
            self.tell_gone(&gone);
        }
        for old in old {
            if let Ok(at) = below.binary_search_by(|dir| dir.name[..].cmp(old.name())) {
                below[at].old = Some(old);
            } else if let Ok(at) = unknown.binary_search_by(|(name, _)| name[..].cmp(old.name())) {
                if old.is_recorded() {
                    unknown[at].1 = ChangeKind::Modified;
                }
                let before = self.descend(old.name())?;
                old.children().for_each(|child| self.tell_gone(&child));
                self.path.truncate(before);
            } else {
                self.tell_gone(&old);
            }
        }
        for (name, kind) in unknown {
            self.tell(self.path_of(&name), kind);
        }
        Ok(below)
    }

    /// Looks at anything but a directory. Of what was not there, the caller tells.
    fn leaf(&mut self, dir: &Dir, name: &[u8], stat: Stat, old: Option<&Old<'a>>) -> Result<()> {
        let mut seen = Seen::new(stat);
        let place = Place {
            dir,
            name: Some(name),
        };
        let change = self.judge(place, old, &mut seen);
        let change = change.context(|| self.describe())?;
        if let (Some(kind), Some(_)) = (change, old) {
            self.tell(self.path.clone(), kind);
        }
        if self.recorder.is_some() {
            self.record_leaf(place, name, seen, change.is_some())
                .context(|| self.describe())?;
        }
        Ok(())
    }

    fn record_leaf(
        &mut self,
        place: Place<'_>,
        name: &[u8],
        mut seen: Seen,
        is_changed: bool,
    ) -> Result<()> {
        seen.read_attributes(place)?;
        let lacks_digest = seen.stat.kind == InodeKind::File && seen.sha256.is_none();
        // What is masked is not packed, so nobody else reads it.
        let is_packed = is_changed && !self.is_masked(&self.path);
        if lacks_digest && !is_packed {
            seen.sha256 = Some(self.hash(place.dir, name, &seen.stat, false)?);
        }
        let stat_stamp = StatStamp::of(&seen.stat);
        if let Some(recorder) = &mut self.recorder {
            if lacks_digest && is_packed {
                recorder.pending_leaf(&self.path, name, &seen.attributes(), &stat_stamp);
            } else {
                recorder.leaf(name, &seen.attributes(), Some(&stat_stamp));
            }
        }
        Ok(())
    }

    /// How an inode differs from what was recorded of it.
    fn judge(
        &mut self,
        place: Place<'_>,
        old: Option<&Old<'a>>,
        seen: &mut Seen,
    ) -> Result<Option<ChangeKind>> {
        let Some(old) = old.filter(|old| old.is_recorded()) else {
            return Ok(Some(ChangeKind::Added));
        };
        if self.baseline.is_proven(old, &seen.stat) {
            if self.recorder.is_some() {
                seen.take_over(old);
            }
            return Ok(None);
        }
        Ok(self
            .is_modified(place, old, seen)?
            .then_some(ChangeKind::Modified))
    }

    fn is_modified(&mut self, place: Place<'_>, old: &Old<'a>, seen: &mut Seen) -> Result<bool> {
        if !old.says_stat(&seen.stat, &seen.attributes()) {
            return Ok(true);
        }
        seen.read_attributes(place)?;
        if !old.says_attributes(&seen.attributes()) {
            return Ok(true);
        }
        if let (InodeKind::File, Some(name)) = (seen.stat.kind, place.name)
            && !self.only_counts()
        {
            seen.sha256 = Some(self.hash(place.dir, name, &seen.stat, old.has_sha256())?);
            return Ok(!old.says_content(&seen.attributes()));
        }
        Ok(false)
    }

    /// Hashes a regular file, or remembers its digest from another of its names. `by_sha256`: as other programs record it.
    fn hash(&mut self, dir: &Dir, name: &[u8], stat: &Stat, by_sha256: bool) -> Result<[u8; 32]> {
        match self.shared.get(&(stat.id, by_sha256)) {
            Some((ctime, digest)) if *ctime == stat.ctime => return Ok(*digest),
            _ => {}
        }
        self.files_read += 1;
        let hash = if by_sha256 { sha256_of_file } else { hash_file };
        let digest = hash(dir, name, &mut self.buffer)?;
        if stat.nlink > 1 {
            self.shared
                .insert((stat.id, by_sha256), (stat.ctime, digest));
        }
        Ok(digest)
    }

    /// Tells that something in the current directory is gone: itself or, if nothing was recorded of it, what was below.
    fn tell_gone(&mut self, old: &Old<'a>) {
        let mut gone = vec![(self.path_of(old.name()), *old)];
        while let Some((path, old)) = gone.pop() {
            if old.is_socket() {
                continue;
            }
            if old.is_recorded() {
                self.tell(path, ChangeKind::Deleted);
            } else {
                gone.extend(
                    old.children()
                        .map(|child| ([&path, &b"/"[..], child.name()].concat(), child)),
                );
            }
        }
    }

    fn tell(&mut self, mut path: Vec<u8>, kind: ChangeKind) {
        if self.is_masked(&path) {
            self.masked_count += 1;
            return;
        }
        if path.is_empty() {
            path.push(b'.');
        }
        self.changes.push(Change { path, kind });
    }

    fn is_masked(&self, path: &[u8]) -> bool {
        self.masks.iter().any(|mask| {
            let below = path.strip_prefix(&mask[..]);
            below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
                && !path.is_empty()
                && !mask.is_empty()
        })
    }

    /// Whether what is here is masked and not recorded either: nothing needs to be read to know what it is like.
    fn only_counts(&self) -> bool {
        self.recorder.is_none() && self.is_masked(&self.path)
    }

    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() {
            name.to_vec()
        } else {
            [&self.path, &b"/"[..], name].concat()
        }
    }

    /// Adds a name to the path, and returns how long it was.
    fn descend(&mut self, name: &[u8]) -> Result<usize> {
        let before = self.path.len();
        if before > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        if self.path.len() > MAX_PATH {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("compare tree: path longer than {MAX_PATH} bytes"),
            ));
        }
        Ok(before)
    }

    fn describe(&self) -> String {
        describe(&self.path)
    }
}

/// What is being done, for messages.
fn describe(path: &[u8]) -> String {
    match path {
        b"" => "compare tree".to_owned(),
        path => format!("compare tree: {}", crate::fs::escape_name(path)),
    }
}
