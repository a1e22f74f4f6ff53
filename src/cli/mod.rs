//! The command line: from words to one call of an operation, and from its result to output and an exit code.
//!
//! ```text
//! argv -> syntax (Go's flag rules -> canonical words) -> clap (typed arguments) -> <command>.rs::run -> ops
//! ```
//!
//! Rules of this room:
//! - One file per command: an arguments struct, whose doc comment is the help, and one function `run`. The work is in
//!   [`oci_bundle::ops`], which prints nothing and returns data.
//! - stdout is data, stderr is talk. Both go through [`ui::Ui`]; nothing here calls `println!` or exits.
//! - The environment is read here only: `SOURCE_DATE_EPOCH`, `NO_COLOR` and `TERM`; in `store_args.rs` what says where
//!   the store is, and `BUNDLE_MOUNT_API` and `BUNDLE_NO_IDMAP`, which are for tests; in `faults.rs` `BUNDLE_FAULT`; `SHELL` in
//!   `unshare.rs`; in `serve.rs` what systemd tells a service, `LISTEN_PID`, `LISTEN_FDS` and `NOTIFY_SOCKET`.
//! - The program answers under the name that it was called by, so a symlink named `umoci` is a drop-in for umoci.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "the documentation of arguments is the help text, in which [brackets] mean what they mean there"
)]

mod app;
mod append;
mod args;
mod cat;
mod completion;
mod config;
mod copy;
mod diff;
mod exit;
mod export;
#[cfg(debug_assertions)]
mod faults;
mod files;
mod gc;
mod help;
mod hints;
mod index;
mod init;
mod insert;
mod json;
mod layers;
mod list;
mod log;
mod manual;
mod mount;
mod name;
mod new;
mod progress;
mod progress_lines;
mod quote;
mod raw;
mod rebase;
mod remove;
mod remove_bundle;
mod repack;
#[cfg(feature = "serve")]
mod serve;
mod signals;
mod size;
mod source_args;
mod squash;
mod start;
mod stat;
mod stat_text;
mod store;
mod store_args;
mod syntax;
mod tag;
mod time;
mod ui;
mod umount;
mod unpack;
mod unshare;
mod validate;

pub use start::main;
