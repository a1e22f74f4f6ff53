//! A directory that becomes visible at the end, or not at all.
//!
//! A [`Staging`] is a directory with a name that nobody uses, mode 0700, locked (`flock`) for as long as its process
//! lives. At the end its owner renames it, or what is in it, to where it belongs; dropped before, it is removed. A
//! process that ends early, at a signal, removes what it has in the making by [`remove_all_live`]. What a killed process
//! leaves is recognised by the free lock and removed by the next one that stages in the same place (`stale.rs`).

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::atomic::{rename_new, sync_dir};
use super::dir::{Access, Dir};
use super::failpoint;
use super::live::{self, Live};
use super::names::unique_name;
use super::stale::{self, JOURNAL};
use crate::error::{Error, ErrorKind, Result};

pub use super::live::{Stopped, remove_all_live};

/// How often a directory is made that others remove at once.
const MAX_TRIES: u32 = 1000;

/// A directory in the making.
#[derive(Debug)]
pub struct Staging {
    parent: Dir,
    name: Option<String>,
    dir: Dir,
    /// Its place among those that are removed when the process ends early.
    _live: Live,
}

impl Staging {
    /// Makes a staging directory in `parent`, which exists, and removes those of the same prefix that dead processes of
    /// this user left, as far as that is possible.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be made or locked.
    pub fn create(parent: &Path, prefix: &str, access: Access) -> Result<Self> {
        let parent = Dir::open(parent, access)?;
        stale::sweep(&parent, prefix);
        for _ in 0..MAX_TRIES {
            let name = unique_name(prefix);
            // From before it exists: a signal may come at any moment.
            let live = live::register(&parent, &name)?;
            let dir = match parent.create_dir(name.as_bytes(), 0o700) {
                Ok(Some(dir)) => dir,
                Ok(None) => continue,
                // Found unlocked and swept away by somebody else in the moment before the lock.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            failpoint::hit("staging-unlocked");
            let lock = FlockOperation::NonBlockingLockExclusive;
            let locked = rustix::fs::flock(dir.as_fd(), lock);
            if locked.is_ok() && dir.stat_self()?.nlink > 0 {
                failpoint::hit("staging");
                return Ok(Self {
                    parent,
                    name: Some(name),
                    dir,
                    _live: live,
                });
            }
            // Somebody who sweeps has it in hand, and removes it: another one.
        }
        let message = format!("make a directory in {}", parent.path().display());
        Err(Error::new(ErrorKind::Busy, message).with_hint("another process keeps removing it"))
    }

    /// Removes the staging directories of a prefix that dead processes of this user left, as far as that is possible, and
    /// takes back what they had begun to [publish](Self::publish_entries).
    pub fn sweep(parent: &Dir, prefix: &str) {
        stale::sweep(parent, prefix);
    }

    /// The directory.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Its path.
    pub fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Writes everything on the file system to disk.
    ///
    /// # Errors
    ///
    /// Fails if the device does.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(self.dir.as_fd())
            .map_err(|errno| Error::io("sync file system of", self.dir.path(), errno))
    }

    /// Gives the directory itself its name in the parent; nothing may have that name.
    ///
    /// # Errors
    ///
    /// Fails if the name is taken; the staging directory is then removed.
    pub fn publish_as(mut self, name: &[u8]) -> Result<()> {
        self.rename(&self.parent, name)?;
        self.keep_if(sync_dir(&self.parent), &self.parent, name)?;
        self.name = None;
        Ok(())
    }

    /// Gives the directory itself another name.
    fn rename(&self, to: &Dir, name: &[u8]) -> Result<()> {
        let Some(own) = &self.name else {
            return Ok(());
        };
        sync_dir(&self.dir)?;
        live::publish(|| rename_new(&self.parent, own.as_bytes(), to, name))
    }

    /// Takes the directory's new name back if that could not be made durable.
    fn keep_if(&self, synced: Result<()>, at: &Dir, name: &[u8]) -> Result<()> {
        let own = self.name.as_deref().unwrap_or_default().as_bytes();
        keep_if(synced, at, name, || rename_new(at, name, &self.parent, own))
    }

