//! The contract of a store, as small as implementors can bear; [`StoreExt`] derives the conveniences.
//!
//! A blob is immutable and exists either whole or not at all: it appears under its digest in one step at
//! [`Ingest::commit`], when all of its bytes are where they must be to outlive a crash. What a store *returns* is not
//! verified, since a disk may rot and a stranger may have written it: [`StoreExt::open_verified`] and
//! [`StoreExt::read_verified`] are the ways to read what one will trust.

use crate::{Algorithm, Digest, Error, Result, VerifyingReader};
use std::fmt;
use std::io::{Read, Write};

/// The most that is allocated for a blob before any byte of it was read.
const INITIAL_CAPACITY: u64 = 1 << 20;

/// An opened blob: its bytes as stored, not verified, and how many there are.
pub struct Blob {
    /// The bytes from the beginning. They stay readable when the blob is removed meanwhile.
    pub reader: Box<dyn Read + Send>,
    /// Number of bytes in the store.
    pub size: u64,
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// A blob on its way in. It is hashed while it is written; dropping it abandons it and leaves nothing behind.
///
/// Writes go to the store one by one: wrap it in a [`BufWriter`](std::io::BufWriter) to write small pieces.
pub trait Ingest: Write + Send {
    /// Makes the blob visible under the digest of what was written, and returns that digest and the size in bytes.
    /// The content is synced before the name appears. A blob that was there already is replaced by its equal.
    ///
    /// # Errors
    ///
    /// Those of input and output. The blob is then abandoned, unless only syncing its *name* failed: then it is
    /// visible but may be gone after a crash.
    fn commit(self: Box<Self>) -> Result<(Digest, u64)>;
}

/// A content-addressed store. All methods may be called from several threads at once.
pub trait Store: Send + Sync {
    /// Opens a blob. Never blocks, whatever stands in its place.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is none, [`Invalid`](crate::ErrorKind::Invalid) if something
    /// else has its name (a FIFO, a directory), or those of input and output.
    fn open(&self, digest: &Digest) -> Result<Blob>;

    /// Returns the size of a blob in bytes, or `None` if there is no such blob.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), but for the missing blob.
    fn stat(&self, digest: &Digest) -> Result<Option<u64>>;

    /// Begins a new blob, whose digest will be of the given algorithm.
    ///
    /// # Errors
    ///
    /// Those of input and output.
    fn ingest(&self, algorithm: Algorithm) -> Result<Box<dyn Ingest + '_>>;

    /// Removes a blob and says whether it was there.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if a directory has its name,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if the blobs are shared with another store, or those of input and
    /// output.
    fn remove(&self, digest: &Digest) -> Result<bool>;

    /// Lists all digests, sorted.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if something among the blobs is named otherwise, or those of input and
    /// output.
    fn list(&self) -> Result<Vec<Digest>>;
}

/// Conveniences that every store has.
pub trait StoreExt: Store {
    /// Stores `data` as one blob.
    ///
    /// # Errors
    ///
    /// Those of [`Store::ingest`] and [`Ingest::commit`].
    fn put(&self, algorithm: Algorithm, data: &[u8]) -> Result<Digest> {
        let mut ingest = self.ingest(algorithm)?;
        ingest
            .write_all(data)
            .map_err(|error| Error::io("write", "blob", error))?;
        Ok(ingest.commit()?.0)
    }

    /// Opens a blob of which digest and size were promised; the reader checks both (see [`VerifyingReader`]).
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`]. A mismatch comes from the reader.
    fn open_verified(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<VerifyingReader<Box<dyn Read + Send>>> {
        Ok(VerifyingReader::new(
            self.open(digest)?.reader,
            digest.clone(),
            size,
        ))
    }

    /// Reads a whole blob of which digest and size were promised, and returns it if both hold.
    ///
    /// Memory grows with the bytes that are really there, up to `size`: a caller who has `size` from elsewhere bounds
    /// it before.
    ///
    /// # Errors
    ///
    /// [`Mismatch`](crate::ErrorKind::Mismatch) if digest or size differ, or those of [`Store::open`].
    fn read_verified(&self, digest: &Digest, size: u64) -> Result<Vec<u8>> {
        let blob = self.open(digest)?;
        let capacity = size.min(blob.size).min(INITIAL_CAPACITY);
        let mut data = Vec::with_capacity(usize::try_from(capacity).unwrap_or(0));
        VerifyingReader::new(blob.reader, digest.clone(), size)
            .read_to_end(&mut data)
            .map_err(|error| Error::from_read(digest, error))?;
        Ok(data)
    }
}

impl<S: Store + ?Sized> StoreExt for S {}
