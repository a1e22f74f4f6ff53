//! Digests: the names of blobs.
//!
//! The grammar is that of the OCI image specification, `descriptor.md`, "Digests":
//!
//! ```text
//! digest              ::= algorithm ":" encoded
//! algorithm           ::= algorithm-component (algorithm-separator algorithm-component)*
//! algorithm-component ::= [a-z0-9]+
//! algorithm-separator ::= [+._-]
//! encoded             ::= [a-zA-Z0-9=_-]+
//! ```
//!
//! It registers `sha256` (64 characters of `[a-f0-9]`) and `sha512` (128 of them). A [`Digest`] is one of these two, of
//! exactly that length and in lower case, from the moment it exists; that makes it safe as a file name.
//! Text outside the grammar is [`Invalid`](ErrorKind::Invalid), text within it but of another algorithm is
//! [`Unsupported`](ErrorKind::Unsupported).
//!
//! [`Hasher`] hashes for either algorithm. [`BlockHasher`] is SHA-256 alone, for who has to hash one stream twice at
//! once ([`update_pair`]).

mod block;

pub use block::{BlockHasher, update_pair};

use crate::{Error, ErrorKind, Result};
use sha2::Digest as _;
use std::fmt;
use std::str::FromStr;

/// Bytes of the longest digest.
const MAX_SIZE: usize = 64;

