//! One header block of 512 bytes: its checksum, its dialect, its type, its fields.
//!
//! The layout comes from the `tar` crate's `Header`; the reading of the fields is ours. Everything is lazy: a
//! field is looked at when it means something, so garbage in the size of a directory or in the device number of a file
//! hurts nobody, and neither does an overridden field.

use super::entry::EntryKind;
use super::numeric;
use crate::{Error, ErrorKind, Result};
use filetime::FileTime;
use std::ops::Range;

/// Bytes of a block, the unit of the format.
pub(super) const BLOCK: usize = 512;

// What comes after the old fields differs by dialect, and `tar::UstarHeader` insists on version "00", where readers
// don't.
const MAGIC: Range<usize> = 257..263;
const DEVICE_MAJOR: Range<usize> = 329..337;
const DEVICE_MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
/// star keeps times behind a shorter prefix, and says so at the end of the block.
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_MARK: Range<usize> = 508..512;

/// Linux has 12 bits for a major and 20 bits for a minor number: what is longer would become another device.
const MAJOR_MAX: u32 = (1 << 12) - 1;
const MINOR_MAX: u32 = (1 << 20) - 1;

/// What a type flag announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    /// An entry; only a file has a body.
    Entry(EntryKind),
    /// A file with an old GNU sparse map (`S`).
    SparseFile,
    /// A directory of a GNU incremental backup (`D`), whose body lists its content.
    DumpDirectory,
    /// The body is the next entry's name (`L`).
    LongName,
    /// The body is the next entry's link target (`K`).
    LongLink,
    /// PAX records for the next entry (`x`, or `X` from Solaris).
    Extended,
    /// PAX records for all entries from here (`g`).
    Global,
    /// The label of a GNU volume (`V`): not a file.
    Label,
}

/// A header block whose checksum holds.
pub(super) struct Header<'a> {
    raw: &'a tar::Header,
}

impl<'a> Header<'a> {
    /// Takes a block of [`BLOCK`] bytes, `None` when it is all zeros.
    pub(super) fn parse(block: &'a [u8]) -> Result<Option<Self>> {
        if block[0] == 0 && block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let raw = tar::Header::from_byte_slice(block);
        let header = Self { raw };
        header.check_sum()?;
        Ok(Some(header))
    }

    fn check_sum(&self) -> Result<()> {
        let field = &self.raw.as_old().cksum;
        let stated = numeric::field(field);
        let sum = |value: fn(u8) -> i64| {
            let all: i64 = self.raw.as_bytes().iter().map(|&byte| value(byte)).sum();
            let own: i64 = field.iter().map(|&byte| value(byte)).sum();
            all - own + 8 * i64::from(b' ')
        };
        // Old writers summed signed characters.
        if stated == Some(sum(i64::from))
            || stated == Some(sum(|byte| i64::from(byte.cast_signed())))
        {
            return Ok(());
        }
        Err(invalid(
            "not a tar header: the checksum is wrong".to_owned(),
        ))
    }

    pub(super) fn flag(&self) -> Result<Flag> {
        Ok(match self.raw.as_old().linkflag[0] {
            // Contiguous files (7) are files on systems that have no such thing.
            b'0' | 0 | b'7' => Flag::Entry(EntryKind::File),
            b'1' => Flag::Entry(EntryKind::HardLink),
            b'2' => Flag::Entry(EntryKind::Symlink),
            b'3' => Flag::Entry(EntryKind::CharDevice),
            b'4' => Flag::Entry(EntryKind::BlockDevice),
            b'5' => Flag::Entry(EntryKind::Directory),
            b'6' => Flag::Entry(EntryKind::Fifo),
            b'S' => Flag::SparseFile,
            b'D' => Flag::DumpDirectory,
            b'L' => Flag::LongName,
            b'K' => Flag::LongLink,
            b'x' | b'X' => Flag::Extended,
            b'g' => Flag::Global,
            b'V' => Flag::Label,
            // Among them: pieces of files (M), renames (N), Solaris' access control lists (A) and attribute files
            // (E), inodes without content (I). To leave these out would be to lose something silently.
            other => {
                let name = self.raw.as_old();
                let message = format!(
                    "unknown type '{}' of entry {}",
                    other.escape_ascii(),
                    show(until_nul(&name.name))
                );
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        })
    }

    /// The name with the ustar prefix, which the GNU dialect does not have (it keeps times there).
    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.raw.as_old().name);
        let bytes = self.raw.as_bytes();
        let prefix = if bytes[MAGIC] != *b"ustar\0" {
            &[]
        } else if bytes[STAR_MARK] == *b"tar\0" {
            until_nul(&bytes[STAR_PREFIX])
        } else {
            until_nul(&bytes[PREFIX])
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        let mut path = Vec::with_capacity(prefix.len() + 1 + name.len());
        path.extend_from_slice(prefix);
        path.push(b'/');
        path.extend_from_slice(name);
        path
    }

