//! Compression, told by the first bytes: of an archive as a whole, and of a layer in it.

use std::io::{Cursor, Read};

use crate::archive::{Compression, Decoder};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Bytes by which formats are told from each other: a tar header.
pub(super) const HEAD_SIZE: usize = 512;

/// Where a tar header says that it is one.
const USTAR: std::ops::Range<usize> = 257..262;

/// How something is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// As we can read it.
    Known(Compression),
    /// By a program of this name.
    Foreign(&'static str),
}

impl Format {
    /// Tells the format by the first [`HEAD_SIZE`] bytes, or all if there are fewer.
    pub(super) fn of(head: &[u8]) -> Self {
        // A tar archive begins with the name of a file, and that may be like anything.
        if head.get(USTAR) == Some(b"ustar") {
            return Self::Known(Compression::None);
        }
        match *head {
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Foreign("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Foreign("xz"),
            _ => Self::Known(Compression::of(head)),
        }
    }

    /// The compression, if it is one of ours; `what` is for the message.
    pub(super) fn known(self, what: impl FnOnce() -> String) -> Result<Compression> {
        match self {
            Self::Known(compression) => Ok(compression),
            Self::Foreign(program) => {
                let message = format!("{} is compressed with {program}", what());
                Err(Error::new(ErrorKind::Unsupported, message).with_hint(format!(
                    "decompress it with {program} first; gzip, zstd and none are read as they are"
                )))
            }
        }
    }
}

/// Decompresses an archive by what it is.
pub(super) fn open(input: &mut (dyn Read + Send)) -> Result<Decoder<'_>> {
    let mut head = Vec::with_capacity(HEAD_SIZE);
    input
        .take(HEAD_SIZE as u64)
        .read_to_end(&mut head)
        .context(|| "read the first bytes")?;
    let compression = Format::of(&head).known(|| "the archive".to_owned())?;
    Decoder::new(Cursor::new(head).chain(input), compression)
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
            (b"BZh9", Format::Foreign("bzip2")),
            (b"BZhello", known(Compression::None)),
            (b"\xfd7zXZ\0", Format::Foreign("xz")),
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
