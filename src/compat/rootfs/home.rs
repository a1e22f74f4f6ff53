//! The directory of one root: what is mounted in it, and how it goes.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mounter::{MountPlace, Mounter};
use super::options::RootfsMode;
use super::reason::RootfsReason;
use super::stage::Patch;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::lock::{LockFile, LockMode};
use crate::fs::{Dir, failpoint, mount, probe};
use crate::store::json;
use crate::store::text::Text;

/// How the names of roots begin.
pub(super) const PREFIX: &str = "rootfs-";
/// How those begin that are being made or deleted.
pub(super) const STAGING: &str = ".rootfs-";
/// The directory that the root is mounted on.
pub(super) const ROOT: &str = "root";
const RECORD: &str = "root.json";
const LOCK: &[u8] = b"lock";

/// How long to wait for whoever makes or removes the same root.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known of a root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    mode: String,
    /// The directories in the root on which something is mounted, in this order.
    patches: Vec<Text>,
    /// Whether all of it is mounted; otherwise somebody is at it, or has died at it.
    pub ready: bool,
    boot: String,
    /// The mount namespace.
    namespace: u64,
}

impl Record {
    /// That of a root of which nothing is mounted yet.
    pub fn new(mode: RootfsMode, patches: &[Patch]) -> Result<Self> {
        Ok(Self {
            mode: mode.word().to_owned(),
            patches: patches
                .iter()
                .map(|patch| Text(patch.below.clone()))
                .collect(),
            ready: false,
            boot: probe::boot_id()?,
            namespace: mount::own_namespace()?.unwrap_or_default(),
        })
    }

    pub fn mode(&self) -> Option<RootfsMode> {
        RootfsMode::of_word(&self.mode)
    }

    pub fn write(&self, home: &Dir) -> Result<()> {
        json::replace(home, RECORD, self)
    }

    pub fn read(home: &Dir) -> Result<Self> {
        let record: Self = json::read(home, RECORD)?;
        let clean = |path: &Text| {
            let mut parts = path.0.split(|&byte| byte == b'/');
            parts.all(|part| !matches!(part, b"" | b"." | b".."))
        };
        if record.patches.iter().all(clean) {
            return Ok(record);
        }
        let message = format!(
            "read {}: malformed record",
            home.path_of(RECORD.as_bytes()).display()
        );
        Err(Error::new(ErrorKind::InvalidData, message))
    }

    /// Whether it may be mounted where this process cannot see it.
    fn is_elsewhere(&self) -> Result<bool> {
        Ok(self.boot == probe::boot_id()?
            && mount::own_namespace()? != Some(self.namespace)
            && mount::namespace_exists(self.namespace)?)
    }
}

/// Takes the lock of a root.
pub(super) fn lock(home: &Dir) -> Result<LockFile> {
    LockFile::acquire(home, LOCK, LockMode::Exclusive, Some(PATIENCE))
}

/// Takes the lock of a root unless somebody is at it.
pub(super) fn try_lock(home: &Dir) -> Result<Option<LockFile>> {
    LockFile::try_acquire(home, LOCK, LockMode::Exclusive)
}

/// Whether a name in the base is that of a root.
pub(super) fn is_root_name(name: &[u8]) -> bool {
    let digits = name.strip_prefix(PREFIX.as_bytes()).unwrap_or_default();
    digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit)
}

/// The directory of a root, whose lock is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home<'a> {
    /// Where it has its name.
    pub base: &'a Dir,
    pub name: &'a str,
    pub dir: &'a Dir,
    /// The absolute path of what is mounted.
    pub root: &'a Path,
}

impl Home<'_> {
    /// Unmounts what is mounted of the root, last first, and deletes the directory.
    ///
    /// What cannot be unmounted stays mounted and keeps the directory, but does not keep the rest from being unmounted.
    ///
    /// # Errors
    ///
    /// All that failed, in this order; never none.
    pub fn take_down(self, mounter: &impl Mounter, record: &Record) -> Result<(), Vec<Error>> {
        if record.is_elsewhere().map_err(|error| vec![error])? {
            let message = "unmount it: it is mounted in another mount namespace";
            let error = RootfsReason::UnmountRoot.error(ErrorKind::Busy, message);
            return Err(vec![error]);
        }
        let root = self.root;
        let mut failures = Vec::new();
        for Text(below) in record.patches.iter().rev() {
            failpoint::hit("rootfs-unmount");
            if let Err(error) = unmount(mounter, MountPlace { root, below }) {
                let doing = format!("unmount {}", String::from_utf8_lossy(below));
                failures.push(RootfsReason::UnmountSubdir.of_error(error, doing));
            }
        }
        // As long as something is mounted in the root, the kernel would refuse.
        if !failures.is_empty() {
            return Err(failures);
        }
        let place = MountPlace { root, below: b"" };
        failpoint::hit("rootfs-unmount");
        unmount(mounter, place)
            .and_then(|()| mounter.sweep(self.dir))
            .map_err(|error| vec![RootfsReason::UnmountRoot.of_error(error, "unmount it")])?;
        failpoint::hit("rootfs-unmounted");
        self.delete(record)
            .map_err(|error| vec![RootfsReason::RemoveMountDir.of_error(error, "delete it")])
    }

    /// Moves the directory aside, where it is no root any more, and deletes it.
    fn delete(self, record: &Record) -> Result<()> {
        let aside = format!(".{}", self.name);
        let (base, name) = (self.base, self.name.as_bytes());
        base.rename_new(name, base, aside.as_bytes())?;
        failpoint::hit("rootfs-aside");
        match base.remove_all(aside.as_bytes()) {
            Ok(()) => base.sync_names(),
            // Somebody who made another root here has swept it away.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => {
                // Back, with a record, so that it can be removed again; or else the next one sweeps it away.
                let _ = base.rename_new(aside.as_bytes(), base, name);
                let _ = record.write(self.dir);
                Err(error)
            }
        }
    }
}

/// Unmounts what is mounted in a place, if anything is.
fn unmount(mounter: &impl Mounter, place: MountPlace<'_>) -> Result<()> {
    if !mounter.is_mounted(place)? {
        return Ok(());
    }
    mounter.unmount(place)?;
    if mounter.is_mounted(place)? {
        let message = format!(
            "{}: something else is mounted there too",
            place.path().display()
        );
        return Err(Error::new(ErrorKind::Busy, message));
    }
    Ok(())
}

/// One error for all that failed: the first one, with the others in its message.
pub(super) fn all_of(doing: &str, path: &Path, mut failures: Vec<Error>) -> Error {
    let path = path.display();
    if failures.len() == 1 {
        return failures.remove(0).context(format!("{doing} {path}"));
    }
    let chains: Vec<String> = failures.iter().map(Error::chain).collect();
    let message = format!("{doing} {path}: {}", chains.join("; "));
    let kind = failures.first().map_or(ErrorKind::Io, Error::kind);
    let mut all = Error::new(kind, message);
    if let Some(reason) = failures.first().and_then(RootfsReason::of) {
        all = all.with_code(reason.word());
    }
    let hint = failures.iter().flat_map(Error::hints).next();
    match hint.map(str::to_owned) {
        Some(hint) => all.with_hint(hint),
        None => all,
    }
}
