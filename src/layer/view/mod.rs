//! What a stack of layers comes to, without a disk.
//!
//! ```text
//! layers -> pipeline -> Merger -> View: names, inodes, and where the content of each file is
//!                                   |-> resolve, children      (cat, files)
//!                                   |-> compare                (diff)
//!                                   |-> write_layer            (squash)
//! layers, the top one first -> UpperLayers -> View, as soon as what is below makes no difference
//! one layer again  -> copy_contents -> the bytes of chosen files
//! ```
//!
//! | file | |
//! |---|---|
//! | `tree.rs` | [`View`]: the names and inodes, and their budget |
//! | `merge.rs` | steps of a layer onto a view, one function for each type of entry |
//! | `resolve.rs` | paths inside a view |
//! | `contents.rs` | the second pass: the content of chosen entries of one layer |
//! | `upper.rs` | [`UpperLayers`]: upper layers without those below them |
//! | `pairs.rs` | two views side by side |
//! | `compare.rs` | what differs between two views |
//! | `write.rs` | a view, or what it adds to another, as one layer |
//!
//! Rules of this room:
//!
//! - **The same as unpacking.** `merge.rs` and `resolve.rs` do in memory what `layer/apply/`, `layer/dirs.rs` and
//!   [`Root::resolve`](crate::fs::Root::resolve) do on disk; a property holds them to it. What only a disk knows is not
//!   here: owners are those of the image, devices stay devices, and no name is too long.
//! - **Content is never held.** A file is known by the layer and the entry that it comes from; who wants the bytes reads
//!   that layer once more.
//! - **Memory is bounded** by [`ViewOptions::memory_size`], which counts all that was ever taken in.

mod acl;
mod compare;
mod contents;
mod merge;
mod pairs;
mod resolve;
#[cfg(test)]
mod tests;
mod tree;
mod upper;
mod write;

pub use compare::{Aspect, Difference, compare};
pub use contents::{ContentSink, Wanted, copy_contents};
pub use tree::{Content, View, ViewOptions};
pub use upper::UpperLayers;
pub use write::write_layer;
