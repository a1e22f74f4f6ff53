//! The maps of sparse files, which say where in a file the stored bytes belong.
//!
//! There are four notations (GNU tar manual, "Storing Sparse Files"):
//!
//! | | map | real size | stored size |
//! |---|---|---|---|
//! | old GNU | in the header block (4 pieces) and in blocks of 21 pieces after it | header block | header's size |
//! | PAX 0.0 | records `GNU.sparse.offset` and `.numbytes`, repeated | `.size` | header's size |
//! | PAX 0.1 | record `GNU.sparse.map` | `.size` | header's size |
//! | PAX 1.0 | decimal text before the content, padded to blocks | `.realsize` | header's size less the text |
//!
//! Whatever the notation, the pieces must ascend, must not overlap or pass the real size, and must add up to exactly
//! the stored size: on a map that does not fit, readers differ.

use super::header::{BLOCK, invalid, size as size_field};
use super::limits::Limits;
use super::pax_value::{name, size};
use crate::{Error, ErrorKind, Result};

/// A piece of a sparse file: offset and length in bytes.
pub(super) type Piece = (u64, u64);

/// A checked map. The buffer is reused from file to file.
#[derive(Debug, Default)]
pub(super) struct SparseMap {
    pieces: Vec<Piece>,
    count: usize,
    end: u64,
    sum: u64,
}

impl SparseMap {
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        (self.count, self.end, self.sum) = (0, 0, 0);
    }

    /// The pieces that have content; neighbours without a hole between them are one.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Adds a piece. Empty ones are legal (GNU tar marks the end of a file that ends in a hole with one).
    pub(super) fn push(&mut self, offset: u64, length: u64, limits: &Limits) -> Result<()> {
        check_count(self.count as u64 + 1, limits)?;
        let end = offset
            .checked_add(length)
            .filter(|&end| i64::try_from(end).is_ok());
        let Some(end) = end else {
            return Err(invalid(format!(
                "the sparse piece at {offset} is too long: {length} bytes"
            )));
        };
        if offset < self.end {
            let message = format!(
                "the sparse piece at {offset} begins before the end of the last one, {}",
                self.end
            );
            return Err(invalid(message));
        }
        match self.pieces.last_mut() {
            _ if length == 0 => {}
            Some(last) if offset == last.0 + last.1 => last.1 += length,
            _ => self.pieces.push((offset, length)),
        }
        self.count += 1;
        self.end = end;
        // No overflow: pieces do not overlap and end below 2^63.
        self.sum += length;
        Ok(())
    }

    /// Checks the whole: the pieces lie within the file and are all that is stored.
    pub(super) fn check(&self, real_size: u64, stored_size: u64) -> Result<()> {
        if self.end > real_size {
            let message = format!(
                "the sparse map ends at {}, behind the end of the file, {real_size}",
                self.end
            );
            return Err(invalid(message));
        }
        if self.sum != stored_size {
            let message = format!(
                "the sparse map has {} bytes of content, the archive {stored_size}",
                self.sum
            );
            return Err(invalid(message));
        }
        Ok(())
    }

    /// Whether a file of this size has holes.
    pub(super) fn has_holes(&self, real_size: u64) -> bool {
        self.sum < real_size
    }

    /// Adds the pieces of the old GNU notation, up to the first unused place.
    fn push_gnu(&mut self, pieces: &[tar::GnuSparseHeader], limits: &Limits) -> Result<()> {
        for piece in pieces {
            match (piece.offset[0], piece.numbytes[0]) {
                (0, 0) => break,
                // GNU tar looks at one of the two fields, Go at the other.
                (0, _) | (_, 0) => return Err(invalid("half a piece in a sparse map".to_owned())),
                _ => {}
            }
            let offset = size_field("offset of a sparse piece", &piece.offset)?;
            let length = size_field("length of a sparse piece", &piece.numbytes)?;
            self.push(offset, length, limits)?;
        }
        Ok(())
    }

    /// Takes the map of a GNU header block: the real size, and whether an extension block follows.
    pub(super) fn read_gnu(
        &mut self,
        header: &tar::GnuHeader,
        limits: &Limits,
    ) -> Result<(u64, bool)> {
        self.push_gnu(&header.sparse, limits)?;
        let real_size = size_field("real size", &header.realsize)?;
        Ok((real_size, header.isextended[0] != 0))
    }

    /// Takes an extension block; whether another one follows.
    pub(super) fn read_gnu_extension(
        &mut self,
        block: &[u8; BLOCK],
        limits: &Limits,
    ) -> Result<bool> {
        let mut extension = tar::GnuExtSparseHeader::new();
        extension.as_mut_bytes().copy_from_slice(block);
        self.push_gnu(&extension.sparse, limits)?;
        Ok(extension.isextended[0] != 0)
    }
}

fn check_count(count: u64, limits: &Limits) -> Result<()> {
    if count > limits.sparse_count as u64 {
        let message = format!(
            "a sparse map of {count} pieces or more: the limit is {}",
            limits.sparse_count
        );
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    Ok(())
}

/// The records `GNU.sparse.*` before one entry.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    version: (Option<u64>, Option<u64>),
    /// The real name; the header's is a made-up one.
    pub(super) name: Option<Vec<u8>>,
    real_size: Option<u64>,
    count: Option<u64>,
    /// The map of 0.0 and 0.1.
    map: Option<Vec<Piece>>,
    /// An offset (0.0) whose length has not come yet.
    offset: Option<u64>,
}

