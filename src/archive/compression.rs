//! Decompression: gzip and zstd as readers, checked against what the media type says.
//!
//! ```text
//! blob -> Source (remembers failures) -> BufReader -> gzip or zstd -> Decoder (says what went wrong)
//! ```
//!
//! What goes wrong has one of two causes, and the message must name the right one. A damaged or forged blob makes the
//! decompressor stumble long before the reader below has seen the last byte and can say that the digest is wrong. So on
//! any failure the rest of the blob is read first, and an error of the reader wins: it passes through unchanged.

use super::header::{BLOCK, Header};
use crate::{Error, ErrorKind, Result, ResultExt};
use flate2::bufread::GzDecoder;
use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

/// The largest zstd window that we hold, as a power of two: 512 MiB, which is the limit of Go's library, and so what
/// containerd, Docker, podman and umoci read. (`zstd` itself takes 128 MiB without being asked.)
const WINDOW_LOG_MAX: u32 = 29;

/// Bytes of compressed data read at a time: one zstd block and its header fit.
const BUFFER_SIZE: usize = 128 * 1024 + 3;

/// Bytes by which compressions are told from each other.
const MAGIC_SIZE: usize = 4;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A plain tar archive.
    None,
    /// gzip (RFC 1952), of one member or many.
    Gzip,
    /// zstd (RFC 8878), of one frame or many.
    Zstd,
}

