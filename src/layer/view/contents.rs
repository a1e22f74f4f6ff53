//! The second pass: one layer once more, for the content of chosen entries.

use std::io::Read;

use crate::archive::{EntryKind, Event, Limits, Parser};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::escape_name;
use crate::layer::frame::MAX_HOLES;

/// Bytes that are read at once.
const CHUNK_SIZE: usize = 128 << 10;

/// Takes the content of entries.
pub trait ContentSink {
    /// A regular file of this many bytes begins: the entry with this number, counted from 0 as in
    /// [`Content`](super::Content). Returns whether its content is wanted.
    ///
    /// # Errors
    ///
    /// Whatever must end the reading.
    fn begin(&mut self, entry: u64, size: u64) -> Result<bool>;

    /// The next bytes of a file that is wanted; holes come as zeros.
    ///
    /// # Errors
    ///
    /// Whatever must end the reading.
    fn data(&mut self, bytes: &[u8]) -> Result<()>;

    /// A file that is wanted is complete.
    ///
    /// # Errors
    ///
    /// Whatever must end the reading.
    fn end(&mut self) -> Result<()>;
}

/// Reads the uncompressed tar stream of a layer to its end and gives the files in it to a sink.
///
/// # Errors
///
/// Fails if the reader or the sink does, if the stream is no sound archive or exceeds a limit, and
/// ([`ErrorKind::LimitExceeded`]) if a wanted file has holes and more than 16 GiB.
pub fn copy_contents(
    mut reader: impl Read,
    limits: &Limits,
    sink: &mut dyn ContentSink,
) -> Result<()> {
    let mut parser = Parser::new(limits.clone());
    let mut copier = Copier {
        sink,
        entry_count: 0,
        file: None,
    };
    let mut buffer = vec![0; CHUNK_SIZE];
    let mut events = Vec::new();
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context(|| "read layer"),
        };
        let chunk = &buffer[..count];
        let parsed = parser.feed(chunk, &mut events);
        for event in events.drain(..) {
            copier.event(event, chunk)?;
        }
        parsed?;
    }
    parser.finish()
}

struct Copier<'s> {
    sink: &'s mut dyn ContentSink,
    entry_count: u64,
    /// The wanted file that is passing: how much has passed, and its size.
    file: Option<(u64, u64)>,
}

impl Copier<'_> {
    fn event(&mut self, event: Event, chunk: &[u8]) -> Result<()> {
        match event {
            Event::Entry(entry) => {
                let number = self.entry_count;
                self.entry_count += 1;
                if entry.kind == EntryKind::File && self.sink.begin(number, entry.size)? {
                    if entry.sparse && entry.size > MAX_HOLES {
                        let (path, size) = (escape_name(&entry.path), entry.size);
                        let message = format!(
                            "read {path}: a sparse file of {size} bytes; the limit is {MAX_HOLES}"
                        );
                        return Err(Error::new(ErrorKind::LimitExceeded, message));
                    }
                    self.file = Some((0, entry.size));
                }
                Ok(())
            }
            Event::Data { offset, range } => {
                let Some((position, size)) = self.file else {
                    return Ok(());
                };
                self.hole(position, offset)?;
                self.file = Some((offset + range.len() as u64, size));
                self.sink.data(&chunk[range])
            }
            Event::End => match self.file.take() {
                Some((position, size)) => {
                    self.hole(position, size)?;
                    self.sink.end()
                }
                None => Ok(()),
            },
        }
    }

    fn hole(&mut self, mut position: u64, end: u64) -> Result<()> {
        const ZEROS: [u8; 8192] = [0; 8192];
        while position < end {
            let piece = (end - position).min(ZEROS.len() as u64);
            let length = usize::try_from(piece).unwrap_or(ZEROS.len());
            self.sink.data(&ZEROS[..length])?;
            position += piece;
        }
        Ok(())
    }
}
