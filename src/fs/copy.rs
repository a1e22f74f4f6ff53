//! Copying a tree exactly: types, devices and whiteouts, modes, owners, extended attributes, times to the nanosecond, sets
//! of hard links, holes. Content is shared with the original where the file system can do that.
//!
//! Nothing is followed and no other file system is entered; neither depth nor width of the tree takes descriptors or
//! stack. A directory gets its metadata when all that is in it is there, so that it keeps its times. What is changed
//! while it is copied ends the copy: a copy of half a change would pass for the original.
//!
//! With [owners changed](Owners), so are those that attributes name, as they are by an id-mapped mount. An inode's own
//! name for its owner, such as [`ROOTLESS_OWNER`](super::xattr::ROOTLESS_OWNER), is content and stays.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::vec::IntoIter;

use super::content::{ContentCopier, Failed};
use super::descent::Descent;
use super::dir::{Dir, stat_of};
use super::metadata::{Inode, Metadata, Refused, Rules, Times};
use super::named_ids::{Owners, map_named_ids};
use super::stat::{InodeId, InodeKind, Stat};
use super::xattr::{self, Xattrs};
use crate::error::{Error, ErrorKind, Result};

#[cfg(test)]
mod tests;

/// Whether an extended attribute of this name is wanted.
pub type WantedXattrs<'a> = &'a dyn Fn(&[u8]) -> bool;

/// How [`copy_tree`] copies.
#[derive(Clone, Copy, Default)]
pub struct CopyOptions<'a> {
    /// What owners become; they stay by default.
    pub owners: Option<Owners<'a>>,
    /// Which extended attributes are copied, by name; all by default. Those of the host
    /// ([`is_masked`](super::xattr::is_masked)) never are.
    pub xattrs: Option<WantedXattrs<'a>>,
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Number of inodes, with that of the directory itself.
    pub inodes: u64,
    /// Sizes of all regular files, in bytes.
    pub bytes: u64,
    /// Those of files that share their blocks with the original.
    pub shared_bytes: u64,
    /// Paths of sockets, which are nothing without their process and were not copied.
    pub sockets: Vec<Vec<u8>>,
}

/// Copies what is in a directory, and the directory's own metadata, into an empty one.
///
/// # Errors
///
/// [`ErrorKind::AlreadyExists`] if the other directory is not empty; [`ErrorKind::Io`] if something is changed while it is
/// copied; [`ErrorKind::Busy`] if another file system is mounted below, or if somebody else writes to the copy;
/// [`ErrorKind::Unsupported`] if the file system takes no such attribute; those of the options and of the file systems.
/// What was copied stays.
pub fn copy_tree(from: &Dir, to: &Dir, options: CopyOptions<'_>) -> Result<CopyReport> {
    if !to.names()?.is_empty() {
        let message = format!("copy to {}: it is not empty", to.path().display());
        return Err(Error::new(ErrorKind::AlreadyExists, message));
    }
    TreeCopier::new(from, to, options)?.run()
}

/// A directory that is being copied.
struct Level {
    /// What it was like when it was entered.
    stat: Stat,
    names: IntoIter<Vec<u8>>,
    /// Length of the path of the directory above.
    above: usize,
}

/// The first name, in the copy, of an inode with several.
struct FirstName {
    dir: Vec<u8>,
    name: Vec<u8>,
    id: InodeId,
    /// How many names are to come.
    left: u64,
}

struct TreeCopier<'a> {
    options: CopyOptions<'a>,
    /// The root of the copy.
    to: &'a Dir,
    source: Descent,
    target: Descent,
    /// Path of the current directory below the root.
    path: Vec<u8>,
    first_names: HashMap<InodeId, FirstName>,
    content: ContentCopier,
    /// Whether new inodes get attributes from the directory they are made in: default ACLs.
    inherits: bool,
    report: CopyReport,
}

impl<'a> TreeCopier<'a> {
    fn new(from: &Dir, to: &'a Dir, options: CopyOptions<'a>) -> Result<Self> {
        Ok(Self {
            options,
            to,
            source: Descent::new(from)?,
            target: Descent::new(to)?,
            path: Vec::new(),
            first_names: HashMap::new(),
            content: ContentCopier::new(),
            inherits: !to.xattrs_self()?.is_empty(),
            report: CopyReport::default(),
        })
    }

