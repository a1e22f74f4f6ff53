//! EROFS images: the format and a writer of it. Bytes only; what is made of them is the caller's.
//!
//! ```text
//! Source (tree, devices, places of contents) -> Plan: where everything will be -> write: metadata, in ascending order
//!                                                 '-> Plan::extent: where the caller puts the content of a file
//! ```
//!
//! | file | |
//! |---|---|
//! | `format.rs` | the structures on disk, each field with its source |
//! | `xattrs.rs` | the areas of extended attributes, and those that inodes share |
//! | `directory.rs` | blocks of directory entries |
//! | `plan.rs` | places of inodes and blocks |
//! | `write.rs` | the metadata, out of a plan |
//! | `reader.rs` | a reader for tests |
//!
//! Two kinds of images are made. *Self-contained*: contents are inside, and Linux 5.15 mounts it if its blocks have 4096
//! bytes. *Metadata only*: contents are in other files, the image's extra devices, at places that are multiples of 512.
//!
//! The layout of an image:
//!
//! ```text
//! superblock at 1024 | device table | root, other inodes with what is inline | blocks of directories and long links
//!                    | shared attributes | blocks of contents
//! ```
//!
//! The source for all of it is Linux: `Documentation/filesystems/erofs.rst` and the structures of `fs/erofs/erofs_fs.h`.
//! The same source gives the same bytes.

mod directory;
mod format;
mod plan;
#[cfg(test)]
pub(crate) mod reader;
#[cfg(test)]
mod tests;
mod write;
mod xattrs;

pub(crate) use plan::{BlockSize, DataPlace, Device, Extent, ImageOptions, Plan, Source};
