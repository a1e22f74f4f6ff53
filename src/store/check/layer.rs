//! An unpacked layer against the record of its content: what is not as it was when the layer was complete.
//!
//! Record and directory are gone through side by side, both in the order of a walk, so that neither is held whole.
//! Contents are read by threads of their own, from files that the walk has opened; as many wait as the channel takes.

use std::collections::HashMap;
use std::io::Read;
use std::iter::Peekable;
use std::num::NonZeroUsize;
use std::vec::IntoIter;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::compare::{Comparison, kind_name};
use super::finding::{Finding, FindingKind, Findings};
use crate::error::Result;
use crate::fs::{Descent, Dir, FileReader, InodeId, Stat, thread};
use crate::store::record::{Content, Entry, RecordReader};

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Everything but contents of files.
    Quick,
    /// Contents too, of files whose digest was recorded.
    Full,
}

/// Files that wait to be read, each with a descriptor.
const WAITING_FILES: usize = 32;

/// Most threads that read.
const MAX_READERS: usize = 2;

const BUFFER_SIZE: usize = 256 << 10;

/// Compares the content of an unpacked layer with the record of it. Findings come in the order of their paths; after
/// [`MAX_FINDINGS`](super::MAX_FINDINGS) it ends.
///
/// # Errors
///
/// [`ErrorKind::InvalidData`](crate::ErrorKind::InvalidData) if the record is damaged: findings are then worth nothing.
/// Those of the root of the layer, and of directories that are moved meanwhile; anything else that cannot be looked at is
/// a finding.
pub fn check_layer(fs: &Dir, record: impl Read, level: Level) -> Result<Vec<Finding>> {
    let reader = RecordReader::new(record)?;
    let findings = Findings::default();
    match level {
        Level::Quick => Checker::new(fs, &findings, None)?.run(reader)?,
        Level::Full => {
            let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            let (jobs, waiting) = bounded(WAITING_FILES);
            std::thread::scope(|scope| {
                // One there must be; more are only faster.
                let read = || hash_files(&waiting, &findings);
                thread::spawn(scope, "hash", read)?;
                for _ in 1..threads.min(MAX_READERS) {
                    if thread::spawn(scope, "hash", read).is_err() {
                        break;
                    }
                }
                // The sender goes with the checker, and then the threads end.
                Checker::new(fs, &findings, Some(jobs))?.run(reader)
            })?;
        }
    }
    Ok(findings.sorted())
}

/// A file to be read.
struct Job {
    path: Vec<u8>,
    file: FileReader,
    sha256: [u8; 32],
}

fn hash_files(waiting: &Receiver<Job>, findings: &Findings) {
    let mut buffer = vec![0; BUFFER_SIZE];
    for Job { path, file, sha256 } in waiting {
        match hash(file, &mut buffer) {
            Ok(found) if found == sha256 => {}
            Ok(found) => findings.add(
                &path,
                FindingKind::Content,
                digest_text(&sha256),
                digest_text(&found),
            ),
            Err(error) => findings.unreadable(&path, &error),
        }
    }
}

fn hash(mut file: FileReader, buffer: &mut [u8]) -> Result<[u8; 32]> {
    let digest = file.digest(buffer)?;
    file.finish()?;
    Ok(digest)
}

fn digest_text(sha256: &[u8; 32]) -> String {
    format!("sha256:{}", hex::encode(sha256))
}

/// The walk.
struct Checker<'a> {
    descent: Descent,
    /// Names on disk that are still to come: of the directories that the walk is in, the root's first.
    levels: Vec<Place>,
    /// Path of the directory that the walk is in.
    path: Vec<u8>,
    /// The inode of each set of hard links that has come.
    sets: HashMap<u64, InodeId>,
    findings: &'a Findings,
    jobs: Option<Sender<Job>>,
}

/// A directory that the walk is in.
struct Place {
    names: Peekable<IntoIter<Vec<u8>>>,
    /// Length of the path of the directory above.
    above: usize,
}

impl<'a> Checker<'a> {
    fn new(fs: &Dir, findings: &'a Findings, jobs: Option<Sender<Job>>) -> Result<Self> {
        Ok(Self {
            descent: Descent::new(fs)?,
            levels: Vec::new(),
            path: Vec::new(),
            sets: HashMap::new(),
            findings,
            jobs,
        })
    }

    fn run(mut self, mut reader: RecordReader<impl Read>) -> Result<()> {
        let opaque = reader.marks().opaque();
        // What is in a directory that is not there is passed over.
        let mut passed_over = usize::MAX;
        // To the end in any case: only there it is known whether the record is sound.
        while let Some(entry) = reader.next()? {
            let depth = entry.depth();
            if depth > passed_over || self.findings.is_full() {
                continue;
            }
            while self.levels.len() > depth {
                self.leave()?;
            }
            let comparison = Comparison {
                entry: &entry,
                opaque,
                findings: self.findings,
            };
            let is_entered = if depth == 0 {
                self.check_root(&comparison)?;
                true
            } else {
                self.check_name(&comparison)?
            };
            passed_over = if is_entered { usize::MAX } else { depth };
        }
        while !self.levels.is_empty() {
            self.leave()?;
        }
        Ok(())
    }

