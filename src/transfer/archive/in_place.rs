//! A plain tar file of the user's as a store of blobs: nothing of it is copied, and of its content only what must be is
//! read.
//!
//! ```text
//! file -> headers, one after the other, content skipped -> names and places
//!      -> manifest.json and the configs that it names -> digests of plain layers (diff IDs)
//!      -> what is still without a digest is hashed    -> Members, and blobs that are read where they lie
//! ```
//!
//! A digest that a name or a config gives is a promise here; it is kept or broken when the blob is read, as with a layout.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use oci_cas::{Algorithm, Blob, Digest, Hasher, Ingest, MemoryStore, Store};
use serde_json::Value;

use super::format::{Format, HEAD_SIZE};
use super::members::{Member, Members, StoredBlob};
use super::name::{Role, clean, link_target, role};
use super::{CHUNK_SIZE, DOCUMENT_SIZE};
use crate::archive::{Compression, Entry, EntryKind, Event, Limits, Parser};
use crate::fs::{escape_name, input};
use crate::image::{ImageConfig, parse_json};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Bytes of a tar block.
const BLOCK: usize = 512;

/// The blobs of an archive, where they lie in its file, and the documents that were made of it.
pub(crate) struct ArchiveBlobs {
    file: Arc<File>,
    places: BTreeMap<Digest, Place>,
    made: MemoryStore,
}

/// A part of the file, in bytes.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    size: u64,
}

/// What was found in the headers.
#[derive(Default)]
struct Found {
    /// Names and links and documents, as from a pipe.
    members: Members,
    /// Files that may be blobs, by clean names.
    blobs: BTreeMap<Vec<u8>, Unnamed>,
    links: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A file that may be a blob.
struct Unnamed {
    place: Place,
    head: Vec<u8>,
    algorithm: Algorithm,
    promised: Option<Digest>,
}

/// Looks at an archive in place. `None` when that cannot be: it is compressed, or no file that can be read anywhere.
pub(super) fn open(file: File) -> Result<Option<(Members, ArchiveBlobs)>> {
    let Some(size) = input::size_of(&file) else {
        return Ok(None);
    };
    let mut head = [0; HEAD_SIZE];
    let count = read_at(&file, &mut head, 0)?;
    if Format::of(&head[..count]) != Format::Known(Compression::None) {
        return Ok(None);
    }
    let mut found = scan(&file, size)?;
    let file = Arc::new(file);
    promise(&mut found, &file)?;
    let mut places = BTreeMap::new();
    for (name, blob) in std::mem::take(&mut found.blobs) {
        let digest = match blob.promised {
            Some(digest) => digest,
            None => hash(&file, blob.place, blob.algorithm)?,
        };
        places.entry(digest.clone()).or_insert(blob.place);
        let stored = StoredBlob {
            digest,
            size: blob.place.size,
            format: Format::of(&blob.head),
        };
        found.members.insert(name, Member::Blob(stored))?;
    }
    let made = MemoryStore::new();
    Ok(Some((found.members, ArchiveBlobs { file, places, made })))
}

/// Reads the headers and the documents.
fn scan(file: &File, size: u64) -> Result<Found> {
    let mut parser = Parser::new(Limits::default());
    let mut found = Found::default();
    let (mut position, mut events) = (0, Vec::new());
    let mut block = [0; BLOCK];
    while position < size {
        // Up to the next block, so that a header is always the last that a piece has.
        let wanted = (BLOCK as u64 - position % BLOCK as u64).min(size - position);
        let wanted = usize::try_from(wanted).unwrap_or(block.len());
        let count = read_at(file, &mut block[..wanted], position)?;
        if count == 0 {
            break;
        }
        position += count as u64;
        parser.feed(&block[..count], &mut events)?;
        for event in events.drain(..) {
            if let Event::Entry(entry) = event {
                found.take(file, &entry, position, size)?;
            }
        }
        position += parser.skip_content();
    }
    parser.finish()?;
    if position > size {
        let message = format!("the archive is truncated: it ends at byte {size}");
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    Ok(found)
}

impl Found {
    /// Takes an entry whose content begins at `start`.
    fn take(&mut self, file: &File, entry: &Entry, start: u64, end: u64) -> Result<()> {
        let name = clean(&entry.path);
        let role = role(&name);
        let link = match entry.kind {
            _ if role == Role::Ignored => return Ok(()),
            EntryKind::File => return self.take_file(file, entry, name, role, start, end),
            EntryKind::Symlink => link_target(&name, &entry.link),
            EntryKind::HardLink => clean(&entry.link),
            _ => return Ok(()),
        };
        self.links.insert(name.clone(), link.clone());
        self.members.insert(name, Member::Link(link))
    }

    fn take_file(
        &mut self,
        file: &File,
        entry: &Entry,
        name: Vec<u8>,
        role: Role,
        start: u64,
        end: u64,
    ) -> Result<()> {
        let fail = |kind, why: String| {
            let message = format!("member {}: {why}", escape_name(&name));
            Err(Error::new(kind, message))
        };
        let place = Place {
            start,
            size: entry.size,
        };
        if entry.pieces.is_some() {
            return fail(ErrorKind::Unsupported, "it is a sparse file".to_owned());
        }
        if start.checked_add(entry.size).is_none_or(|last| last > end) {
            let why = "it is longer than the archive, which is truncated".to_owned();
            return fail(ErrorKind::InvalidData, why);
        }
        let Role::Blob(algorithm, promised) = role else {
            if entry.size > DOCUMENT_SIZE {
                let why = format!(
                    "a document of {} bytes, the limit is {DOCUMENT_SIZE}",
                    entry.size
                );
                return fail(ErrorKind::LimitExceeded, why);
            }
            let content = read(file, place)?;
            return self.members.insert(name, Member::Document(content));
        };
        let mut head = vec![0; HEAD_SIZE.min(usize::try_from(entry.size).unwrap_or(HEAD_SIZE))];
        let count = read_at(file, &mut head, start)?;
        head.truncate(count);
        let mut blob = Unnamed {
            place,
            head,
            algorithm,
            promised,
        };
        // Of two members of one name, nothing may be taken on trust.
        if let Some(known) = self.blobs.get_mut(&name) {
            blob.promised = Some(hash(file, place, algorithm)?);
            let digest = hash(file, known.place, known.algorithm)?;
            if blob.promised.as_ref() != Some(&digest) {
                return fail(
                    ErrorKind::Ambiguous,
                    "the archive has two of this name and different content".to_owned(),
                );
            }
            known.promised = Some(digest);
            return Ok(());
        }
        self.members.reserve(&name)?;
        self.blobs.insert(name, blob);
        Ok(())
    }

    /// The blob that a name means, through links.
    fn blob(&mut self, name: &str) -> Option<&mut Unnamed> {
        let mut name = clean(name.as_bytes());
        for _ in 0..16 {
            match self.links.get(&name) {
                Some(target) => name.clone_from(target),
                None => break,
            }
        }
        self.blobs.get_mut(&name)
    }
}

/// Gives plain layers the digests that the configs of `manifest.json` promise. What is malformed is left to those who read
/// it later.
fn promise(found: &mut Found, file: &File) -> Result<()> {
    let list = match found.members.document(b"manifest.json")? {
        Some(list) => parse_json(list).unwrap_or_default(),
        None => return Ok(()),
    };
    for entry in list.as_array().into_iter().flatten() {
        let config = entry
            .get("Config")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let config = found.blob(config).map(|config| config.place);
        let Some(place) = config.filter(|place| place.size <= DOCUMENT_SIZE) else {
            continue;
        };
        let Ok(config) = ImageConfig::parse(&read(file, place)?) else {
            continue;
        };
        let layers = entry.get("Layers").and_then(Value::as_array);
        let layers = layers.into_iter().flatten().filter_map(Value::as_str);
        for (name, diff_id) in layers.zip(config.diff_ids()) {
            if let Some(layer) = found.blob(name)
                && layer.promised.is_none()
                && Format::of(&layer.head) == Format::Known(Compression::None)
                && layer.algorithm == diff_id.0.algorithm()
            {
                layer.promised = Some(diff_id.0.clone());
            }
        }
    }
    Ok(())
}

fn read(file: &File, place: Place) -> Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(place.size).unwrap_or(usize::MAX)];
    let count = read_at(file, &mut content, place.start)?;
    content.truncate(count);
    Ok(content)
}

