//! Two stacks of layers, walked side by side.

use super::Told;
use super::compare::Comparer;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Change, ChangeKind};
use crate::overlay::stack::{Found, MAX_PATH, Stack};

/// Tells how one stack differs from another, by their merged trees; sorted by path. Where both show a directory from the
/// same directories of the same layers, nothing below is looked at, and where they show the same inode of a layer, it has
/// not changed.
///
/// The rule is that of [`changes`](super::changes()), but for hard links: an inode is told if a layer says that it has more
/// or fewer names than before, not if only whiteouts have made them fewer.
///
/// # Errors
///
/// - [`ErrorKind::Unsupported`]: a layer has marks that say that content lies elsewhere.
/// - [`ErrorKind::LimitExceeded`]: a path above 4 KiB.
/// - Those of the file system.
pub fn changes_between(old: &Stack, new: &Stack) -> Result<Vec<Change>> {
    let mut walk = Walk {
        old,
        new,
        comparer: Comparer::new(false),
        told: Told::new(&[]),
        pending: vec![Vec::new()],
    };
    while let Some(path) = walk.pending.pop() {
        walk.directory(&path)?;
    }
    Ok(walk.told.finish())
}

struct Walk<'a> {
    old: &'a Stack,
    new: &'a Stack,
    comparer: Comparer,
    told: Told<'static>,
    /// Directories of the new stack that are yet to be walked.
    pending: Vec<Vec<u8>>,
}

impl Walk<'_> {
    fn directory(&mut self, path: &[u8]) -> Result<()> {
        if path.len() > MAX_PATH {
            let message = format!("compare layers: path longer than {MAX_PATH} bytes");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let parts = self.new.inodes(path)?;
        if parts.is_some() && parts == self.old.inodes(path)? {
            return Ok(());
        }
        let (old, new) = (self.old.lookup(path)?, self.new.lookup(path)?);
        let old_names = self.old.read_dir(path)?.unwrap_or_default();
        let new_names = self.new.read_dir(path)?.unwrap_or_default();
        let count = |names: &std::collections::BTreeMap<_, Found>| {
            names.values().filter(|found| found.stat.is_dir()).count()
        };
        let is_recounted = count(&old_names) != count(&new_names);
        for (name, old) in &old_names {
            if !new_names.contains_key(name) {
                self.told.tell(old.path(), ChangeKind::Deleted);
            }
        }
        for (name, new) in new_names {
            self.child(old_names.get(&name), &new)?;
        }
        match (old, new) {
            (None, _) => {
                self.told.tell(path, ChangeKind::Added);
            }
            (Some(old), Some(new)) => {
                let is_recounted = old.stat.is_dir() && old.stat.nlink > 1 && is_recounted;
                if is_recounted || self.comparer.differ(&old, &new)? {
                    self.told.tell(path, ChangeKind::Modified);
                }
            }
            // Only an empty stack has no root.
            (Some(_), None) => {}
        }
        Ok(())
    }

    fn child(&mut self, old: Option<&Found>, new: &Found) -> Result<()> {
        if new.stat.is_dir() {
            self.pending.push(new.path().to_vec());
            return Ok(());
        }
        let Some(old) = old else {
            self.told.tell(new.path(), ChangeKind::Added);
            return Ok(());
        };
        if old.stat.is_dir() {
            for (_, child) in self.old.read_dir(old.path())?.unwrap_or_default() {
                self.told.tell(child.path(), ChangeKind::Deleted);
            }
            self.told.tell(new.path(), ChangeKind::Modified);
        } else if old.stat.id != new.stat.id
            && (old.stat.nlink != new.stat.nlink || self.comparer.differ(old, new)?)
        {
            self.told.tell(new.path(), ChangeKind::Modified);
        }
        Ok(())
    }
}
