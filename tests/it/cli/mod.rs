//! The built program: exit code, stdout and stderr of every command.

mod add_layer;
mod cat;
mod concurrent;
mod config;
mod diff;
mod files;
mod flags;
mod foreign;
mod gc;
mod help;
mod insert;
mod layers;
mod layout;
mod log;
mod raw;
mod rebase;
mod repack;
mod signals;
mod squash;
mod stat;
mod store;
mod unpack;
mod validate;