    fn run(mut self) -> Result<CopyReport> {
        let stat = self.source.dir().stat_self()?;
        let mut levels = vec![self.level(stat, 0)?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                self.finish_dir(&level.stat)?;
                self.path.truncate(level.above);
                levels.pop();
                self.source.leave()?;
                self.target.leave()?;
                continue;
            };
            let stat = self.source.dir().stat(&name)?;
            if stat.is_dir() {
                levels.push(self.enter(&name)?);
            } else {
                self.copy_leaf(&name, &stat)?;
            }
        }
        Ok(self.report)
    }

    fn level(&self, stat: Stat, above: usize) -> Result<Level> {
        let names = self.source.dir().names()?.into_iter();
        Ok(Level { stat, names, above })
    }

    fn enter(&mut self, name: &[u8]) -> Result<Level> {
        let stat = self.source.enter(name)?;
        if self.target.dir().create_dir(name, 0o700)?.is_none() {
            return Err(self.in_the_way(name));
        }
        self.target.enter(name)?;
        let above = self.path.len();
        if above > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.level(stat, above)
    }

    fn finish_dir(&mut self, before: &Stat) -> Result<()> {
        let source = self.source.dir();
        let metadata = self.metadata(before, source.xattrs_self()?)?;
        if !is_same(before, &source.stat_self()?) {
            return Err(changed(source, b""));
        }
        self.report.inodes += 1;
        apply(&Inode::of(self.target.dir()), &metadata)
    }

    fn copy_leaf(&mut self, name: &[u8], stat: &Stat) -> Result<()> {
        if stat.kind == InodeKind::Socket {
            self.report.sockets.push(self.path_of(name));
            return Ok(());
        }
        if self.link(name, stat)? {
            return Ok(());
        }
        self.report.inodes += 1;
        if stat.kind == InodeKind::File {
            self.copy_file(name, stat)?;
        } else {
            self.copy_node(name, stat)?;
        }
        if stat.nlink > 1 {
            let first = FirstName {
                dir: self.path.clone(),
                name: name.to_vec(),
                id: self.target.dir().stat(name)?.id,
                left: stat.nlink - 1,
            };
            self.first_names.insert(stat.id, first);
        }
        Ok(())
    }

    /// Gives another name to an inode that has been copied. `false` if it has not.
    fn link(&mut self, name: &[u8], stat: &Stat) -> Result<bool> {
        if stat.nlink < 2 {
            return Ok(false);
        }
        let Some(first) = self.first_names.get_mut(&stat.id) else {
            return Ok(false);
        };
        let here = self.target.dir();
        let made = if first.dir == self.path {
            here.create_link(name, here, &first.name)?
        } else {
            here.create_link(name, &open_below(self.to, &first.dir)?, &first.name)?
        };
        // Nobody else should be in the copy; who is must not be able to slip another inode in.
        if !made || here.stat(name)?.id != first.id {
            return Err(self.in_the_way(name));
        }
        first.left -= 1;
        if first.left == 0 {
            self.first_names.remove(&stat.id);
        }
        Ok(true)
    }

    fn copy_file(&mut self, name: &[u8], found: &Stat) -> Result<()> {
        let source = self.source.dir();
        let from = source.open_file(name)?;
        let stat = || stat_of(from.as_fd()).map_err(source.fail("stat", name));
        if !is_same(found, &stat()?) {
            return Err(changed(source, name));
        }
        let target = self.target.dir();
        let Some(to) = target.create_file(name, 0o600)? else {
            return Err(self.in_the_way(name));
        };
        match self.content.copy(from.as_fd(), to.as_fd(), found.size) {
            Ok(true) => self.report.shared_bytes += found.size,
            Ok(false) => {}
            Err(Failed::Shrunk) => return Err(changed(source, name)),
            Err(Failed::Read(errno)) => return Err(source.fail("read", name)(errno)),
            Err(Failed::Write(errno)) => return Err(target.fail("write", name)(errno)),
        }
        let xattrs = xattr::list_fd(from.as_fd())
            .map_err(source.fail("read extended attributes of", name))?;
        let metadata = self.metadata(found, xattrs)?;
        if !is_same(found, &stat()?) {
            return Err(changed(source, name));
        }
        self.report.bytes += found.size;
        apply(&Inode::Open(to.as_fd(), target, name), &metadata)
    }

    fn copy_node(&mut self, name: &[u8], stat: &Stat) -> Result<()> {
        let (source, target) = (self.source.dir(), self.target.dir());
        let made = if stat.kind == InodeKind::Symlink {
            target.create_symlink(name, &source.read_link(name)?)?
        } else {
            target.create_node(name, stat.kind, 0, stat.rdev)?
        };
        if !made {
            return Err(self.in_the_way(name));
        }
        let metadata = self.metadata(stat, source.xattrs(name)?)?;
        if !is_same(stat, &source.stat(name)?) {
            return Err(changed(source, name));
        }
        apply(&Inode::Named(target, name), &metadata)
    }

    /// What the copy of an inode gets.
    fn metadata(&self, stat: &Stat, mut xattrs: Xattrs) -> Result<Metadata> {
        xattrs.retain(|(name, _)| {
            !xattr::is_masked(name) && self.options.xattrs.is_none_or(|wanted| wanted(name))
        });
        let mut owner = (stat.uid, stat.gid);
        // Nobody looks at the owner of a whiteout, and the maps need not have it.
        if let Some(owners) = self.options.owners.as_ref().filter(|_| !stat.is_whiteout()) {
            owner = ((owners.user)(owner.0)?, (owners.group)(owner.1)?);
            map_named_ids(&mut xattrs, owners)?;
        }
        Ok(Metadata {
            owner: Some(owner),
            mode: (stat.kind != InodeKind::Symlink).then_some(stat.mode),
            xattrs,
            clear_xattrs: self.inherits,
            times: Times {
                atime: stat.atime,
                mtime: stat.mtime,
            },
        })
    }

    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let separator = if self.path.is_empty() { &b""[..] } else { b"/" };
        [&self.path, separator, name].concat()
    }

    fn in_the_way(&self, name: &[u8]) -> Error {
        let path = self.target.dir().path_of(name);
        let message = format!(
            "copy to {}: the target is being written concurrently",
            path.display()
        );
        Error::new(ErrorKind::Busy, message)
    }
}

