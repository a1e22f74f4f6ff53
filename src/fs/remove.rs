//! Removing a tree: by hand, without recursion, never into what is mounted in it, be it of the same file system.
//!
//! On the way down only the lowest directories are kept open, however deep the tree is. Those above are opened again by
//! `..`, and used only if they are still what was come through: somebody who moves directories meanwhile cannot lead
//! the removal elsewhere.

use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;

use super::dir::Dir;
use super::failpoint;
use super::stat::InodeId;
use crate::error::{Error, ErrorKind, Result};

impl Dir {
    /// Removes a name and, if it is a directory, everything below it on the same mount. A missing name is fine.
    ///
    /// # Errors
    ///
    /// Fails at the first name that cannot be removed, or at a mount point; what was removed before stays removed.
    pub fn remove_all(&self, name: &[u8]) -> Result<()> {
        match rustix::fs::unlinkat(self, name, AtFlags::empty()) {
            Ok(()) => {
                failpoint::hit("removed");
                return Ok(());
            }
            Err(Errno::NOENT) => return Ok(()),
            // EISDIR is Linux's answer for a directory, EPERM that of POSIX.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(self.fail("remove", name)(errno)),
        }
        failpoint::hit("remove");
        let mount = Mount::of(self)?;
        // Nothing bounds the depth: neither the stack nor the descriptors may be used up by it.
        let mut above: Vec<Emptying> = Vec::new();
        let (mut level, mut dir) = self.open_to_empty(name, mount)?;
        loop {
            if let Some(child) = level.names.pop() {
                match rustix::fs::unlinkat(&dir, &child, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::ISDIR | Errno::PERM) => {
                        let (next, next_dir) = dir.open_to_empty(&child, mount)?;
                        level.dir = Some(std::mem::replace(&mut dir, next_dir));
                        above.push(std::mem::replace(&mut level, next));
                        if let Some(far) = above.len().checked_sub(OPEN_DIRS) {
                            above[far].dir = None;
                        }
                    }
                    Err(errno) => return Err(dir.fail("remove", &child)(errno)),
                }
                continue;
            }
            let emptied = std::mem::take(&mut level.name);
            let Some(next) = above.pop() else {
                drop(dir);
                return self.remove_emptied(&emptied);
            };
            level = next;
            dir = level.open_again(&dir)?;
            dir.remove_emptied(&emptied)?;
        }
    }

    fn remove_emptied(&self, name: &[u8]) -> Result<()> {
        match rustix::fs::unlinkat(self, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {
                failpoint::hit("removed");
                Ok(())
            }
            Err(errno) => Err(self.fail("remove directory", name)(errno)),
        }
    }

    fn open_to_empty(&self, name: &[u8], mount: Mount) -> Result<(Emptying, Self)> {
        let mut dir = self.open_dir(name)?;
        // It is about to go: there is no mode to give back.
        dir.keep_mode();
        let id = dir.stat_self()?.id;
        if Mount::of(&dir)? != mount {
            let message = format!(
                "remove {}: something is mounted there",
                dir.path().display()
            );
            return Err(Error::new(ErrorKind::Busy, message).with_hint("unmount it first"));
        }
        let level = Emptying {
            name: name.to_vec(),
            id,
            names: dir.names()?,
            dir: None,
        };
        Ok((level, dir))
    }
}

/// Where a directory is: a bind mount has the device of its source, and another number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mount {
    device: (u32, u32),
    /// 0 before Linux 5.8.
    number: u64,
}

impl Mount {
    fn of(dir: &Dir) -> Result<Self> {
        let what = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let stat = rustix::fs::statx(dir, c"", AtFlags::EMPTY_PATH, what);
        let stat = stat.map_err(dir.fail("stat", b""))?;
        Ok(Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            number: stat.stx_mnt_id,
        })
    }
}

/// How many directories above the one that is being emptied stay open.
const OPEN_DIRS: usize = 16;

/// A directory that is being emptied, and the names left in it.
struct Emptying {
    name: Vec<u8>,
    id: InodeId,
    names: Vec<Vec<u8>>,
    /// The directory, while what is below it is being emptied, unless that is deep down.
    dir: Option<Dir>,
}

impl Emptying {
    /// The directory again, from one in it.
    fn open_again(&mut self, below: &Dir) -> Result<Dir> {
        if let Some(dir) = self.dir.take() {
            return Ok(dir);
        }
        let Some(mut dir) = below.open_parent(self.id)? else {
            let message = format!("remove {}: it was moved meanwhile", below.path().display());
            return Err(Error::new(ErrorKind::Busy, message));
        };
        dir.keep_mode();
        Ok(dir)
    }
}
