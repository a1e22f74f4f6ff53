//! The map of a file with holes, in decimal lines before its content.

use std::fmt::Write as _;

use super::{BLOCK, MAX_SPARSE_MAP};
use crate::archive::{Entry, EntryKind};
use crate::{Error, ErrorKind, Result};

/// The map of a file: the number of pieces, then offset and length of each, padded to whole blocks. Where the file ends in
/// a hole, a piece without content says so, as GNU tar has it. All pieces but the last are whole blocks: GNU tar 1.34 looks
/// for the next one at the next block.
pub(super) fn map(entry: &Entry, pieces: &[(u64, u64)]) -> Result<Vec<u8>> {
    let fail = |why| Err(Error::new(ErrorKind::InvalidInput, why));
    if entry.kind != EntryKind::File {
        return fail("only a regular file can be sparse");
    }
    let mut end = 0;
    for &(offset, length) in pieces {
        if length == 0 || offset < end {
            return fail("the pieces of a sparse file are empty or not in order");
        }
        if offset % BLOCK as u64 != 0 || end % BLOCK as u64 != 0 {
            return fail("the pieces of a sparse file are not whole blocks");
        }
        end = offset.saturating_add(length);
    }
    if end > entry.size {
        return fail("the pieces of a sparse file do not fit it");
    }
    let last = (end < entry.size).then_some((entry.size, 0));
    let count = pieces.len() + usize::from(last.is_some());
    let mut text = format!("{count}\n");
    for (offset, length) in pieces.iter().copied().chain(last) {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{offset}\n{length}");
    }
    let mut map = text.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    if map.len() > MAX_SPARSE_MAP {
        let message = "the map of a sparse file is longer than readers take";
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    Ok(map)
}

/// The parts of a file that are written: what is between holes of at least this size, all of it if there are none; in whole
/// blocks, but where the file ends. Of a file with so many holes that readers would not take the map, the larger ones count.
pub(crate) fn parts_between_holes(
    pieces: &[(u64, u64)],
    size: u64,
    mut hole_size: u64,
) -> Vec<(u64, u64)> {
    loop {
        let mut parts: Vec<(u64, u64)> = Vec::new();
        for &(offset, length) in pieces.iter().chain(&[(size, 0)]) {
            let end = (offset + length).next_multiple_of(BLOCK as u64).min(size);
            let begin = if length == 0 {
                offset
            } else {
                offset - offset % BLOCK as u64
            };
            let before = parts.last().map_or(0, |(offset, length)| offset + length);
            if begin > before && begin - before >= hole_size {
                parts.push((begin, end - begin));
            } else if let Some(last) = parts.last_mut() {
                last.1 = end - last.0;
            } else {
                parts.push((0, end));
            }
        }
        parts.retain(|(_, length)| *length > 0);
        if parts.len() <= MAX_PARTS {
            return parts;
        }
        hole_size = (hole_size * 2).max(SMALLEST_HOLE);
    }
}

/// Bytes of the smallest hole that is one in an archive. Files with smaller ones are written as umoci writes them.
pub(crate) const SMALLEST_HOLE: u64 = 1 << 20;

/// How many parts a sparse file has at most: two numbers of up to 20 bytes each keep the map within what readers take.
const MAX_PARTS: usize = 25_000;