/// Opens a directory of the copy by its path.
fn open_below(root: &Dir, path: &[u8]) -> Result<Dir> {
    let mut names = path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty());
    names.try_fold(root.open_dir(b".")?, |dir, name| dir.open_dir(name))
}

/// Whether an inode is what it was. The kernel tells every change by the time of change, to its clock's precision.
fn is_same(before: &Stat, now: &Stat) -> bool {
    let key = |stat: &Stat| (stat.id, stat.size, stat.mtime, stat.ctime);
    key(before) == key(now)
}

fn changed(dir: &Dir, name: &[u8]) -> Error {
    let path = dir.path_of(name);
    let message = format!("copy {}: it changed while it was copied", path.display());
    Error::new(ErrorKind::Io, message).with_hint("stop what writes to it, and try again")
}

/// Applies all of it, or fails: an exact copy lacks no attribute.
fn apply(inode: &Inode<'_>, metadata: &Metadata) -> Result<()> {
    let mut missing: Option<Refused> = None;
    // Before the mode, which may keep even the owner from setting `user.*`. What an ACL does to the mode is done by the
    // mode again: its group's permissions are the mask of the ACL.
    let rules = Rules {
        xattrs_first: true,
        tolerate_denied: false,
    };
    inode.apply(metadata, rules, &mut |refused| {
        missing.get_or_insert(refused);
    })?;
    let Some(refused) = missing else {
        return Ok(());
    };
    let (Inode::Open(_, dir, name) | Inode::Named(dir, name)) = inode;
    let message = format!(
        "set extended attribute {} of {}: the file system has no such attributes",
        super::escape_name(&refused.name),
        dir.path_of(name).display()
    );
    Err(Error::new(ErrorKind::Unsupported, message))
}
