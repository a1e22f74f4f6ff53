//! One pass over an archive: blobs go into the store, documents, names and links are kept.
//!
//! What is kept is bounded by [`HELD_SIZE`] bytes, names included. A blob is ingested in the pieces in which it comes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::io::{ErrorKind as IoErrorKind, Read};

use oci_cas::{Digest, Ingest, Store};

use super::format::{self, Format, HEAD_SIZE};
use super::name::{Role, clean, link_target, role};
use super::{CHUNK_SIZE, DOCUMENT_SIZE};
use crate::archive::{Compression, Entry, EntryKind, Event, Limits, Parser};
use crate::fs::escape_name;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Most bytes that are held of one archive: documents, names, links, and [`OVERHEAD`] for each.
const HELD_SIZE: usize = 64 << 20;

/// What a member costs beside its name and content.
const OVERHEAD: usize = 256;

/// How many links may lead to each other.
const LINK_COUNT: usize = 16;

/// A blob that was read, and is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredBlob {
    pub(super) digest: Digest,
    /// In bytes.
    pub(super) size: u64,
    pub(super) format: Format,
}

impl StoredBlob {
    /// How it is compressed, if a layer may be.
    pub(super) fn compression(&self) -> Result<Compression> {
        self.format.of_layer(|| format!("layer {}", self.digest))
    }
}

/// Something in an archive that may matter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Member {
    Blob(StoredBlob),
    Document(Vec<u8>),
    /// The clean name of another member.
    Link(Vec<u8>),
}

/// What an archive holds, by clean names.
#[derive(Debug, Default)]
pub(super) struct Members {
    members: BTreeMap<Vec<u8>, Member>,
    held: usize,
}

impl Members {
    /// Reads an archive, compressed or not, to the end of the input. Its blobs are in the store then.
    pub(super) fn read(input: &mut (dyn Read + Send), blobs: &dyn Store) -> Result<Self> {
        let mut reader = format::open(input)?;
        let mut parser = Parser::new(Limits::default());
        let mut collector = Collector {
            blobs,
            members: Self::default(),
            current: Current::Ignored,
        };
        let mut chunk = vec![0; CHUNK_SIZE];
        let mut events = Vec::new();
        loop {
            let count = match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == IoErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context(|| "read the archive"),
            };
            let fed = parser.feed(&chunk[..count], &mut events);
            for event in events.drain(..) {
                collector.event(event, &chunk)?;
            }
            if let Err(error) = fed {
                return Err(reader.verdict(error));
            }
        }
        parser.finish()?;
        Ok(collector.members)
    }

    /// Counts a name that is kept beside the members.
    pub(super) fn reserve(&mut self, name: &[u8]) -> Result<()> {
        self.held += name.len() + OVERHEAD;
        self.check_held()
    }

    fn check_held(&self) -> Result<()> {
        if self.held <= HELD_SIZE {
            return Ok(());
        }
        let message =
            format!("names and documents of the archive take more than {HELD_SIZE} bytes");
        Err(Error::new(ErrorKind::LimitExceeded, message))
    }

    /// Takes a member. A name that is there already must mean the same.
    pub(super) fn insert(&mut self, name: Vec<u8>, member: Member) -> Result<()> {
        let content = match &member {
            Member::Blob(_) => 0,
            Member::Document(bytes) | Member::Link(bytes) => bytes.len(),
        };
        match self.members.entry(name) {
            Slot::Occupied(slot) if *slot.get() == member => Ok(()),
            Slot::Occupied(slot) => {
                let message = format!(
                    "the archive has two members {} of different content",
                    escape_name(slot.key())
                );
                Err(Error::new(ErrorKind::Ambiguous, message))
            }
            Slot::Vacant(slot) => {
                self.held += slot.key().len() + content + OVERHEAD;
                if self.held > HELD_SIZE {
                    let message = format!(
                        "names and documents of the archive take more than {HELD_SIZE} bytes"
                    );
                    return Err(Error::new(ErrorKind::LimitExceeded, message));
                }
                slot.insert(member);
                Ok(())
            }
        }
    }

    /// The member that a name means, through links.
    fn find(&self, name: &[u8]) -> Result<Option<&Member>> {
        let mut found = self.members.get(&clean(name));
        for _ in 0..LINK_COUNT {
            match found {
                Some(Member::Link(target)) => found = self.members.get(target),
                found => return Ok(found),
            }
        }
        Err(Error::new(
            ErrorKind::InvalidData,
            format!("too many links at {}", escape_name(name)),
        ))
    }

    /// The content of a document, if the archive has it.
    pub(super) fn document(&self, name: &[u8]) -> Result<Option<&[u8]>> {
        match self.find(name)? {
            Some(Member::Document(bytes)) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// A blob that a document of the archive names; `what` it is there for.
    pub(super) fn blob(&self, name: &[u8], what: &str) -> Result<&StoredBlob> {
        if let Some(Member::Blob(blob)) = self.find(name)? {
            return Ok(blob);
        }
        let message = format!("the archive lacks the {what} {}", escape_name(name));
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// The names of all documents, sorted.
    pub(super) fn document_names(&self) -> impl Iterator<Item = &[u8]> {
        self.members
            .iter()
            .filter(|(_, member)| matches!(member, Member::Document(_)))
            .map(|(name, _)| name.as_slice())
    }
}

/// The member that is being read.
enum Current<'a> {
    Ignored,
    Document {
        name: Vec<u8>,
        content: Vec<u8>,
    },
    Blob {
        name: Vec<u8>,
        /// What the name says.
        promised: Option<Digest>,
        ingest: Box<dyn Ingest + 'a>,
        /// The first bytes.
        head: Vec<u8>,
    },
}

struct Collector<'a> {
    blobs: &'a dyn Store,
    members: Members,
    current: Current<'a>,
}

