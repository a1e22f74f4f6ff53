//! The second stage: from chunks of a stream to steps, hashing on the way.
//!
//! Each byte is looked at once. The digest of the whole stream and the digest of the file that the byte belongs to are
//! computed together, block by block: the two run in the processor at the same time, where one after the other would
//! take twice as long. That is why the stream is hashed here, and not by a reader around it.

use oci_cas::digest::BlockHasher;
use oci_cas::{Algorithm, Digest, Hasher};

use crate::archive::{Entry, EntryKind, Event, Limits, Parser};
use crate::error::Result;
use crate::fs::content_hash::ContentHasher;

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
    /// The entry is complete; the digest of a file's content ([`ContentHasher`]), if it was asked for.
    End(Option<[u8; 32]>),
}

/// The digest of a stream, by the algorithm that its owner wants.
enum StreamHasher {
    Sha256(BlockHasher),
    Other(Hasher),
}

/// The file whose content is passing through.
struct FileHash {
    hasher: ContentHasher,
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
        for event in events.drain(..) {
            let step = match event {
                Event::Entry(entry) => {
                    self.begin(&entry);
                    Step::Entry(entry)
                }
                Event::Data { offset, range } => {
                    self.stream_only(&data[hashed..range.start]);
                    self.content(offset, &data[range.clone()]);
                    hashed = range.end;
                    Step::Data { offset, range }
                }
                Event::End => Step::End(self.end()),
            };
            steps.push(step);
        }
        self.stream_only(&data[hashed..]);
        self.size += data.len() as u64;
        self.events = events;
        parsed
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

    fn begin(&mut self, entry: &Entry) {
        if self.file_digests && entry.kind == EntryKind::File {
            self.file = Some(FileHash {
                hasher: ContentHasher::new(entry.size),
                position: 0,
                size: entry.size,
                sparse: entry.pieces.is_some(),
            });
        }
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
            StreamHasher::Sha256(stream) => file.hasher.update_with(stream, bytes),
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
        self.hasher.zeros(end.saturating_sub(self.position));
        self.position = self.position.max(end);
    }
}
