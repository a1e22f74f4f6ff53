//! From a directory to a changeset: the tar stream of a layer.
//!
//! ```text
//! changes of a root  -> changes.rs ---+
//!                                     +-> pack.rs -> archive::Writer -> the uncompressed layer
//! trees of the host  -> insert.rs ----+
//! ```
//!
//! The stream is umoci's, byte for byte, for the same changes: its digest is the diff ID. Both ways in reach files through
//! open directories only, one name at a time, and follow no symbolic link on the way. Memory is bounded by the number of
//! changes, of names in a directory and of hard links; content passes through one buffer.

mod changes;
mod insert;
mod pack;
mod target;
#[cfg(test)]
mod tests;

pub use changes::{generate_layer, generate_linked_layer};
pub(crate) use insert::generate_insert_layer_on;
pub use insert::{InsertOptions, Insertion, generate_insert_layer};

use crate::fs::{MapOptions, Stat};

/// How what is on disk becomes a layer.
#[derive(Clone, Debug, Default)]
pub struct GenerateOptions {
    /// How owners on disk become owners in the image. With `rootless`, every owner is 0:0 but for those that
    /// `user.rootlesscontainers` tells, and directories and files that keep their own owner out are opened up.
    pub map_options: MapOptions,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970: newer times of modification are lowered to it.
    pub source_date_epoch: Option<i64>,
}

/// What was written of one path: for a refreshed record, so that nothing is read twice.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The path as in the change.
    pub path: Vec<u8>,
    /// What the inode was like: of a regular file, after its content was read. As long as it still is, so is the digest.
    pub stat: Stat,
    /// SHA-256 of the content of a regular file, also where only a link to another name was written.
    pub sha256: Option<[u8; 32]>,
}
