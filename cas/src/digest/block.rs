//! SHA-256 by blocks, so that two hashes of the same bytes can run at once.
//!
//! Whoever unpacks needs the digest of a whole stream and, over parts of the same bytes, digests of the files in it. A
//! processor's SHA instructions wait for one another most of the time; two independent hashes whose blocks alternate
//! fill each other's gaps. How much that gains depends on how far the processor looks ahead: a fifth to a half has been
//! measured. [`update_pair`] does it as long as both hashes stand at the same place within a block: always, if the
//! shorter one begins at a multiple of 64 bytes, as file contents in a tar stream do.
//!
//! The compression function is `sha2`'s; only the buffering and the padding (FIPS 180-4, 5.1.1 and 5.3.3) are here.

use sha2::block_api::compress256;
use std::fmt;
use std::slice;

/// Bytes of a block.
const BLOCK: usize = 64;

/// Bytes of the message length at the end of the padding.
const LENGTH: usize = 8;

/// FIPS 180-4, 5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A running SHA-256 that [`update_pair`] can feed together with another one.
#[derive(Clone)]
pub struct BlockHasher {
    state: [u32; 8],
    /// The last incomplete block: its first `length % 64` bytes count.
    buffer: [u8; BLOCK],
    /// Bytes hashed or buffered.
    length: u64,
}

impl BlockHasher {
    /// Begins with nothing hashed.
    #[inline]
    pub const fn new() -> Self {
        Self {
            state: INITIAL,
            buffer: [0; BLOCK],
            length: 0,
        }
    }

    /// Returns how many bytes of the buffer are waiting for their block to fill.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // Less than a block: the narrowing loses nothing.
    fn buffered(&self) -> usize {
        (self.length % BLOCK as u64) as usize
    }

    /// Takes from `data` what completes the buffered block, or all of it; returns the rest. If anything is left, or
    /// `data` was just enough, nothing is buffered afterwards.
    #[inline]
    fn complete_block<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let buffered = self.buffered();
        if buffered == 0 {
            return data;
        }
        let (head, rest) = data.split_at(data.len().min(BLOCK - buffered));
        self.buffer[buffered..buffered + head.len()].copy_from_slice(head);
        self.length += head.len() as u64;
        if self.buffered() == 0 && !head.is_empty() {
            compress256(&mut self.state, slice::from_ref(&self.buffer));
        }
        rest
    }

    /// Buffers what is less than a block, when nothing is buffered yet, and counts the `blocks` compressed before it.
    #[inline]
    fn keep(&mut self, blocks: &[[u8; BLOCK]], tail: &[u8]) {
        self.buffer[..tail.len()].copy_from_slice(tail);
        self.length += (blocks.len() * BLOCK + tail.len()) as u64;
    }

    /// Hashes `data` after all that came before.
    #[inline]
    pub fn update(&mut self, data: &[u8]) {
        let rest = self.complete_block(data);
        if rest.is_empty() {
            return;
        }
        let (blocks, tail) = rest.as_chunks::<BLOCK>();
        compress256(&mut self.state, blocks);
        self.keep(blocks, tail);
    }

    /// Returns the digest of all that was fed, in raw bytes.
    #[inline]
    pub fn finish(mut self) -> [u8; 32] {
        let buffered = self.buffered();
        self.buffer[buffered..].fill(0);
        self.buffer[buffered] = 0x80;
        if buffered >= BLOCK - LENGTH {
            compress256(&mut self.state, slice::from_ref(&self.buffer));
            self.buffer.fill(0);
        }
        // FIPS 180-4 defines the hash for less than 2^64 bits only: 2 EiB.
        self.buffer[BLOCK - LENGTH..].copy_from_slice(&self.length.wrapping_mul(8).to_be_bytes());
        compress256(&mut self.state, slice::from_ref(&self.buffer));
        let mut output = [0; 32];
        for (bytes, word) in output.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        output
    }
}

impl Default for BlockHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BlockHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockHasher")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Feeds the same `data` to two hashes: the same as `a.update(data)` and `b.update(data)`, but faster while the numbers
/// of bytes that both were fed before are equal modulo 64.
#[inline]
pub fn update_pair(a: &mut BlockHasher, b: &mut BlockHasher, data: &[u8]) {
    if a.buffered() != b.buffered() {
        a.update(data);
        b.update(data);
        return;
    }
    let rest = a.complete_block(data);
    b.complete_block(data);
    if rest.is_empty() {
        return;
    }
    let (blocks, tail) = rest.as_chunks::<BLOCK>();
    for block in blocks {
        compress256(&mut a.state, slice::from_ref(block));
        compress256(&mut b.state, slice::from_ref(block));
    }
    a.keep(blocks, tail);
    b.keep(blocks, tail);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    fn reference(data: &[u8]) -> [u8; 32] {
        Sha256::digest(data).into()
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    #[test]
    fn every_length_around_the_padding_agrees_with_sha2() {
        for length in 0..300 {
            let data = bytes(length);
            let mut hasher = BlockHasher::new();
            hasher.update(&data);
            assert_eq!(hasher.finish(), reference(&data), "{length} bytes");
        }
    }

    #[test]
    fn an_empty_update_changes_nothing() {
        let mut hasher = BlockHasher::new();
        hasher.update(b"abc");
        hasher.update(b"");
        update_pair(&mut hasher, &mut BlockHasher::new(), b"");
        assert_eq!(hasher.finish(), reference(b"abc"));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_digest(data in proptest::collection::vec(any::<u8>(), 0..1000),
                                           pieces in proptest::collection::vec(0usize..200, 0..20)) {
            let mut hasher = BlockHasher::new();
            let mut rest = &data[..];
            for piece in pieces {
                let (head, tail) = rest.split_at(piece.min(rest.len()));
                hasher.update(head);
                rest = tail;
            }
            hasher.update(rest);
            prop_assert_eq!(hasher.finish(), reference(&data));
        }

        #[test]
        fn a_pair_gives_the_digests_of_both_streams(before_a in proptest::collection::vec(any::<u8>(), 0..200),
                                                    before_b in proptest::collection::vec(any::<u8>(), 0..200),
                                                    aligned: bool,
                                                    shared in proptest::collection::vec(any::<u8>(), 0..1000),
                                                    pieces in proptest::collection::vec(0usize..300, 0..20),
                                                    after_a in proptest::collection::vec(any::<u8>(), 0..200)) {
            // Half of the cases stand at the same place within a block, as in a tar stream.
            let mut before_b = before_b;
            if aligned {
                before_b.resize(before_a.len() + 64, 7);
            }
            let (mut a, mut b) = (BlockHasher::new(), BlockHasher::new());
            a.update(&before_a);
            b.update(&before_b);
            let mut rest = &shared[..];
            for piece in pieces {
                let (head, tail) = rest.split_at(piece.min(rest.len()));
                update_pair(&mut a, &mut b, head);
                rest = tail;
            }
            update_pair(&mut a, &mut b, rest);
            a.update(&after_a);
            prop_assert_eq!(a.finish(), reference(&[before_a, shared.clone(), after_a].concat()));
            prop_assert_eq!(b.finish(), reference(&[before_b, shared].concat()));
        }
    }
}
