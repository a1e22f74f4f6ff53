//! Removing a tree: by hand, without recursion, never onto another file system.

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::dir::Dir;
use crate::error::{Error, ErrorKind, Result};

impl Dir {
    /// Removes a name and, if it is a directory, everything below it on the same file system. A missing name is fine.
    ///
    /// # Errors
    ///
    /// Fails at the first name that cannot be removed, or at a mount point; what was removed before stays removed.
    pub fn remove_all(&self, name: &[u8]) -> Result<()> {
        match rustix::fs::unlinkat(self, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // EISDIR is Linux's answer for a directory, EPERM that of POSIX.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(self.fail("remove", name)(errno)),
        }
        let device = self.stat_self()?.id.dev;
        // Depth is bounded by the path length that made the tree, but not the stack: go down and up by hand.
        let mut stack = vec![self.open_to_empty(name, device)?];
        loop {
            let Some(level) = stack.last_mut() else {
                return Ok(());
            };
            let Some(child) = level.names.pop() else {
                let done = stack.pop().map(|level| (level.name, level.dir));
                let Some((name, dir)) = done else {
                    return Ok(());
                };
                drop(dir);
                let parent = stack.last().map_or(self, |level| &level.dir);
                match rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(parent.fail("remove directory", &name)(errno)),
                }
            };
            match rustix::fs::unlinkat(&level.dir, &child, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => {
                    let next = level.dir.open_to_empty(&child, device)?;
                    stack.push(next);
                }
                Err(errno) => return Err(level.dir.fail("remove", &child)(errno)),
            }
        }
    }

    fn open_to_empty(&self, name: &[u8], device: u64) -> Result<Emptying> {
        let mut dir = self.open_dir(name)?;
        // It is about to go: there is no mode to give back.
        dir.keep_mode();
        if dir.stat_self()?.id.dev != device {
            let message = format!(
                "remove {}: another file system is mounted there",
                dir.path().display()
            );
            return Err(Error::new(ErrorKind::Busy, message).with_hint("unmount it first"));
        }
        let names = dir.names()?;
        Ok(Emptying {
            name: name.to_vec(),
            dir,
            names,
        })
    }
}

/// A directory that is being emptied, and the names left in it.
struct Emptying {
    name: Vec<u8>,
    dir: Dir,
    names: Vec<Vec<u8>>,
}
