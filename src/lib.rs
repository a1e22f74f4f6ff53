//! Unpacks, edits and repacks OCI images: the library behind `bundle`, a drop-in for umoci.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod archive;
pub mod bundle;
pub mod error;
pub mod fs;
pub mod image;
pub mod layer;
pub mod layout;
pub mod mtree;
pub mod progress;

pub use error::{Error, ErrorKind, Result, ResultExt};
pub use oci_cas as cas;
