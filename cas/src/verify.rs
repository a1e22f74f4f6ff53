//! Verification while reading.
//!
//! A reader is promised `size` bytes with a digest. It delivers and hashes at most the first `size` bytes, never one
//! more, so that what follows them cannot reach a parser. Where the end of the stream would be reported, at that
//! boundary or before, it decides:
//!
//! 1. the delivered bytes have another digest: *digest mismatch*, also when there are too few or too many, which it says;
//! 2. else there were fewer bytes than promised, or there is one more behind the boundary: *size mismatch*;
//! 3. else end of stream.
//!
//! A consumer that stops before the end, as decompressors do, has seen no verdict: it calls
//! [`finish`](VerifyingReader::finish), which reads the rest.

use crate::{Digest, Error, ErrorKind, Hasher, Result};
use std::fmt;
use std::io::{self, Read};

/// Most bytes that `finish` reads at once.
const DRAIN_SIZE: usize = 64 << 10;

/// A reader that ends in an error unless its bytes have the promised digest and size (see the [module](self)).
///
/// The error takes the place of end-of-file: [`read`](Read::read) fails with an [`io::Error`] whose payload is an
/// [`Error`] of kind [`Mismatch`](ErrorKind::Mismatch), and so does every later read.
pub struct VerifyingReader<R> {
    inner: R,
    digest: Digest,
    size: u64,
    position: u64,
    drained: u64,
    state: State,
}

/// Hashing, until the end has been seen.
enum State {
    Reading(Hasher),
    Verified,
    /// The message of the mismatch.
    Failed(String),
}

impl<R: Read> VerifyingReader<R> {
    /// Wraps a reader that stands at the first byte of a blob; `size` is in bytes.
    pub fn new(inner: R, digest: Digest, size: u64) -> Self {
        let state = State::Reading(Hasher::new(digest.algorithm()));
        Self {
            inner,
            digest,
            size,
            position: 0,
            drained: 0,
            state,
        }
    }

    /// Returns the number of bytes delivered or drained so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads what is left and checks digest and size. Returns how many of the promised bytes had been left unread
    /// when it was first called. Calling it again gives the same answer.
    ///
    /// # Errors
    ///
    /// [`Mismatch`](ErrorKind::Mismatch), or a failure of the inner reader, after which it may be called again.
    pub fn finish(&mut self) -> Result<u64> {
        let left = self.size - self.position;
        let length = DRAIN_SIZE
            .min(usize::try_from(left).unwrap_or(DRAIN_SIZE))
            .max(1);
        let mut buffer = match self.state {
            State::Reading(_) => vec![0; length],
            State::Verified | State::Failed(_) => vec![0; 1],
        };
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Ok(self.drained),
                Ok(count) => self.drained += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_read(&self.digest, error)),
            }
        }
    }

    /// Gives the verdict at the end of the delivered bytes.
    fn conclude(&mut self, probe: usize) {
        let State::Reading(hasher) = std::mem::replace(&mut self.state, State::Verified) else {
            return;
        };
        let found = hasher.finish();
        let size = if self.position < self.size {
            Some(format!(
                "expected {} bytes, got {}",
                self.size, self.position
            ))
        } else if probe > 0 {
            Some(format!("expected {} bytes, got more", self.size))
        } else {
            None
        };
        let message = match size {
            _ if found != self.digest => {
                let size = size.map(|size| format!(" ({size})")).unwrap_or_default();
                let digest = &self.digest;
                format!("verified reader digest mismatch: expected {digest}, got {found}{size}")
            }
            Some(size) => format!("verified reader size mismatch: {size}"),
            None => return,
        };
        self.state = State::Failed(message);
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let State::Reading(hasher) = &mut self.state {
            let left = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
            if left > 0 {
                let wanted = buffer.len().min(left);
                let count = self.inner.read(&mut buffer[..wanted])?;
                if count > 0 {
                    hasher.update(&buffer[..count]);
                    self.position += count as u64;
                    return Ok(count);
                }
                self.conclude(0);
            } else {
                let probe = self.inner.read(&mut [0])?;
                self.conclude(probe);
            }
        }
        match &self.state {
            State::Failed(message) => Err(Error::new(ErrorKind::Mismatch, message.clone()).into()),
            State::Reading(_) | State::Verified => Ok(0),
        }
    }
}

