//! Paths inside a root: every path is resolved as if a directory were `/`.
//!
//! The fast way asks the kernel for the whole path at once, without symbolic links in it: `openat2(RESOLVE_BENEATH |
//! RESOLVE_NO_SYMLINKS)`. Where that does not do, because there is a link, a component is missing or the owner has
//! locked itself out, the path is walked by hand: component by component, links read and put in front of the rest,
//! absolute targets starting at the root, `..` never going above it. However deep that leads, one directory is open at a
//! time; the way back up is taken only to the directories that were come through. Neither way can be led out of the
//! root by somebody who exchanges components meanwhile.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::dir::{Access, Dir, regular};
use super::stat::{InodeId, InodeKind, Stat};
use crate::error::{Error, ErrorKind, Result};

/// How many symbolic links one path may lead through: the kernel's own limit.
const MAX_LINKS: usize = 40;

/// How many bytes of a path the kernel is asked for at once: below its limit of 4096 with the zero byte.
const MAX_PIECE: usize = 4000;
/// How many components the targets of these links may have together: 40 links of the longest targets would lead through
/// 80,000 for each entry of an archive.
const MAX_LINKED: usize = 8192;

/// A directory that paths cannot leave.
#[derive(Debug)]
pub struct Root {
    dir: Dir,
    access: Access,
}

/// An open directory and where it is.
#[derive(Debug)]
pub struct Resolved {
    /// The directory.
    pub dir: Dir,
    /// Its path below the root: no links, no `.` or `..`, no leading slash; empty for the root itself.
    pub path: Vec<u8>,
}

/// What [`Root::resolve`] asks when a component cannot be entered.
pub struct Obstacle<'a> {
    /// The directory that was reached.
    pub parent: &'a Dir,
    /// Its path below the root.
    pub parent_path: &'a [u8],
    /// The name that cannot be entered.
    pub name: &'a [u8],
    /// What has that name; never a directory or a symbolic link. `None` if nothing has.
    pub existing: Option<Stat>,
}

impl Root {
    /// Opens a directory, by a path of the user's, as a root.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be opened, or on a kernel without `openat2` (before 5.6).
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let root = Self {
            dir: Dir::open(path, access)?,
            access,
        };
        match open_beneath(&root.dir, b".", access) {
            Err(Errno::NOSYS) => Err(Error::new(
                ErrorKind::Unsupported,
                "this kernel has no openat2",
            )
            .with_hint("Linux 5.6 or later is needed")),
            _ => Ok(root),
        }
    }

    /// Takes an open directory, such as that of a mount that has no path, as a root.
    ///
    /// # Errors
    ///
    /// None so far.
    pub fn from_dir(dir: Dir, access: Access) -> Result<Self> {
        Ok(Self { dir, access })
    }

    /// The directory itself.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Opens the root directory once more.
    ///
    /// # Errors
    ///
    /// Fails if the kernel does.
    pub fn open_self(&self) -> Result<Dir> {
        self.dir.open_dir(b".")
    }

    /// Opens a regular file for reading; symbolic links are resolved inside the root. Never waits for a pipe.
    ///
    /// # Errors
    ///
    /// Fails if there is no such file, or if it is not a regular file.
    pub fn open_file(&self, path: &Path) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let full = || self.dir.path().join(path.strip_prefix("/").unwrap_or(path));
        let opened =
            retry(|| rustix::fs::openat2(self.dir.as_fd(), path, flags, Mode::empty(), inside));
        match opened {
            Ok(fd) => regular(fd, full),
            Err(errno) => Err(Error::io("open", full(), errno)),
        }
    }

    /// Opens the directory that a path means (lexically clean, relative to the root), following symbolic links inside
    /// the root. At a name that cannot be entered, `obstacle` may make a directory and return `true` to have the name
    /// tried once more, or return `false` to end the search.
    ///
    /// # Errors
    ///
    /// Fails at more than 40 symbolic links ([`ErrorKind::InvalidData`]), if a directory cannot be opened, and with
    /// what `obstacle` returns.
    pub fn resolve(
        &self,
        path: &[u8],
        obstacle: &mut dyn FnMut(Obstacle<'_>) -> Result<bool>,
    ) -> Result<Option<Resolved>> {
        match open_beneath(&self.dir, path, self.access) {
            // A directory that its owner may not change is opened up on the way by hand.
            Ok(dir) if self.access == Access::Plain => Ok(Some(Resolved {
                dir,
                path: path.to_vec(),
            })),
            _ => Walk::new(self).run(path, obstacle),
        }
    }

    /// Opens the directory that a path means, as [`resolve`](Self::resolve) does, if it leads to one: not if something on
    /// the way is missing or no directory, nor through more than 40 symbolic links, as in a circle.
    ///
    /// # Errors
    ///
    /// Fails if a directory cannot be opened.
    pub fn find(&self, path: &[u8]) -> Result<Option<Resolved>> {
        match self.resolve(path, &mut |_| Ok(false)) {
            Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
            result => result,
        }
    }
}

