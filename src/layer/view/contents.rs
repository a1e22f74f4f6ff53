//! The second pass: one layer once more, for the content of chosen entries.

use std::io::Read;

use crate::archive::{Entry, EntryKind, Event, Limits, Parser};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::escape_name;

/// How many bytes a sparse file may have of which every byte is wanted: half a minute of zeros.
const MAX_HOLES: u64 = 16 << 30;

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

    /// The same for a file with holes, whose content is in these pieces ([`Entry::pieces`]). By default, holes come as zeros.
    ///
    /// # Errors
    ///
    /// Whatever must end the reading.
    fn begin_sparse(&mut self, entry: u64, size: u64, pieces: &[(u64, u64)]) -> Result<Wanted> {
        let _ = pieces;
        Ok(if self.begin(entry, size)? {
            Wanted::Whole
        } else {
            Wanted::Nothing
        })
    }

    /// The next bytes of what is wanted of a file; holes in it come as zeros.
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

/// What is wanted of a file with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Nothing,
    /// All of it.
    Whole,
    /// These parts, offset and length in bytes, ascending; every piece of content lies in one.
    Parts(Vec<(u64, u64)>),
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
    file: Option<Wanting>,
}

/// A wanted file that is passing.
struct Wanting {
    /// How much has passed.
    position: u64,
    size: u64,
    /// The parts that are wanted, and those of them that have passed.
    parts: Vec<(u64, u64)>,
    passed: usize,
}

impl Copier<'_> {
    fn event(&mut self, event: Event, chunk: &[u8]) -> Result<()> {
        match event {
            Event::Entry(entry) => {
                let number = self.entry_count;
                self.entry_count += 1;
                if entry.kind == EntryKind::File {
                    self.file = self.begin(&entry, number)?;
                }
                Ok(())
            }
            Event::Data { offset, range } => {
                let Some(file) = &mut self.file else {
                    return Ok(());
                };
                file.hole(offset, self.sink)?;
                file.position = offset + range.len() as u64;
                self.sink.data(&chunk[range])
            }
            Event::End => match self.file.take() {
                Some(mut file) => {
                    file.hole(file.size, self.sink)?;
                    self.sink.end()
                }
                None => Ok(()),
            },
        }
    }

    fn begin(&mut self, entry: &Entry, number: u64) -> Result<Option<Wanting>> {
        let whole = vec![(0, entry.size)];
        let parts = match &entry.pieces {
            None if self.sink.begin(number, entry.size)? => whole,
            None => return Ok(None),
            Some(pieces) => match self.sink.begin_sparse(number, entry.size, pieces)? {
                Wanted::Nothing => return Ok(None),
                Wanted::Parts(parts) => parts,
                Wanted::Whole if entry.size > MAX_HOLES => {
                    let (path, size) = (escape_name(&entry.path), entry.size);
                    let message = format!(
                        "read {path}: a sparse file of {size} bytes; the limit is {MAX_HOLES}"
                    );
                    return Err(Error::new(ErrorKind::LimitExceeded, message));
                }
                Wanted::Whole => whole,
            },
        };
        Ok(Some(Wanting {
            position: 0,
            size: entry.size,
            parts,
            passed: 0,
        }))
    }
}

impl Wanting {
    /// Gives a hole up to a place as zeros, as far as it is wanted.
    fn hole(&mut self, end: u64, sink: &mut dyn ContentSink) -> Result<()> {
        const ZEROS: [u8; 8192] = [0; 8192];
        while let Some(&(offset, length)) = self.parts.get(self.passed) {
            self.position = self.position.max(offset);
            let until = end.min(offset + length);
            while self.position < until {
                let piece = (until - self.position).min(ZEROS.len() as u64);
                let size = usize::try_from(piece).unwrap_or(ZEROS.len());
                sink.data(&ZEROS[..size])?;
                self.position += piece;
            }
            if offset + length > end {
                break;
            }
            self.passed += 1;
        }
        Ok(())
    }
}
