//! Descriptor-relative steps that the rest of the directory store is made of.

use crate::{Algorithm, Error, ErrorKind, Result};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::fchown;

/// The directory that holds the blobs of all algorithms.
pub(super) const BLOBS: &str = "blobs";

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Flags to open what should be a regular file: another in its place must not make us wait, nor become our terminal.
const REGULAR: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens a directory that is no symbolic link. `path` is what to call it in a message.
pub(super) fn open_directory(parent: impl AsFd, name: &str, path: &str) -> Result<OwnedFd> {
    open_directory_with(parent, name, path, DIRECTORY | OFlags::NOFOLLOW)
}

/// Opens a directory, or the one that a symbolic link leads to.
pub(super) fn follow_directory(parent: impl AsFd, name: &str, path: &str) -> Result<OwnedFd> {
    open_directory_with(parent, name, path, DIRECTORY)
}

fn open_directory_with(
    parent: impl AsFd,
    name: &str,
    path: &str,
    flags: OFlags,
) -> Result<OwnedFd> {
    fs::openat(parent, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOTDIR | Errno::LOOP => not_a(path, "a directory"),
        _ => Error::io("open directory", path, errno),
    })
}

/// Opens a directory, followed as by [`follow_directory`], or says that it is missing.
pub(super) fn find_directory(parent: impl AsFd, name: &str, path: &str) -> Result<Option<OwnedFd>> {
    match follow_directory(parent, name, path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Opens a regular file, or the one that a symbolic link leads to, and says how large it is. Never waits.
pub(super) fn open_regular(parent: impl AsFd, name: &str, path: &str) -> Result<(File, u64)> {
    let failed = |errno| match errno {
        // A link that leads nowhere else; a socket, or a device without a driver.
        Errno::LOOP | Errno::NXIO | Errno::NODEV => not_a(path, "a regular file"),
        _ => Error::io("open", path, errno),
    };
    // Some devices act when they are opened, so we look before we do.
    let stat = fs::statat(&parent, name, AtFlags::empty()).map_err(failed)?;
    regular_size(&stat, path)?;
    let file = fs::openat(&parent, name, REGULAR, Mode::empty()).map_err(failed)?;
    let stat = fs::fstat(&file).map_err(|errno| Error::io("stat", path, errno))?;
    let size = regular_size(&stat, path)?;
    Ok((File::from(file), size))
}

/// The size in bytes of what was found, if that is a regular file.
pub(super) fn regular_size(stat: &Stat, path: &str) -> Result<u64> {
    match type_of(stat) {
        FileType::RegularFile => Ok(size_of(stat)),
        _ => Err(not_a(path, "a regular file")),
    }
}

/// Opens a directory, made with mode 0755 less the umask and synced where missing. A new one gets its owner from
/// `model` as [`adopt`] says.
pub(super) fn make_directory(
    parent: BorrowedFd<'_>,
    name: &str,
    path: &str,
    model: BorrowedFd<'_>,
) -> Result<OwnedFd> {
    if let Some(found) = find_directory(parent, name, path)? {
        return Ok(found);
    }
    match fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => {
            let made = open_directory(parent, name, path)?;
            adopt(made.as_fd(), path, model)?;
            sync_directory(parent, path)?;
            Ok(made)
        }
        Err(Errno::EXIST) => follow_directory(parent, name, path),
        Err(errno) => Err(Error::io("make directory", path, errno)),
    }
}

/// Gives a file that was just made to the owner and group of the directory `model`, if the effective user is root:
/// which shows in the file's owner.
pub(super) fn adopt(made: BorrowedFd<'_>, path: &str, model: BorrowedFd<'_>) -> Result<()> {
    let stat = |fd| fs::fstat(fd).map_err(|errno| Error::io("stat", path, errno));
    let own = stat(made)?;
    if own.st_uid != 0 {
        return Ok(());
    }
    let owner = stat(model)?;
    if (own.st_uid, own.st_gid) == (owner.st_uid, owner.st_gid) {
        return Ok(());
    }
    fchown(made, Some(owner.st_uid), Some(owner.st_gid))
        .map_err(|error| Error::io("change owner of", path, error))
}

/// Makes the names in a directory outlive a crash.
pub(super) fn sync_directory(directory: impl AsFd, path: &str) -> Result<()> {
    match fs::fsync(directory) {
        // Some network and user-space filesystems cannot sync a directory, and have no need to.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(Error::io("sync directory of", path, errno)),
    }
}

/// Stats a name without following it; a missing one is `None`.
pub(super) fn find(
    directory: impl AsFd,
    name: impl rustix::path::Arg,
    path: &str,
) -> Result<Option<Stat>> {
    find_with(directory, name, path, AtFlags::SYMLINK_NOFOLLOW)
}

/// Stats a name, or what a symbolic link leads to; a missing one is `None`.
pub(super) fn find_followed(
    directory: impl AsFd,
    name: impl rustix::path::Arg,
    path: &str,
) -> Result<Option<Stat>> {
    find_with(directory, name, path, AtFlags::empty())
}

fn find_with(
    directory: impl AsFd,
    name: impl rustix::path::Arg,
    path: &str,
    flags: AtFlags,
) -> Result<Option<Stat>> {
    match fs::statat(directory, name, flags) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP) => Err(not_a(path, "a regular file")),
        Err(errno) => Err(Error::io("stat", path, errno)),
    }
}

/// Lists the names in a directory, without the dots, in the order of the filesystem.
pub(super) fn names(directory: impl AsFd, path: &str) -> Result<Vec<CString>> {
    let failed = |errno| Error::io("read directory", path, errno);
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The size in bytes of what was found.
pub(super) fn size_of(stat: &Stat) -> u64 {
    // No filesystem reports a negative size.
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// The type of what was found.
pub(super) fn type_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// What to call the directory of an algorithm's blobs.
pub(super) fn path_of(algorithm: Algorithm) -> String {
    format!("{BLOBS}/{algorithm}")
}

/// The error for something in the place of something else.
pub(super) fn not_a(path: &str, wanted: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{path} is not {wanted}"))
}
