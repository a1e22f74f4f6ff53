//! Copying a tree exactly: types, devices and whiteouts, modes, owners, extended attributes, times to the nanosecond, sets
//! of hard links, holes. Content is shared with the original where the file system can do that.
//!
//! Nothing is followed and no other file system is entered; neither depth nor width of the tree takes descriptors or
//! stack. A directory gets its metadata when all that is in it is there, so that it keeps its times. What is changed
//! while it is copied ends the copy: a copy of half a change would pass for the original.
//!
//! With [owners changed](Owners), so are those that POSIX ACLs name, as they are by an id-mapped mount. An inode's own
//! name for its owner, such as [`ROOTLESS_OWNER`](super::xattr::ROOTLESS_OWNER), is content and stays.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::vec::IntoIter;

use super::content::{ContentCopier, Failed};
use super::descent::Descent;
use super::dir::{Dir, stat_of};
use super::metadata::{Inode, Metadata, Refused, Rules, Times};
use super::stat::{InodeId, InodeKind, Stat};
use super::xattr::{self, Xattrs};
use crate::error::{Error, ErrorKind, Result};

/// What owners become in the copy.
#[derive(Clone, Copy)]
pub struct Owners<'a> {
    /// The user for a user.
    pub user: &'a dyn Fn(u32) -> Result<u32>,
    /// The group for a group.
    pub group: &'a dyn Fn(u32) -> Result<u32>,
}

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
/// [`ErrorKind::AlreadyExists`] if the other directory is not empty; [`ErrorKind::Busy`] if something is changed while it
/// is copied or if another file system is mounted below; [`ErrorKind::Unsupported`] if the file system takes no such
/// attribute; those of the options and of the file systems. What was copied stays.
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
        if let Some(owners) = &self.options.owners {
            owner = ((owners.user)(owner.0)?, (owners.group)(owner.1)?);
            for (name, value) in &mut xattrs {
                if is_acl(name) {
                    map_acl(value, owners)?;
                }
            }
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
        let message = format!("copy to {}: somebody else writes there", path.display());
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
    Error::new(ErrorKind::Busy, message).with_hint("stop what writes to it, and try again")
}

