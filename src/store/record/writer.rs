//! Writing a record, entry by entry.

use std::io::{BufWriter, Write};

use sha2::{Digest, Sha256};

use super::entry::{Content, Entry};
use super::order::Order;
use super::wire::put_number;
use super::{MAGIC, MAX_ENTRY_SIZE};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::XattrNamespace;

/// Writes a record. Without [`finish`](Self::finish) it is none: readers refuse it.
#[derive(Debug)]
pub struct RecordWriter<W: Write> {
    out: BufWriter<W>,
    hasher: Sha256,
    order: Order,
    count: u64,
    /// The entry being written.
    body: Vec<u8>,
}

impl<W: Write> RecordWriter<W> {
    /// Begins a record of a layer whose marks are in this namespace.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn new(out: W, marks: XattrNamespace) -> Result<Self> {
        let mut writer = Self {
            out: BufWriter::new(out),
            hasher: Sha256::new(),
            order: Order::default(),
            count: 0,
            body: Vec::new(),
        };
        let marks = match marks {
            XattrNamespace::Trusted => 0,
            XattrNamespace::User => 1,
        };
        writer.put(MAGIC)?;
        writer.put(&[marks])?;
        Ok(writer)
    }

    /// Writes the next entry: the root first, a directory before what is in it, the names of a directory sorted.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for an entry out of order; [`ErrorKind::LimitExceeded`] for one above 16 MiB; those of
    /// the output. The record is then of no use.
    pub fn append(&mut self, entry: &Entry) -> Result<()> {
        let fail = |kind, why: &str| {
            let path = crate::fs::escape_name(&entry.path);
            Err(Error::new(kind, format!("record {path}: {why}")))
        };
        let is_dir = matches!(entry.content, Content::Directory { .. });
        match self.order.follow(entry.depth(), entry.name(), is_dir) {
            Ok(path) if path == entry.path => {}
            Ok(_) => return fail(ErrorKind::InvalidInput, "its directory was not recorded"),
            Err(why) => return fail(ErrorKind::InvalidInput, why),
        }
        self.body.clear();
        entry.append(&mut self.body);
        let size = self.body.len() as u64;
        if size > MAX_ENTRY_SIZE {
            let why = format!("{size} bytes are more than the limit of {MAX_ENTRY_SIZE}");
            return fail(ErrorKind::LimitExceeded, &why);
        }
        let mut length = Vec::with_capacity(4);
        put_number(&mut length, size);
        self.put(&length)?;
        let body = std::mem::take(&mut self.body);
        self.put(&body)?;
        self.body = body;
        self.count += 1;
        Ok(())
    }

    /// Ends the record.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is not even a root, and those of the output.
    pub fn finish(mut self) -> Result<()> {
        if self.count == 0 {
            let message = "record layer: there is no root";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        self.put(&[0])?;
        let count = self.count.to_le_bytes();
        self.put(&count)?;
        let checksum = self.hasher.finalize_reset();
        self.put(&checksum)?;
        self.out.flush().context(|| "write layer record")
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes).context(|| "write layer record")
    }
}