impl<R> fmt::Debug for VerifyingReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingReader")
            .field("digest", &self.digest)
            .field("size", &self.size)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Error {
    /// Takes an error of this crate out of what a reader reported, or says that reading a blob failed.
    pub(crate) fn from_read(digest: &Digest, error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(error) => Self::io("read blob", digest, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;
    use proptest::prelude::*;

    const DIGEST: &str = "verified reader digest mismatch";
    const SIZE: &str = "verified reader size mismatch";

    /// Delivers at most so many bytes a call, and is interrupted before each.
    struct Dribble<'a>(&'a [u8], usize, bool);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = buffer.len().min(self.1);
            self.0.read(&mut buffer[..count])
        }
    }

    fn reader<'a>(stored: &'a [u8], promised: &[u8], size: u64) -> VerifyingReader<&'a [u8]> {
        VerifyingReader::new(stored, Digest::of(Algorithm::Sha256, promised), size)
    }

    fn verdict(stored: &[u8], promised: &[u8], size: u64) -> (Vec<u8>, Option<String>) {
        let mut data = Vec::new();
        let mut reader = reader(stored, promised, size);
        let result = reader.read_to_end(&mut data);
        let again = reader.read(&mut [0; 8]);
        let message = result.err().map(|error| {
            let ours = error.downcast::<Error>().expect("the payload is ours");
            assert_eq!(ours.kind(), ErrorKind::Mismatch);
            ours.message().to_owned()
        });
        let repeated = again.err().map(|error| error.to_string());
        assert_eq!(message, repeated, "every later read gives the same verdict");
        assert_eq!(
            message,
            reader.finish().err().map(|error| error.to_string())
        );
        (data, message)
    }

    #[test]
    fn what_was_promised_is_delivered_and_ends() {
        assert_eq!(verdict(b"hello", b"hello", 5), (b"hello".to_vec(), None));
        assert_eq!(verdict(b"", b"", 0), (Vec::new(), None));
    }

    #[test]
    fn an_appended_byte_is_a_size_mismatch_and_is_never_delivered() {
        let (data, message) = verdict(b"hello!", b"hello", 5);
        assert_eq!(data, b"hello");
        assert!(message.unwrap().starts_with(SIZE));
        assert!(verdict(b"x", b"", 0).1.unwrap().starts_with(SIZE));
    }

    #[test]
    fn a_prepended_byte_is_a_digest_mismatch() {
        let (data, message) = verdict(b"!hello", b"hello", 5);
        assert_eq!(data, b"!hell");
        let message = message.unwrap();
        assert!(message.starts_with(DIGEST));
        assert!(message.contains(&Digest::of(Algorithm::Sha256, b"hello").to_string()));
        assert!(message.contains(&Digest::of(Algorithm::Sha256, b"!hell").to_string()));
    }

    #[test]
    fn the_digest_wins_over_the_size_which_is_told_too() {
        assert!(verdict(b"hell", b"hello", 5).1.unwrap().starts_with(DIGEST));
        let told = |stored: &[u8]| verdict(stored, b"hello", 5).1.unwrap();
        assert!(told(b"hell").ends_with("(expected 5 bytes, got 4)"));
        assert!(told(b"jello!").ends_with("(expected 5 bytes, got more)"));
        assert!(!told(b"jello").contains("bytes"));
        assert!(
            verdict(b"jello!", b"hello", 5)
                .1
                .unwrap()
                .starts_with(DIGEST)
        );
        assert!(verdict(b"", b"hello", 5).1.unwrap().starts_with(DIGEST));
    }

    #[test]
    fn the_right_bytes_with_a_wrong_promise_of_their_number_are_a_size_or_digest_mismatch() {
        let message = verdict(b"hello", b"hello", 6).1.unwrap();
        assert_eq!(message, format!("{SIZE}: expected 6 bytes, got 5"));
        assert!(
            verdict(b"hello", b"hello", 4)
                .1
                .unwrap()
                .starts_with(DIGEST)
        );
        assert!(
            verdict(b"hello", b"hello", u64::MAX)
                .1
                .unwrap()
                .starts_with(SIZE)
        );
    }

    #[test]
    fn finish_reads_the_rest_says_how_much_and_is_idempotent() {
        let mut reader = reader(b"hello", b"hello", 5);
        reader.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(reader.position(), 2);
        assert_eq!(reader.finish().unwrap(), 3);
        assert_eq!(reader.finish().unwrap(), 3);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn finish_fails_where_reading_on_would_have_failed() {
        let mut reader = reader(b"hello!", b"hello", 5);
        reader.read_exact(&mut [0; 5]).unwrap();
        for _ in 0..2 {
            let error = reader.finish().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Mismatch);
            assert!(error.message().starts_with(SIZE));
        }
    }

    #[test]
    fn a_failing_reader_is_reported_as_such() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        let mut reader = VerifyingReader::new(Broken, Digest::of(Algorithm::Sha256, b""), 0);
        let error = reader.finish().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.message().starts_with("read blob sha256:e3b0"));
    }

    proptest! {
        #[test]
        fn short_reads_and_interruptions_change_nothing(data in proptest::collection::vec(any::<u8>(), 0..500),
                                                        step in 1usize..70, extra: bool, sha512: bool) {
            let algorithm = if sha512 { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let mut stored = data.clone();
            if extra {
                stored.push(0);
            }
            let size = data.len() as u64;
            let mut reader = VerifyingReader::new(Dribble(&stored, step, false), Digest::of(algorithm, &data), size);
            let mut delivered = Vec::new();
            prop_assert_eq!(reader.read_to_end(&mut delivered).is_err(), extra);
            prop_assert_eq!(delivered, data);
        }
    }
}
