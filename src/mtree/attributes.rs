//! What is recorded of one inode, and its `key=value` words.
//!
//! The words of an inode have one form everywhere: a blank before each, no blank inside. [`Writer`](super::Writer)
//! puts them on a line, the comparison reads them beside those of a manifest.

use super::{Keyword, vis};
use crate::fs::InodeKind;
use crate::fs::content_hash::is_of_blocks;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use filetime::FileTime;
use std::fmt::Arguments;
use std::io::Write as _;

/// What is recorded of one inode.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    /// The type.
    pub kind: InodeKind,
    /// `st_size` in bytes, as the kernel gives it for this type.
    pub size: u64,
    /// Owner, as on disk.
    pub uid: u32,
    /// Group, as on disk.
    pub gid: u32,
    /// Permission bits with setuid, setgid and sticky: twelve bits.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u64,
    /// Modification time.
    pub mtime: FileTime,
    /// Target of a symbolic link, raw bytes; ignored for other types.
    pub link: &'a [u8],
    /// SHA-256 of the content; ignored for anything but regular files.
    pub sha256: Option<[u8; 32]>,
    /// Extended attributes in the order in which they are to be written (sorted by name, to be deterministic);
    /// ignored for anything but regular files and directories.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
    /// Values that do not come from the inode itself: digests other than SHA-256 in hex or decimal, and the names of
    /// owner and group.
    pub other: Vec<(Keyword, String)>,
}

impl Attributes<'_> {
    /// Appends the words of a keyword to `out`, each with a blank before it: one, or as many as there are xattrs, or
    /// none where the keyword says nothing about this inode.
    pub(super) fn append(&self, keyword: Keyword, out: &mut Vec<u8>) {
        if keyword == Keyword::Xattr {
            self.append_xattrs(out);
            return;
        }
        let start = out.len();
        push(out, format_args!(" {keyword}="));
        if !self.append_value(keyword, out) {
            out.truncate(start);
        }
    }

    fn append_value(&self, keyword: Keyword, out: &mut Vec<u8>) -> bool {
        match keyword {
            Keyword::Type => out.extend_from_slice(type_name(self.kind).as_bytes()),
            Keyword::Size => push(out, format_args!("{}", self.size)),
            Keyword::Uid => push(out, format_args!("{}", self.uid)),
            Keyword::Gid => push(out, format_args!("{}", self.gid)),
            Keyword::Nlink => push(out, format_args!("{}", self.nlink)),
            Keyword::Mode => push_mode(self.mode & 0o7777, out),
            // No inode of Linux has flags of BSD, and BSD writes that as `none`.
            Keyword::Flags => out.extend_from_slice(b"none"),
            Keyword::Time => {
                let (seconds, nanoseconds) = (self.mtime.unix_seconds(), self.mtime.nanoseconds());
                push(out, format_args!("{seconds}.{nanoseconds:09}"));
            }
            Keyword::TarTime => push(out, format_args!("{}.000000000", self.mtime.unix_seconds())),
            Keyword::Link if self.kind == InodeKind::Symlink => vis::encode_into(self.link, out),
            Keyword::Sha256 if self.kind == InodeKind::File => {
                match &self.sha256.filter(|digest| !is_of_blocks(digest)) {
                    Some(digest) => out.extend_from_slice(hex::encode(digest).as_bytes()),
                    None => return false,
                }
            }
            Keyword::Link | Keyword::Sha256 => return false,
            _ if keyword.is_digest() && self.kind != InodeKind::File => return false,
            _ => match self.other.iter().find(|(known, _)| *known == keyword) {
                Some((_, value)) => vis::encode_into(value.as_bytes(), out),
                None => return false,
            },
        }
        true
    }

    fn append_xattrs(&self, out: &mut Vec<u8>) {
        if !matches!(self.kind, InodeKind::File | InodeKind::Directory) {
            return;
        }
        for (name, value) in self.xattrs {
            out.extend_from_slice(b" xattr.");
            vis::encode_into(name, out);
            // A `=` in the name is left as it is, as umoci does: the comparison knows.
            push(out, format_args!("={}", STANDARD.encode(value)));
        }
    }
}

fn type_name(kind: InodeKind) -> &'static str {
    match kind {
        InodeKind::File => "file",
        InodeKind::Directory => "dir",
        InodeKind::Symlink => "link",
        InodeKind::CharDevice => "char",
        InodeKind::BlockDevice => "block",
        InodeKind::Fifo => "fifo",
        InodeKind::Socket => "socket",
    }
}

/// Octal with one leading zero; zero itself is a single digit.
fn push_mode(mode: u32, out: &mut Vec<u8>) {
    if mode == 0 {
        out.push(b'0');
    } else {
        push(out, format_args!("0{mode:o}"));
    }
}

/// Formats at the end of a vector, which cannot fail.
pub(super) fn push(out: &mut Vec<u8>, text: Arguments<'_>) {
    let _ = out.write_fmt(text);
}