/// Applies all of it, or fails: an exact copy lacks no attribute.
fn apply(inode: &Inode<'_>, metadata: &Metadata) -> Result<()> {
    let mut missing: Option<Refused> = None;
    inode.apply(metadata, Rules::default(), &mut |refused| {
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

/// Whether an attribute holds a POSIX ACL.
fn is_acl(name: &[u8]) -> bool {
    matches!(
        name,
        b"system.posix_acl_access" | b"system.posix_acl_default"
    )
}

/// Changes the users and groups that a POSIX ACL names (`linux/posix_acl_xattr.h`): a version, then entries of tag,
/// permissions and id. One of another version is left for the kernel to refuse.
fn map_acl(value: &mut [u8], owners: &Owners<'_>) -> Result<()> {
    const VERSION: [u8; 4] = 2_u32.to_le_bytes();
    const USER: [u8; 2] = 2_u16.to_le_bytes();
    const GROUP: [u8; 2] = 8_u16.to_le_bytes();
    let Some(entries) = value
        .split_first_chunk_mut::<4>()
        .filter(|(version, _)| **version == VERSION)
        .map(|(_, entries)| entries)
    else {
        return Ok(());
    };
    let (entries, _) = entries.as_chunks_mut::<8>();
    for [tag0, tag1, _, _, id @ ..] in entries {
        let map = match [*tag0, *tag1] {
            USER => owners.user,
            GROUP => owners.group,
            _ => continue,
        };
        *id = map(u32::from_le_bytes(*id))?.to_le_bytes();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Access;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    fn dirs() -> (tempfile::TempDir, Dir, Dir) {
        let scratch = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let path = scratch.path().join(name);
            fs::create_dir(&path).unwrap();
            Dir::open(&path, Access::Plain).unwrap()
        };
        let (from, to) = (open("from"), open("to"));
        (scratch, from, to)
    }

    fn copy(from: &Dir, to: &Dir) -> Result<CopyReport> {
        copy_tree(from, to, CopyOptions::default())
    }

    #[test]
    fn types_modes_times_links_and_content_are_kept() {
        let (scratch, from, to) = dirs();
        let path = |name: &str| scratch.path().join("from").join(name);
        fs::create_dir_all(path("d/e")).unwrap();
        fs::write(path("d/file"), "content").unwrap();
        fs::hard_link(path("d/file"), path("d/e/again")).unwrap();
        fs::hard_link(path("d/file"), path("third")).unwrap();
        symlink("/nowhere/at all", path("link")).unwrap();
        fs::hard_link(path("link"), path("link2")).unwrap();
        assert!(
            from.create_node(b"pipe", InodeKind::Fifo, 0o640, (0, 0))
                .unwrap()
        );
        fs::set_permissions(path("d/file"), fs::Permissions::from_mode(0o4510)).unwrap();
        rustix::fs::setxattr(
            path("d/file"),
            "user.note",
            b"kept",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
        let time = filetime::FileTime::from_unix_time(1_000_000_001, 123_456_789);
        for name in ["d/file", "d/e", "d", ""] {
            filetime::set_file_times(path(name), time, time).unwrap();
        }
        filetime::set_symlink_file_times(path("link"), time, time).unwrap();
        let report = copy(&from, &to).unwrap();
        assert_eq!((report.inodes, report.bytes), (6, 7));

        let copied = |name: &str| scratch.path().join("to").join(name);
        let look = |path: &Path| {
            let found = path.symlink_metadata().unwrap();
            let mtime = (found.mtime(), found.mtime_nsec());
            (found.mode(), found.uid(), found.gid(), found.nlink(), mtime)
        };
        for name in [
            "",
            "d",
            "d/e",
            "d/file",
            "d/e/again",
            "third",
            "link",
            "link2",
            "pipe",
        ] {
            assert_eq!(look(&copied(name)), look(&path(name)), "{name}");
        }
        let ino = |name: &str| copied(name).symlink_metadata().unwrap().ino();
        assert_eq!(ino("third"), ino("d/e/again"));
        assert_eq!(ino("third"), ino("d/file"));
        assert_eq!(ino("link"), ino("link2"));
        assert_eq!(fs::read(copied("third")).unwrap(), b"content");
        assert_eq!(
            fs::read_link(copied("link")).unwrap(),
            Path::new("/nowhere/at all")
        );
        let xattrs = to.open_dir(b"d").unwrap().xattrs(b"file").unwrap();
        assert!(xattrs.contains(&(b"user.note".to_vec(), b"kept".to_vec())));
    }

    #[test]
    fn attributes_that_are_not_wanted_stay_behind() {
        let (scratch, from, to) = dirs();
        let path = scratch.path().join("from/file");
        fs::write(&path, "").unwrap();
        for name in ["user.one", "user.two"] {
            rustix::fs::setxattr(&path, name, b"x", rustix::fs::XattrFlags::empty()).unwrap();
        }
        let wanted = |name: &[u8]| name != b"user.one";
        let options = CopyOptions {
            xattrs: Some(&wanted),
            ..CopyOptions::default()
        };
        copy_tree(&from, &to, options).unwrap();
        let mut names = to
            .xattrs(b"file")
            .unwrap()
            .into_iter()
            .map(|(name, _)| name);
        assert!(!names.any(|name| name == b"user.one"));
        assert_eq!(
            to.xattrs(b"file").unwrap().len(),
            from.xattrs(b"file").unwrap().len() - 1
        );
    }

    #[test]
    fn sockets_are_told_and_what_is_in_the_way_is_refused() {
        let (scratch, from, to) = dirs();
        fs::create_dir(scratch.path().join("from/d")).unwrap();
        let socket = scratch.path().join("from/d/socket");
        let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        let report = copy(&from, &to).unwrap();
        assert_eq!(report.sockets, [b"d/socket".to_vec()]);
        assert_eq!(
            to.open_dir(b"d").unwrap().names().unwrap(),
            Vec::<Vec<u8>>::new()
        );
        assert_eq!(
            copy(&from, &to).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
    }

    #[test]
    fn a_tree_deeper_than_descriptors_is_copied_with_its_links() {
        let (scratch, from, to) = dirs();
        fs::write(scratch.path().join("from/file"), "x").unwrap();
        let mut dir = from.open_dir(b".").unwrap();
        for _ in 0..1500 {
            dir = dir.create_dir(b"d", 0o755).unwrap().unwrap();
        }
        assert!(dir.create_link(b"linked", &from, b"file").unwrap());
        assert_eq!(copy(&from, &to).unwrap().inodes, 1502);
        assert_eq!(to.stat(b"file").unwrap().nlink, 2);
    }

    #[test]
    fn what_changes_while_it_is_copied_is_refused() {
        let (scratch, from, to) = dirs();
        fs::write(scratch.path().join("from/a"), "x").unwrap();
        let grow = |id| {
            fs::write(scratch.path().join("from/z"), "x").unwrap();
            Ok(id)
        };
        let keep = Ok;
        let options = CopyOptions {
            owners: Some(Owners {
                user: &grow,
                group: &keep,
            }),
            ..CopyOptions::default()
        };
        // Beyond the granularity of the kernel's clock.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let error = copy_tree(&from, &to, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
    }

    #[test]
    fn users_and_groups_of_acls_are_mapped() {
        let entry = |tag: u16, id: u32| {
            let tag = tag.to_le_bytes();
            let id = id.to_le_bytes();
            [tag[0], tag[1], 7, 0, id[0], id[1], id[2], id[3]]
        };
        let acl = |user, group| {
            let none = u32::MAX;
            let entries = [
                entry(1, none),
                entry(2, user),
                entry(8, group),
                entry(0x20, none),
            ];
            [&[2, 0, 0, 0], entries.as_flattened()].concat()
        };
        let owners = Owners {
            user: &|id| Ok(id + 1000),
            group: &|id| Ok(id + 2000),
        };
        let mut value = acl(5, 6);
        map_acl(&mut value, &owners).unwrap();
        assert_eq!(value, acl(1005, 2006));
        for malformed in [
            &b""[..],
            b"\x02",
            b"\x02\0\0\0\x02\0",
            b"\x03\0\0\0\x02\0\x07\0\0\0\0\0",
        ] {
            let mut value = malformed.to_vec();
            map_acl(&mut value, &owners).unwrap();
            assert_eq!(value, malformed);
        }
    }
}
