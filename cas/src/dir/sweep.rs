//! Mark and sweep: the caller marks, the store sweeps.
//!
//! A blob that is a symbolic link is removed like any other, and its target stays. Behind a link in the place of a
//! directory nothing is removed: that is a store which others share, and who they are and what they need is unknown.
//!
//! Removing a scratch tree must not be fooled by what is in it. It never follows a link, and needs neither a stack nor a
//! descriptor for each level of depth: subdirectories are moved up to the top of the tree and removed from there.

use super::files::{find, names, path_of, size_of, type_of};
use super::flock::Flock;
use super::scratch::SCRATCH_PREFIX;
use super::store::{DirStore, Scan};
use crate::{Algorithm, Digest, Error, Result, Store};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

/// What a sweep removed, or a dry one would have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs and their sizes in bytes, sorted by digest.
    pub blobs: Vec<(Digest, u64)>,
    /// Names of stale scratch entries, sorted.
    pub scratch: Vec<String>,
    /// What was left alone because it is no blob, as paths relative to the store, sorted: entries among the blobs that are
    /// not named like one, or are neither files nor links; directories of algorithms that are not known.
    pub foreign: Vec<String>,
}

impl DirStore {
    /// Locks out writers of blobs, lets `mark` compute the live set, and removes every other blob and all stale scratch
    /// entries. Waits until nobody holds a lease. `mark` must not take [`lease`](Self::lease) or
    /// [`lock`](Self::lock), nor write: it would wait for itself. With `dry_run` nothing is removed.
    ///
    /// # Errors
    ///
    /// Whatever `mark` fails with, and before anything was removed: [`Busy`](crate::ErrorKind::Busy) if this store
    /// object has leases of its own, [`Unsupported`](crate::ErrorKind::Unsupported) if a directory of blobs is a symbolic
    /// link, because others may use what is behind it. Those of input and output may come when a part was removed already.
    pub fn mark_and_sweep<E: From<Error>>(
        &self,
        dry_run: bool,
        mark: impl FnOnce() -> Result<BTreeSet<Digest>, E>,
    ) -> Result<Swept, E> {
        self.refuse_shared("sweep blobs")?;
        let lock = self.lock_for_sweep(true)?;
        let live = mark()?;
        Ok(self.sweep_locked(&lock, &live, dry_run)?)
    }

    /// Removes every blob that is not in `live`, and all stale scratch entries. `live` must have been computed under
    /// [`lock`](Self::lock), which is still held: nobody can then have come and gone since. Waits for nobody.
    /// [`mark_and_sweep`](Self::mark_and_sweep) is the patient form.
    ///
    /// # Errors
    ///
    /// [`Busy`](crate::ErrorKind::Busy) if anyone has a lease; else those of `mark_and_sweep`.
    pub fn sweep(&self, live: &BTreeSet<Digest>, dry_run: bool) -> Result<Swept> {
        let lock = self.lock_for_sweep(false)?;
        self.sweep_locked(&lock, live, dry_run)
    }

    fn sweep_locked(&self, _lock: &Flock, live: &BTreeSet<Digest>, dry_run: bool) -> Result<Swept> {
        // Also for a link that came since: the first refusal was to spare the caller the marking.
        self.refuse_shared("sweep blobs")?;
        let mut swept = Swept {
            foreign: self.foreign()?,
            ..Swept::default()
        };
        for algorithm in Algorithm::ALL {
            self.find_dead(algorithm, live, &mut swept)?;
        }
        swept.blobs.sort_unstable();
        swept.foreign.sort_unstable();
        if !dry_run {
            for (digest, _) in &swept.blobs {
                self.remove(digest)?;
            }
        }
        swept.scratch = self.sweep_scratch(dry_run)?;
        Ok(swept)
    }

