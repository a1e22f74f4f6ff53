//! Owner, mode, extended attributes and times of one inode, in the one right order.
//!
//! Owner before mode, because a change of owner clears set-user-ID and set-group-ID. Mode before attributes, because an
//! ACL is more than a mode, and owner before `security.capability`, which a change of owner removes. Times last,
//! because everything else may touch them. The exception is a rootless tree: `user.*` attributes need write permission
//! by mode, so there they come before the mode (umoci loses them on files without `u+w`).

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use filetime::FileTime;
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::dir::Dir;
use super::probe;
use super::stat::Stat;
use super::xattr::{self, Target, Xattrs};
use crate::error::{Error, Result};

/// Access and modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Time of the last read.
    pub atime: FileTime,
    /// Time of the last change of content.
    pub mtime: FileTime,
}

impl Times {
    /// The first second of 1970.
    pub const EPOCH: Self = Self {
        atime: FileTime::zero(),
        mtime: FileTime::zero(),
    };

    fn timestamps(&self) -> Timestamps {
        let timespec = |time: FileTime| Timespec {
            tv_sec: time.unix_seconds(),
            tv_nsec: time.nanoseconds().into(),
        };
        Timestamps {
            last_access: timespec(self.atime),
            last_modification: timespec(self.mtime),
        }
    }
}

/// What an inode is to have. Ids are those on disk.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// User and group, or `None` to leave them.
    pub owner: Option<(u32, u32)>,
    /// 12 bits, or `None` to leave them (symbolic links have no mode).
    pub mode: Option<u32>,
    /// Attributes to set, without masked ones.
    pub xattrs: Xattrs,
    /// Whether attributes that are there and not masked go first.
    pub clear_xattrs: bool,
    /// Times.
    pub times: Times,
}

/// How [`Metadata`] is applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Attributes before the mode.
    pub xattrs_first: bool,
    /// An attribute that may not be set is a warning: in a user namespace or without privilege nothing else is possible.
    pub tolerate_denied: bool,
}

/// An attribute that could not be set, and why.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Name of the attribute.
    pub name: Vec<u8>,
    /// Whether the file system has no such attributes at all.
    pub unsupported: bool,
}

/// An inode that is to get metadata.
#[derive(Clone, Copy, Debug)]
pub enum Inode<'a> {
    /// An open file or directory; the path is for messages.
    Open(BorrowedFd<'a>, &'a Dir, &'a [u8]),
    /// A name in a directory, which is not followed.
    Named(&'a Dir, &'a [u8]),
}

impl<'a> Inode<'a> {
    /// An open directory itself.
    pub fn of(dir: &'a Dir) -> Self {
        Self::Open(dir.as_fd(), dir, b"")
    }
}