impl Collector<'_> {
    fn event(&mut self, event: Event, chunk: &[u8]) -> Result<()> {
        match event {
            Event::Entry(entry) => self.begin(&entry),
            Event::Data { range, .. } => self.data(&chunk[range]),
            Event::End => self.end(),
        }
    }

    fn begin(&mut self, entry: &Entry) -> Result<()> {
        self.current = Current::Ignored;
        let name = clean(&entry.path);
        let role = role(&name);
        let target = match entry.kind {
            _ if role == Role::Ignored => return Ok(()),
            EntryKind::File => return self.begin_file(entry, name, role),
            EntryKind::Symlink => link_target(&name, &entry.link),
            EntryKind::HardLink => clean(&entry.link),
            _ => return Ok(()),
        };
        self.members.insert(name, Member::Link(target))
    }

    fn begin_file(&mut self, entry: &Entry, name: Vec<u8>, role: Role) -> Result<()> {
        let fail = |kind, why: String| {
            let message = format!("member {}: {why}", escape_name(&name));
            Err(Error::new(kind, message))
        };
        if entry.pieces.is_some() {
            // A few bytes of archive could stand for any size.
            return fail(ErrorKind::Unsupported, "it is a sparse file".to_owned());
        }
        self.current = match role {
            Role::Ignored => Current::Ignored,
            Role::Document if entry.size > DOCUMENT_SIZE => {
                let why = format!(
                    "a document of {} bytes, the limit is {DOCUMENT_SIZE}",
                    entry.size
                );
                return fail(ErrorKind::LimitExceeded, why);
            }
            Role::Document => Current::Document {
                name,
                content: Vec::new(),
            },
            Role::Blob(algorithm, promised) => Current::Blob {
                ingest: self
                    .blobs
                    .ingest(algorithm)
                    .context(|| format!("store {}", escape_name(&name)))?,
                name,
                promised,
                head: Vec::new(),
            },
        };
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.current {
            Current::Ignored => Ok(()),
            Current::Document { content, .. } => {
                content.extend_from_slice(bytes);
                Ok(())
            }
            Current::Blob {
                name, ingest, head, ..
            } => {
                let wanted = bytes.len().min(HEAD_SIZE - head.len());
                head.extend_from_slice(&bytes[..wanted]);
                ingest
                    .write_all(bytes)
                    .context(|| format!("store {}", escape_name(name)))
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.current, Current::Ignored) {
            Current::Ignored => Ok(()),
            Current::Document { name, content } => {
                self.members.insert(name, Member::Document(content))
            }
            Current::Blob {
                name,
                promised,
                ingest,
                head,
            } => {
                let (digest, size) = ingest
                    .commit()
                    .context(|| format!("store {}", escape_name(&name)))?;
                if let Some(promised) = promised
                    && promised != digest
                {
                    let message = format!(
                        "member {}: the content has the digest {digest}",
                        escape_name(&name)
                    );
                    return Err(Error::new(ErrorKind::Verification, message));
                }
                let format = Format::of(&head);
                let blob = StoredBlob {
                    digest,
                    size,
                    format,
                };
                self.members.insert(name, Member::Blob(blob))
            }
        }
    }
}
