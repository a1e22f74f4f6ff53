//! Patches: their content must be that of which their name is the digest.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Descent, Dir, InodeKind, XattrNamespace, escape_name};
use crate::store::patch::{Attributes, Patch};

/// The most directories of a patch that are read: more than a layer may have entries without a description.
const MAX_DIRECTORIES: usize = 4 << 20;

/// Reads a patch from disk.
///
/// # Errors
///
/// [`ErrorKind::InvalidData`] if there is something in it that is no directory, and those of the file system.
pub(super) fn read_patch(dir: &Dir, marks: XattrNamespace) -> Result<Patch> {
    let mut descent = Descent::new(dir)?;
    let root = Attributes::of_dir(descent.dir(), marks)?;
    let mut entries = BTreeMap::from([(Vec::new(), root)]);
    let mut path = Vec::new();
    // The length of the path of each directory that the walk is in, and what is left to be looked at there.
    let mut levels = vec![(0, descent.dir().names()?)];
    while let Some((length, names)) = levels.last_mut() {
        path.truncate(*length);
        let Some(name) = names.pop() else {
            levels.pop();
            descent.leave()?;
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        if descent.dir().stat(&name)?.kind != InodeKind::Directory {
            let message = format!("{} is not a directory", escape_name(&path));
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        if entries.len() >= MAX_DIRECTORIES {
            let message = format!("it has more than {MAX_DIRECTORIES} directories");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        descent.enter(&name)?;
        entries.insert(path.clone(), Attributes::of_dir(descent.dir(), marks)?);
        levels.push((path.len(), descent.dir().names()?));
    }
    Ok(Patch(entries))
}
