//! A layer kept as the stream that it is: its bytes go to a file, and an index says what is in it.
//!
//! ```text
//! stream -> pipeline -> Keeper: layer.tar, byte for byte
//!                         |---> index: the entries, and in which block the content of each file begins
//!                         '---> odd: contents that are not whole in the stream (sparse files), written out
//! ```

use std::io::Write;

use oci_cas::Algorithm;

use super::consumer::Consumer;
use super::frame::Step;
use super::pipeline::{Applied, LayerSource, drive, run};
use crate::archive::{Entry, EntryKind, Limits};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::{FileWriter, escape_name};

/// Contents begin at multiples of this, in bytes: the blocks of tar, and of the images that refer to them.
const BLOCK: u64 = 512;

/// How an index begins.
const MAGIC: &[u8; 8] = b"layeri1\n";

/// Where the content of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It has none.
    Nothing,
    /// In the stream, from this block on.
    Stream(u32),
    /// Among the odd contents, from this block on.
    Odd(u32),
}

/// What a layer has, by the way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeptSizes {
    pub files: u64,
    pub size: u64,
    /// Bytes of the odd contents.
    pub odd: u64,
}

/// Where a layer is kept.
pub(crate) struct KeepTo<'a> {
    pub stream: &'a mut FileWriter,
    pub odd: &'a mut FileWriter,
    pub index: &'a mut (dyn Write + Send),
}

/// Keeps a layer.
///
/// # Errors
///
/// Those of [`unpack_layer`](super::unpack_layer) that come of the stream, and those of writing.
pub(crate) fn keep_layer(
    source: impl LayerSource,
    algorithm: Algorithm,
    limits: &Limits,
    max_size: Option<u64>,
    to: KeepTo<'_>,
) -> Result<(Applied, KeptSizes)> {
    let mut last = None;
    let layers = std::iter::once(Ok((algorithm, source)));
    let sizes = run(layers, limits, false, |framed, empty| {
        let mut keeper = Keeper {
            to,
            max_size,
            at: 0,
            next: 0,
            current: None,
            sizes: KeptSizes::default(),
            record: MAGIC.to_vec(),
        };
        drive(framed, empty, &mut keeper, |applied| {
            last = Some(applied);
            Ok(())
        })?;
        Ok(keeper.sizes)
    })?;
    let applied = last.ok_or_else(|| Error::new(ErrorKind::Io, "the layer was not read"))?;
    Ok((applied, sizes))
}

struct Keeper<'a> {
    to: KeepTo<'a>,
    max_size: Option<u64>,
    /// Where in the stream the current chunk begins, and the next one.
    at: u64,
    next: u64,
    current: Option<(Box<Entry>, Kept)>,
    sizes: KeptSizes,
    /// The index that is not written yet.
    record: Vec<u8>,
}

impl Consumer for Keeper<'_> {
    fn chunk(&mut self, bytes: &[u8]) -> Result<()> {
        self.at = self.next;
        self.next += bytes.len() as u64;
        self.to.stream.append(bytes, || "layer.tar".into())
    }

    fn step(&mut self, step: Step, chunk: &[u8]) -> Result<()> {
        match step {
            Step::Entry(entry) => self.begin(entry),
            Step::Data { offset, range } => {
                let place = self.at + range.start as u64;
                self.data(offset, place, &chunk[range])
            }
            Step::End(_) => self.end(),
        }
    }

    fn finish_layer(&mut self) -> Result<()> {
        self.to
            .odd
            .finish(self.sizes.odd, || "odd".into())
            .and_then(|()| self.flush(0))
    }
}

