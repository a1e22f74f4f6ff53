//! The record of a layer's content: what every name of an unpacked layer was like when it was complete.
//!
//! ```text
//! magic and version: 8 bytes    namespace of the marks: 1 byte
//! entries: each its length and its bytes (entry.rs)    0
//! number of entries: 8 bytes    SHA-256 of all before: 32 bytes
//! ```
//!
//! A check compares the disk with it, without the blob and without unpacking again. Entries come in the order of a walk,
//! a directory before what is in it and the names of a directory sorted by bytes, so that reader, writer and check need
//! to hold one path and no tree. An entry says where it is by its depth and name alone: about 75 bytes and the name for a
//! file with its digest.
//!
//! | file | what |
//! |---|---|
//! | `entry.rs` | an entry, and its bytes |
//! | `wire.rs` | numbers and strings as bytes |
//! | `order.rs` | which entry may follow which |
//! | `writer.rs`, `tree.rs` | writing, and what is written of a tree |
//! | `reader.rs` | reading |
//!
//! Whoever can write the file can write a checksum: a reader trusts nothing. What is damaged, of another version, out of
//! order or larger than makes sense is an error, at the latest at the end; no claimed size is allocated.

mod entry;
mod order;
mod reader;
#[cfg(test)]
mod tests;
mod tree;
mod wire;
mod writer;

pub use entry::{Content, Entry, LinkSet};
pub use reader::RecordReader;
pub use tree::Record;
pub use writer::RecordWriter;

/// The last byte is the version.
const MAGIC: &[u8; 8] = b"ocilayr\x01";

/// Largest entry, in bytes: far above what attributes a file system holds for an inode.
const MAX_ENTRY_SIZE: u64 = 16 << 20;

/// Longest path, in bytes: entries of a layer have at most 4095, but symbolic links among them may lead deeper.
const MAX_PATH_SIZE: usize = 64 << 10;