/// Where the map of a sparse file is.
#[derive(Debug)]
pub(super) enum Notation {
    /// In the records (PAX 0.0 and 0.1).
    Records(Vec<Piece>),
    /// Before the content (PAX 1.0).
    Text,
}

impl SparseRecords {
    /// Takes a record; `key` is without its `GNU.sparse.`.
    pub(super) fn read(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<()> {
        match key {
            b"major" => self.version.0 = Some(size("GNU.sparse.major", value)?),
            b"minor" => self.version.1 = Some(size("GNU.sparse.minor", value)?),
            b"name" => self.name = name("GNU.sparse.name", value)?,
            b"size" | b"realsize" => self.real_size = Some(size("GNU.sparse.size", value)?),
            b"numblocks" => self.count = Some(size("GNU.sparse.numblocks", value)?),
            b"offset" => {
                let before = self.offset.replace(size("GNU.sparse.offset", value)?);
                if before.is_some() {
                    return Err(invalid("a GNU.sparse.offset without a length".to_owned()));
                }
            }
            b"numbytes" => {
                let Some(offset) = self.offset.take() else {
                    return Err(invalid(
                        "a GNU.sparse.numbytes without an offset".to_owned(),
                    ));
                };
                let map = self.map.get_or_insert_default();
                check_count(map.len() as u64 + 1, limits)?;
                map.push((offset, size("GNU.sparse.numbytes", value)?));
            }
            b"map" => self.map = Some(read_map(value, limits)?),
            _ => {}
        }
        Ok(())
    }

    /// The real size and the place of the map, `None` when no record speaks of a sparse file.
    pub(super) fn notation(self) -> Result<Option<(u64, Notation)>> {
        if self.offset.is_some() {
            return Err(invalid("a GNU.sparse.offset without a length".to_owned()));
        }
        let notation = match (self.version, self.map) {
            ((None, None), None) if self.real_size.is_none() && self.count.is_none() => {
                return Ok(None);
            }
            ((None, None) | (Some(0), Some(0 | 1)), Some(map)) => {
                if self.count.is_some_and(|count| count != map.len() as u64) {
                    return Err(invalid(
                        "a sparse map without GNU.sparse.numblocks pieces".to_owned(),
                    ));
                }
                Notation::Records(map)
            }
            // A file that is one hole may have no piece at all.
            ((None, None) | (Some(0), Some(0 | 1)), None) if self.count == Some(0) => {
                Notation::Records(Vec::new())
            }
            ((Some(1), Some(0)), None) => Notation::Text,
            ((None, None) | (Some(0), Some(0 | 1)), None) => {
                return Err(invalid(
                    "records of a sparse file without its map".to_owned(),
                ));
            }
            ((Some(1), Some(0)), Some(_)) => {
                return Err(invalid("records of a sparse file with two maps".to_owned()));
            }
            ((major, minor), _) => {
                let part = |part: Option<u64>| part.map_or("?".to_owned(), |part| part.to_string());
                let message = format!("unknown sparse format {}.{}", part(major), part(minor));
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        };
        match self.real_size {
            Some(real_size) => Ok(Some((real_size, notation))),
            None => Err(invalid(
                "records of a sparse file without its size".to_owned(),
            )),
        }
    }
}

/// Reads the map of PAX 0.1: `offset,length,offset,length...`.
fn read_map(value: &[u8], limits: &Limits) -> Result<Vec<Piece>> {
    let mut map = Vec::new();
    if value.is_empty() {
        return Ok(map);
    }
    let mut numbers = value.split(|&byte| byte == b',');
    while let Some(offset) = numbers.next() {
        let Some(length) = numbers.next() else {
            return Err(invalid(
                "an odd count of numbers in GNU.sparse.map".to_owned(),
            ));
        };
        check_count(map.len() as u64 + 1, limits)?;
        map.push((
            size("GNU.sparse.map", offset)?,
            size("GNU.sparse.map", length)?,
        ));
    }
    Ok(map)
}

/// Reads the map of PAX 1.0: decimal lines, first the count of pieces, then offset and length of each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MapText {
    /// Pieces still to come, once the count is known.
    left: Option<u64>,
    offset: Option<u64>,
    /// The current line; 19 digits hold every size.
    line: [u8; 19],
    length: usize,
}

impl MapText {
    /// Takes a block; whether the map is complete. What is left of the block then is padding.
    pub(super) fn read(
        &mut self,
        block: &[u8],
        map: &mut SparseMap,
        limits: &Limits,
    ) -> Result<bool> {
        for &byte in block {
            if byte != b'\n' {
                let Some(place) = self.line.get_mut(self.length) else {
                    return Err(invalid("a number of a sparse map is too long".to_owned()));
                };
                *place = byte;
                self.length += 1;
                continue;
            }
            let number = size("sparse map", &self.line[..self.length])?;
            self.length = 0;
            match (self.left, self.offset.take()) {
                (None, _) => {
                    check_count(number, limits)?;
                    self.left = Some(number);
                }
                (Some(_), None) => self.offset = Some(number),
                (Some(left), Some(offset)) => {
                    map.push(offset, number, limits)?;
                    self.left = Some(left - 1);
                }
            }
            if self.left == Some(0) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
