//! The layer store: layers unpacked once, shared by every image and bundle that has them, and stacked by overlayfs.

mod changes;
pub mod check;
pub mod record;
pub mod remap;
mod stack;

pub use changes::{Changes, ChangesOptions, LinkGroups, changes, changes_between};
pub use stack::{Found, Stack};
pub mod archive;
pub mod asset;