    fn check_root(&mut self, comparison: &Comparison<'_>) -> Result<()> {
        let dir = self.descent.dir();
        comparison.metadata(&dir.stat_self()?);
        comparison.xattrs(dir.xattrs_self()?);
        self.push_level(dir.names()?, 0);
        Ok(())
    }

    /// Compares a name in the current directory with its entry. Whether it is a directory that the walk is now in.
    fn check_name(&mut self, comparison: &Comparison<'_>) -> Result<bool> {
        let entry = comparison.entry;
        let name = entry.name();
        while let Some(found) = self.next_name_if(|found| found < name) {
            self.extra(&found);
        }
        if self.next_name_if(|found| found == name).is_none() {
            comparison.missing();
            return Ok(false);
        }
        let dir = self.descent.dir();
        let Some(stat) = comparison.readable(dir.stat(name)) else {
            return Ok(false);
        };
        if !comparison.is_of_its_kind(&stat) || entry.content == Content::Whiteout {
            return Ok(false);
        }
        comparison.metadata(&stat);
        if let Some(xattrs) = comparison.readable(dir.xattrs(name)) {
            comparison.xattrs(xattrs);
        }
        match &entry.content {
            Content::Directory { .. } => return self.enter(comparison),
            Content::Symlink { target } => {
                if let Some(found) = comparison.readable(dir.read_link(name)) {
                    comparison.target(target, &found);
                }
            }
            Content::Device { number, .. } => comparison.device(*number, stat.rdev),
            Content::File { size, sha256 } => {
                let is_first = self.is_first_name(entry);
                if comparison.size(*size, stat.size) && is_first {
                    self.check_content(comparison, *sha256);
                }
            }
            Content::Fifo | Content::Whiteout => {}
        }
        self.check_links(comparison, &stat);
        Ok(false)
    }

    fn enter(&mut self, comparison: &Comparison<'_>) -> Result<bool> {
        let name = comparison.entry.name();
        if comparison.readable(self.descent.enter(name)).is_none() {
            return Ok(false);
        }
        let Some(names) = comparison.readable(self.descent.dir().names()) else {
            self.descent.leave()?;
            return Ok(false);
        };
        self.push_level(names, self.path.len());
        self.path.clone_from(&comparison.entry.path);
        Ok(true)
    }

    fn push_level(&mut self, names: Vec<Vec<u8>>, above: usize) {
        let names = names.into_iter().peekable();
        self.levels.push(Place { names, above });
    }

    /// Leaves the current directory; the names that are left in it have no entries.
    fn leave(&mut self) -> Result<()> {
        while let Some(found) = self.next_name_if(|_| true) {
            self.extra(&found);
        }
        if let Some(level) = self.levels.pop() {
            self.path.truncate(level.above);
            self.descent.leave()?;
        }
        Ok(())
    }

    fn next_name_if(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        self.levels.last_mut()?.names.next_if(|name| wanted(name))
    }

    fn extra(&self, name: &[u8]) {
        let separator = if self.path.is_empty() { &b""[..] } else { b"/" };
        let path = [&self.path, separator, name].concat();
        match self.descent.dir().stat(name) {
            Ok(stat) if stat.is_whiteout() => {
                self.findings
                    .add(&path, FindingKind::WhiteoutExtra, "nothing", "a whiteout");
            }
            Ok(stat) => {
                self.findings
                    .add(&path, FindingKind::Extra, "nothing", kind_name(stat.kind));
            }
            Err(error) => self.findings.unreadable(&path, &error),
        }
    }

    /// Whether no other name of the inode has come yet.
    fn is_first_name(&self, entry: &Entry) -> bool {
        entry
            .links
            .is_none_or(|links| !self.sets.contains_key(&links.set))
    }

    fn check_links(&mut self, comparison: &Comparison<'_>, stat: &Stat) {
        let Some(links) = comparison.entry.links else {
            return comparison.link_count(1, stat.nlink);
        };
        let first = *self.sets.entry(links.set).or_insert(stat.id);
        if first == stat.id {
            comparison.link_count(links.count, stat.nlink);
        } else {
            let (expected, found) = ("the inode of its other names", "one of its own");
            comparison.add(FindingKind::Links, expected, found);
        }
    }

    fn check_content(&self, comparison: &Comparison<'_>, sha256: Option<[u8; 32]>) {
        let (Some(jobs), Some(sha256)) = (&self.jobs, sha256) else {
            return;
        };
        let entry = comparison.entry;
        let opened = FileReader::open(self.descent.dir(), entry.name());
        if let Some(file) = comparison.readable(opened) {
            let path = entry.path.clone();
            // It fails only if all readers are gone, and then their panic is what counts.
            let _ = jobs.send(Job { path, file, sha256 });
        }
    }
}