impl Keeper<'_> {
    fn begin(&mut self, entry: Box<Entry>) -> Result<()> {
        let mut kept = Kept::Nothing;
        if entry.kind == EntryKind::File {
            self.sizes.files += 1;
            self.sizes.size = self.sizes.size.saturating_add(entry.size);
            if let Some(limit) = self.max_size.filter(|&limit| self.sizes.size > limit) {
                let message = format!(
                    "the files of the image have {} bytes or more; the limit is {limit}",
                    self.sizes.size
                );
                let error = Error::new(ErrorKind::LimitExceeded, message);
                return Err(error.with_hint("see --max-size"));
            }
            if entry.pieces.is_some() && entry.size > 0 {
                kept = Kept::Odd(block(self.sizes.odd)?);
                let end = self.sizes.odd.saturating_add(entry.size);
                self.sizes.odd = end.checked_next_multiple_of(BLOCK).ok_or_else(too_large)?;
            }
        }
        self.current = Some((entry, kept));
        Ok(())
    }

    fn data(&mut self, offset: u64, place: u64, bytes: &[u8]) -> Result<()> {
        match &mut self.current {
            Some((_, Kept::Odd(start))) => {
                let start = u64::from(*start) * BLOCK;
                self.to.odd.write_at(start + offset, bytes, || "odd".into())
            }
            Some((entry, kept @ Kept::Nothing)) => {
                if offset != 0 || !place.is_multiple_of(BLOCK) {
                    let path = escape_name(&entry.path);
                    let message =
                        format!("entry {path}: its content is not in a block of the archive");
                    return Err(Error::new(ErrorKind::InvalidData, message));
                }
                *kept = Kept::Stream(block(place)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<()> {
        if let Some((entry, kept)) = self.current.take() {
            write_entry(&entry, kept, &mut self.record);
        }
        self.flush(64 << 10)
    }

    fn flush(&mut self, least: usize) -> Result<()> {
        if self.record.len() >= least {
            self.to
                .index
                .write_all(&self.record)
                .context(|| "write index of a layer")?;
            self.record.clear();
        }
        Ok(())
    }
}

fn block(place: u64) -> Result<u32> {
    u32::try_from(place / BLOCK).map_err(|_| too_large())
}

fn too_large() -> Error {
    Error::new(ErrorKind::LimitExceeded, "a layer of more than 2 TiB")
}

/// An index of entries whose contents are not kept.
pub(crate) fn index_of<'e>(entries: impl Iterator<Item = &'e Entry>) -> Vec<u8> {
    let mut index = MAGIC.to_vec();
    for entry in entries {
        write_entry(entry, Kept::Nothing, &mut index);
    }
    index
}

/// An entry in an index: numbers little endian, strings behind their lengths.
fn write_entry(entry: &Entry, kept: Kept, out: &mut Vec<u8>) {
    let (place, block) = match kept {
        Kept::Nothing => (0, 0),
        Kept::Stream(block) => (1, block),
        Kept::Odd(block) => (2, block),
    };
    out.extend([entry.kind as u8, place]);
    let (major, minor) = entry.device;
    for number in [block, entry.mode, entry.uid, entry.gid, major, minor] {
        out.extend(number.to_le_bytes());
    }
    out.extend(entry.size.to_le_bytes());
    out.extend(entry.mtime.unix_seconds().to_le_bytes());
    out.extend(entry.mtime.nanoseconds().to_le_bytes());
    let mut string = |bytes: &[u8]| {
        // Archives have limits far below.
        out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(bytes);
    };
    string(&entry.path);
    string(&entry.link);
    let count = u32::try_from(entry.xattrs.len()).unwrap_or(u32::MAX);
    out.extend(count.to_le_bytes());
    for (name, value) in &entry.xattrs {
        for bytes in [name, value] {
            out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend(bytes);
        }
    }
}

/// The entries of an index, in the order of the stream.
pub(crate) struct IndexReader<'a> {
    rest: &'a [u8],
}

impl<'a> IndexReader<'a> {
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] if it is not an index.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self> {
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
        Ok(Self { rest })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(damaged)?;
        self.rest = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32> {
        let bytes = self.take(4)?.first_chunk().ok_or_else(damaged)?;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Result<u64> {
        let bytes = self.take(8)?.first_chunk().ok_or_else(damaged)?;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn string(&mut self) -> Result<Vec<u8>> {
        let length = usize::try_from(self.u32()?).map_err(|_| damaged())?;
        Ok(self.take(length)?.to_vec())
    }

    fn entry(&mut self) -> Result<(Entry, Kept)> {
        const KINDS: [EntryKind; 7] = [
            EntryKind::File,
            EntryKind::Directory,
            EntryKind::Symlink,
            EntryKind::HardLink,
            EntryKind::CharDevice,
            EntryKind::BlockDevice,
            EntryKind::Fifo,
        ];
        let [kind, place] = *self.take(2)? else {
            return Err(damaged());
        };
        let kind = *KINDS.get(usize::from(kind)).ok_or_else(damaged)?;
        let block = self.u32()?;
        let kept = match place {
            0 => Kept::Nothing,
            1 => Kept::Stream(block),
            2 => Kept::Odd(block),
            _ => return Err(damaged()),
        };
        let (mode, uid, gid) = (self.u32()?, self.u32()?, self.u32()?);
        let device = (self.u32()?, self.u32()?);
        let size = self.u64()?;
        let seconds = self.u64()?.cast_signed();
        let mtime = filetime::FileTime::from_unix_time(seconds, self.u32()?);
        let (path, link) = (self.string()?, self.string()?);
        let mut xattrs = Vec::new();
        for _ in 0..self.u32()? {
            xattrs.push((self.string()?, self.string()?));
        }
        let entry = Entry {
            path,
            kind,
            mode,
            uid,
            gid,
            size,
            mtime,
            atime: None,
            link,
            device,
            xattrs,
            pieces: None,
        };
        Ok((entry, kept))
    }
}

impl Iterator for IndexReader<'_> {
    type Item = Result<(Entry, Kept)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

fn damaged() -> Error {
    Error::new(ErrorKind::InvalidData, "the index of a layer is damaged")
}