    /// Finds the blobs of an algorithm that are not in `live`, with their sizes.
    fn find_dead(
        &self,
        algorithm: Algorithm,
        live: &BTreeSet<Digest>,
        swept: &mut Swept,
    ) -> Result<()> {
        let Some(Scan {
            directory, digests, ..
        }) = self.scan(algorithm)?
        else {
            return Ok(());
        };
        for digest in digests.into_iter().filter(|digest| !live.contains(digest)) {
            let path = format!("blob {digest}");
            let Some(stat) = find(&directory, digest.encoded(), &path)? else {
                continue;
            };
            match type_of(&stat) {
                FileType::RegularFile | FileType::Symlink => {
                    swept.blobs.push((digest, size_of(&stat)));
                }
                _ => swept
                    .foreign
                    .push(format!("{}/{}", path_of(algorithm), digest.encoded())),
            }
        }
        Ok(())
    }

    fn sweep_scratch(&self, dry_run: bool) -> Result<Vec<String>> {
        let mut swept = Vec::new();
        for name in names(self.dir(), "store directory")? {
            if !name.to_bytes().starts_with(SCRATCH_PREFIX.as_bytes()) {
                continue;
            }
            let shown = name.to_string_lossy().into_owned();
            let Some((entry, kind)) = self.take_stale(&name, &shown)? else {
                continue;
            };
            if !dry_run {
                let failed = |errno| Error::io("remove stale scratch entry", &shown, errno);
                match kind {
                    FileType::Directory => {
                        self.remove_tree(entry.as_fd(), &name).map_err(failed)?;
                    }
                    _ => gone(fs::unlinkat(self.dir(), &name, AtFlags::empty())).map_err(failed)?,
                }
            }
            swept.push(shown);
        }
        swept.sort_unstable();
        Ok(swept)
    }

    /// Opens and locks a scratch entry that nobody uses. Anything but a file or a directory cannot be one, and what may
    /// not be opened is another user's, of which nobody can tell whether it is stale: both are `None`.
    fn take_stale(&self, name: &CStr, shown: &str) -> Result<Option<(Flock, FileType)>> {
        let scratch_type = |kind| matches!(kind, FileType::RegularFile | FileType::Directory);
        match find(self.dir(), name, shown)? {
            Some(stat) if scratch_type(type_of(&stat)) => {}
            _ => return Ok(None),
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |errno| Error::io("open stale scratch entry", shown, errno);
        let entry = match fs::openat(self.dir(), name, flags, Mode::empty()) {
            Ok(entry) => entry,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ACCESS) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let kind = type_of(&fs::fstat(&entry).map_err(failed)?);
        if !scratch_type(kind) {
            return Ok(None);
        }
        Ok(Flock::try_scratch(entry)
            .map_err(failed)?
            .map(|entry| (entry, kind)))
    }

    /// Removes a directory of the store's directory with all that is in it. `root` is that directory, opened.
    fn remove_tree(&self, root: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
        let mut next = 0;
        loop {
            let mut directories = Vec::new();
            remove_entries(root, |child| {
                directories.push(child.to_owned());
                Ok(())
            })?;
            if directories.is_empty() {
                break;
            }
            for directory in directories {
                remove_lifting(root, &directory, &mut next)?;
            }
        }
        gone(fs::unlinkat(self.dir(), name, AtFlags::REMOVEDIR))
    }
}

/// Removes the subdirectory `name` of `root` after moving its own subdirectories to fresh names in `root`.
fn remove_lifting(root: BorrowedFd<'_>, name: &CStr, next: &mut u64) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = fs::openat(root, name, flags, Mode::empty())?;
    remove_entries(directory.as_fd(), |child| {
        loop {
            let fresh = format!("lifted-{next}");
            *next += 1;
            match fs::renameat(&directory, child, root, &fresh) {
                // Someone else's name, which will go too. (An empty directory of that name is gone by now.)
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                moved => return moved,
            }
        }
    })?;
    fs::unlinkat(root, name, AtFlags::REMOVEDIR)
}

/// Removes every entry of a directory that is not a directory, and hands the directories over.
fn remove_entries(
    directory: BorrowedFd<'_>,
    mut subdirectory: impl FnMut(&CStr) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    // All names first: removing while reading makes some filesystems skip entries.
    let entries = fs::Dir::read_from(directory)?
        .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
        .collect::<Result<Vec<CString>, Errno>>()?;
    for name in entries
        .iter()
        .filter(|name| name.as_c_str() != c"." && name.as_c_str() != c"..")
    {
        match fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => subdirectory(name)?,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Takes a missing entry for a removed one.
fn gone(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}
