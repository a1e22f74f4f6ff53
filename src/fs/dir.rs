//! One open directory: look at what is in it, by single names that are never followed. What is made and removed in it:
//! `make.rs`, `remove.rs`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, StatxFlags};
use rustix::io::Errno;

use super::stat::{InodeId, InodeKind, Stat};
use super::xattr::{self, Xattrs};
use crate::error::{Error, ErrorKind, Result};

/// What to do about directories whose mode keeps their own owner out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Access {
    /// The kernel's word is final.
    #[default]
    Plain,
    /// An ordinary user works on a tree that it owns (`--rootless`): give oneself permission for as long as it takes.
    Unprivileged,
}

/// How many characters of a path are shown: the longest name of a file, and a little of the way to it.
const SHOWN_LENGTH: usize = 300;

/// A name or path for people: control characters and backslashes escaped, invalid UTF-8 replaced, the middle of what is
/// longer than 300 characters left out.
pub fn escape_name(name: &[u8]) -> String {
    let text = escape_whole(name);
    let length = text.chars().count();
    if length <= SHOWN_LENGTH {
        return text;
    }
    let half = SHOWN_LENGTH / 2;
    let cut = |from: usize| text.chars().skip(from);
    let start: String = cut(0).take(half).collect();
    let end: String = cut(length - half).collect();
    format!("{start}\u{2026}{end}")
}

