//! What the parser finds: entries, pieces of their content, their ends.

use filetime::FileTime;
use std::ops::Range;

/// One entry with everything folded in: PAX records, GNU long names, the sparse map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, as the archive writes it: any bytes but NUL, perhaps absolute, with `.` and `..`, or empty.
    pub path: Vec<u8>,
    /// What the entry makes.
    pub kind: EntryKind,
    /// The 12 permission bits.
    pub mode: u32,
    /// The owner, never `u32::MAX` (which `chown` takes for "do not change").
    pub uid: u32,
    /// The group, never `u32::MAX`.
    pub gid: u32,
    /// Bytes of content, holes included; 0 for all but regular files.
    pub size: u64,
    /// Modification time, perhaps before 1970.
    pub mtime: FileTime,
    /// Access time, where the archive has one.
    pub atime: Option<FileTime>,
    /// Target of a symlink (any text) or a hard link (a path in the archive), without NUL; else empty.
    pub link: Vec<u8>,
    /// Major (12 bits) and minor (20 bits) number of a device; else zeros.
    pub device: (u32, u32),
    /// Extended attributes (`SCHILY.xattr.*`) in order of appearance; each name once, the last value wins.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of a regular file with holes, which read as zeros: where there is content between them, offset and length in bytes,
    /// ascending, each with content. It is all that the data events bring.
    pub pieces: Option<Vec<(u64, u64)>>,
}

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file, sparse or not.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// One more name of something that the archive (or a layer below) has.
    HardLink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// What the parser finds in a chunk. Of each entry come first [`Event::Entry`], then its data in ascending order, then
/// [`Event::End`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An entry begins.
    Entry(Box<Entry>),
    /// A piece of the current file.
    Data {
        /// Place in the file, in bytes.
        offset: u64,
        /// The piece's place in the chunk that was fed; never empty.
        range: Range<usize>,
    },
    /// The current entry, of any kind, is complete.
    End,
}