    /// Moves the directory itself to a name in another directory of the same file system; nothing may have that name.
    ///
    /// # Errors
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] if the name is taken; the staging directory is then removed.
    pub fn publish_into(mut self, to: &Dir, name: &[u8]) -> Result<()> {
        self.rename(to, name)?;
        // In this order: without a journal, a directory that the disk has under two names is at best under one of them
        // after a repair, and nobody knows which.
        let synced = sync_dir(&self.parent).and_then(|()| sync_dir(to));
        self.keep_if(synced, to, name)?;
        self.name = None;
        Ok(())
    }

    /// Moves one entry of the directory to a name in the parent; nothing may have that name.
    ///
    /// # Errors
    ///
    /// Fails if the name is taken; everything is then removed.
    pub fn publish_entry(self, entry: &[u8], name: &[u8]) -> Result<()> {
        self.move_entry(entry, &self.parent, name)?;
        self.keep_entry_if(sync_dir(&self.parent), entry, &self.parent, name)
    }

    fn keep_entry_if(&self, synced: Result<()>, entry: &[u8], at: &Dir, name: &[u8]) -> Result<()> {
        keep_if(synced, at, name, || rename_new(at, name, &self.dir, entry))
    }

    /// Moves one entry of the directory to a name in another directory of the same file system; nothing may have that name.
    /// What is to have other attributes than a staging directory has is made as an entry of one: a staging directory
    /// itself that a death leaves is known by them.
    ///
    /// # Errors
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] if the name is taken; the entry is then where it was.
    pub fn publish_entry_into(&self, entry: &[u8], to: &Dir, name: &[u8]) -> Result<()> {
        self.move_entry(entry, to, name)?;
        // In this order: see `publish_into`.
        let synced = sync_dir(&self.dir).and_then(|()| sync_dir(to));
        self.keep_entry_if(synced, entry, to, name)
    }

    /// The same, but for what makes it durable: that is for whoever moves many, the staging directory first
    /// ([`Dir::sync_names`]).
    ///
    /// # Errors
    ///
    /// As [`publish_entry_into`](Self::publish_entry_into).
    pub fn move_entry(&self, entry: &[u8], to: &Dir, name: &[u8]) -> Result<()> {
        live::publish(|| rename_new(&self.dir, entry, to, name))
    }

    /// Moves entries of the directory to the same names in the parent, in this order; nothing may have those names. What
    /// is seen last says that all of it is there. A journal is kept meanwhile: if the process dies half-way, the next
    /// one that stages here takes back what was moved.
    ///
    /// # Errors
    ///
    /// Fails if a name is taken; what was moved is taken back and everything is removed.
    pub fn publish_entries(self, names: &[&[u8]]) -> Result<()> {
        let moved = names
            .iter()
            .map(|name| Ok((self.dir.stat(name)?.id, name.to_vec())))
            .collect::<Result<Vec<_>>>()?;
        super::atomic::create(&self.dir, JOURNAL, 0o600, &stale::journal(&moved))?;
        sync_dir(&self.dir)?;
        let rename_all = || {
            names.iter().try_for_each(|name| {
                rename_new(&self.dir, name, &self.parent, name)
                    .inspect_err(|_| stale::take_back(&self.parent, &self.dir, &moved))
            })
        };
        live::publish(rename_all)?;
        let Some(last) = names.last() else {
            return Ok(());
        };
        keep_if(sync_dir(&self.parent), &self.parent, last, || {
            stale::take_back(&self.parent, &self.dir, &moved);
            let left = self.parent.try_stat(last)?;
            left.map_or(Ok(()), |_| Err(self.parent.exists(last)))
        })
    }
}

/// Takes back what was given a name in a directory, if the name could not be made durable: so that nothing is left after
/// the error, and a second attempt finds the name free. Where even that fails, the error says what is there.
fn keep_if(
    synced: Result<()>,
    at: &Dir,
    name: &[u8],
    take_back: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let Err(error) = synced else {
        return Ok(());
    };
    if live::publish(take_back).is_ok() {
        return Err(error);
    }
    let path = at.path_of(name);
    let message = format!(
        "{} is complete and in place, but may be gone after a power cut",
        path.display()
    );
    Err(error.context(message))
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // Nobody is left to tell; the next process that stages here sweeps it up.
            let _ = self.parent.remove_all(name.as_bytes());
        }
    }
}

/// Directories that were made on the way to somewhere, and go again unless they are kept.
#[derive(Debug, Default)]
pub struct MadeDirs(Vec<PathBuf>);

impl MadeDirs {
    /// Makes a directory by a path of the user's, with all that is missing above it, mode 0777 less the umask.
    ///
    /// # Errors
    ///
    /// Fails if one cannot be made; those made before are removed.
    pub fn make(path: &Path) -> Result<Self> {
        let missing = path.ancestors().filter(|path| !path.as_os_str().is_empty());
        let missing: Vec<&Path> = missing.take_while(|path| !path.exists()).collect();
        let mut made = Self::default();
        for path in missing.into_iter().rev() {
            match std::fs::create_dir(path) {
                Ok(()) => {
                    made.0.push(path.to_owned());
                    failpoint::hit("directory-made");
                }
                // `a/../b`, or somebody else was faster.
                Err(error)
                    if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(error) => return Err(Error::io("create directory", path, error)),
            }
        }
        Ok(made)
    }

    /// One that exists and goes unless it is kept, or something is in it.
    pub fn of(path: &Path) -> Self {
        Self(vec![path.to_owned()])
    }

    /// Keeps them.
    pub fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for MadeDirs {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // Not empty any more: somebody else uses it.
            let _ = std::fs::remove_dir(path);
        }
    }
}
