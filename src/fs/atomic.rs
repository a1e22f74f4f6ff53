//! A file that is replaced whole: readers see the old content or the new one.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::dir::{Access, Dir};
use super::failpoint;
use super::file::FileWriter;
use super::names::{split_path, unique_name};
use crate::error::{Error, Result};

/// What the names of files begin with that are to replace others.
pub const TEMPORARY: &str = ".bundle-tmp-";

/// Removes the files in an open directory by which processes have died that were about to replace others, and says how many
/// that were. The caller makes sure that nobody is about to do so now.
///
/// # Errors
///
/// Fails if the directory cannot be read, or at the first file that cannot be removed.
pub fn sweep(dir: &Dir) -> Result<usize> {
    let mut swept = 0;
    for name in dir.names()? {
        if name.starts_with(TEMPORARY.as_bytes()) {
            dir.remove_all(&name)?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// Makes a file in an open directory and syncs it. The mode is reduced by the umask.
///
/// # Errors
///
/// Fails if the name exists or the file cannot be written; a file that was begun is removed.
pub fn create(dir: &Dir, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    let path = dir.path_of(name.as_bytes());
    let mut file = dir.create_new_file(name.as_bytes(), mode)?;
    failpoint::hit("file-begun");
    let written = file.append(content, || path.clone());
    let synced = written.and_then(|()| {
        rustix::fs::fsync(file.as_fd()).map_err(|errno| Error::io("sync", &path, errno))
    });
    synced.inspect_err(|_| {
        // The error that matters is the one being returned.
        let _ = dir.remove_all(name.as_bytes());
    })
}

/// Puts content at a path of the user's: into a new file, or in place of the file that is there. The new content is
/// written beside it, synced and renamed. A symbolic link keeps standing and the file that it leads to is replaced; what
/// is no regular file, a pipe or a device such as `/dev/stdout`, is written to. The mode of a new file is reduced by the
/// umask.
///
/// # Errors
///
/// Fails if the file cannot be written or renamed; an old one is then as it was, unless only the
/// directory could not be synced, as the message says then.
pub fn replace(path: &Path, mode: u32, content: &[u8]) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            std::fs::write(path, content).map_err(|error| Error::io("write", path, error))
        }
        Ok(_) => {
            let target = path
                .canonicalize()
                .map_err(|error| Error::io("resolve", path, error))?;
            rename_over(&target, mode, content)
        }
        // Nothing is there, or nothing that can be looked at: making the file tells.
        Err(_) => rename_over(path, mode, content),
    }
}

/// Puts content under a name in an open directory: written beside it, synced, renamed, and the directory synced.
///
/// # Errors
///
/// Fails if the file cannot be written or renamed; an old one is then as it was, unless only the
/// directory could not be synced, as the message says then.
pub fn replace_in(dir: &Dir, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    replace_with(dir, name.as_bytes(), mode, |file| {
        file.append(content, || dir.path_of(name.as_bytes()))
    })
}

/// Puts what `write` writes under a name in an open directory: written beside it, synced, renamed, and the directory
/// synced.
///
/// # Errors
///
/// Those of `write`, and if the file cannot be written or renamed; an old one is then as it was, unless only the
/// directory could not be synced, as the message says then.
pub(crate) fn replace_with<T>(
    dir: &Dir,
    name: &[u8],
    mode: u32,
    write: impl FnOnce(&mut FileWriter) -> Result<T>,
) -> Result<T> {
    let temporary = unique_name(TEMPORARY);
    let temporary = temporary.as_bytes();
    let mut file = dir.create_new_file(temporary, mode)?;
    failpoint::hit("file-begun");
    let written = write(&mut file).and_then(|written| {
        file.sync(|| dir.path_of(temporary))?;
        dir.rename_over(temporary, name)?;
        Ok(written)
    });
    let written = written.inspect_err(|_| {
        // The error that matters is the one being returned.
        let _ = dir.remove_all(temporary);
    })?;
    sync_dir(dir).map_err(|error| {
        // The old content is gone: there is nothing to take back.
        let path = dir.path_of(name);
        error.context(format!(
            "{} is replaced, but may be the old one after a power cut",
            path.display()
        ))
    })?;
    Ok(written)
}

fn rename_over(path: &Path, mode: u32, content: &[u8]) -> Result<()> {
    let (parent, name) = split_path(path)?;
    let dir = Dir::open(parent, Access::Plain)?;
    replace_with(&dir, name, mode, |file| {
        file.append(content, || path.to_owned())
    })
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Dir) -> Result<()> {
    let fd = rustix::fs::openat(
        dir,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    fd.and_then(rustix::fs::fsync)
        .map_err(|errno| Error::io("sync directory", dir.path(), errno))
}

/// Renames, unless something has the new name.
pub(super) fn rename_new(from: &Dir, old: &[u8], to: &Dir, new: &[u8]) -> Result<()> {
    failpoint::hit("rename");
    let renamed = match rustix::fs::renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        // A file system without the flag. Nobody else should be at it, but look first all the same.
        Err(Errno::INVAL) => match to.try_stat(new)? {
            None => rustix::fs::renameat(from, old, to, new),
            Some(_) => Err(Errno::EXIST),
        },
        other => other,
    };
    renamed.map_err(|errno| Error::io("rename to", to.path_of(new), errno))?;
    failpoint::hit("renamed");
    Ok(())
}
