//! Images in and out: what a store or a layout takes in, and what it gives away.
//!
//! `archive/` reads and writes the archives that `docker save`, podman and skopeo make, and those of image layouts. It knows
//! streams of bytes and blobs, and nothing of stores. `registry/` (feature `registry`) is a client of registries, likewise.

pub mod archive;
#[cfg(feature = "registry")]
pub mod registry;
