//! An entry of a record, and its bytes:
//!
//! ```text
//! kind and flags: 1 byte    depth: number    name: bytes
//! but for a whiteout: mode uid gid: numbers    mtime: seconds, nanoseconds
//! regular file: size, if flagged SHA-256    symbolic link: target    device, if flagged: major, minor
//! if flagged, hard links: number of the set, number of its names
//! if flagged, xattrs: name and value of each, to the end
//! ```

use filetime::FileTime;

use super::wire::{Input, put_bytes, put_number, put_signed};
use crate::fs::InodeKind;
use crate::fs::xattr::Xattrs;

const KIND: u8 = 0b0111;
const HAS_XATTRS: u8 = 0b1000;
const HAS_LINKS: u8 = 0b1_0000;
/// File: the digest is known. Device: its number is. Directory: it is opaque.
const HAS_MORE: u8 = 0b10_0000;

/// A name of a layer, and what was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path below the root of the layer: raw bytes, no leading slash; empty for the root itself.
    pub path: Vec<u8>,
    /// Type, and what only that type has.
    pub content: Content,
    /// 12 bits.
    pub mode: u32,
    /// Owner, as on disk.
    pub uid: u32,
    /// Group, as on disk.
    pub gid: u32,
    /// Time of the last change of content.
    pub mtime: FileTime,
    /// Extended attributes as on disk, sorted; without those of the host and without the mark of an opaque directory.
    pub xattrs: Xattrs,
    /// What other names the inode has, if it has any.
    pub links: Option<LinkSet>,
}

/// Type of an entry, and what only that type has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Regular file.
    File {
        /// Size in bytes.
        size: u64,
        /// SHA-256 of the content, if it was computed.
        sha256: Option<[u8; 32]>,
    },
    /// Directory.
    Directory {
        /// Whether it hides what is below it.
        opaque: bool,
    },
    /// Symbolic link.
    Symlink {
        /// Where it leads to.
        target: Vec<u8>,
    },
    /// Device.
    Device {
        /// Whether it is a block device.
        block: bool,
        /// Major and minor number, if they are known.
        number: Option<(u32, u32)>,
    },
    /// Named pipe.
    Fifo,
    /// A whiteout of overlayfs, of which nothing else is recorded.
    Whiteout,
}

/// The names of an inode that has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkSet {
    /// The same for all names of an inode, and for no others.
    pub set: u64,
    /// How many names there are.
    pub count: u64,
}

impl Content {
    /// The type of the inode.
    pub fn kind(&self) -> InodeKind {
        match self {
            Self::File { .. } => InodeKind::File,
            Self::Directory { .. } => InodeKind::Directory,
            Self::Symlink { .. } => InodeKind::Symlink,
            Self::Device { block: true, .. } => InodeKind::BlockDevice,
            Self::Device { block: false, .. } | Self::Whiteout => InodeKind::CharDevice,
            Self::Fifo => InodeKind::Fifo,
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::File { .. } => 0,
            Self::Directory { .. } => 1,
            Self::Symlink { .. } => 2,
            Self::Device { block: false, .. } => 3,
            Self::Device { block: true, .. } => 4,
            Self::Fifo => 5,
            Self::Whiteout => 6,
        }
    }

    fn has_more(&self) -> bool {
        match self {
            Self::File { sha256, .. } => sha256.is_some(),
            Self::Directory { opaque } => *opaque,
            Self::Device { number, .. } => number.is_some(),
            _ => false,
        }
    }

    fn append(&self, out: &mut Vec<u8>) {
        match self {
            Self::File { size, sha256 } => {
                put_number(out, *size);
                out.extend_from_slice(sha256.as_ref().map_or(&[], |sha256| &sha256[..]));
            }
            Self::Symlink { target } => put_bytes(out, target),
            Self::Device {
                number: Some((major, minor)),
                ..
            } => {
                put_number(out, (*major).into());
                put_number(out, (*minor).into());
            }
            _ => {}
        }
    }

