//! One entry of a stat index, as bytes: what the manifest says of an inode, and what proves that it still holds.
//!
//! ```text
//! kind and flags: 1 byte    name: length, bytes    mode uid gid size nlink: numbers    mtime: seconds, nanoseconds
//! device: major, minor      symbolic link: length, target      regular file: SHA-256, 32 bytes, zeros if not known
//! if flagged, xattrs: length of all, then length and bytes of each name and value
//! if flagged, stamp: inode number, nanoseconds from the base time of the index to ctime
//! directory: length of its contents, 8 bytes, and these: first all that are no directories, then all that are
//! ```
//!
//! Numbers are LEB128, signed ones zigzag. Both groups of a directory are sorted by name, which is the order of the
//! manifest. A directory says how long it is, so what lies below can be passed over, and an entry is read from its
//! slice alone: nothing is allocated. About 65 bytes a file.

use super::Attributes;
use crate::fs::xattr::Xattrs;
use crate::fs::{InodeId, InodeKind, Stat};
use filetime::FileTime;

const KIND: u8 = 0b0111;
const HAS_XATTRS: u8 = 0b1000;
const HAS_STAMP: u8 = 0b1_0000;

/// The kinds by their number in the first byte.
const KINDS: [InodeKind; 7] = [
    InodeKind::File,
    InodeKind::Directory,
    InodeKind::Symlink,
    InodeKind::CharDevice,
    InodeKind::BlockDevice,
    InodeKind::Fifo,
    InodeKind::Socket,
];

/// Bytes of a directory's length.
const LENGTH_SIZE: usize = 8;

/// What only an inode that nobody has touched since still has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) ino: u64,
    /// Nanoseconds since 1970.
    pub(super) ctime: i64,
}

impl Stamp {
    /// The stamp of an inode on a device; `None` if it lies elsewhere, or in a time that no clock shows.
    pub(super) fn new(id: InodeId, ctime: FileTime, device: u64) -> Option<Self> {
        let ctime = nanoseconds(ctime).filter(|_| id.dev == device)?;
        Some(Self { ino: id.ino, ctime })
    }
}

/// Nanoseconds since 1970, where they fit: until 2262.
pub(super) fn nanoseconds(time: FileTime) -> Option<i64> {
    time.unix_seconds()
        .checked_mul(1_000_000_000)?
        .checked_add(time.nanoseconds().into())
}

/// An entry, read. Its names and values lie in the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) kind: InodeKind,
    pub(super) name: &'a [u8],
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    nlink: u64,
    mtime: FileTime,
    rdev: (u32, u32),
    pub(super) link: &'a [u8],
    pub(super) sha256: Option<[u8; 32]>,
    xattrs: Option<&'a [u8]>,
    stamp: Option<Stamp>,
    contents: &'a [u8],
    base: i64,
}

impl<'a> Node<'a> {
    /// What is in a directory: first what is none, then the directories, each sorted by name.
    pub(super) fn children(self) -> Nodes<'a> {
        Nodes::new(self.contents, self.base)
    }

    /// Whether the inode is the one that was recorded and nobody has touched it since, on condition that its clock had
    /// left the tick of `ctime` when the index was made: `before` is that time, less the granularity.
    pub(super) fn is_proven(&self, stat: &Stat, device: u64, before: i64) -> bool {
        let now = Stamp::new(stat.id, stat.ctime, device);
        self.stamp.is_some_and(|stamp| stamp.ctime < before)
            && self.stamp == now
            && self.mtime == stat.mtime
            && self.says(stat)
    }

    /// Whether what the manifest says beside content, link and xattrs holds, and the device number too.
    pub(super) fn says(&self, stat: &Stat) -> bool {
        self.kind == stat.kind
            && self.size == stat.size
            && self.mode == stat.mode
            && (self.uid, self.gid) == (stat.uid, stat.gid)
            && self.nlink == stat.nlink
            && self.mtime.unix_seconds() == stat.mtime.unix_seconds()
            && (!is_device(self.kind) || self.rdev == stat.rdev)
    }

    /// The extended attributes.
    pub(super) fn xattrs(&self) -> Xattrs {
        let Some(bytes) = self.xattrs else {
            return Vec::new();
        };
        let mut input = Input(bytes);
        let pairs = std::iter::from_fn(|| {
            let (name, value) = (input.bytes()?, input.bytes()?);
            Some((name.to_vec(), value.to_vec()))
        });
        pairs.collect()
    }

    /// What the manifest says of it. The xattrs come from [`xattrs`](Self::xattrs).
    pub(super) fn attributes<'b>(&'b self, xattrs: &'b Xattrs) -> Attributes<'b> {
        Attributes {
            kind: self.kind,
            size: self.size,
            uid: self.uid,
            gid: self.gid,
            mode: self.mode,
            nlink: self.nlink,
            mtime: self.mtime,
            link: self.link,
            sha256: self.sha256,
            xattrs,
            other: Vec::new(),
        }
    }
}

