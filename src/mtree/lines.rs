//! The logical lines of a manifest: read bounded, line ends removed, continued lines joined.

use crate::{Error, ErrorKind, Result, ResultExt};
use std::io::{BufRead, BufReader, Read};

/// Longest line, in bytes without its end; gomtree's limit.
pub(super) const MAX_LINE: usize = 64 * 1024;
/// Longest entry, in bytes, after its lines are joined. An inode's xattrs must fit, at 64 KiB a value.
pub(super) const MAX_ENTRY: usize = 16 * 1024 * 1024;
const BUFFER_SIZE: usize = 64 * 1024;

/// Logical lines: continued ones joined, line ends removed.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    number: u64,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(BUFFER_SIZE, reader),
            line: Vec::new(),
            number: 0,
        }
    }

    /// The logical line that was read last.
    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    /// How many lines were read, counting the joined ones.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Reads the next logical line; false at the end.
    pub(super) fn next(&mut self) -> Result<bool> {
        self.line.clear();
        loop {
            let start = self.line.len();
            let limit = MAX_LINE as u64 + 1;
            let read = (&mut self.reader)
                .take(limit)
                .read_until(b'\n', &mut self.line)
                .context(|| "read")?;
            if read == 0 {
                return Ok(start > 0);
            }
            self.number += 1;
            if self.line.ends_with(b"\n") {
                self.line.pop();
            } else if read > MAX_LINE {
                return Err(limit_exceeded("longer", MAX_LINE));
            }
            // Of this line only: what was joined before may end with one too.
            if self.line[start..].ends_with(b"\r") {
                self.line.pop();
            }
            let line = &self.line[start..];
            let is_comment = start == 0 && line.trim_ascii_start().starts_with(b"#");
            // An even number of backslashes are encoded ones.
            let backslashes = line.iter().rev().take_while(|b| **b == b'\\').count();
            if is_comment || backslashes % 2 == 0 {
                return Ok(true);
            }
            self.line.pop();
            if self.line.len() > MAX_ENTRY {
                return Err(limit_exceeded("entry longer", MAX_ENTRY));
            }
        }
    }
}

/// The error for what is larger than a limit.
pub(super) fn limit_exceeded(what: &str, limit: usize) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        format!("{what} than {limit} bytes"),
    )
}