fn escape_whole(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for character in String::from_utf8_lossy(name).chars() {
        if character.is_control() || character == '\\' {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{}", character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// An open directory. Each method takes one name in it (no `/`, not `..`) and never follows a symbolic link.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    /// For messages only.
    path: PathBuf,
    access: Access,
    /// The mode that the directory gets back when it is closed.
    restore: Option<u32>,
}

impl Drop for Dir {
    fn drop(&mut self) {
        if let Some(mode) = self.restore {
            // Nobody is left to tell; the directory stays more open to its owner than it was.
            let _ = rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode));
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    /// Opens a directory by a path of the user's, in which symbolic links are followed.
    ///
    /// # Errors
    ///
    /// Fails if the path cannot be opened or is no directory.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Err(Errno::ACCESS) if access == Access::Unprivileged => {
                return Self::open_closed(CWD, path, path.to_owned(), OFlags::empty());
            }
            other => other.map_err(|errno| Error::io("open directory", path, errno))?,
        };
        Self::opened(fd, path.to_owned(), access)
    }

    /// Another handle for an open directory, whose path is not known.
    pub(super) fn duplicate(fd: BorrowedFd<'_>) -> Result<Self> {
        let path = PathBuf::new();
        let fd = fd.try_clone_to_owned();
        let fd = fd.map_err(|error| Error::io("duplicate directory", &path, error))?;
        Ok(Self::from_fd(fd, path, Access::Plain))
    }

    /// Takes an open directory; `path` is for messages.
    pub(super) fn from_fd(fd: OwnedFd, mut path: PathBuf, access: Access) -> Self {
        // A directory opened as its own `.` is shown by its name.
        if path.as_os_str().as_bytes().ends_with(b"/.") {
            path = path.components().collect();
        }
        Self {
            fd,
            path,
            access,
            restore: None,
        }
    }

    /// Takes an open directory and, for [`Access::Unprivileged`], opens it up to its owner.
    fn opened(fd: OwnedFd, path: PathBuf, access: Access) -> Result<Self> {
        let mut dir = Self::from_fd(fd, path, access);
        if access == Access::Unprivileged {
            let mode = dir.stat_self()?.mode;
            if mode & 0o700 != 0o700
                && rustix::fs::fchmod(&dir.fd, Mode::from_raw_mode(mode | 0o700)).is_ok()
            {
                dir.restore = Some(mode);
            }
        }
        Ok(dir)
    }

    /// Opens a directory that does not let its owner in.
    fn open_closed(
        at: impl AsFd,
        name: impl rustix::path::Arg + Copy,
        path: PathBuf,
        extra: OFlags,
    ) -> Result<Self> {
        let fail = |errno: Errno| Error::io("open directory", &path, errno);
        let handle = rustix::fs::openat(
            at.as_fd(),
            name,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | extra,
            Mode::empty(),
        )
        .map_err(fail)?;
        let mode = stat_of(handle.as_fd()).map_err(fail)?.mode;
        // fchmod refuses O_PATH descriptors; the name below /proc is the inode itself, whatever its name is now.
        let by_fd = xattr::fd_path(handle.as_fd());
        rustix::fs::chmodat(
            CWD,
            &by_fd,
            Mode::from_raw_mode(mode | 0o700),
            AtFlags::empty(),
        )
        .map_err(fail)?;
        let fd = rustix::fs::openat(&handle, c".", OPEN_DIR, Mode::empty()).map_err(fail)?;
        Ok(Self {
            fd,
            path,
            access: Access::Unprivileged,
            restore: Some(mode),
        })
    }

    /// The path it was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a name in it, for messages; that of the directory itself for an empty name.
    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        if name.is_empty() {
            return self.path.clone();
        }
        self.path.join(escape_name(name))
    }

    pub(super) fn fail<'a>(
        &'a self,
        operation: &'a str,
        name: &'a [u8],
    ) -> impl FnOnce(Errno) -> Error + 'a {
        move |errno| Error::io(operation, self.path_of(name), errno)
    }

    /// The names in it, without `.` and `..`, sorted by bytes.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be read.
    pub fn names(&self) -> Result<Vec<Vec<u8>>> {
        let fail = |errno| Error::io("read directory", &self.path, errno);
        // The position belongs to the open file: read through one of our own.
        let fd = rustix::fs::openat(&self.fd, c".", OPEN_DIR, Mode::empty()).map_err(fail)?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
        let mut entries = RawDir::new(fd, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let name = entry.map_err(fail)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// What is known of a name.
    ///
    /// # Errors
    ///
    /// Fails if there is no such name or it cannot be looked at.
    pub fn stat(&self, name: &[u8]) -> Result<Stat> {
        self.try_stat(name)?
            .ok_or_else(|| self.fail("stat", name)(Errno::NOENT))
    }

    /// What is known of a name, or `None` if there is no such name.
    ///
    /// # Errors
    ///
    /// Fails if the name cannot be looked at.
    pub fn try_stat(&self, name: &[u8]) -> Result<Option<Stat>> {
        match rustix::fs::statx(
            &self.fd,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
            StatxFlags::BASIC_STATS,
        ) {
            Ok(stat) => Ok(Some(Stat::from_statx(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.fail("stat", name)(errno)),
        }
    }

    /// What is known of the directory itself. Its mode is the one that it is going to have again, if it was opened up to
    /// its owner.
    ///
    /// # Errors
    ///
    /// Fails if the kernel does.
    pub fn stat_self(&self) -> Result<Stat> {
        let mut stat =
            stat_of(self.fd.as_fd()).map_err(|errno| Error::io("stat", &self.path, errno))?;
        stat.mode = self.restore.unwrap_or(stat.mode);
        Ok(stat)
    }

    /// Opens a directory in it.
    ///
    /// # Errors
    ///
    /// Fails if there is no such name, or if it is not a directory.
    pub fn open_dir(&self, name: &[u8]) -> Result<Self> {
        match self.try_open_dir(name) {
            Ok(dir) => Ok(dir),
            Err(Errno::ACCESS) if self.access == Access::Unprivileged => {
                Self::open_closed(&self.fd, name, self.path_of(name), OFlags::NOFOLLOW)
            }
            Err(errno) => Err(self.fail("open directory", name)(errno)),
        }
    }

    fn try_open_dir(&self, name: &[u8]) -> std::result::Result<Self, Errno> {
        let fd = rustix::fs::openat(&self.fd, name, OPEN_DIR, Mode::empty())?;
        Self::opened(fd, self.path_of(name), self.access).map_err(|_| Errno::ACCESS)
    }

    /// Opens the directory that holds it, if that is still the one expected. `None` if it has been moved meanwhile.
    pub(super) fn open_parent(&self, expected: InodeId) -> Result<Option<Self>> {
        let mut parent = self.open_dir(b"..")?;
        self.path
            .parent()
            .unwrap_or(&self.path)
            .clone_into(&mut parent.path);
        Ok((parent.stat_self()?.id == expected).then_some(parent))
    }

    /// Opens a directory in it, or says that the name is missing or something else.
    ///
    /// # Errors
    ///
    /// Fails if the name is a directory that cannot be opened.
    pub fn open_dir_if_any(&self, name: &[u8]) -> Result<Option<Self>> {
        match self.open_dir(name) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) => match self.try_stat(name)? {
                Some(stat) if stat.is_dir() => Err(error),
                _ => Ok(None),
            },
        }
    }

    /// Opens a regular file for reading. Anything else is refused without waiting, pipes too.
    ///
    /// # Errors
    ///
    /// Fails if there is no such name, if it is not a regular file, or if it cannot be read.
    pub fn open_file(&self, name: &[u8]) -> Result<File> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Err(Errno::ACCESS) if self.access == Access::Unprivileged => {
                self.open_closed_file(name, flags)?
            }
            other => other.map_err(self.fail("open", name))?,
        };
        regular(fd, || self.path_of(name))
    }

    /// Reads a regular file of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// As [`open_file`](Self::open_file), and [`ErrorKind::LimitExceeded`] if the file is larger.
    pub fn read_file(&self, name: &[u8], limit: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        // The file may grow while it is read: one byte above the limit tells.
        let read = self
            .open_file(name)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut content);
        read.map_err(|error| Error::io("read", self.path_of(name), error))?;
        if content.len() as u64 > limit {
            let message = format!(
                "read {}: larger than the limit of {limit} bytes",
                self.path_of(name).display()
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(content)
    }

    /// Opens a file that its owner may not read.
    fn open_closed_file(&self, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
        if self.stat(name)?.kind != InodeKind::File {
            return Err(not_regular(&self.path_of(name)));
        }
        self.with_permission(name, || {
            rustix::fs::openat(&self.fd, name, flags, Mode::empty())
        })?
        .map_err(self.fail("open", name))
    }

    /// Works on a file or directory whose mode gives its owner permission for as long as that takes.
    fn with_permission<T>(&self, name: &[u8], work: impl FnOnce() -> T) -> Result<T> {
        let stat = self.stat(name)?;
        let chmod = |mode| {
            rustix::fs::chmodat(&self.fd, name, Mode::from_raw_mode(mode), AtFlags::empty())
                .map_err(self.fail("change mode of", name))
        };
        // A link has no mode of its own, and changing it would reach the target.
        if !matches!(stat.kind, InodeKind::File | InodeKind::Directory) {
            return Ok(work());
        }
        chmod(stat.mode | 0o700)?;
        let result = work();
        chmod(stat.mode)?;
        Ok(result)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    ///
    /// Fails if the name is missing or no symbolic link.
    pub fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        rustix::fs::readlinkat(&self.fd, name, Vec::new())
            .map(std::ffi::CString::into_bytes)
            .map_err(self.fail("read link", name))
    }

    /// The extended attributes of a name, sorted; none where the file system has none.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be read.
    pub fn xattrs(&self, name: &[u8]) -> Result<Xattrs> {
        let list = || xattr::list_path(&xattr::at_path(self.fd.as_fd(), name));
        let listed = match list() {
            Err(Errno::ACCESS) if self.access == Access::Unprivileged => {
                self.with_permission(name, list)?
            }
            other => other,
        };
        let listed = listed.map_err(self.fail("read extended attributes of", name));
        listed.map_err(xattr::say_without_proc)
    }

    /// The extended attributes of the directory itself, sorted.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be read.
    pub fn xattrs_self(&self) -> Result<Xattrs> {
        let listed = match xattr::list_fd(self.fd.as_fd()) {
            Err(Errno::ACCESS) if self.access == Access::Unprivileged => {
                let mode = self.stat_self()?.mode;
                self.set_mode(mode | 0o700)?;
                let listed = xattr::list_fd(self.fd.as_fd());
                self.set_mode(mode)?;
                listed
            }
            other => other,
        };
        listed.map_err(|errno| Error::io("read extended attributes of", &self.path, errno))
    }

    /// Changes the mode of the directory.
    ///
    /// # Errors
    ///
    /// Fails if the kernel refuses.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode))
            .map_err(|errno| Error::io("change mode of", &self.path, errno))
    }

    /// How directories below this one are opened.
    pub(super) fn open_access(&self) -> Access {
        self.access
    }

    /// Leaves the directory with the mode it has now, also if it was opened up to its owner.
    pub fn keep_mode(&mut self) {
        self.restore = None;
    }
}

pub(super) fn stat_of(fd: BorrowedFd<'_>) -> std::result::Result<Stat, Errno> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .map(|stat| Stat::from_statx(&stat))
}

/// Lets only a regular file through.
pub(super) fn regular(fd: OwnedFd, path: impl FnOnce() -> PathBuf) -> Result<File> {
    match stat_of(fd.as_fd()) {
        Ok(stat) if stat.kind == InodeKind::File => Ok(File::from(fd)),
        Ok(_) => Err(not_regular(&path())),
        Err(errno) => Err(Error::io("stat", path(), errno)),
    }
}

fn not_regular(path: &Path) -> Error {
    Error::new(
        ErrorKind::InvalidData,
        format!("open {}: not a regular file", path.display()),
    )
}
