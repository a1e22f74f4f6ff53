//! What was taken away: moved to `trash/` by one rename, so that it is gone for everybody, and deleted in peace.

use super::place::Store;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::unique_name;
use crate::fs::usage::usage;
use crate::fs::{Dir, failpoint};

/// Something that was thrown away and is to be deleted.
#[derive(Debug)]
#[must_use = "what is not emptied stays until `gc`"]
pub(crate) struct TrashEntry {
    trash: Dir,
    name: String,
}

impl Store {
    /// Moves a name of one of the store's directories to the trash.
    pub(crate) fn throw_away(&self, dir: &Dir, name: &[u8]) -> Result<TrashEntry> {
        let trash = self.sub("trash")?;
        let thrown = unique_name("t-");
        dir.rename_new(name, &trash, thrown.as_bytes())?;
        dir.sync_names()?;
        Ok(TrashEntry {
            trash,
            name: thrown,
        })
    }

    /// Deletes what is in the trash, and says how many things that were.
    pub(crate) fn empty_trash(&self) -> Result<usize> {
        let trash = self.sub("trash")?;
        let names = trash.names()?;
        for name in &names {
            delete(&trash, name)?;
        }
        Ok(names.len())
    }
}

impl TrashEntry {
    /// Bytes on disk that it takes; none if others have deleted it.
    pub(crate) fn bytes(&self) -> Result<u64> {
        let dir = self.trash.open_dir_if_any(self.name.as_bytes())?;
        match dir.map(|dir| usage(&dir)).transpose() {
            Ok(usage) => Ok(usage.map_or(0, |usage| usage.bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Deletes it.
    pub(crate) fn empty(self) -> Result<()> {
        delete(&self.trash, self.name.as_bytes())
    }
}

fn delete(trash: &Dir, name: &[u8]) -> Result<()> {
    failpoint::hit("trash");
    // Directories that nobody may look into, such as the kernel's own in `work`, are opened up on the way.
    match trash.remove_all(name) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::context(error, "empty the trash")),
    }
}
