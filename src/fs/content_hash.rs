//! The digest by which the content of a regular file is known in records.
//!
//! It is SHA-256 of the content, as mtree manifests have it. Of a file with more than [`HASHED_ZEROS`] bytes of zeros that
//! would take minutes to hours (`lastlog` of a large user id has a terabyte of holes), so such a file has a digest of its
//! blocks of 4 KiB that are not all zeros, with their places. Which one it is depends on the content alone, not on how its
//! holes are stored. [`is_of_blocks`] tells them apart: the latter begins with eight fixed bytes, which a SHA-256 does once
//! in 2^64 times.

use oci_cas::digest::{BlockHasher, update_pair};

/// How many bytes of zeros, in whole aligned blocks, are hashed like others: a few seconds of hashing.
pub const HASHED_ZEROS: u64 = 4 << 30;

/// Bytes of a block; no file system has holes that are smaller or lie elsewhere.
const BLOCK: usize = 4096;

/// What a digest of blocks begins with.
const MARK: [u8; 8] = *b"\0blocks\0";

const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Whether a digest is one of blocks, which means nothing to other programs.
pub fn is_of_blocks(digest: &[u8; 32]) -> bool {
    digest.starts_with(&MARK)
}

/// Computes the digest of a file's content, of which holes need not be read.
#[derive(Debug)]
pub struct ContentHasher(Hashers);

#[derive(Debug)]
enum Hashers {
    /// SHA-256 of the content.
    Sha256(BlockHasher),
    /// A file that is large enough for the other digest.
    Large {
        /// SHA-256 of the content, until it is known to have too many zeros.
        sha256: Option<BlockHasher>,
        blocks: Box<Blocks>,
    },
}

impl ContentHasher {
    /// Begins with a file of this size in bytes.
    pub fn new(size: u64) -> Self {
        Self::with_limit(size, HASHED_ZEROS)
    }

    /// Computes SHA-256, however many zeros there are.
    pub fn sha256() -> Self {
        Self(Hashers::Sha256(BlockHasher::new()))
    }