fn is_device(kind: InodeKind) -> bool {
    matches!(kind, InodeKind::CharDevice | InodeKind::BlockDevice)
}

/// Entries one after the other. What is malformed ends them.
#[derive(Clone, Debug)]
pub(super) struct Nodes<'a> {
    input: Input<'a>,
    base: i64,
}

impl<'a> Nodes<'a> {
    pub(super) fn new(bytes: &'a [u8], base: i64) -> Self {
        let input = Input(bytes);
        Self { input, base }
    }

    /// Whether all entries were read: if not, what remains is malformed.
    pub(super) fn is_through(&self) -> bool {
        self.input.0.is_empty()
    }
}

impl<'a> Iterator for Nodes<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        let mut input = self.input.clone();
        let node = input.node(self.base)?;
        self.input = input;
        Some(node)
    }
}

/// Reads from the front of a slice; `None` if it is too short or makes no sense.
#[derive(Clone, Debug)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn node(&mut self, base: i64) -> Option<Node<'a>> {
        let first = *self.take(1)?.first()?;
        let kind = *KINDS.get(usize::from(first & KIND))?;
        let mut node = Node {
            kind,
            name: self.bytes()?,
            mode: self.small()?,
            uid: self.small()?,
            gid: self.small()?,
            size: self.number()?,
            nlink: self.number()?,
            mtime: FileTime::from_unix_time(self.signed()?, self.small()?),
            rdev: (0, 0),
            link: &[],
            sha256: None,
            xattrs: None,
            stamp: None,
            contents: &[],
            base,
        };
        if is_device(kind) {
            node.rdev = (self.small()?, self.small()?);
        } else if kind == InodeKind::Symlink {
            node.link = self.bytes()?;
        } else if kind == InodeKind::File {
            let sha256 = self.take(32)?.try_into().ok()?;
            node.sha256 = Some(sha256).filter(|sha256| *sha256 != [0; 32]);
        }
        if first & HAS_XATTRS != 0 {
            node.xattrs = Some(self.bytes()?);
        }
        if first & HAS_STAMP != 0 {
            let ino = self.number()?;
            let ctime = base.checked_add(self.signed()?)?;
            node.stamp = Some(Stamp { ino, ctime });
        }
        if kind == InodeKind::Directory {
            let length = u64::from_le_bytes(self.take(LENGTH_SIZE)?.try_into().ok()?);
            node.contents = self.take(usize::try_from(length).ok()?)?;
        }
        Some(node)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for (place, byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                self.0 = &self.0[place + 1..];
                return Some(value);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
}

/// Appends an entry, without the contents of a directory; its length is set by [`end_directory`].
/// Returns where the entry's SHA-256, or the length of a directory, begins.
pub(super) fn append(
    out: &mut Vec<u8>,
    name: &[u8],
    attributes: &Attributes<'_>,
    stamp: Option<Stamp>,
    rdev: (u32, u32),
    base: i64,
) -> usize {
    let kind = attributes.kind;
    let place = KINDS.iter().position(|known| *known == kind);
    let first = out.len();
    // There are seven kinds, and the table has them all.
    out.push(
        place
            .and_then(|place| u8::try_from(place).ok())
            .unwrap_or(KIND),
    );
    put_bytes(out, name);
    put_number(out, attributes.mode.into());
    put_number(out, attributes.uid.into());
    put_number(out, attributes.gid.into());
    put_number(out, attributes.size);
    put_number(out, attributes.nlink);
    put_signed(out, attributes.mtime.unix_seconds());
    put_number(out, attributes.mtime.nanoseconds().into());
    let mut place = out.len();
    if is_device(kind) {
        put_number(out, rdev.0.into());
        put_number(out, rdev.1.into());
    } else if kind == InodeKind::Symlink {
        put_bytes(out, attributes.link);
    } else if kind == InodeKind::File {
        out.extend_from_slice(&attributes.sha256.unwrap_or([0; 32]));
    }
    if !attributes.xattrs.is_empty() {
        out[first] |= HAS_XATTRS;
        let mut list = Vec::new();
        for (name, value) in attributes.xattrs {
            put_bytes(&mut list, name);
            put_bytes(&mut list, value);
        }
        put_bytes(out, &list);
    }
    if let Some(stamp) = stamp
        && let Some(since) = stamp.ctime.checked_sub(base)
    {
        out[first] |= HAS_STAMP;
        put_number(out, stamp.ino);
        put_signed(out, since);
    }
    if kind == InodeKind::Directory {
        place = out.len();
        out.extend_from_slice(&[0; LENGTH_SIZE]);
    }
    place
}

/// Ends a directory whose length begins at `place`: all that was appended since is its contents.
pub(super) fn end_directory(out: &mut [u8], place: usize) {
    let start = place + LENGTH_SIZE;
    let length = (out.len() - start) as u64;
    out[place..start].copy_from_slice(&length.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_number(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}
