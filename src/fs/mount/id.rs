//! Which mount a descriptor is on.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags};
use rustix::io::Errno;

use super::super::syscall;
use super::table;
use crate::error::{Error, Result};

/// `STATX_MNT_ID_UNIQUE`, Linux 6.8: asks for the id that is never given again.
const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// A file elsewhere may be on a file system whose server is gone: neither mount anything nor wait for it.
const NO_WAITING: AtFlags = AtFlags::NO_AUTOMOUNT.union(AtFlags::STATX_DONT_SYNC);

/// Which mount: what the kernel numbers its mounts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MountId {
    /// The number in mountinfo; another mount has it when this one is gone.
    pub id: u64,
    /// The number that no other mount has until the machine is started again (Linux 6.8).
    pub unique: Option<u64>,
}

impl MountId {
    /// The mount that an open file or directory is on.
    ///
    /// # Errors
    ///
    /// Fails if the kernel does, or does not tell (before 5.8).
    pub fn of(file: impl AsFd) -> Result<Self> {
        let ask = |what| rustix::fs::statx(file.as_fd(), c"", AtFlags::EMPTY_PATH, what);
        let fail = |errno| Error::io("ask for the mount of", "an open directory", errno);
        let id = ask(StatxFlags::MNT_ID)
            .and_then(|stat| told(&stat, StatxFlags::MNT_ID))
            .map_err(fail)?;
        let unique = ask(UNIQUE).and_then(|stat| told(&stat, UNIQUE)).ok();
        Ok(Self { id, unique })
    }

    /// Whether such a mount is still in the mount namespace of this process. Without a unique id, a later mount that got
    /// the same number passes for it.
    ///
    /// # Errors
    ///
    /// Fails if the kernel's table cannot be read.
    pub fn is_mounted(self) -> Result<bool> {
        if let Some(unique) = self.unique {
            // Older kernels do not know the call, filters forbid it: the table then has to do.
            if let Ok(exists) = syscall::mount_exists(unique) {
                return Ok(exists);
            }
        }
        let table = table::mounts()?;
        let Some(entry) = table::by_id(&table, self) else {
            return Ok(false);
        };
        let there = rustix::fs::statx(CWD, &entry.target, NO_WAITING, UNIQUE);
        let there = there.and_then(|stat| told(&stat, UNIQUE));
        Ok(match (self.unique, there) {
            (Some(unique), Ok(there)) => unique == there,
            _ => true,
        })
    }
}

/// The number, in mountinfo, of the mount that a path leads to, the last link followed too.
pub(super) fn of_path(path: &Path) -> std::result::Result<u64, Errno> {
    let stat = rustix::fs::statx(CWD, path, NO_WAITING, StatxFlags::MNT_ID);
    told(&stat?, StatxFlags::MNT_ID)
}

fn told(stat: &Statx, what: StatxFlags) -> std::result::Result<u64, Errno> {
    let told = stat.stx_mask & what.bits() != 0;
    told.then_some(stat.stx_mnt_id).ok_or(Errno::OPNOTSUPP)
}