fn hash(file: &File, place: Place, algorithm: Algorithm) -> Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; CHUNK_SIZE];
    let mut position = 0;
    while position < place.size {
        let wanted = usize::try_from(place.size - position).unwrap_or(CHUNK_SIZE);
        let count = read_at(
            file,
            &mut buffer[..wanted.min(CHUNK_SIZE)],
            place.start + position,
        )?;
        if count == 0 {
            let message = "the archive has become shorter";
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        hasher.update(&buffer[..count]);
        position += count as u64;
    }
    Ok(hasher.finish())
}

/// Fills the buffer, as far as there is something.
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context(|| "read the archive"),
        }
    }
    Ok(filled)
}

/// Part of a file.
struct PartReader {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..wanted], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Store for ArchiveBlobs {
    fn open(&self, digest: &Digest) -> oci_cas::Result<Blob> {
        let Some(place) = self.places.get(digest) else {
            return self.made.open(digest);
        };
        let reader = PartReader {
            file: self.file.clone(),
            position: place.start,
            end: place.start + place.size,
        };
        Ok(Blob {
            reader: Box::new(reader),
            size: place.size,
        })
    }

    fn stat(&self, digest: &Digest) -> oci_cas::Result<Option<u64>> {
        match self.places.get(digest) {
            Some(place) => Ok(Some(place.size)),
            None => self.made.stat(digest),
        }
    }

    fn ingest(&self, algorithm: Algorithm) -> oci_cas::Result<Box<dyn Ingest + '_>> {
        self.made.ingest(algorithm)
    }

    fn remove(&self, _: &Digest) -> oci_cas::Result<bool> {
        let message = "an archive is not changed";
        Err(oci_cas::Error::new(
            oci_cas::ErrorKind::Unsupported,
            message,
        ))
    }

    fn list(&self) -> oci_cas::Result<Vec<Digest>> {
        let mut all = self.made.list()?;
        all.extend(self.places.keys().cloned());
        all.sort();
        all.dedup();
        Ok(all)
    }
}
