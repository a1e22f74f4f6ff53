//! The second stage: from chunks of a stream to steps, hashing on the way.
//!
//! Each byte is looked at once. The digest of the whole stream and the digest of the file that the byte belongs to are
//! computed together, block by block: the two run in the processor at the same time, where one after the other would
//! take twice as long. That is why the stream is hashed here, and not by a reader around it.

use oci_cas::digest::{BlockHasher, update_pair};
use oci_cas::{Algorithm, Digest, Hasher};

use crate::archive::{Entry, EntryKind, Event, Limits, Parser};
use crate::error::{Error, ErrorKind, Result};

/// How many bytes of holes a sparse file may have when its content must be hashed: half a minute of hashing.
pub(super) const MAX_HOLES: u64 = 16 << 30;

/// A piece of a stream and what is in it.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// The buffer; only the first `used` bytes are of the stream.
    pub data: Vec<u8>,
    pub used: usize,
    pub steps: Vec<Step>,
}

/// One step of applying a layer. Ranges are of the chunk that the step came with.
#[derive(Debug)]
pub(super) enum Step {
    Entry(Box<Entry>),
    Data {
        offset: u64,
        range: std::ops::Range<usize>,
    },
    /// The entry is complete; the SHA-256 of a file's content, if it was asked for.
    End(Option<[u8; 32]>),
}

/// The digest of a stream, by the algorithm that its owner wants.
enum StreamHasher {
    Sha256(BlockHasher),
    Other(Hasher),
}

/// The file whose content is passing through.
struct FileHash {
    hasher: BlockHasher,
    /// How much of the content has been hashed.
    position: u64,
    size: u64,
    sparse: bool,
}

/// Frames one layer.
pub(super) struct Framer {
    parser: Parser,
    stream: StreamHasher,
    size: u64,
    file_digests: bool,
    file: Option<FileHash>,
    events: Vec<Event>,
}

impl Framer {
    pub(super) fn new(limits: Limits, algorithm: Algorithm, file_digests: bool) -> Self {
        let stream = match algorithm {
            Algorithm::Sha256 => StreamHasher::Sha256(BlockHasher::new()),
            other => StreamHasher::Other(Hasher::new(other)),
        };
        Self {
            parser: Parser::new(limits),
            stream,
            size: 0,
            file_digests,
            file: None,
            events: Vec::new(),
        }
    }

    /// Finds the steps in a chunk. After an error, the steps before it are there.
    pub(super) fn frame(&mut self, chunk: &mut Chunk) -> Result<()> {
        let Chunk { data, used, steps } = chunk;
        let data = &data[..*used];
        let mut events = std::mem::take(&mut self.events);
        let parsed = self.parser.feed(data, &mut events);
        let mut hashed = 0;
        let mut result = Ok(());
        for event in events.drain(..) {
            let step = match event {
                Event::Entry(entry) => self.begin(&entry).map(|()| Step::Entry(entry)),
                Event::Data { offset, range } => {
                    self.stream_only(&data[hashed..range.start]);
                    self.content(offset, &data[range.clone()]);
                    hashed = range.end;
                    Ok(Step::Data { offset, range })
                }
                Event::End => Ok(Step::End(self.end())),
            };
            match step {
                Ok(step) => steps.push(step),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.stream_only(&data[hashed..]);
        self.size += data.len() as u64;
        self.events = events;
        result.and(parsed)
    }

    /// Ends the layer: the digest and the size in bytes of the stream.
    pub(super) fn finish(mut self) -> Result<(Digest, u64)> {
        self.parser.finish()?;
        let digest = match self.stream {
            StreamHasher::Sha256(hasher) => {
                Digest::from_bytes(Algorithm::Sha256, &hasher.finish())?
            }
            StreamHasher::Other(hasher) => hasher.finish(),
        };
        Ok((digest, self.size))
    }

    fn begin(&mut self, entry: &Entry) -> Result<()> {
        if !self.file_digests || entry.kind != EntryKind::File {
            return Ok(());
        }
        if entry.sparse && entry.size > MAX_HOLES {
            let path = crate::fs::escape_name(&entry.path);
            let message = format!(
                "hash {path}: a sparse file of {} bytes; the limit is {MAX_HOLES}",
                entry.size
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message).with_hint(
                "`raw unpack` into a directory that exists keeps no record, and takes any size",
            ));
        }
        let hasher = BlockHasher::new();
        self.file = Some(FileHash {
            hasher,
            position: 0,
            size: entry.size,
            sparse: entry.sparse,
        });
        Ok(())
    }

    fn stream_only(&mut self, bytes: &[u8]) {
        match &mut self.stream {
            StreamHasher::Sha256(hasher) => hasher.update(bytes),
            StreamHasher::Other(hasher) => hasher.update(bytes),
        }
    }

    /// Bytes of the current entry's content.
    fn content(&mut self, offset: u64, bytes: &[u8]) {
        let Some(file) = &mut self.file else {
            return self.stream_only(bytes);
        };
        if file.sparse {
            file.hash_hole(offset);
        }
        file.position = offset + bytes.len() as u64;
        match &mut self.stream {
            StreamHasher::Sha256(stream) => update_pair(stream, &mut file.hasher, bytes),
            StreamHasher::Other(stream) => {
                stream.update(bytes);
                file.hasher.update(bytes);
            }
        }
    }

    fn end(&mut self) -> Option<[u8; 32]> {
        let mut file = self.file.take()?;
        file.hash_hole(file.size);
        Some(file.hasher.finish())
    }
}

impl FileHash {
    fn hash_hole(&mut self, end: u64) {
        const ZEROS: [u8; 8192] = [0; 8192];
        while self.position < end {
            let piece = (end - self.position).min(ZEROS.len() as u64);
            self.hasher
                .update(&ZEROS[..usize::try_from(piece).unwrap_or(ZEROS.len())]);
            self.position += piece;
        }
    }
}
