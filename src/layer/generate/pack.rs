//! One inode becomes one entry: type, owner, attributes, hard links, content.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use filetime::FileTime;

use super::GenerateOptions;
use crate::archive::{Entry, EntryKind, SMALLEST_HOLE, Writer, parts_between_holes};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::content_hash::ContentHasher;
use crate::fs::xattr::{self, ROOTLESS_OWNER, Xattrs};
use crate::fs::{Dir, FileReader, InodeId, InodeKind, Stat, escape_name, probe};
use crate::layer::whiteout;
use crate::progress::Progress;

/// Bytes of content in memory.
const BUFFER_SIZE: usize = 256 << 10;

/// Where an inode is.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// A name in a directory.
    Name(&'a Dir, &'a [u8]),
    /// An open directory itself, which has no name here.
    Itself(&'a Dir),
}

impl Place<'_> {
    pub(super) fn stat(self) -> Result<Stat> {
        match self {
            Self::Name(dir, name) => dir.stat(name),
            Self::Itself(dir) => dir.stat_self(),
        }
    }

    fn xattrs(self) -> Result<Xattrs> {
        match self {
            Self::Name(dir, name) => dir.xattrs(name),
            Self::Itself(dir) => dir.xattrs_self(),
        }
    }
}

/// What every entry gets, whatever it has on disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Overrides {
    /// User and group in the image.
    pub owner: Option<(u32, u32)>,
    /// 12 bits for files and directories.
    pub mode: Option<u32>,
}

/// What makes names those of one inode.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum LinkKey {
    /// The file system says so.
    Inode(InodeId),
    /// The caller says so.
    Told(usize),
}

/// The first name of an inode that has several.
struct First {
    path: Vec<u8>,
    stat: Stat,
    sha256: Option<[u8; 32]>,
}

