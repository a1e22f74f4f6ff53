//! tar and compression: bytes only, never a path on disk.
//!
//! ```text
//! compressed bytes -> Decoder (a reader) -> tar bytes -> Parser (a state machine) -> events
//! entries and content -> Writer -> tar bytes -> Encoder (a writer) -> compressed bytes
//! ```
//!
//! | file | |
//! |---|---|
//! | `entry.rs` | what the parser finds: [`Entry`], [`Event`] |
//! | `parser.rs` | [`Parser`], the state machine over chunks of any size |
//! | `extension.rs` | what precedes an entry: PAX `x` and `g`, GNU long names; folded into one entry |
//! | `header.rs` | one header block: checksum, dialect, type, fields |
//! | `pax.rs` | the records of a PAX header and their values |
//! | `acl.rs` | ACLs that are written as text |
//! | `sparse.rs` | the maps of sparse files, in four notations |
//! | `numeric.rs` | numbers: octal, base-256, decimal |
//! | `limits.rs` | [`Limits`] on what the input may make us hold |
//! | `compression.rs` | [`Decoder`]: gzip and zstd, checked against the media type |
//! | `writer/` | [`Writer`]: tar, byte for byte as umoci writes it |
//! | `encoder/` | [`Encoder`]: gzip and zstd, on all processors, with bytes that do not depend on them |
//!
//! Rules of this room:
//!
//! - **No input or output.** The parser is pushed and returns ranges into the pushed chunk; nobody here opens a file.
//! - **No archive confusion.** Where the readers of the field would see different entries in the same bytes (a lone zero
//!   block, two different long names, a sparse map that does not fit), the archive is refused: a scanner must not be
//!   shown another image than the one that is unpacked. Where they agree, odd input is accepted.
//! - **No allocation by a claimed size.** Buffers grow by bytes that have arrived, up to [`Limits`].
//! - **Names are bytes**, delivered as they are written. What they mean in a rootfs is decided elsewhere.

mod acl;
mod compression;
mod encoder;
mod entry;
mod extension;
#[cfg(test)]
mod fixture;
mod header;
mod limits;
mod numeric;
mod parser;
mod pax;
mod pax_value;
mod sparse;
#[cfg(test)]
mod tests;
mod writer;

pub use compression::{Compression, Decoder};
pub use encoder::{Encoder, EncoderOptions};
pub use entry::{Entry, EntryKind, Event};
pub use limits::Limits;
pub use parser::Parser;
pub use writer::Writer;
pub(crate) use writer::{SMALLEST_HOLE, parts_between_holes};