impl Compression {
    /// Guesses from the first bytes, of which [`MAGIC_SIZE`] are enough.
    pub(crate) fn of(content: &[u8]) -> Self {
        match *content {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or a skippable frame, which may come first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Decompresses what a reader delivers.
///
/// Many gzip members or zstd frames are one stream, as their specifications say. After the last gzip member, zeros are
/// read and ignored, as gzip does, because there are layers that were padded to a block; what else follows, and whatever
/// follows a zstd frame and is none, is refused, as most readers of such layers do. An empty input is an empty output
/// whatever the compression.
///
/// The end is reported only when the reader below has reported its own, so a reader that verifies has done so then.
///
/// # Errors
///
/// Reading fails with an [`io::Error`] whose payload is an [`Error`]:
///
/// - [`ErrorKind::InvalidData`]: the stream is corrupt or truncated, or something else follows it.
/// - [`ErrorKind::LimitExceeded`]: a zstd frame wants a window of more than 512 MiB.
///
/// An error of the reader below comes through unchanged, and wins. After a failure every further read fails.
pub struct Decoder<'a> {
    codec: Codec<'a>,
    failed: bool,
}

type Gunzip<'a> = GzDecoder<BufReader<Source<'a>>>;

enum Codec<'a> {
    Plain(Source<'a>),
    /// `None` only while one member's decoder gives way to the next one's.
    Gzip(Option<Box<Gunzip<'a>>>),
    Zstd(zstd::Decoder<'static, BufReader<Source<'a>>>),
}

impl<'a> Decoder<'a> {
    /// Makes a decoder of the compression that the media type says. Reads the first bytes to compare.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidData`]: the content is something else than `expected`; the message says both. A plain
    ///   archive may begin with the name of a file, and that like anything: its first header's checksum decides.
    /// - The reader's error, wrapped.
    pub fn new(reader: impl Read + Send + 'a, expected: Compression) -> Result<Self> {
        let mut source = Source::new(Box::new(reader));
        let first_bytes = || "read the first bytes of the layer";
        let mut found = Compression::of(source.peek(MAGIC_SIZE).context(first_bytes)?);
        if expected == Compression::None
            && found != expected
            && begins_archive(source.peek(BLOCK).context(first_bytes)?)
        {
            found = Compression::None;
        }
        let start = source.start.get_ref();
        // Less than a magic number is either nothing, or truncated: that is the codec's to say.
        if found != expected && (start.len() >= MAGIC_SIZE || found != Compression::None) {
            let error = mismatch(expected, found);
            return Err(Self::of(Codec::Plain(source)).verdict(error));
        }
        let codec = match expected {
            _ if start.is_empty() => Codec::Plain(source),
            Compression::None => Codec::Plain(source),
            Compression::Gzip => {
                let buffer = BufReader::with_capacity(BUFFER_SIZE, source);
                Codec::Gzip(Some(Box::new(GzDecoder::new(buffer))))
            }
            Compression::Zstd => {
                let buffer = BufReader::with_capacity(BUFFER_SIZE, source);
                let mut decoder =
                    zstd::Decoder::with_buffer(buffer).context(|| "set up zstd decompression")?;
                decoder
                    .window_log_max(WINDOW_LOG_MAX)
                    .context(|| "set up zstd decompression")?;
                Codec::Zstd(decoder)
            }
        };
        Ok(Self::of(codec))
    }

    fn of(codec: Codec<'a>) -> Self {
        Self {
            codec,
            failed: false,
        }
    }

    /// Decides what to report after a failure further up, say in the tar archive that came out of this decoder.
    ///
    /// Reads the rest of the compressed stream, without decompressing it. When the reader below fails (a wrong digest, a
    /// bad disk), that is the cause and is returned; else `error` is.
    #[must_use]
    pub fn verdict(mut self, error: Error) -> Error {
        match self.source().map_or(Ok(()), Source::drain) {
            Ok(()) => error,
            Err(cause) => match Err::<(), _>(cause).context(|| "read layer") {
                Ok(()) => error,
                Err(cause) => cause,
            },
        }
    }

    fn source(&mut self) -> Option<&mut Source<'a>> {
        match &mut self.codec {
            Codec::Plain(source) => Some(source),
            Codec::Gzip(decoder) => decoder.as_mut().map(|decoder| decoder.get_mut().get_mut()),
            Codec::Zstd(decoder) => Some(decoder.get_mut().get_mut()),
        }
    }

    fn decode(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.codec {
            Codec::Plain(source) => source.read(buffer),
            Codec::Zstd(decoder) => match decoder.read(buffer) {
                Err(error)
                    if begins_no_frame(&error) && decoder.get_ref().get_ref().had_magic() =>
                {
                    Err(followed(Compression::Zstd))
                }
                result => result,
            },
            Codec::Gzip(slot) => loop {
                let Some(decoder) = slot else {
                    return Ok(0);
                };
                let count = decoder.read(buffer)?;
                if count > 0 {
                    return Ok(count);
                }
                match decoder.get_mut().fill_buf()?.first().copied() {
                    None => return Ok(0),
                    Some(0x1f) => {
                        let next = |member: Box<Gunzip<'a>>| GzDecoder::new(member.into_inner());
                        *slot = slot.take().map(next).map(Box::new);
                    }
                    Some(_) if only_zeros(decoder.get_mut())? => return Ok(0),
                    Some(_) => return Err(followed(Compression::Gzip)),
                }
            },
        }
    }

    /// Makes the error of a failed read: the source's, or ours about the stream.
    fn explain(&mut self, error: io::Error) -> io::Error {
        let name = match self.codec {
            Codec::Plain(_) => return error,
            Codec::Gzip(_) => Compression::Gzip,
            Codec::Zstd(_) => Compression::Zstd,
        };
        if let Some(source) = self.source() {
            if source.failed {
                return error;
            }
            if let Err(cause) = source.drain() {
                return cause;
            }
        }
        if matches!(error.get_ref(), Some(inner) if inner.is::<Error>()) {
            return error;
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Error::new(
                ErrorKind::InvalidData,
                format!("the {name} stream is truncated"),
            )
            .into();
        }
        // zstd has no error codes on this path; a test holds the text.
        if name == Compression::Zstd && error.to_string().contains("too much memory") {
            let message = format!(
                "the zstd window is too large: the limit is {} bytes",
                1u64 << WINDOW_LOG_MAX
            );
            return Error::new(ErrorKind::LimitExceeded, message).into();
        }
        Error::new(
            ErrorKind::InvalidData,
            format!("the {name} stream is corrupt"),
        )
        .with_source(error)
        .into()
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            // The decoders forget their failures, and would report a clean end.
            return Err(
                Error::new(ErrorKind::InvalidData, "decompression has failed before").into(),
            );
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        self.decode(buffer).map_err(|error| {
            self.failed = true;
            self.explain(error)
        })
    }
}

impl fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codec = match self.codec {
            Codec::Plain(_) => Compression::None,
            Codec::Gzip(_) => Compression::Gzip,
            Codec::Zstd(_) => Compression::Zstd,
        };
        f.debug_struct("Decoder")
            .field("codec", &codec)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// Whether these bytes are a tar header by its checksum.
fn begins_archive(start: &[u8]) -> bool {
    start.len() == BLOCK && matches!(Header::parse(start), Ok(Some(_)))
}

/// Whether zstd failed at the beginning of a frame, and has left its bytes in the reader.
fn begins_no_frame(error: &io::Error) -> bool {
    // As above, there is only the text, and a test.
    error.to_string().contains("Unknown frame descriptor")
}

/// What is said of bytes behind the end of a stream.
fn followed(compression: Compression) -> io::Error {
    let message = format!("bytes follow the end of the {compression} stream");
    Error::new(ErrorKind::InvalidData, message).into()
}

/// Reads to the end, or to the first byte that is not zero.
fn only_zeros(reader: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let padding = reader.fill_buf()?;
        if padding.is_empty() {
            return Ok(true);
        }
        if padding.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        let count = padding.len();
        reader.consume(count);
    }
}

fn mismatch(expected: Compression, found: Compression) -> Error {
    let expected = match expected {
        Compression::None => "no compression".to_owned(),
        named => named.to_string(),
    };
    let found = match found {
        Compression::None => "not compressed".to_owned(),
        named => named.to_string(),
    };
    Error::new(
        ErrorKind::InvalidData,
        format!("the media type says {expected}, the content is {found}"),
    )
}

/// The reader below: its first bytes, and whether it has failed.
struct Source<'a> {
    start: Cursor<Vec<u8>>,
    reader: Box<dyn Read + Send + 'a>,
    failed: bool,
}

impl<'a> Source<'a> {
    fn new(reader: Box<dyn Read + Send + 'a>) -> Self {
        Self {
            start: Cursor::new(Vec::new()),
            reader,
            failed: false,
        }
    }

    /// The first bytes, as many as there are up to `size`, before anything was read.
    fn peek(&mut self, size: usize) -> io::Result<&[u8]> {
        let start = self.start.get_mut();
        let missing = size.saturating_sub(start.len()) as u64;
        self.reader.by_ref().take(missing).read_to_end(start)?;
        Ok(start)
    }

    /// Whether there was enough to compare with what is expected: then what comes later follows something.
    fn had_magic(&self) -> bool {
        self.start.get_ref().len() >= MAGIC_SIZE
    }

    /// Reads to the end, for the sake of what the reader has to say there.
    fn drain(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink()).map(|_| ())
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.start.read(buffer)?;
        if count > 0 {
            return Ok(count);
        }
        loop {
            match self.reader.read(buffer) {
                // flate2 takes an interruption within a gzip header for the end.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    self.failed |= result.is_err();
                    return result;
                }
            }
        }
    }
}
