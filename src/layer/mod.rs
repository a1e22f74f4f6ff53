//! A changeset and a directory, in both directions: a tar stream onto a root, and changes to a tar stream.
//!
//! ```text
//! caller's thread          framing thread              applying thread
//! reader -> chunks  ----->  parse, hash      ----->  create, write, metadata
//!    ^                                                        |
//!    +------------------- empty chunks -----------------------+
//! ```
//!
//! `pipeline.rs` runs the three stages over any number of layers without a pause between them, so that the next layer is
//! inflated while the last one is still being written; what flows is a fixed number of large buffers, whatever the size
//! of a layer. `frame.rs` turns bytes into steps, `apply/` takes one step at a time to the disk, with the directories kept
//! open and their metadata kept for the end of the layer by `dirs.rs`; `attributes.rs` says what metadata an entry
//! means on disk, `whiteout.rs` which names are whiteouts.
//!
//! A layer can also be unpacked without those below it, in the form that overlayfs stacks (`lower_dependencies.rs`): by the same
//! applier, which then keeps account of what it cannot know yet (`stacked.rs`).
//!
//! `view/` gives the same steps to a tree in memory instead of a disk, for whoever wants to look into layers, compare
//! them, or make one of several.
//!
//! Applying takes a reader and a [`Root`](crate::fs::Root): it knows no layouts, and verifies nothing. Whoever has a
//! promise to check wraps the reader, and compares the digest of the stream, which is a by-product ([`Applied`]).
//!
//! `generate/` goes the other way: from a directory to the tar stream of a layer, in one thread and one pass; compressing
//! and hashing is for whoever takes the stream.

mod apply;
mod attributes;
mod consumer;
mod deferred;
mod dirs;
mod forward_links;
mod frame;
mod generate;
mod keep;
mod lower_dependencies;
mod notes;
mod options;
mod path;
mod pipeline;
mod stacked;
mod standalone;
#[cfg(test)]
mod tests;
pub mod view;
mod whiteout;

pub(crate) use generate::generate_insert_layer_on;
pub use generate::{
    GenerateOptions, InsertOptions, Insertion, Packed, generate_insert_layer, generate_layer,
    generate_linked_layer,
};
pub(crate) use keep::{IndexReader, KeepTo, Kept, index_of, keep_layer};
pub use lower_dependencies::{ImpliedDir, LinkBelow, LowerDependencies};
pub use options::ApplyOptions;
pub(crate) use path::relative_path;
pub use path::{ROOTFS_NAME, clean_path};
pub use pipeline::{Applied, LayerSource, apply_layers, unpack_layer};
pub use standalone::{UnpackedLayer, unpack_changeset};
