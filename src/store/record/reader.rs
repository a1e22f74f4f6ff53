//! Reading a record, entry by entry.

use std::io::{BufReader, ErrorKind as IoErrorKind, Read};
use std::ops::ControlFlow;

use sha2::{Digest, Sha256};

use super::entry::{Content, Entry, parse};
use super::order::Order;
use super::wire::Number;
use super::{MAGIC, MAX_ENTRY_SIZE};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::XattrNamespace;

/// Reads a record. What was read counts only when [`next`](Self::next) has told the end: only then is it known that
/// nothing is damaged.
#[derive(Debug)]
pub struct RecordReader<R> {
    input: BufReader<R>,
    hasher: Sha256,
    order: Order,
    marks: XattrNamespace,
    count: u64,
    is_through: bool,
    /// The entry being read.
    body: Vec<u8>,
}

impl<R: Read> RecordReader<R> {
    /// Begins to read a record.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] if it is none; [`ErrorKind::Unsupported`] if it is of another version; those of the
    /// input.
    pub fn new(input: R) -> Result<Self> {
        let mut reader = Self {
            input: BufReader::new(input),
            hasher: Sha256::new(),
            order: Order::default(),
            marks: XattrNamespace::Trusted,
            count: 0,
            is_through: false,
            body: Vec::new(),
        };
        let magic: [u8; 8] = reader.take()?;
        if magic[..7] != MAGIC[..7] {
            return Err(damaged("it is none"));
        }
        if magic != *MAGIC {
            let message = format!("read layer record: version {} is not known", magic[7]);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        reader.marks = match reader.take()? {
            [0] => XattrNamespace::Trusted,
            [1] => XattrNamespace::User,
            _ => return Err(damaged("the namespace is none")),
        };
        Ok(reader)
    }

    /// The namespace that opaque directories are marked in.
    pub fn marks(&self) -> XattrNamespace {
        self.marks
    }

    /// Reads the next entry; `None` at the end, when all of it has been found to be sound.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] if the record is truncated, damaged or out of order, and those of the input.
    // An iterator would hand out what was read behind an error.
    #[expect(
        clippy::should_implement_trait,
        reason = "an error ends it, and is not an item"
    )]
    pub fn next(&mut self) -> Result<Option<Entry>> {
        if self.is_through {
            return Ok(None);
        }
        let size = self.number()?;
        if size == 0 {
            self.finish()?;
            return Ok(None);
        }
        if size > MAX_ENTRY_SIZE {
            return Err(damaged("an entry is too large"));
        }
        self.body.clear();
        // Grows with what is there, not with what is claimed.
        let read = (&mut self.input).take(size).read_to_end(&mut self.body);
        if read.context(|| "read layer record")? as u64 != size {
            return Err(damaged("it is truncated"));
        }
        self.hasher.update(&self.body);
        let parsed = parse(&self.body).ok_or_else(|| damaged("an entry is malformed"))?;
        let mut entry = parsed.entry;
        let is_dir = matches!(entry.content, Content::Directory { .. });
        let path = self
            .order
            .follow(parsed.depth, parsed.name, is_dir)
            .map_err(damaged)?;
        entry.path = path.to_vec();
        self.count += 1;
        Ok(Some(entry))
    }

    /// Makes sure that what was read is all, and what was written.
    fn finish(&mut self) -> Result<()> {
        let count = u64::from_le_bytes(self.take()?);
        let computed: [u8; 32] = self.hasher.finalize_reset().into();
        let checksum: [u8; 32] = self.take()?;
        if count != self.count || count == 0 || computed != checksum {
            return Err(damaged("the checksum is wrong"));
        }
        let mut rest = Vec::new();
        let read = (&mut self.input).take(1).read_to_end(&mut rest);
        if read.context(|| "read layer record")? > 0 {
            return Err(damaged("something follows it"));
        }
        self.is_through = true;
        Ok(())
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = Number::default();
        loop {
            let [byte] = self.take()?;
            if let ControlFlow::Break(value) = number.push(byte) {
                return value.ok_or_else(|| damaged("a length is none"));
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => {
                self.hasher.update(bytes);
                Ok(bytes)
            }
            Err(error) if error.kind() == IoErrorKind::UnexpectedEof => {
                Err(damaged("it is truncated"))
            }
            Err(error) => Err(error).context(|| "read layer record"),
        }
    }
}

fn damaged(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("read layer record: {why}"))
}
