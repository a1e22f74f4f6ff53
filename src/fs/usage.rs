//! How much room a tree takes.

use std::collections::HashMap;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::descent::Descent;
use super::dir::Dir;
use super::stat::{InodeId, Stat};
use crate::error::{ErrorKind, Result};

/// What the inodes of a tree take, each counted once, however many names it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of the blocks that are allocated: without holes, with what the file system keeps for itself. What files
    /// share by reflink counts in each.
    pub bytes: u64,
    /// Bytes of the sizes of regular files and symbolic links: with holes, without directories.
    pub apparent: u64,
    /// Number of inodes, with that of the directory itself.
    pub inodes: u64,
}

impl Usage {
    /// A block as `stat` counts them, whatever the file system's are.
    const BLOCK_SIZE: u64 = 512;

    fn add(&mut self, blocks: u64, stat: &Stat) {
        self.bytes = self
            .bytes
            .saturating_add(blocks.saturating_mul(Self::BLOCK_SIZE));
        if !stat.is_dir() {
            self.apparent = self.apparent.saturating_add(stat.size);
        }
        self.inodes += 1;
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.apparent = self.apparent.saturating_add(other.apparent);
        self.inodes = self.inodes.saturating_add(other.inodes);
    }
}

/// Measures a directory with all that is below it on the same file system. What comes or goes meanwhile may count or
/// not.
///
/// # Errors
///
/// Fails if a directory cannot be read, or if one is moved meanwhile.
pub fn usage(dir: &Dir) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut descent = Descent::new(dir)?;
    let Some((blocks, root)) = look(descent.dir(), b"")? else {
        return Ok(usage);
    };
    usage.add(blocks, &root);
    let mut shared = SharedInodes::default();
    let mut levels = vec![descent.dir().names()?.into_iter()];
    while let Some(names) = levels.last_mut() {
        let Some(name) = names.next() else {
            levels.pop();
            descent.leave()?;
            continue;
        };
        let Some((blocks, stat)) = look(descent.dir(), &name)? else {
            continue;
        };
        if !stat.is_dir() {
            if shared.is_new(&stat) {
                usage.add(blocks, &stat);
            }
        } else if stat.id.dev == root.id.dev {
            match descent.enter(&name) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            usage.add(blocks, &stat);
            levels.push(descent.dir().names()?.into_iter());
        }
    }
    Ok(usage)
}

/// Inodes with several names that were seen, until the last name was: no more room than the sets that are open take.
#[derive(Debug, Default)]
struct SharedInodes(HashMap<InodeId, u64>);

impl SharedInodes {
    /// Whether this is the first name of its inode.
    fn is_new(&mut self, stat: &Stat) -> bool {
        if stat.nlink < 2 {
            return true;
        }
        let Some(left) = self.0.get_mut(&stat.id) else {
            self.0.insert(stat.id, stat.nlink - 1);
            return true;
        };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.0.remove(&stat.id);
        }
        false
    }
}

/// The number of blocks of a name, or of the directory itself for an empty one, and what else is known of it.
fn look(dir: &Dir, name: &[u8]) -> Result<Option<(u64, Stat)>> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let looked: std::result::Result<Statx, Errno> =
        rustix::fs::statx(dir.as_fd(), name, flags, StatxFlags::BASIC_STATS);
    match looked {
        Ok(found) => Ok(Some((found.stx_blocks, Stat::from_statx(&found)))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(dir.fail("stat", name)(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Access;
    use std::fs;

    fn measured(scratch: &tempfile::TempDir) -> Usage {
        usage(&Dir::open(scratch.path(), Access::Plain).unwrap()).unwrap()
    }

    #[test]
    fn hard_links_count_once_and_holes_take_no_room() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        fs::create_dir(path("d")).unwrap();
        let before = measured(&scratch);
        assert_eq!((before.inodes, before.apparent), (2, 0));
        fs::write(path("a"), vec![1; 100_000]).unwrap();
        fs::hard_link(path("a"), path("d/b")).unwrap();
        fs::hard_link(path("a"), path("c")).unwrap();
        let sparse = fs::File::create(path("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        std::os::unix::fs::symlink("target", path("link")).unwrap();
        sparse.sync_all().unwrap();
        fs::File::open(path("a")).unwrap().sync_all().unwrap();
        let after = measured(&scratch);
        assert_eq!(after.inodes, 5);
        assert_eq!(after.apparent, 100_000 + (1 << 30) + 6);
        let taken = after.bytes - before.bytes;
        assert!((100_000..200_000).contains(&taken), "{after:?}");
    }

    #[test]
    fn a_tree_deeper_than_descriptors_is_measured() {
        let scratch = tempfile::tempdir().unwrap();
        let mut dir = Dir::open(scratch.path(), Access::Plain).unwrap();
        for _ in 0..2000 {
            dir = dir.create_dir(b"d", 0o755).unwrap().unwrap();
        }
        assert_eq!(measured(&scratch).inodes, 2001);
    }
}
