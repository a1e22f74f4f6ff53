//! Record of a rootfs: what every file was like when the bundle was made, so that repack finds the changes.
//!
//! The form is mtree(5) as umoci and gomtree write it. The room has two halves that meet in one comparison:
//!
//! * *writing*: [`Attributes`] of an inode become `key=value` words; [`Writer`] puts them on lines and never touches
//!   a file system, so that unpack can record what it has just written. [`walk`] feeds it (or any [`Visitor`]) from a
//!   directory.
//! * *reading*: [`Manifest::parse`] turns such a file into a tree of [`Entry`] values over one arena of bytes; a
//!   manifest is hostile input, so every size in it is bounded and no path leads out of the tree.
//! * [`compare`] walks a directory beside a manifest and tells the [`Difference`]s; [`validate`] is the same from
//!   paths, with the keyword rules of `raw mtree-validate`.
//! * *repacking*: a [`StatIndex`] beside the manifest proves which inodes nobody has touched; [`diff()`] walks a
//!   directory beside one of the two and tells the changes and, if that is wanted, a new [`Record`].
//!
//! Rules: values are compared as text, never interpreted; names and link targets are vis(3)-encoded ([`vis`]) on
//! paper and raw bytes in memory; the file system is seen only through [`crate::fs`].

mod attributes;
mod baseline;
mod compare;
mod diff;
mod digest;
mod index;
mod keyword;
mod lines;
mod manifest;
mod node;
mod owners;
mod parse;
mod record;
mod report;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
mod validate;
pub mod vis;
mod walk;
mod write;

pub use attributes::Attributes;
pub use baseline::Baseline;
pub use compare::{compare, differences};
pub use diff::{Diff, DiffOptions, diff};
pub use index::{Reference, StatIndex};
pub use keyword::{Keyword, KeywordSet, UMOCI_KEYWORDS, parse_keywords};
pub use manifest::{Children, Entries, Entry, Manifest};
pub use owners::OwnerNames;
pub use record::{Record, Recorder};
pub use report::Difference;
pub use validate::{ValidateOptions, validate};
pub use walk::{Visitor, WalkOptions, walk};
pub use write::{Header, Writer};
