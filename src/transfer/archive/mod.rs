//! Images in and out as archives: what `docker save`, `podman save` and `skopeo copy` write, and what they read.
//!
//! ```text
//! archive -> Decoder -> archive::Parser -> members.rs -> ingest into the store   (blobs: never held)
//!                                               |
//!                                               +-> kept: names, links, small JSON
//!                                                     |
//!                              images <- join/ <------+   (at the end of the archive)
//!
//! images -> closure.rs: every blob they need -> output.rs: copied, verified -> archive::Writer -> archive
//! ```
//!
//! | file | what |
//! |---|---|
//! | `export.rs` | [`Exporter`], [`ExportedImage`], [`ExportReport`] |
//! | `layout.rs` | [`OciArchive`] and [`Combined`], which are image layouts in a tar |
//! | `docker.rs` | [`DockerArchive`] |
//! | `output.rs` | the archive being written: members of any kind, each digest verified |
//! | `closure.rs` | the blobs that an image consists of, and whether they are there |
//! | `diff_id.rs` | whether the layers are those that a config means |
//! | `import.rs` | [`Importer`], [`ImportedImage`], [`AnyArchive`] |
//! | `members.rs` | one pass over an archive: blobs into the store, documents and links kept |
//! | `in_place.rs` | a plain archive in a file: its blobs are read where they lie |
//! | `name.rs` | names of members: what a name says of the content, names of images |
//! | `format.rs` | compression, told by the first bytes |
//! | `join/` | from members to images: `oci.rs`, `docker.rs`, `legacy.rs` |
//!
//! Rules of this room:
//!
//! - **One pass, no copy.** An archive may come through a pipe. Each member that looks like a blob goes into the store
//!   while it is hashed, in whatever order; what it was good for is known when the archive has ended. Blobs that no image
//!   needs then (and all blobs after a failure) are the garbage collector's.
//! - **Names are only names.** No path on disk is ever made of one: `../../etc/passwd` is a key in a map.
//! - **Nothing is believed.** A blob has the digest that its name says; a layer has the diff ID that the config says; a
//!   name that comes twice with different content is refused, because readers differ in which one they take.
//! - **Identities stay.** A Docker config is kept byte for byte, so the image ID does not change on the way to OCI.
//! - **Deterministic.** The bytes of an export are a function of the images, their names and their order.
//! - **Bounded.** What is held of an archive has a limit in bytes (`members.rs`), a document one of its own, and walks one
//!   in depth and number.

mod closure;
mod diff_id;
mod docker;
mod export;
mod format;
mod import;
mod in_place;
mod join;
mod layout;
mod members;
mod name;
mod output;

pub use docker::DockerArchive;
pub use export::{ExportReport, ExportedImage, Exporter};
pub use import::{AnyArchive, ArchiveFormat, ImportedImage, Importer};
pub use layout::{Combined, OciArchive};

#[cfg(feature = "registry")]
pub(crate) use closure::is_distributable;
pub(crate) use closure::{Closure, read_document};
pub(crate) use diff_id::{check_counts, check_diff_id};
pub(crate) use import::open_in_place;
pub(crate) use layout::PartialArchive;
pub(crate) use name::{split_tag, without_names};

/// Most bytes of one JSON document, as containerd has it.
const DOCUMENT_SIZE: u64 = 20 << 20;

/// Bytes that are read, hashed or written at a time.
const CHUNK_SIZE: usize = 256 << 10;