impl Inode<'_> {
    fn path(&self) -> PathBuf {
        match self {
            Self::Open(_, dir, name) | Self::Named(dir, name) => dir.path_of(name),
        }
    }

    fn fail<'a>(&'a self, operation: &'a str) -> impl FnOnce(Errno) -> Error + 'a {
        move |errno| Error::io(operation, self.path(), errno)
    }

    /// What is known of it now.
    ///
    /// # Errors
    ///
    /// Fails if there is no such name, or if the kernel refuses.
    pub fn stat(&self) -> Result<Stat> {
        match self {
            Self::Open(fd, ..) => super::dir::stat_of(*fd).map_err(self.fail("stat")),
            Self::Named(dir, name) => dir.stat(name),
        }
    }

    fn chown(&self, (uid, gid): (u32, u32)) -> Result<()> {
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        match self {
            Self::Open(fd, ..) => rustix::fs::fchown(fd, owner.0, owner.1),
            Self::Named(dir, name) => {
                rustix::fs::chownat(dir, *name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
        .map_err(|errno| {
            let error = self.fail("change owner of")(errno);
            if errno != Errno::INVAL || !probe::in_user_namespace() {
                return error;
            }
            let what = format!("owner {uid}:{gid} has no id in this user namespace");
            error.context(what).with_hint(
                "/etc/subuid and /etc/subgid give a user more ids (subuid(5)); outside of a namespace, \
                 --rootless unpacks with one owner",
            )
        })
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd, ..) => rustix::fs::fchmod(fd, mode),
            // Only for nodes that were made a moment ago; a symbolic link put in their place would be followed, so the
            // inode is pinned first and the mode set through its descriptor.
            Self::Named(dir, name) => chmod_pinned(dir, name, mode),
        }
        .map_err(self.fail("change mode of"))
    }

    fn set_times(&self, times: &Times) -> Result<()> {
        match self {
            Self::Open(fd, ..) => rustix::fs::futimens(fd, &times.timestamps()),
            Self::Named(dir, name) => {
                rustix::fs::utimensat(dir, *name, &times.timestamps(), AtFlags::SYMLINK_NOFOLLOW)
            }
        }
        .map_err(self.fail("set times of"))
    }

    fn with_xattr_target<T>(&self, work: impl FnOnce(Target<'_>) -> T) -> T {
        match self {
            Self::Open(fd, ..) => work(Target::Fd(*fd)),
            Self::Named(dir, name) => work(Target::Path(&xattr::at_path(dir.as_fd(), name))),
        }
    }

    /// Applies everything, in order. Attributes that were refused are handed to `refused`.
    ///
    /// # Errors
    ///
    /// Fails at the first thing that cannot be set; what came before it stays set.
    pub fn apply(
        &self,
        metadata: &Metadata,
        rules: Rules,
        refused: &mut dyn FnMut(Refused),
    ) -> Result<()> {
        if let Some(owner) = metadata.owner {
            self.chown(owner)?;
        }
        let apply_xattrs = |refused: &mut dyn FnMut(Refused)| {
            if metadata.clear_xattrs || !metadata.xattrs.is_empty() {
                self.with_xattr_target(|target| self.apply_xattrs(target, metadata, rules, refused))
            } else {
                Ok(())
            }
        };
        if rules.xattrs_first {
            apply_xattrs(refused)?;
        }
        if let Some(mode) = metadata.mode {
            self.chmod(mode)?;
        }
        if !rules.xattrs_first {
            apply_xattrs(refused)?;
        }
        self.set_times(&metadata.times)
    }

    fn apply_xattrs(
        &self,
        target: Target<'_>,
        metadata: &Metadata,
        rules: Rules,
        refused: &mut dyn FnMut(Refused),
    ) -> Result<()> {
        if metadata.clear_xattrs {
            self.clear_xattrs(target, &metadata.xattrs)?;
        }
        for (name, value) in &metadata.xattrs {
            match target.set(name, value) {
                Ok(()) => {}
                Err(Errno::NOTSUP) => refused(Refused {
                    name: name.clone(),
                    unsupported: true,
                }),
                Err(Errno::PERM | Errno::ACCESS) if rules.tolerate_denied => {
                    refused(Refused {
                        name: name.clone(),
                        unsupported: false,
                    });
                }
                Err(errno) => {
                    let operation =
                        format!("set extended attribute {} of", super::escape_name(name));
                    return Err(self.fail(&operation)(errno));
                }
            }
        }
        Ok(())
    }

    /// Removes what is there, but for masked names and those that are about to be set anyway.
    fn clear_xattrs(&self, target: Target<'_>, keep: &Xattrs) -> Result<()> {
        let existing = target
            .list()
            .map_err(self.fail("read extended attributes of"))?;
        for (name, _) in existing {
            if xattr::is_masked(&name) || keep.iter().any(|(kept, _)| *kept == name) {
                continue;
            }
            match target.remove(&name) {
                // Those of the host that we may not touch (umoci-behaviour C.7), or that are gone already.
                Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::NODATA | Errno::NOTSUP) => {}
                Err(errno) => return Err(self.fail("remove extended attribute of")(errno)),
            }
        }
        Ok(())
    }
}

fn chmod_pinned(dir: &Dir, name: &[u8], mode: Mode) -> std::result::Result<(), Errno> {
    use rustix::fs::OFlags;
    let pinned = rustix::fs::openat(
        dir,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    if super::dir::stat_of(pinned.as_fd())?.kind == super::InodeKind::Symlink {
        return Err(Errno::LOOP);
    }
    let path: &Path = &xattr::fd_path(pinned.as_fd());
    rustix::fs::chmodat(rustix::fs::CWD, path, mode, AtFlags::empty())
}
