//! The layer store: layers unpacked once, shared by every image and bundle that has them, and stacked by overlayfs.

pub mod archive;
pub mod asset;
