//! Going down a tree and up again with a bounded number of open directories, however deep it is.
//!
//! Only the lowest directories stay open. Those above are opened again by `..`, and used only if they are still what was
//! come through: whoever moves directories meanwhile cannot lead the walk elsewhere.

use super::dir::Dir;
use super::stat::{InodeId, Stat};
use crate::error::{Error, ErrorKind, Result};

/// How many directories above the current one stay open.
const OPEN_DIRS: usize = 16;

/// A place in a tree of directories: the current one, and the way to it.
#[derive(Debug)]
pub struct Descent {
    dir: Dir,
    above: Vec<Level>,
    /// The file system that is not left.
    device: u64,
}

#[derive(Debug)]
struct Level {
    id: InodeId,
    /// The directory, unless the current one is far below it.
    dir: Option<Dir>,
}

impl Descent {
    /// Begins at a directory.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be opened again.
    pub fn new(root: &Dir) -> Result<Self> {
        let dir = root.open_dir(b".")?;
        let device = dir.stat_self()?.id.dev;
        Ok(Self {
            dir,
            above: Vec::new(),
            device,
        })
    }

    /// The current directory.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// How many directories are above the current one: 0 at the beginning.
    pub fn depth(&self) -> usize {
        self.above.len()
    }

    /// Goes to a directory in the current one and says what is known of it.
    ///
    /// # Errors
    ///
    /// Fails if the name is no directory or cannot be opened, and with [`ErrorKind::Busy`] if another file system is
    /// mounted there; the current directory then stays.
    pub fn enter(&mut self, name: &[u8]) -> Result<Stat> {
        let id = self.dir.stat_self()?.id;
        let next = self.dir.open_dir(name)?;
        let stat = next.stat_self()?;
        if stat.id.dev != self.device {
            let message = format!(
                "enter {}: another file system is mounted there",
                next.path().display()
            );
            return Err(Error::new(ErrorKind::Busy, message).with_hint("unmount it first"));
        }
        let dir = Some(std::mem::replace(&mut self.dir, next));
        self.above.push(Level { id, dir });
        if let Some(far) = self.above.len().checked_sub(OPEN_DIRS + 1) {
            self.above[far].dir = None;
        }
        Ok(stat)
    }

    /// Goes back to the directory above. `false` at the beginning, where nothing happens.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] if the current directory was moved meanwhile, and as [`enter`](Self::enter).
    pub fn leave(&mut self) -> Result<bool> {
        let Some(level) = self.above.pop() else {
            return Ok(false);
        };
        self.dir = match level.dir {
            Some(dir) => dir,
            None => self.dir.open_parent(level.id)?.ok_or_else(|| {
                let path = self.dir.path().display();
                Error::new(
                    ErrorKind::Busy,
                    format!("leave {path}: it was moved meanwhile"),
                )
            })?,
        };
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Access;

    const DEPTH: usize = 3 * OPEN_DIRS;

    fn deep() -> (tempfile::TempDir, Descent) {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("d/".repeat(DEPTH))).unwrap();
        let dir = Dir::open(scratch.path(), Access::Plain).unwrap();
        let mut descent = Descent::new(&dir).unwrap();
        for _ in 0..DEPTH {
            descent.enter(b"d").unwrap();
        }
        (scratch, descent)
    }

    #[test]
    fn the_way_up_leads_through_the_same_directories() {
        let (scratch, mut descent) = deep();
        assert_eq!(descent.depth(), DEPTH);
        let open = descent.above.iter().filter(|level| level.dir.is_some());
        assert_eq!(open.count(), OPEN_DIRS);
        while descent.leave().unwrap() {}
        assert_eq!(descent.dir().path(), scratch.path());
        assert!(descent.enter(b"missing").is_err());
        assert_eq!(descent.depth(), 0);
    }

    #[test]
    fn a_directory_moved_meanwhile_does_not_lead_elsewhere() {
        let (scratch, mut descent) = deep();
        let far = scratch.path().join("d/".repeat(DEPTH - OPEN_DIRS));
        std::fs::rename(far, scratch.path().join("elsewhere")).unwrap();
        let mut way_up = || -> Result<()> {
            while descent.leave()? {}
            Ok(())
        };
        assert_eq!(way_up().unwrap_err().kind(), ErrorKind::Busy);
    }
}
