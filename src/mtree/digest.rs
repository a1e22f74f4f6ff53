//! The digests of a file's content, as many as are wanted in one pass.

use super::Keyword;
use crate::{Error, ErrorKind, Result, ResultExt};
use sha2::digest::DynDigest;
use sha2::{Sha256, Sha384, Sha512, Sha512_256};
use std::io::{ErrorKind as IoErrorKind, Read};

const BUFFER_SIZE: usize = 256 * 1024;

/// The wanted digests; reused from file to file.
pub(super) struct Digests {
    sums: Vec<(Keyword, Sum)>,
    buffer: Vec<u8>,
}

/// The digests of one file, in the form in which [`Attributes`](super::Attributes) wants them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Computed {
    pub(super) sha256: Option<[u8; 32]>,
    pub(super) other: Vec<(Keyword, String)>,
}

enum Sum {
    Hash(Box<dyn DynDigest>),
    Cksum(Cksum),
}

impl Digests {
    /// Prepares the digests among `keywords`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for a digest that this program cannot compute.
    pub(super) fn new(keywords: &[Keyword]) -> Result<Self> {
        let wanted = keywords.iter().copied().filter(|k| k.is_digest());
        let sums = wanted.map(|keyword| Ok((keyword, sum(keyword)?)));
        Ok(Self {
            sums: sums.collect::<Result<_>>()?,
            buffer: Vec::new(),
        })
    }

    /// Whether no digest is wanted, so that files need not be read.
    pub(super) fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// Reads to the end and returns the digests.
    ///
    /// # Errors
    ///
    /// Those of the reader. The next call starts anew.
    pub(super) fn read(&mut self, mut reader: impl Read) -> Result<Computed> {
        self.buffer.resize(BUFFER_SIZE, 0);
        for (_, sum) in &mut self.sums {
            sum.reset();
        }
        loop {
            let read = match reader.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == IoErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context(|| "read"),
            };
            for (_, sum) in &mut self.sums {
                sum.update(&self.buffer[..read]);
            }
        }
        let mut computed = Computed::default();
        for (keyword, sum) in &mut self.sums {
            match sum {
                Sum::Hash(hash) if *keyword == Keyword::Sha256 => {
                    computed.sha256 = hash.finalize_reset().as_ref().try_into().ok();
                }
                Sum::Hash(hash) => {
                    let text = hex::encode(hash.finalize_reset());
                    computed.other.push((*keyword, text));
                }
                Sum::Cksum(cksum) => computed.other.push((*keyword, cksum.finish().to_string())),
            }
        }
        Ok(computed)
    }
}

/// One arm per algorithm: a crate whose types are `digest::Digest` needs no more than its arm here.
fn sum(keyword: Keyword) -> Result<Sum> {
    Ok(Sum::Hash(match keyword {
        Keyword::Md5 => Box::new(md5::Md5::default()),
        Keyword::Sha1 => Box::new(sha1::Sha1::default()),
        Keyword::Ripemd160 => Box::new(ripemd::Ripemd160::default()),
        Keyword::Sha256 => Box::new(Sha256::default()),
        Keyword::Sha384 => Box::new(Sha384::default()),
        Keyword::Sha512 => Box::new(Sha512::default()),
        Keyword::Sha512256 => Box::new(Sha512_256::default()),
        Keyword::Cksum => return Ok(Sum::Cksum(Cksum::default())),
        _ => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("compute {keyword}: this program has no such digest"),
            )
            .with_hint("name the keywords to compare with --use-keywords"));
        }
    }))
}

impl Sum {
    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Hash(hash) => hash.update(data),
            Self::Cksum(cksum) => cksum.update(data),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Hash(hash) => hash.reset(),
            Self::Cksum(cksum) => *cksum = Cksum::default(),
        }
    }
}

/// The checksum of cksum(1): a CRC of the content followed by its length.
#[derive(Clone, Copy, Default)]
struct Cksum {
    crc: u32,
    length: u64,
}

impl Cksum {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index: u32 = 0;
        while index < 256 {
            let mut crc = index << 24;
            let mut bit = 0;
            while bit < 8 {
                let carry = crc >> 31;
                crc = (crc << 1) ^ (carry * 0x04c1_1db7);
                bit += 1;
            }
            table[index as usize] = crc;
            index += 1;
        }
        table
    };

    fn update(&mut self, data: &[u8]) {
        for byte in data {
            self.add(*byte);
        }
        self.length += data.len() as u64;
    }

    fn add(&mut self, byte: u8) {
        let [top, ..] = self.crc.to_be_bytes();
        self.crc = (self.crc << 8) ^ Self::TABLE[usize::from(top ^ byte)];
    }

    /// Adds the length, least byte first and without leading zeros, and returns the checksum.
    fn finish(mut self) -> u32 {
        let bytes = self.length.to_le_bytes();
        let used = bytes.len() - self.length.leading_zeros() as usize / 8;
        bytes[..used].iter().for_each(|byte| self.add(*byte));
        !self.crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(keyword: Keyword, content: &[u8]) -> String {
        let mut digests = Digests::new(&[Keyword::Size, keyword]).unwrap();
        let computed = digests.read(content).unwrap();
        computed.other.into_iter().next().unwrap().1
    }

    #[test]
    fn all_wanted_digests_come_from_one_pass_and_a_second_file_starts_anew() {
        let keywords = [Keyword::Sha384, Keyword::Sha256, Keyword::Cksum];
        let mut digests = Digests::new(&keywords).unwrap();
        let large = vec![7; BUFFER_SIZE * 2 + 1];
        let first = digests.read(&large[..]).unwrap();
        let second = digests.read(&b"hi"[..]).unwrap();
        let text = hex::encode(second.sha256.unwrap());
        assert_eq!(
            text,
            "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"
        );
        let written: Vec<_> = second.other.iter().map(|(keyword, _)| *keyword).collect();
        assert_eq!(written, [Keyword::Sha384, Keyword::Cksum]);
        assert_eq!(digests.read(&large[..]).unwrap(), first);
    }

    #[test]
    fn cksum_is_that_of_the_command() {
        for (content, sum) in [
            (&b""[..], "4294967295"),
            (b"hi", "2352138605"),
            (b"123456789", "930766865"),
            (&vec![0; 70_000], "1774371287"),
        ] {
            assert_eq!(other(Keyword::Cksum, content), sum);
        }
    }

    #[test]
    fn sha512_256_is_not_cut_from_sha512() {
        let empty = "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a";
        assert_eq!(other(Keyword::Sha512256, b""), empty);
        assert!(other(Keyword::Sha512, b"").starts_with("cf83e1357eefb8bdf1542850d66d8007"));
    }
}