    fn with_limit(size: u64, limit: u64) -> Self {
        if size <= limit {
            return Self::sha256();
        }
        Self(Hashers::Large {
            sha256: Some(BlockHasher::new()),
            blocks: Box::new(Blocks::new(limit)),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(sha256) = self.plain() {
            sha256.update(bytes);
        }
        self.update_blocks(|blocks| blocks.update(bytes));
    }

    /// Takes the next bytes, which another hasher takes too: faster than one after the other.
    pub fn update_with(&mut self, other: &mut BlockHasher, bytes: &[u8]) {
        match self.plain() {
            Some(sha256) => update_pair(other, sha256, bytes),
            None => other.update(bytes),
        }
        self.update_blocks(|blocks| blocks.update(bytes));
    }

    /// Takes as many zeros: a hole.
    pub fn zeros(&mut self, mut count: u64) {
        self.update_blocks(|blocks| blocks.hole(count));
        let Some(sha256) = self.plain() else { return };
        while count > 0 {
            let piece = &ZEROS[..usize::try_from(count).map_or(BLOCK, |count| count.min(BLOCK))];
            sha256.update(piece);
            count -= piece.len() as u64;
        }
    }

    /// The digest of all that came.
    pub fn finish(self) -> [u8; 32] {
        match self.0 {
            Hashers::Sha256(sha256) => sha256.finish(),
            Hashers::Large { sha256, blocks } => blocks.finish(sha256),
        }
    }

    fn plain(&mut self) -> Option<&mut BlockHasher> {
        match &mut self.0 {
            Hashers::Sha256(sha256) => Some(sha256),
            Hashers::Large { sha256, .. } => sha256.as_mut(),
        }
    }

    fn update_blocks(&mut self, update: impl FnOnce(&mut Blocks)) {
        if let Hashers::Large { sha256, blocks } = &mut self.0 {
            update(blocks);
            if blocks.has_too_many_zeros() {
                *sha256 = None;
            }
        }
    }
}

/// The digest of the blocks that are not all zeros.
#[derive(Debug)]
struct Blocks {
    hasher: BlockHasher,
    /// A block that is not complete yet.
    partial: [u8; BLOCK],
    filled: usize,
    /// Bytes before it.
    position: u64,
    /// How many bytes of all-zero blocks there were.
    zeros: u64,
    limit: u64,
}

impl Blocks {
    fn new(limit: u64) -> Self {
        Self {
            hasher: BlockHasher::new(),
            partial: [0; BLOCK],
            filled: 0,
            position: 0,
            zeros: 0,
            limit,
        }
    }

    fn has_too_many_zeros(&self) -> bool {
        self.zeros > self.limit
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == 0
                && let Some((block, rest)) = bytes.split_first_chunk::<BLOCK>()
            {
                self.block(block);
                bytes = rest;
                continue;
            }
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
            self.partial[self.filled..self.filled + head.len()].copy_from_slice(head);
            self.filled += head.len();
            bytes = rest;
            self.complete();
        }
    }

    fn hole(&mut self, mut count: u64) {
        while count > 0 {
            if self.filled == 0 && count >= BLOCK as u64 {
                let whole = count - count % BLOCK as u64;
                self.position += whole;
                self.zeros += whole;
                count -= whole;
                continue;
            }
            let free = BLOCK - self.filled;
            let piece = usize::try_from(count).map_or(free, |count| count.min(free));
            self.partial[self.filled..self.filled + piece].fill(0);
            self.filled += piece;
            count -= piece as u64;
            self.complete();
        }
    }

    /// Takes the partial block, if it has become a whole one.
    fn complete(&mut self) {
        if self.filled == BLOCK {
            self.filled = 0;
            let block = self.partial;
            self.block(&block);
        }
    }

    fn block(&mut self, block: &[u8]) {
        if *block == ZEROS[..block.len()] {
            self.zeros += block.len() as u64;
        } else {
            self.hasher.update(&self.position.to_le_bytes());
            self.hasher.update(block);
        }
        self.position += block.len() as u64;
    }

    /// The digest of the blocks, if there are too many zeros for that of the content.
    fn finish(mut self, sha256: Option<BlockHasher>) -> [u8; 32] {
        let last = self.partial;
        self.block(&last[..self.filled]);
        if let Some(sha256) = sha256.filter(|_| !self.has_too_many_zeros()) {
            return sha256.finish();
        }
        self.hasher.update(&self.position.to_le_bytes());
        let mut digest = self.hasher.finish();
        digest[..MARK.len()].copy_from_slice(&MARK);
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_cas::{Algorithm, Digest};
    use proptest::prelude::*;

    const LIMIT: u64 = 3 * BLOCK as u64;

    fn plain(content: &[u8]) -> [u8; 32] {
        let mut hasher = BlockHasher::new();
        hasher.update(content);
        hasher.finish()
    }

    #[test]
    fn small_files_have_their_sha256() {
        let mut hasher = ContentHasher::new(6);
        hasher.update(b"ab");
        hasher.zeros(3);
        hasher.update(b"c");
        let digest = hasher.finish();
        assert_eq!(digest, plain(b"ab\0\0\0c"));
        assert!(!is_of_blocks(&digest));
        let text = Digest::from_bytes(Algorithm::Sha256, &digest).unwrap();
        assert_eq!(text, Digest::of(Algorithm::Sha256, b"ab\0\0\0c"));
    }

    #[test]
    fn a_terabyte_of_hole_takes_no_time() {
        let digest = |end: &[u8]| {
            let mut hasher = ContentHasher::new((1 << 40) + 4);
            hasher.zeros(1 << 40);
            hasher.update(end);
            hasher.finish()
        };
        assert!(is_of_blocks(&digest(b"user")));
        assert_eq!(digest(b"user"), digest(b"user"));
        assert_ne!(digest(b"user"), digest(b"used"));
        assert_ne!(digest(b"user"), digest(b"user\0"));
    }

    proptest! {
        #[test]
        fn the_digest_depends_on_the_content_alone(
            pieces in proptest::collection::vec((any::<bool>(), 0usize..9000), 0..8),
            cuts in proptest::collection::vec(0usize..9000, 1..8),
        ) {
            // Data, and zeros; once with holes, once without, cut otherwise.
            let size: usize = pieces.iter().map(|(_, length)| length).sum();
            let mut sparse = ContentHasher::with_limit(size as u64, LIMIT);
            let mut sha256 = ContentHasher::sha256();
            let mut content = Vec::new();
            for (is_hole, length) in &pieces {
                if *is_hole {
                    sparse.zeros(*length as u64);
                    sha256.zeros(*length as u64);
                    content.resize(content.len() + length, 0);
                } else {
                    let data: Vec<u8> = (0..*length).map(|at| if at % 5000 < 4500 { 0 } else { 7 }).collect();
                    sparse.update(&data);
                    sha256.update(&data);
                    content.extend(data);
                }
            }
            let mut whole = ContentHasher::with_limit(size as u64, LIMIT);
            let mut other = BlockHasher::new();
            let (mut rest, mut cuts) = (&content[..], cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (head, tail) = rest.split_at((cuts.next().unwrap() + 1).min(rest.len()));
                whole.update_with(&mut other, head);
                rest = tail;
            }
            let zeros: usize = content.chunks(BLOCK).filter(|it| it.iter().all(|&byte| byte == 0)).map(<[u8]>::len).sum();
            let digest = sparse.finish();
            prop_assert_eq!(digest, whole.finish());
            prop_assert_eq!(other.finish(), plain(&content));
            prop_assert_eq!(sha256.finish(), plain(&content));
            if zeros as u64 > LIMIT {
                prop_assert!(is_of_blocks(&digest));
            } else {
                prop_assert_eq!(digest, plain(&content));
            }
        }
    }
}
