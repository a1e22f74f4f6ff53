//! What is made in an open directory: new names, names that move, and both made durable.

use std::fs::File;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::dir::Dir;
use super::failpoint;
use super::file::FileWriter;
use super::stat::InodeKind;
use crate::error::{Error, ErrorKind, Result};

impl Dir {
    /// Makes a directory with this mode, less the thread's umask, and opens it. `None` if the name exists.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be made or opened.
    pub fn create_dir(&self, name: &[u8], mode: u32) -> Result<Option<Self>> {
        match rustix::fs::mkdirat(self, name, Mode::from_raw_mode(mode)) {
            Ok(()) => self.open_dir(name).map(Some),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(self.fail("create directory", name)(errno)),
        }
    }

    /// Makes a directory that must be new, as in a staging directory that is this process' own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`] if the name exists, and as [`create_dir`](Self::create_dir).
    pub fn create_new_dir(&self, name: &[u8], mode: u32) -> Result<Self> {
        self.create_dir(name, mode)?
            .ok_or_else(|| self.exists(name))
    }

    /// Makes a file that must be new.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`] if the name exists, and as [`create_file`](Self::create_file).
    pub fn create_new_file(&self, name: &[u8], mode: u32) -> Result<FileWriter> {
        self.create_file(name, mode)?
            .ok_or_else(|| self.exists(name))
    }

    pub(super) fn exists(&self, name: &[u8]) -> Error {
        let message = format!("create {}: it exists", self.path_of(name).display());
        Error::new(ErrorKind::AlreadyExists, message)
    }

    /// Makes a regular file for writing with this mode, less the thread's umask. `None` if the name exists.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be made.
    pub fn create_file(&self, name: &[u8], mode: u32) -> Result<Option<FileWriter>> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(self, name, flags, Mode::from_raw_mode(mode)) {
            Ok(fd) => Ok(Some(FileWriter::new(File::from(fd)))),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(self.fail("create", name)(errno)),
        }
    }

    /// Makes a symbolic link. `false` if the name exists.
    ///
    /// # Errors
    ///
    /// Fails if the link cannot be made.
    pub fn create_symlink(&self, name: &[u8], target: &[u8]) -> Result<bool> {
        self.made(
            "create symbolic link",
            name,
            rustix::fs::symlinkat(target, self, name),
        )
    }

    /// Makes a pipe or a device node with this mode, less the thread's umask. `false` if the name exists.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot be made, or if the numbers of a device do not fit the kernel's.
    pub fn create_node(
        &self,
        name: &[u8],
        kind: InodeKind,
        mode: u32,
        device: (u32, u32),
    ) -> Result<bool> {
        let file_type = match kind {
            InodeKind::CharDevice => FileType::CharacterDevice,
            InodeKind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        // The kernel has 12 bits for the major and 20 for the minor number and would drop the rest.
        if device.0 >= 1 << 12 || device.1 >= 1 << 20 {
            let path = self.path_of(name);
            let message = format!(
                "create {}: device number {}:{} does not fit",
                path.display(),
                device.0,
                device.1
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let number = rustix::fs::makedev(device.0, device.1);
        let mode = Mode::from_raw_mode(mode);
        self.made(
            "create node",
            name,
            rustix::fs::mknodat(self, name, file_type, mode, number),
        )
    }

    /// Makes a hard link to a name in another directory, never following it. `false` if the name exists.
    ///
    /// # Errors
    ///
    /// Fails if the target is missing or a directory, or if the link cannot be made.
    pub fn create_link(&self, name: &[u8], target_dir: &Self, target: &[u8]) -> Result<bool> {
        let result = rustix::fs::linkat(target_dir, target, self, name, AtFlags::empty());
        self.made("create hard link", name, result)
            .map_err(|error| {
                error.context(format!("link to {}", target_dir.path_of(target).display()))
            })
    }

    /// Gives a name to what has another one; what had that name goes.
    ///
    /// # Errors
    ///
    /// Fails if there is no such name, or if a directory is in the way.
    pub fn rename_over(&self, from: &[u8], to: &[u8]) -> Result<()> {
        failpoint::hit("replace");
        rustix::fs::renameat(self, from, self, to).map_err(self.fail("rename to", to))?;
        failpoint::hit("replaced");
        Ok(())
    }

    /// Moves a name to another directory of the same file system, where nothing may have the new name.
    ///
    /// # Errors
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] if the new name is taken, and if the kernel refuses.
    pub fn rename_new(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<()> {
        super::atomic::rename_new(self, name, to, new)
    }

    /// Makes the names in the directory durable.
    ///
    /// # Errors
    ///
    /// Fails if the device does.
    pub fn sync_names(&self) -> Result<()> {
        super::atomic::sync_dir(self)
    }

    /// Writes everything on the directory's file system to disk.
    ///
    /// # Errors
    ///
    /// Fails if the device does.
    pub fn sync_file_system(&self) -> Result<()> {
        rustix::fs::syncfs(self)
            .map_err(|errno| Error::io("sync file system of", self.path(), errno))
    }

    fn made(
        &self,
        operation: &str,
        name: &[u8],
        result: std::result::Result<(), Errno>,
    ) -> Result<bool> {
        match result {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(self.fail(operation, name)(errno)),
        }
    }
}