impl Dir {
    /// Opens the directory at a clean path below this one, without following a symbolic link anywhere.
    ///
    /// # Errors
    ///
    /// Fails if there is no such directory.
    pub fn open_below(&self, path: &[u8]) -> Result<Self> {
        open_beneath(self, path, self.open_access()).map_err(self.fail("open directory", path))
    }
}

/// Opens the directory at a path below another that has no symbolic links, no `.` or `..` and no leading slash; empty is
/// the directory itself.
pub(super) fn open_beneath(
    dir: &Dir,
    path: &[u8],
    access: Access,
) -> std::result::Result<Dir, Errno> {
    let path: &[u8] = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let strictly = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let fd = retry(|| rustix::fs::openat2(dir.as_fd(), path, flags, Mode::empty(), strictly))?;
    Ok(Dir::from_fd(fd, dir.path_of(path), access))
}

/// Whether a component leads anywhere.
fn is_name(component: &[u8]) -> bool {
    !matches!(component, b"" | b".")
}

/// With a rename going on, the kernel may be unable to tell whether `..` left the root, and says "try again".
fn retry<T>(
    mut call: impl FnMut() -> std::result::Result<T, Errno>,
) -> std::result::Result<T, Errno> {
    let mut result = call();
    for _ in 0..128 {
        match result {
            Err(Errno::AGAIN | Errno::INTR) => result = call(),
            _ => break,
        }
    }
    result
}

/// A path being walked by hand.
struct Walk<'r> {
    root: &'r Root,
    /// The names entered and what they were.
    entered: Vec<(Vec<u8>, Option<InodeId>)>,
    /// The place reached; `None` at the root.
    dir: Option<Dir>,
    /// The components to come, last one first.
    rest: Vec<Vec<u8>>,
    links: usize,
    /// Whether to note what each directory on the way is: from the first `..` that asks for it.
    careful: bool,
    /// Components of the links' targets.
    linked: usize,
}

impl<'r> Walk<'r> {
    fn new(root: &'r Root) -> Self {
        Self {
            root,
            entered: Vec::new(),
            dir: None,
            rest: Vec::new(),
            links: 0,
            // Directories that keep their owner out are opened one by one.
            careful: root.access != Access::Plain,
            linked: 0,
        }
    }

    fn here(&self) -> &Dir {
        self.dir.as_ref().unwrap_or(&self.root.dir)
    }

    fn path(&self) -> Vec<u8> {
        let names: Vec<&[u8]> = self
            .entered
            .iter()
            .map(|(name, _)| name.as_slice())
            .collect();
        names.join(&b'/')
    }