    pub(super) fn link(&self) -> Vec<u8> {
        until_nul(&self.raw.as_old().linkname).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u32> {
        let mode = number("mode", &self.raw.as_old().mode)?;
        // File type bits are there in archives of some writers; the mask leaves 12 bits.
        Ok(u32::try_from(mode & 0o7777).unwrap_or_default())
    }

    pub(super) fn uid(&self) -> Result<u32> {
        owner("uid", number("uid", &self.raw.as_old().uid)?)
    }

    pub(super) fn gid(&self) -> Result<u32> {
        owner("gid", number("gid", &self.raw.as_old().gid)?)
    }

    pub(super) fn size(&self) -> Result<u64> {
        size("size", &self.raw.as_old().size)
    }

    pub(super) fn mtime(&self) -> Result<FileTime> {
        Ok(FileTime::from_unix_time(
            number("mtime", &self.raw.as_old().mtime)?,
            0,
        ))
    }

    /// The access time of GNU's backup mode; garbage there is no time.
    pub(super) fn atime(&self) -> Option<FileTime> {
        let field = &self.raw.as_gnu()?.atime;
        if field[0] == 0 {
            return None;
        }
        Some(FileTime::from_unix_time(numeric::field(field)?, 0))
    }

    pub(super) fn device(&self) -> Result<(u32, u32)> {
        let bytes = self.raw.as_bytes();
        if !bytes[MAGIC].starts_with(b"ustar") {
            return Ok((0, 0));
        }
        let part = |what: &str, range: Range<usize>, max: u32| {
            let value = number(what, &bytes[range])?;
            u32::try_from(value)
                .ok()
                .filter(|&value| value <= max)
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::Unsupported,
                        format!("the {what} {value} does not fit: Linux has at most {max}"),
                    )
                })
        };
        Ok((
            part("major device number", DEVICE_MAJOR, MAJOR_MAX)?,
            part("minor device number", DEVICE_MINOR, MINOR_MAX)?,
        ))
    }

    /// The header as GNU tar writes it, for a sparse file; nobody else has this type.
    pub(super) fn gnu(&self) -> Result<&'a tar::GnuHeader> {
        self.raw
            .as_gnu()
            .ok_or_else(|| invalid("a sparse file (type 'S') without the GNU magic".to_owned()))
    }
}

/// Reads a size field: zero to 2^63-1.
pub(super) fn size(what: &str, bytes: &[u8]) -> Result<u64> {
    let value = number(what, bytes)?;
    u64::try_from(value).map_err(|_| invalid(format!("the {what} {value} is negative")))
}

fn number(what: &str, bytes: &[u8]) -> Result<i64> {
    numeric::field(bytes).ok_or_else(|| {
        invalid(format!(
            "the {what} field \"{}\" is not a number, or is too large",
            bytes.escape_ascii()
        ))
    })
}

/// Checks an owner: an id that does not fit must not be cut to another one's.
pub(super) fn owner(what: &str, value: impl Into<i128>) -> Result<u32> {
    let value = value.into();
    match u32::try_from(value) {
        Ok(u32::MAX) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("the {what} {value} is not an id: it means \"do not change\""),
        )),
        Ok(id) => Ok(id),
        Err(_) if value < 0 => Err(invalid(format!("the {what} {value} is negative"))),
        Err(_) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("the {what} {value} does not fit into 32 bits"),
        )),
    }
}

/// The bytes before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    &bytes[..end]
}

pub(super) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidData, message)
}

/// A name for a message: quoted, printable, not endless.
pub(super) fn show(name: &[u8]) -> String {
    const SHOWN: usize = 200;
    if name.len() <= SHOWN {
        return format!("\"{}\"", name.escape_ascii());
    }
    format!("\"{}\"...", name[..SHOWN].escape_ascii())
}
