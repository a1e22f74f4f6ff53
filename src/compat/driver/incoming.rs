//! A stream whose diff ID nobody knows yet becomes a layer on a chain.
//!
//! It is kept in a staging directory while it is unpacked, because some chains need it a second time
//! ([`Store::register`](crate::store::Store)): what reaches into the layers below is applied once more, over them.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};

use crate::archive::{Compression, Decoder};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::failpoint;
use crate::fs::staging::Staging;
use crate::image::DiffId;
use crate::layer::LayerSource;
use crate::progress::Silent;
use crate::store::{Chain, LayerId, LayerProvider, Store, UnpackLimits};

/// The stream, in its staging directory.
const STREAM: &str = "stream";

/// A block of an archive, by the start of which compressions are told apart.
const BLOCK: u64 = 512;

/// Nothing was promised about what it reads.
pub(super) struct Unpromised<R>(pub R);

impl<R: Read> Read for Unpromised<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> LayerSource for Unpromised<R> {
    fn verdict(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Keeps what it reads.
struct Tee<R> {
    reader: R,
    copy: File,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.copy.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// A stream that is kept.
pub(super) struct Kept {
    staging: Staging,
    compression: Compression,
}

/// A layer that a stream, or an upper directory, has become.
pub(super) struct Adopted {
    pub chain: Chain,
    pub diff_id: DiffId,
    /// Bytes of its regular files.
    pub size: u64,
    /// Bytes of the stream.
    pub stream_size: u64,
}

/// Decompresses a stream, whatever it is.
///
/// # Errors
///
/// Fails if the first bytes cannot be read.
pub(super) fn decode<'a>(stream: impl Read + Send + 'a) -> Result<(Decoder<'a>, Compression)> {
    let mut stream = stream;
    let mut start = Vec::new();
    let first = Read::by_ref(&mut stream)
        .take(BLOCK)
        .read_to_end(&mut start);
    first.map_err(|error| Error::new(ErrorKind::Io, "read layer").with_source(error))?;
    // Whatever an archive begins with, it says so itself.
    let compression = match start.get(257..262) {
        Some(b"ustar") => Compression::None,
        _ => Compression::of(&start),
    };
    let decoder = Decoder::new(io::Cursor::new(start).chain(stream), compression)?;
    Ok((decoder, compression))
}

/// Makes a layer of a stream, over the chain of these layers.
///
/// # Errors
///
/// Those of [`unpack_changeset`](crate::layer::unpack_changeset) and of the stream. A layer that nothing refers to may stay; `gc` takes it.
pub(super) fn adopt(
    store: &Store,
    below: &[DiffId],
    stream: &mut (dyn Read + Send),
) -> Result<Adopted> {
    let keep = store.staging()?;
    let reader = Tee {
        reader: stream,
        copy: keep
            .dir()
            .create_new_file(STREAM.as_bytes(), 0o600)?
            .into_file(),
    };
    let (decoder, compression) = decode(reader)?;
    let diff_id = store.add_layer(Unpromised(decoder), &UnpackLimits::default(), &Silent)?;
    failpoint::hit("driver-published");
    let kept = Kept {
        staging: keep,
        compression,
    };
    let chain = stack(store, below, &diff_id, &kept)?;
    Adopted::new(store, chain, diff_id)
}

fn stack(store: &Store, below: &[DiffId], diff_id: &DiffId, kept: &Kept) -> Result<Chain> {
    let mut diff_ids = below.to_vec();
    diff_ids.push(diff_id.clone());
    let id = crate::image::ChainId::of(&diff_ids);
    match store.find_chain(id.as_ref())? {
        Some(chain) => Ok(chain),
        None => store.register(&diff_ids, kept, &Silent),
    }
}

impl Adopted {
    pub(super) fn new(store: &Store, chain: Chain, diff_id: DiffId) -> Result<Self> {
        let meta = store.layer(&LayerId::of(&diff_id))?.meta()?;
        Ok(Self {
            chain,
            diff_id,
            size: meta.changeset.size,
            stream_size: meta.stream_size,
        })
    }
}

impl Kept {
    fn source(&self) -> Result<Unpromised<Decoder<'_>>> {
        let file = self.staging.dir().open_file(STREAM.as_bytes())?;
        Ok(Unpromised(Decoder::new(
            BufReader::new(file),
            self.compression,
        )?))
    }
}

impl LayerProvider for Kept {
    /// Of all layers of a chain only the topmost is new, and only it can be missing in some form.
    fn open(&self, _index: usize) -> Result<Box<dyn LayerSource + '_>> {
        Ok(Box::new(self.source()?))
    }
}