    fn put_in_front(&mut self, path: &[u8]) {
        self.rest
            .extend(path.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec));
        self.leap();
    }

    fn run(
        mut self,
        path: &[u8],
        obstacle: &mut dyn FnMut(Obstacle<'_>) -> Result<bool>,
    ) -> Result<Option<Resolved>> {
        self.put_in_front(path);
        while let Some(name) = self.rest.pop() {
            match name.as_slice() {
                b"" | b"." => {}
                b".." => self.leave()?,
                _ => {
                    if !self.enter(name, obstacle)? {
                        return Ok(None);
                    }
                }
            }
        }
        let path = self.path();
        let dir = match self.dir {
            Some(dir) => dir,
            None => self.root.open_self()?,
        };
        Ok(Some(Resolved { dir, path }))
    }

    /// Goes as far as the kernel goes at once: a path of thousands of components is asked for thousands of times.
    fn leap(&mut self) {
        while !self.careful {
            let mut piece: Vec<u8> = Vec::new();
            let mut count = 0;
            for name in self.rest.iter().rev() {
                if name == b".." || piece.len() + 1 + name.len() > MAX_PIECE {
                    break;
                }
                count += 1;
                if is_name(name) {
                    piece.extend_from_slice(if piece.is_empty() { b"" } else { b"/" });
                    piece.extend_from_slice(name);
                }
            }
            // Not worth it, or something is in the way, which only a walk by hand finds.
            if !piece.contains(&b'/') {
                return;
            }
            let Ok(dir) = open_beneath(self.here(), &piece, self.root.access) else {
                return;
            };
            self.dir = Some(dir);
            let names = self.rest.drain(self.rest.len() - count..).rev();
            let entered = names.filter(|name| is_name(name)).map(|name| (name, None));
            self.entered.extend(entered);
        }
    }

    fn step_into(&mut self, name: Vec<u8>, dir: Dir) -> Result<()> {
        let id = if self.careful {
            Some(dir.stat_self()?.id)
        } else {
            None
        };
        self.entered.push((name, id));
        self.dir = Some(dir);
        Ok(())
    }

    /// Goes up one directory, at the root nowhere.
    fn leave(&mut self) -> Result<()> {
        self.entered.pop();
        let up = match (self.entered.last(), &self.dir) {
            (None, _) | (_, None) => {
                self.dir = None;
                return Ok(());
            }
            (Some((_, Some(id))), Some(dir)) => dir.open_parent(*id)?,
            (Some((_, None)), _) => None,
        };
        if up.is_some() {
            self.dir = up;
            return Ok(());
        }
        // What it was is not known, or it was moved meanwhile: down once more from the root, with open eyes.
        self.careful = true;
        self.dir = None;
        for (name, _) in std::mem::take(&mut self.entered) {
            let dir = self.here().open_dir(&name)?;
            self.step_into(name, dir)?;
        }
        Ok(())
    }

    /// Enters one name. `false` ends the search.
    fn enter(
        &mut self,
        name: Vec<u8>,
        obstacle: &mut dyn FnMut(Obstacle<'_>) -> Result<bool>,
    ) -> Result<bool> {
        // Twice: as it is, and after `obstacle` has made the directory. A third look would mean somebody works against us.
        for _ in 0..2 {
            let here = self.here();
            let error = match here.open_dir(&name) {
                Ok(dir) => return self.step_into(name, dir).map(|()| true),
                Err(error) => error,
            };
            let existing = here.try_stat(&name)?;
            match existing.as_ref().map(|stat| stat.kind) {
                Some(InodeKind::Directory) => return Err(error),
                Some(InodeKind::Symlink) => {
                    let target = here.read_link(&name)?;
                    return self.follow(&target).map(|()| true);
                }
                _ => {
                    let parent_path = self.path();
                    let question = Obstacle {
                        parent: here,
                        parent_path: &parent_path,
                        name: &name,
                        existing,
                    };
                    if !obstacle(question)? {
                        return Ok(false);
                    }
                }
            }
        }
        Err(Error::io(
            "open directory",
            self.here().path_of(&name),
            Errno::NOTDIR,
        ))
    }

    fn follow(&mut self, target: &[u8]) -> Result<()> {
        self.links += 1;
        let names = target.split(|&byte| byte == b'/');
        self.linked += names.filter(|name| !matches!(*name, b"" | b".")).count();
        if self.links > MAX_LINKS || self.linked > MAX_LINKED {
            let message = format!(
                "resolve {}: more than {MAX_LINKS} symbolic links, or {MAX_LINKED} names in them",
                self.here().path().display()
            );
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        if target.starts_with(b"/") {
            self.entered.clear();
            self.dir = None;
        }
        self.put_in_front(target);
        Ok(())
    }
}