    fn parse(code: u8, has_more: bool, input: &mut Input<'_>) -> Option<Self> {
        Some(match code {
            0 => Self::File {
                size: input.number()?,
                sha256: if has_more {
                    Some(input.take(32)?.try_into().ok()?)
                } else {
                    None
                },
            },
            1 => Self::Directory { opaque: has_more },
            2 if !has_more => Self::Symlink {
                target: input.bytes()?.to_vec(),
            },
            3 | 4 => Self::Device {
                block: code == 4,
                number: if has_more {
                    Some((input.small()?, input.small()?))
                } else {
                    None
                },
            },
            5 if !has_more => Self::Fifo,
            _ => return None,
        })
    }
}

impl Entry {
    /// A whiteout.
    pub fn whiteout(path: Vec<u8>) -> Self {
        Self {
            path,
            content: Content::Whiteout,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: FileTime::zero(),
            xattrs: Vec::new(),
            links: None,
        }
    }

    /// How many directories it is in: 0 for the root.
    pub fn depth(&self) -> usize {
        if self.path.is_empty() {
            return 0;
        }
        self.path.split(|&byte| byte == b'/').count()
    }

    /// The last component of the path; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|&byte| byte == b'/').next().unwrap_or(&[])
    }

    /// Appends the bytes of the entry.
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let is_whiteout = self.content == Content::Whiteout;
        out.push(
            self.content.code()
                | flag(self.content.has_more(), HAS_MORE)
                | flag(!is_whiteout && self.links.is_some(), HAS_LINKS)
                | flag(!is_whiteout && !self.xattrs.is_empty(), HAS_XATTRS),
        );
        put_number(out, self.depth() as u64);
        put_bytes(out, self.name());
        if is_whiteout {
            return;
        }
        for number in [self.mode, self.uid, self.gid] {
            put_number(out, number.into());
        }
        put_signed(out, self.mtime.unix_seconds());
        put_number(out, self.mtime.nanoseconds().into());
        self.content.append(out);
        if let Some(links) = self.links {
            put_number(out, links.set);
            put_number(out, links.count);
        }
        for (name, value) in &self.xattrs {
            put_bytes(out, name);
            put_bytes(out, value);
        }
    }
}

/// An entry whose place is not known yet.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub(super) depth: usize,
    pub(super) name: &'a [u8],
    /// With an empty path.
    pub(super) entry: Entry,
}

/// Reads an entry that is all of the bytes. `None` if they make no sense.
pub(super) fn parse(bytes: &[u8]) -> Option<Parsed<'_>> {
    let mut input = Input(bytes);
    let first = input.byte()?;
    let depth = usize::try_from(input.number()?).ok()?;
    let name = input.bytes()?;
    let mut entry = Entry::whiteout(Vec::new());
    if first == entry.content.code() {
        return input.0.is_empty().then_some(Parsed { depth, name, entry });
    }
    if first & !(KIND | HAS_XATTRS | HAS_LINKS | HAS_MORE) != 0 {
        return None;
    }
    (entry.mode, entry.uid, entry.gid) = (input.small()?, input.small()?, input.small()?);
    let (seconds, nanoseconds) = (input.signed()?, input.small()?);
    if entry.mode > 0o7777 || nanoseconds >= 1_000_000_000 {
        return None;
    }
    entry.mtime = FileTime::from_unix_time(seconds, nanoseconds);
    entry.content = Content::parse(first & KIND, first & HAS_MORE != 0, &mut input)?;
    if first & HAS_LINKS != 0 {
        let (set, count) = (input.number()?, input.number()?);
        entry.links = Some(LinkSet { set, count });
    }
    if first & HAS_XATTRS != 0 {
        while !input.0.is_empty() {
            let (name, value) = (input.bytes()?, input.bytes()?);
            entry.xattrs.push((name.to_vec(), value.to_vec()));
        }
        if entry.xattrs.is_empty() || !entry.xattrs.is_sorted_by(|a, b| a.0 < b.0) {
            return None;
        }
    }
    input.0.is_empty().then_some(Parsed { depth, name, entry })
}