/// Writes entries.
pub(super) struct Packer<'a, W: Write> {
    tar: Writer<W>,
    options: &'a GenerateOptions,
    overrides: Overrides,
    /// Whether to hash the content of each file.
    file_digests: bool,
    progress: &'a dyn Progress,
    links: HashMap<LinkKey, First>,
    /// Paths that the caller says are names of one inode: those with equal numbers.
    told_links: Option<&'a BTreeMap<Vec<u8>, usize>>,
    /// Whose owner root could have kept but for `rootless`: the first path, and how many.
    lost_owners: Option<(Vec<u8>, u64)>,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Packer<'a, W> {
    pub(super) fn new(out: W, options: &'a GenerateOptions, progress: &'a dyn Progress) -> Self {
        Self {
            tar: Writer::new(out),
            options,
            overrides: Overrides::default(),
            file_digests: false,
            progress,
            links: HashMap::new(),
            told_links: None,
            lost_owners: None,
            buffer: vec![0; BUFFER_SIZE],
        }
    }

    /// Gives every entry from here on something else than it has on disk.
    pub(super) fn with_overrides(self, overrides: Overrides) -> Self {
        Self { overrides, ..self }
    }

    /// Takes the paths with equal numbers for names of one inode, whatever the file system says.
    pub(super) fn with_links(self, links: &'a BTreeMap<Vec<u8>, usize>) -> Self {
        Self {
            told_links: Some(links),
            ..self
        }
    }

    /// Hashes the content of the files from here on.
    pub(super) fn with_file_digests(self) -> Self {
        Self {
            file_digests: true,
            ..self
        }
    }

    /// Forgets the inodes so far: what follows is never written as a link to something before.
    pub(super) fn forget_links(&mut self) {
        self.links.clear();
    }

    pub(super) fn finish(self) -> Result<W> {
        if let Some((first, count)) = &self.lost_owners {
            let others = match count - 1 {
                0 => String::new(),
                1 => " and 1 more entry".to_owned(),
                others => format!(" and {others} more entries"),
            };
            self.progress.warn(format_args!(
                "the owner of {}{others} is thrown away: with --rootless everything belongs to 0:0 unless {} says otherwise",
                escape_name(first),
                escape_name(ROOTLESS_OWNER)
            ));
        }
        self.tar.finish()
    }

    /// Mode and owner that an entry is going to have; no owner where attributes may have the last word.
    pub(super) fn attributes(&self, stat: &Stat) -> Result<(u32, Option<(u32, u32)>)> {
        let owner = match self.overrides.owner {
            Some(owner) => Some(owner),
            None if self.options.map_options.rootless => None,
            None => Some(self.owner(stat, None)?),
        };
        Ok((self.overrides.mode.unwrap_or(stat.mode), owner))
    }

    /// Writes the inode at a place under a path of the image (clean, relative; `.` for the root). Returns what it was
    /// like and, where they are wanted, the digest of its content.
    pub(super) fn add(
        &mut self,
        place: Place<'_>,
        path: &[u8],
    ) -> Result<(Stat, Option<[u8; 32]>)> {
        let stat = place
            .stat()
            .context(|| format!("pack {}", escape_name(path)))?;
        self.add_seen(place, path, stat)
    }

    /// The same for an inode that has just been looked at.
    pub(super) fn add_seen(
        &mut self,
        place: Place<'_>,
        path: &[u8],
        stat: Stat,
    ) -> Result<(Stat, Option<[u8; 32]>)> {
        self.try_add(place, path, stat)
            .context(|| format!("pack {}", escape_name(path)))
    }

    fn try_add(
        &mut self,
        place: Place<'_>,
        path: &[u8],
        stat: Stat,
    ) -> Result<(Stat, Option<[u8; 32]>)> {
        whiteout::check_name(path)?;
        let mut entry = self.entry(place, &stat, path)?;
        let told = self.told_links.and_then(|links| links.get(path));
        let key = told.map_or(LinkKey::Inode(stat.id), |&number| LinkKey::Told(number));
        if let Some(first) = self.links.get(&key) {
            if !is_alike(&first.stat, &stat) {
                let message = format!("it is not the same as {} anymore", escape_name(&first.path));
                return Err(Error::new(ErrorKind::Io, message));
            }
            entry.kind = EntryKind::HardLink;
            entry.link.clone_from(&first.path);
            entry.size = 0;
            let sha256 = first.sha256;
            self.tar.entry(&entry)?;
            return Ok((stat, sha256));
        }
        let (stat, sha256) = match place {
            Place::Name(dir, name) if stat.kind == InodeKind::File => {
                self.file(&entry, &stat, FileReader::open(dir, name)?)?
            }
            _ => {
                self.tar.entry(&entry)?;
                (stat, None)
            }
        };
        if (stat.nlink > 1 || told.is_some()) && !stat.is_dir() {
            let path = entry.path;
            let first = First {
                path,
                stat: stat.clone(),
                sha256,
            };
            self.links.insert(key, first);
        }
        Ok((stat, sha256))
    }

    /// Writes an entry and the content of its file.
    fn file(
        &mut self,
        entry: &Entry,
        stat: &Stat,
        mut reader: FileReader,
    ) -> Result<(Stat, Option<[u8; 32]>)> {
        // The entry describes the inode that had the name a moment ago. Opening a file that keeps its owner out changes
        // the time of change.
        let key = |stat: &Stat| {
            (
                stat.id, stat.size, stat.mtime, stat.mode, stat.uid, stat.gid,
            )
        };
        if key(reader.stat()) != key(stat) {
            return Err(reader.changed());
        }
        let parts = reader.parts(SMALLEST_HOLE)?;
        let parts = parts_between_holes(&parts, stat.size, 0);
        let is_sparse = stat.size > 0 && parts != [(0, stat.size)];
        if is_sparse {
            self.tar.sparse_entry(entry, &parts)?;
        } else {
            self.tar.entry(entry)?;
        }
        let hasher = || ContentHasher::new(stat.size);
        let mut hasher = self.file_digests.then(hasher);
        let mut at = 0;
        for (offset, length) in parts {
            if let Some(hasher) = &mut hasher {
                hasher.zeros(offset - at);
            }
            at = offset + length;
            reader.skip_to(offset);
            loop {
                let piece = reader.read_to(at, &mut self.buffer)?;
                if piece.is_empty() {
                    break;
                }
                if let Some(hasher) = &mut hasher {
                    hasher.update(piece);
                }
                self.tar.data(piece)?;
            }
        }
        if let Some(hasher) = &mut hasher {
            hasher.zeros(stat.size - at);
        }
        Ok((reader.finish()?, hasher.map(ContentHasher::finish)))
    }

    /// The entry of an inode, as if it had no other name.
    fn entry(&mut self, place: Place<'_>, stat: &Stat, path: &[u8]) -> Result<Entry> {
        let kind = match stat.kind {
            InodeKind::File => EntryKind::File,
            InodeKind::Directory => EntryKind::Directory,
            InodeKind::Symlink => EntryKind::Symlink,
            InodeKind::CharDevice => EntryKind::CharDevice,
            InodeKind::BlockDevice => EntryKind::BlockDevice,
            InodeKind::Fifo => EntryKind::Fifo,
            InodeKind::Socket => {
                let message = "it is a socket, which no layer can hold";
                return Err(Error::new(ErrorKind::Unsupported, message)
                    .with_hint("remove the socket; programs make it anew"));
            }
        };
        let link = match place {
            Place::Name(dir, name) if kind == EntryKind::Symlink => dir.read_link(name)?,
            _ => Vec::new(),
        };
        let (xattrs, recorded) = self.xattrs(place, path)?;
        let owner = if let Some(owner) = self.overrides.owner {
            owner
        } else {
            let is_lost = recorded.is_none() && (stat.uid, stat.gid) != (0, 0);
            if self.options.map_options.rootless && is_lost && probe::is_superuser() {
                let lost = self.lost_owners.get_or_insert_with(|| (path.to_vec(), 0));
                lost.1 += 1;
            }
            self.owner(stat, recorded)?
        };
        let mode = match kind {
            EntryKind::File | EntryKind::Directory => self.overrides.mode.unwrap_or(stat.mode),
            _ => stat.mode,
        };
        Ok(Entry {
            path: entry_name(path, kind),
            kind,
            mode,
            uid: owner.0,
            gid: owner.1,
            size: if kind == EntryKind::File {
                stat.size
            } else {
                0
            },
            mtime: self.time(stat.mtime),
            atime: None,
            link,
            device: match kind {
                EntryKind::CharDevice | EntryKind::BlockDevice => stat.rdev,
                _ => (0, 0),
            },
            xattrs,
            pieces: None,
        })
    }

    /// The attributes that belong to the image, and the owner that one of them may tell.
    fn xattrs(&self, place: Place<'_>, path: &[u8]) -> Result<(Xattrs, Option<(u32, u32)>)> {
        let mut xattrs = place.xattrs()?;
        let mut recorded = None;
        if self.options.map_options.rootless
            && let Some(index) = xattrs.iter().position(|(name, _)| name == ROOTLESS_OWNER)
        {
            let (_, value) = xattrs.remove(index);
            let owner = xattr::read_rootless_owner(&value).ok_or_else(|| {
                let message = format!(
                    "malformed extended attribute {}",
                    escape_name(ROOTLESS_OWNER)
                );
                Error::new(ErrorKind::InvalidData, message)
            })?;
            recorded = Some(owner);
        }
        xattrs.retain(|(name, value)| {
            // Go's tar takes an empty value for a removal, and so do readers that follow it.
            let empty = value.is_empty() && !xattr::is_masked(name);
            if empty {
                self.progress.warn(format_args!(
                    "pack {}: extended attribute {} is empty and is left out",
                    escape_name(path),
                    escape_name(name)
                ));
            }
            !empty && !xattr::is_masked(name)
        });
        self.options.map_options.xattrs_to_container(&mut xattrs)?;
        Ok((xattrs, recorded))
    }

    /// The owner in the image.
    fn owner(&self, stat: &Stat, recorded: Option<(u32, u32)>) -> Result<(u32, u32)> {
        let maps = &self.options.map_options;
        if maps.rootless {
            return Ok(recorded.unwrap_or((0, 0)));
        }
        Ok((
            maps.uid.to_container(stat.uid)?,
            maps.gid.to_container(stat.gid)?,
        ))
    }

    /// The time of modification in the image: whole seconds, rounded down, and not after `SOURCE_DATE_EPOCH`.
    fn time(&self, mtime: FileTime) -> FileTime {
        let seconds = mtime.unix_seconds();
        let latest = self.options.source_date_epoch.unwrap_or(i64::MAX);
        FileTime::from_unix_time(seconds.min(latest), 0)
    }

    /// Writes the whiteout of a path (clean, relative, not the root).
    pub(super) fn add_whiteout(&mut self, path: &[u8]) -> Result<()> {
        let written = whiteout::check_name(path).and_then(|()| {
            self.tar
                .entry(&plain(whiteout::of_path(path), EntryKind::File))
        });
        written.context(|| format!("pack the removal of {}", escape_name(path)))
    }

    /// Writes the opaque whiteout of a directory (clean, relative; empty for the root).
    pub(super) fn add_opaque(&mut self, path: &[u8]) -> Result<()> {
        self.tar
            .entry(&plain(whiteout::opaque_in(path), EntryKind::File))
    }

    /// Writes a directory that is nowhere on disk: 0755, owned by root.
    pub(super) fn add_parent(&mut self, path: &[u8]) -> Result<()> {
        let seconds = self.options.source_date_epoch.unwrap_or(0);
        self.tar.entry(&Entry {
            mode: 0o755,
            mtime: FileTime::from_unix_time(seconds, 0),
            ..plain(entry_name(path, EntryKind::Directory), EntryKind::Directory)
        })
    }
}

/// Whether two names can be those of one file, as far as an archive tells.
fn is_alike(first: &Stat, other: &Stat) -> bool {
    let key = |stat: &Stat| {
        let seconds = stat.mtime.unix_seconds();
        (stat.kind, stat.size, seconds, stat.mode, stat.uid, stat.gid)
    };
    first.id == other.id || key(first) == key(other)
}

/// An entry of zeros.
fn plain(path: Vec<u8>, kind: EntryKind) -> Entry {
    Entry {
        path,
        kind,
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: FileTime::zero(),
        atime: None,
        link: Vec::new(),
        device: (0, 0),
        xattrs: Vec::new(),
        pieces: None,
    }
}

/// A path as it stands in an archive: directories end in a slash, but for the root.
fn entry_name(path: &[u8], kind: EntryKind) -> Vec<u8> {
    let mut name = Vec::with_capacity(path.len() + 1);
    name.extend_from_slice(path);
    if kind == EntryKind::Directory && path != b"." {
        name.push(b'/');
    }
    name
}
