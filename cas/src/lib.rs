//! A content-addressed store: immutable blobs, found by the digest of their bytes.
//!
//! It is the lowest floor of a house that handles container images, and knows nothing of them: no documents, no
//! references between blobs, no network. It knows digests ([`digest`]), what a store must do ([`store`]), two stores
//! ([`DirStore`], [`MemoryStore`]), how to see two as one ([`StackedStore`]), and how to read what cannot be trusted ([`verify`]).
//!
//! ```text
//! <directory>/
//!   blobs/sha256/<64 hexadecimal digits>     a blob; visible means complete and synced
//!   blobs/sha512/<128 hexadecimal digits>
//!   <name>                                   small files that refer to blobs, replaced whole
//!   .umoci-<8 digits>/                       scratch of one store object, locked while it lives
//! ```
//!
//! What must hold, whoever dies when (more in [`dir`]):
//!
//! - *Visible means complete.* A name appears in one step, after its content was hashed and synced.
//! - *No lost update.* Who changes a named file holds [`DirStore::lock`] from reading to replacing.
//! - *No lost blob.* [`DirStore::mark_and_sweep`] removes nothing that another writer has committed and not yet referred
//!   to: writers hold [`DirStore::lease`], explicitly or by having committed.
//! - *Nothing is believed.* Digests are validated when they are made, nothing is written or removed through the links
//!   of files, and nothing is allocated by a size that someone claims.
//!
//! ```
//! use oci_cas::{Algorithm, DirStore, Store, StoreExt};
//! use std::io::Write;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let store = DirStore::create(std::fs::File::open(directory.path())?.into())?;
//!
//! // A blob of which the digest is known when all of it was written.
//! let mut ingest = store.ingest(Algorithm::Sha256)?;
//! ingest.write_all(b"hello, ")?;
//! ingest.write_all(b"world")?;
//! let (digest, size) = ingest.commit()?;
//! assert_eq!(store.stat(&digest)?, Some(size));
//!
//! // Refer to it, so that a sweep will find it.
//! let lock = store.lock()?;
//! store.replace_file("names", digest.to_string().as_bytes())?;
//! drop(lock);
//!
//! // Read it back; a blob that was tampered with is an error.
//! assert_eq!(store.read_verified(&digest, size)?, b"hello, world");
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod digest;
pub mod dir;
mod error;
pub mod memory;
mod stack;
pub mod store;
pub mod verify;

pub use digest::{Algorithm, Digest, Hasher};
pub use dir::DirStore;
pub use error::{Error, ErrorKind, Result};
pub use memory::MemoryStore;
pub use stack::StackedStore;
pub use store::{Blob, Ingest, Store, StoreExt};
pub use verify::VerifyingReader;
