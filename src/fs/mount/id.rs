//! Which mount a descriptor is on.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags};
use rustix::io::Errno;

use super::super::dir::Dir;
use super::super::syscall;
use super::table::{self, MountEntry};
use crate::error::{Error, ErrorKind, Result};

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
    /// Fails if the kernel does not tell, neither by `statx` (since 5.8) nor in `/proc`.
    pub fn of(file: impl AsFd) -> Result<Self> {
        let file = file.as_fd();
        let ask = |what| rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, what);
        let id = ask(StatxFlags::MNT_ID).and_then(|stat| told(&stat, StatxFlags::MNT_ID));
        let id = id.or_else(|_| by_descriptor(file))?;
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
        let Some(entry) = by_id(&table, self) else {
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

/// The mount of an id.
pub fn by_id(table: &[MountEntry], id: MountId) -> Option<&MountEntry> {
    table.iter().find(|entry| entry.id == id.id)
}

/// The number, in mountinfo, of the mount that a path leads to, the last link followed too.
pub(super) fn of_path(path: &Path) -> std::result::Result<u64, Errno> {
    let stat = rustix::fs::statx(CWD, path, NO_WAITING, StatxFlags::MNT_ID);
    told(&stat?, StatxFlags::MNT_ID)
}

/// The number as the kernel has told it since 3.15.
fn by_descriptor(file: BorrowedFd<'_>) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    let text = std::fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    id.and_then(|id| id.trim().parse().ok())
        .ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("read {path}: no mount")))
}

fn told(stat: &Statx, what: StatxFlags) -> std::result::Result<u64, Errno> {
    let told = stat.stx_mask & what.bits() != 0;
    told.then_some(stat.stx_mnt_id).ok_or(Errno::OPNOTSUPP)
}

/// What is mounted right below a directory, at whatever depth: paths relative to it, sorted. What is mounted below these in
/// turn is not told.
///
/// # Errors
///
/// Fails if `/proc` is missing, or if the kernel does not tell which mount the directory is on.
pub fn mounts_below(dir: &Dir) -> Result<Vec<Vec<u8>>> {
    let on = MountId::of(dir)?;
    let link = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
    let path = std::fs::read_link(&link).map_err(|error| Error::io("read", &link, error))?;
    let mut found: Vec<Vec<u8>> = table::mounts()?
        .into_iter()
        .filter(|entry| entry.parent == on.id)
        .filter_map(|entry| {
            let below = entry.target.strip_prefix(&path).ok()?;
            Some(below.as_os_str().as_bytes().to_vec())
        })
        .filter(|below| !below.is_empty())
        .collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_ask_give_the_same_number() {
        let root = std::fs::File::open("/").unwrap();
        let id = MountId::of(&root).unwrap();
        assert_eq!(by_descriptor(root.as_fd()).unwrap(), id.id);
        assert_eq!(of_path(Path::new("/")).unwrap(), id.id);
        assert!(id.is_mounted().unwrap());
    }
}
