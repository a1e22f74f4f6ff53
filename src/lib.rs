//! Unpacks, edits and repacks OCI images: the library behind `bundle`, a drop-in for umoci.
//!
//! # What for
//!
//! * [`ops`] has one function for each verb of the command: [`ops::unpack`] turns an image into a bundle that `runc` runs.
//! * [`layout::Layout`] is an OCI image layout: blobs, documents, tags, [`gc`](layout::Layout::gc) and
//!   [`validate`](layout::Layout::validate).
//! * [`layer::unpack_layer`] applies one tar stream to a directory, safely.
//! * [`cas`] is the content-addressed store below, a crate of its own that knows nothing of images.
//!
//! What umoci's `oci/layer` package offers is here under these names:
//!
//! | umoci | here |
//! |---|---|
//! | `RootfsName` | [`layer::ROOTFS_NAME`] |
//! | `CleanPath` | [`layer::clean_path`] |
//! | `MapOptions` | [`fs::MapOptions`] |
//! | `UnpackLayer` | [`layer::unpack_layer`] |
//! | `UnpackManifest`, with `StartFrom` and `AfterLayerUnpack` | [`ops::unpack_manifest`] |
//! | `UnpackRootfs` | [`ops::raw_unpack`] |
//! | `GenerateLayer` | [`layer::generate_layer`] |
//! | `GenerateInsertLayer` | [`layer::generate_insert_layer`] |
//! | `mutate.Mutator` | [`layout::Mutator`] |
//! | mtree check | [`mtree::compare`], [`mtree::diff`] |
//! | `UnpackRuntimeJSON` | [`bundle::runtime_config`] |
//! | `ToRootless` | [`bundle::to_rootless`] |
//!
//! # The house
//!
//! Each room sees the rooms below it, and its siblings not at all; a test holds it to that.
//!
//! | level | rooms |
//! |---|---|
//! | command | `cli`, in the binary only: arguments, log lines, progress bars, exit codes |
//! | verbs | [`ops`]; `serve` (feature `serve`): the store as containerd's snapshotter and differ |
//! | bundle | [`bundle`]: `umoci.json` and `config.json` |
//! | other systems' contracts | `compat` (feature `compat`): the graph driver, overmount's repository, guardian's root file systems |
//! | on the store | [`snapshots`]: containerd's snapshots; [`transfer`]: archives in and out |
//! | store | [`store`]: layers, chains, names, containers, mounts |
//! | trees and layouts | [`layout`], [`layer`], [`mtree`], [`overlay`]: what a stack of directories shows, without a mount; `erofs`: EROFS images, bytes only |
//! | ground | [`image`]: pure data; [`archive`]: tar and compression, bytes only; [`fs`]: the only door to the file system |
//! | below all | [`error`], [`progress`], and the crate [`cas`] |
//!
//! # What always holds
//!
//! * `archive` and `erofs` open no file, `fs` sees no tar, `cas` knows no OCI.
//! * File-system calls are made in `fs` and `cas::dir` only, relative to open directories; `unsafe` is in one file.
//! * `layer` knows no layouts and verifies nothing: verification wraps its reader, and compares the digest that it returns.
//! * The library never prints, never ends the process, and does not read the environment.
//! * A name appears in a layout when its content is verified and synced, in a bundle when it is verified and complete.
//! * What comes from an image is bounded: sizes of documents and headers, depth of indexes and paths, memory.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod archive;
pub mod bundle;
#[cfg(feature = "compat")]
pub mod compat;
#[cfg(doc)]
pub mod design;
mod erofs;
pub mod error;
pub mod fs;
pub mod image;
pub mod layer;
pub mod layout;
pub mod mtree;
pub mod ops;
pub mod overlay;
pub mod progress;
#[cfg(feature = "serve")]
pub mod serve;
pub mod snapshots;
pub mod store;
pub mod transfer;

pub use error::{Error, ErrorKind, Result, ResultExt};
pub use oci_cas as cas;
