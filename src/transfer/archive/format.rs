//! Compression, told by the first bytes: of an archive as a whole, and of a layer in it.

use std::io::{self, BufReader, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use crate::archive::{Compression, Decoder};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Bytes by which formats are told from each other: a tar header.
pub(super) const HEAD_SIZE: usize = 512;

/// Where a tar header says that it is one.
const USTAR: std::ops::Range<usize> = 257..262;

/// Most bytes of memory that xz may take, which is what zstd may: `xz -9` wants an eighth of it.
const XZ_MEMORY: u64 = 512 << 20;

/// How something is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// As a layer may be.
    Known(Compression),
    /// As an archive may be, but a layer may not: by bzip2.
    Bzip2,
    /// The same, by xz.
    Xz,
}

impl Format {
    /// Tells the format by the first [`HEAD_SIZE`] bytes, or all if there are fewer.
    pub(super) fn of(head: &[u8]) -> Self {
        // A tar archive begins with the name of a file, and that may be like anything.
        if head.get(USTAR) == Some(b"ustar") {
            return Self::Known(Compression::None);
        }
        match *head {
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::Known(Compression::of(head)),
        }
    }

    /// The compression of a layer, if it is one that a media type has a name for; `what` is for the message.
    pub(super) fn of_layer(self, what: impl FnOnce() -> String) -> Result<Compression> {
        let program = match self {
            Self::Known(compression) => return Ok(compression),
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        };
        let message = format!("{} is compressed with {program}", what());
        Err(Error::new(ErrorKind::Unsupported, message).with_hint(
            "layers of an image are compressed with gzip, zstd or not at all: decompress it first",
        ))
    }
}

/// Decompresses an archive by what it is: gzip, zstd, bzip2 and xz, as `docker load` does.
pub(super) fn open(input: &mut (dyn Read + Send)) -> Result<Decoder<'_>> {
    let mut head = Vec::with_capacity(HEAD_SIZE);
    input
        .take(HEAD_SIZE as u64)
        .read_to_end(&mut head)
        .context(|| "read the first bytes")?;
    let format = Format::of(&head);
    let whole = Cursor::new(head).chain(input);
    match format {
        Format::Known(compression) => Decoder::new(whole, compression),
        Format::Bzip2 => {
            let unpacked = MultiBzDecoder::new(BufReader::new(whole));
            Decoder::new(Outer(unpacked, "bzip2"), Compression::None)
        }
        Format::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)
                .map_err(io::Error::from)
                .context(|| "set up xz decompression")?;
            let unpacked = XzDecoder::new_stream(BufReader::new(whole), stream);
            Decoder::new(Outer(unpacked, "xz"), Compression::None)
        }
    }
}

/// A decompressor by its name, which tells its own errors from those of its input.
struct Outer<R>(R, &'static str);

impl<R: Read> Read for Outer<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let is_inputs = error.raw_os_error().is_some()
                || error.kind() == io::ErrorKind::Interrupted
                || matches!(error.get_ref(), Some(inner) if inner.is::<Error>());
            if is_inputs {
                return error;
            }
            let message = format!("the {} stream is corrupt or truncated", self.1);
            Error::new(ErrorKind::InvalidData, message)
                .with_source(error)
                .into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_magic() {
        let known = Format::Known;
        for (head, format) in [
            (&b""[..], known(Compression::None)),
            (b"\x1f\x8b\x08", known(Compression::Gzip)),
            (b"\x28\xb5\x2f\xfd", known(Compression::Zstd)),
            (b"\x50\x2a\x4d\x18", known(Compression::Zstd)),
            (b"BZh9", Format::Bzip2),
            (b"BZhello", known(Compression::None)),
            (b"\xfd7zXZ\0", Format::Xz),
        ] {
            assert_eq!(Format::of(head), format, "{head:?}");
        }
    }

    #[test]
    fn a_tar_header_is_one_whatever_its_first_name_is() {
        let mut head = [0; HEAD_SIZE];
        head[..3].copy_from_slice(b"BZh");
        head[3] = b'9';
        head[USTAR].copy_from_slice(b"ustar");
        assert_eq!(Format::of(&head), Format::Known(Compression::None));
    }
}
