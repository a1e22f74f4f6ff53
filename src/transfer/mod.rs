//! Images in and out: what a store or a layout takes in, and what it gives away.
//!
//! | part | what |
//! |---|---|
//! | `archive/` | archives that `docker save`, podman and skopeo make, and image layouts in a tar: streams of bytes, and blobs |
//! | `registry/` | a client of registries (feature `registry`) |
//! | `remote.rs` | a repository as a store of blobs, kept in a layout as they are fetched |
//! | `source.rs` | [`ImageName`], [`Source`]: an image by its name, wherever it is, opened as a layout |
//! | `copy.rs` | from any of these places to any other |
//! | `push.rs`, `recompress.rs` | the way into a registry, and layers compressed otherwise |

pub mod archive;
mod copy;
#[cfg(feature = "registry")]
mod push;
mod recompress;
#[cfg(feature = "registry")]
pub mod registry;
#[cfg(feature = "registry")]
mod remote;
mod source;

pub use archive::ArchiveFormat;
pub(crate) use copy::Copier;
pub use copy::{CopyOptions, CopyReport, Recompress};
#[cfg(feature = "registry")]
pub(crate) use source::kept_tag;
pub use source::{ImageName, Source, TransferOptions};
pub(crate) use source::{Opened, PIPE, open_or_create, text_of};