/// A registered hash algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256, which every implementation has.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Every algorithm that is known here.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Returns the registered name: `sha256` or `sha512`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Returns the size of a digest in raw bytes: half the number of its hexadecimal characters.
    pub fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => MAX_SIZE,
        }
    }

    /// Parses the encoded part of a digest of this algorithm.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) unless it has the exact length and is lower-case hexadecimal.
    pub fn digest(self, encoded: &str) -> Result<Digest> {
        let mut bytes = [0; MAX_SIZE];
        // The decoder takes upper case too, which would give one digest several names.
        let lower = !encoded.bytes().any(|byte| byte.is_ascii_uppercase());
        if !lower || hex::decode_to_slice(encoded, &mut bytes[..self.size()]).is_err() {
            let message = format!(
                "malformed {self} digest {}: not {} lower-case hexadecimal characters",
                shown(encoded),
                2 * self.size()
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(Digest {
            algorithm: self,
            bytes,
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(known) = Self::ALL.into_iter().find(|known| known.name() == text) {
            return Ok(known);
        }
        let component = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if text.split(['+', '.', '_', '-']).all(component) {
            Err(Error::new(
                ErrorKind::Unsupported,
                format!("unsupported digest algorithm {}", shown(text)),
            ))
        } else {
            Err(Error::new(
                ErrorKind::Invalid,
                format!("malformed digest algorithm {}", shown(text)),
            ))
        }
    }
}

/// The digest of a blob as stored: `algorithm:encoded`, known to be well-formed.
///
/// Holds the raw bytes inline, so that a clone is a copy. Digests are ordered by algorithm, then by value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    /// Zero beyond the algorithm's size.
    bytes: [u8; MAX_SIZE],
}

impl Digest {
    /// Makes a digest of its raw bytes.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) unless there are exactly as many bytes as the algorithm yields.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self> {
        if bytes.len() != algorithm.size() {
            let message = format!(
                "malformed {algorithm} digest: {} bytes instead of {}",
                bytes.len(),
                algorithm.size()
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(Self::from_output(algorithm, bytes))
    }

    /// Computes the digest of `data`.
    pub fn of(algorithm: Algorithm, data: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(data);
        hasher.finish()
    }

    /// The caller has exactly as many bytes as the algorithm yields.
    fn from_output(algorithm: Algorithm, output: &[u8]) -> Self {
        let mut bytes = [0; MAX_SIZE];
        bytes[..output.len()].copy_from_slice(output);
        Self { algorithm, bytes }
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the part after the colon: lower-case hexadecimal, which is also the name of the blob's file.
    pub fn encoded(&self) -> String {
        hex::encode(self.as_bytes())
    }

    /// Returns the raw bytes, as many as the algorithm yields.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.size()]
    }
}

impl From<[u8; 32]> for Digest {
    /// Takes what a SHA-256 yields, such as [`BlockHasher::finish`].
    fn from(sha256: [u8; 32]) -> Self {
        Self::from_output(Algorithm::Sha256, &sha256)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((algorithm, encoded)) = text.split_once(':') else {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("malformed digest {}: no colon", shown(text)),
            ));
        };
        let in_grammar = |byte: u8| byte.is_ascii_alphanumeric() || b"=_-".contains(&byte);
        if encoded.is_empty() || !encoded.bytes().all(in_grammar) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("malformed digest {}", shown(text)),
            ));
        }
        algorithm.parse::<Algorithm>()?.digest(encoded)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.algorithm)?;
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Quotes text from outside for a message: escaped, and no longer than a line.
fn shown(text: &str) -> String {
    const LIMIT: usize = 160;
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A running hash of either algorithm.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// Begins with nothing hashed.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        })
    }

    /// Hashes `data` after all that came before.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(data),
            State::Sha512(state) => state.update(data),
        }
    }

    /// Returns the digest of all that was fed.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(state) => Digest::from_output(Algorithm::Sha256, &state.finalize()),
            State::Sha512(state) => Digest::from_output(Algorithm::Sha512, &state.finalize()),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = match self.0 {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        };
        f.debug_tuple("Hasher").field(&algorithm).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_the_well_known_one() {
        assert_eq!(Digest::of(Algorithm::Sha256, b"").to_string(), EMPTY);
        let sha512 = Digest::of(Algorithm::Sha512, b"");
        assert!(sha512.to_string().starts_with("sha512:cf83e1357eefb8bd"));
        assert_eq!(sha512.as_bytes().len(), 64);
    }

    #[test]
    fn text_that_is_no_digest_is_refused_with_the_reason() {
        use ErrorKind::{Invalid, Unsupported};
        let hex = &EMPTY[7..];
        for (text, kind) in [
            (String::new(), Invalid),
            ("sha256".into(), Invalid),
            ("sha256:".into(), Invalid),
            (format!(":{hex}"), Invalid),
            (format!("sha256:{}", &hex[1..]), Invalid),
            (format!("sha256:{hex}0"), Invalid),
            (format!("sha256:{}", hex.to_uppercase()), Invalid),
            (format!("sha256:{}g", &hex[1..]), Invalid),
            (format!("SHA256:{hex}"), Invalid),
            (format!(" sha256:{hex}"), Invalid),
            (format!("sha256:{hex}\n"), Invalid),
            (format!("sha512:{hex}"), Invalid),
            (format!("sha256+:{hex}"), Invalid),
            ("sha256:../../../etc/passwd".into(), Invalid),
            (format!("../sha256:{hex}"), Invalid),
            ("md5:d41d8cd98f00b204e9800998ecf8427e".into(), Unsupported),
            (
                "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564".into(),
                Unsupported,
            ),
            ("md5:a:b".into(), Invalid),
            (format!("sha256:{}", "é".repeat(32)), Invalid),
        ] {
            let error = text.parse::<Digest>().unwrap_err();
            assert_eq!(error.kind(), kind, "{text}");
        }
    }

    #[test]
    fn a_message_does_not_grow_with_the_text_refused() {
        let error = format!("sha256:{}", "ü".repeat(1 << 20))
            .parse::<Digest>()
            .unwrap_err();
        assert!(error.message().len() < 1000);
    }

    #[test]
    fn raw_bytes_of_a_wrong_length_are_refused() {
        for length in [0, 31, 33, 64] {
            assert_eq!(
                Digest::from_bytes(Algorithm::Sha256, &vec![0; length])
                    .unwrap_err()
                    .kind(),
                ErrorKind::Invalid
            );
        }
    }

    #[test]
    fn algorithms_are_parsed_by_their_exact_name() {
        assert_eq!("sha512".parse::<Algorithm>().unwrap(), Algorithm::Sha512);
        assert_eq!(
            "blake3".parse::<Algorithm>().unwrap_err().kind(),
            ErrorKind::Unsupported
        );
        assert_eq!(
            "sha256 ".parse::<Algorithm>().unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }

    proptest! {
        #[test]
        fn text_and_bytes_round_trip_and_keep_their_order(a: [u8; 32], b: [u8; 32]) {
            let (left, right) = (Digest::from(a), Digest::from(b));
            prop_assert_eq!(&left.to_string().parse::<Digest>().unwrap(), &left);
            prop_assert_eq!(&Digest::from_bytes(Algorithm::Sha256, left.as_bytes()).unwrap(), &left);
            prop_assert_eq!(left.to_string(), format!("sha256:{}", left.encoded()));
            prop_assert_eq!(left.cmp(&right), left.to_string().cmp(&right.to_string()));
        }

        #[test]
        fn parsing_never_panics_and_accepts_only_what_it_prints(text in "(sha256|sha512|md5)?:?[0-9a-fA-F=]{0,130}|\\PC*") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}
