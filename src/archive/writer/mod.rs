//! Writing tar: the bytes that umoci writes, which are those of Go's `archive/tar`.
//!
//! ```text
//! Entry -> does a ustar header hold it?  yes -> one header block
//!                                        no  -> PAX header block, records, main header block
//! data  -> passed through, padded to whole blocks
//! ```
//!
//! The digest of a layer depends on each byte here, so nothing is a matter of taste: `block.rs` lays out the header
//! blocks, `records.rs` decides what becomes a PAX record. What umoci does not write is a file with holes (`sparse.rs`).

mod block;
mod records;
mod sparse;
#[cfg(test)]
mod tests;

use super::header::show;
use super::{Entry, EntryKind};
use crate::{Error, ErrorKind, Result, ResultExt};
use block::Block;
use records::Records;
pub(crate) use sparse::{SMALLEST_HOLE, parts_between_holes};
use std::io::Write;

/// Bytes of a block, the unit of the format.
const BLOCK: usize = 512;

/// The longest map of a sparse file in bytes, padding included: Go's reader takes no longer one.
const MAX_SPARSE_MAP: usize = 1 << 20;

const ZEROS: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Writes a tar archive in the ustar format, with a PAX header before each entry that does not fit into it.
///
/// Names are written as they are given: a directory's with its trailing slash. The parser of this room reads back what
/// was written, with two exceptions: what [`Entry::pieces`] says is ignored ([`sparse_entry`](Self::sparse_entry) writes
/// holes), and a size counts for regular files only.
///
/// Nothing is allocated for an entry but what a few buffers, which are kept, may have to grow.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    records: Records,
    /// Bytes that the current file still lacks.
    missing: u64,
    /// Zeros that fill its last block.
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Begins an archive. Nothing is written yet.
    pub fn new(out: W) -> Self {
        Self {
            out,
            records: Records::default(),
            missing: 0,
            padding: 0,
        }
    }

    /// Begins an entry. For [`EntryKind::File`] exactly [`Entry::size`] bytes must follow through [`data`](Self::data).
    ///
    /// # Errors
    ///
    /// After an error the archive cannot be continued.
    ///
    /// - [`ErrorKind::InvalidInput`]: the entry cannot be written: an empty name, a name or link target with a NUL, a
    ///   name of a file that ends in a slash, an attribute whose name is empty or has a `=` or a NUL; or the file before
    ///   it is incomplete.
    /// - [`ErrorKind::LimitExceeded`]: names and attributes come to more than 1 MiB, which readers refuse.
    /// - The error of the writer below, wrapped.
    pub fn entry(&mut self, entry: &Entry) -> Result<()> {
        self.end_entry()?;
        check(entry).context(|| describe(entry))?;
        let split = block::split(&entry.path);
        let needs_pax = self
            .records
            .gather(entry, split.is_some())
            .context(|| describe(entry))?;
        if needs_pax {
            self.write_records(&entry.path)?;
        }
        let (prefix, name) = match split {
            Some(parts) if !needs_pax => parts,
            _ => (&b""[..], &entry.path[..]),
        };
        self.write(Block::of_entry(entry, prefix, name).as_bytes())?;
        self.missing = size(entry);
        self.padding = padding(self.missing);
        Ok(())
    }

    /// Begins a file with holes, in GNU's PAX format 1.0 (GNU tar manual, "PAX Format, Version 1.0"), which GNU tar, bsdtar,
    /// Python and Go's reader expand; old GNU's format, in the header, is refused by what reads layers. [`Entry::size`] is
    /// the size with the holes. Exactly the content of the pieces (offset and length, ascending, not empty, within the
    /// file) must follow through [`data`](Self::data).
    ///
    /// # Errors
    ///
    /// As [`entry`](Self::entry); [`ErrorKind::InvalidInput`] for an entry that is not a regular file, or pieces that do not fit it.
    pub fn sparse_entry(&mut self, entry: &Entry, pieces: &[(u64, u64)]) -> Result<()> {
        self.end_entry()?;
        let map = sparse::map(entry, pieces)
            .and_then(|map| check(entry).map(|()| map))
            .context(|| describe(entry))?;
        let content: u64 = pieces.iter().map(|(_, length)| length).sum();
        let stored = Entry {
            path: block::sparse_name(&entry.path),
            size: map.len() as u64 + content,
            ..entry.clone()
        };
        self.records
            .gather_sparse(&stored, &entry.path, entry.size)
            .context(|| describe(entry))?;
        self.write_records(&entry.path)?;
        self.write(Block::of_entry(&stored, b"", &stored.path).as_bytes())?;
        self.write(&map)?;
        self.missing = content;
        self.padding = padding(content);
        Ok(())
    }

    /// Writes content of the current file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`]: more than the entry has; nothing of it is written. Else as [`entry`](Self::entry).
    pub fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(missing) = self.missing.checked_sub(bytes.len() as u64) else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "write archive: more content than the entry's size says",
            ));
        };
        self.write(bytes)?;
        self.missing = missing;
        Ok(())
    }

    /// Ends the archive with two blocks of zeros and hands the writer below back.
    ///
    /// # Errors
    ///
    /// As [`entry`](Self::entry).
    pub fn finish(mut self) -> Result<W> {
        self.end_entry()?;
        self.write(&ZEROS)?;
        Ok(self.out)
    }

    /// Writes the records that have been gathered for an entry of this name.
    fn write_records(&mut self, path: &[u8]) -> Result<()> {
        let body = self.records.body();
        let padding = padding(body.len() as u64);
        let header = Block::of_records(path, body.len());
        write_all(&mut self.out, header.as_bytes())?;
        write_all(&mut self.out, body)?;
        self.write(&ZEROS[..padding])
    }

    fn end_entry(&mut self) -> Result<()> {
        if self.missing > 0 {
            let message = format!(
                "write archive: {} bytes of the last file are missing",
                self.missing
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let padding = std::mem::take(&mut self.padding);
        self.write(&ZEROS[..padding])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        write_all(&mut self.out, bytes)
    }
}

fn write_all(out: &mut impl Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).context(|| "write archive")
}

fn describe(entry: &Entry) -> String {
    format!("write entry {}", show(&entry.path))
}

/// The size of what follows the header.
fn size(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::File => entry.size,
        _ => 0,
    }
}

fn padding(size: u64) -> usize {
    // Less than a block always fits.
    usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or_default()
}

/// Refuses what no reader could make sense of.
fn check(entry: &Entry) -> Result<()> {
    let why = if entry.path.is_empty() {
        "the name is empty"
    } else if entry.path.contains(&0) {
        "the name has a NUL"
    } else if entry.link.contains(&0) {
        "the link target has a NUL"
    } else if entry.path.ends_with(b"/") && has_file_name(entry.kind) {
        "the name ends in a slash but is not that of a directory"
    } else if size(entry) > i64::MAX as u64 {
        "the size does not fit"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidInput, why))
}

/// Links may go to directories, and then writers disagree.
fn has_file_name(kind: EntryKind) -> bool {
    !matches!(
        kind,
        EntryKind::Directory | EntryKind::Symlink | EntryKind::HardLink
    )
}
