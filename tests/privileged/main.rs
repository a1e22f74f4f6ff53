//! Tests that need root: ownership, devices, mounts, containers, and peers from Debian's packages.
//!
//! They are listed as ignored; `cargo test -- --include-ignored` asks for them, and then they fail, not
//! skip, when they are not run by root or when a peer is missing: a skipped test would pass for proof.
//! `tests/all` runs them by root, or in a user namespace, and counts those that it has to leave out.
//!
//! - `machine`: what a test asks of the machine: root, peers, bounded commands, a temporary directory
//! - `image`: images as recipes
//! - `tree`: reading and comparing directory trees
//! - `edit`: bundles under edit, with either tool
//! - `faults`: what the system refuses: calls, threads, descriptors, programs
//! - `crash`: what a death or a power cut leaves of the store; `concurrency`: many processes on one
//! - `overlay`, `overlay_changes`, `overlay_repack`: overlays beside flat trees
//! - `store_*`: the layer store as a library, and its commands
//! - all others: the tests of what they are called
//!
//! `BUNDLE_TEST_BINARY` names another program with umoci's command line to be tested instead of ours.

mod archives;
mod concurrency;
mod containers;
mod crash;
mod edit;
mod export;
mod faults;
mod image;
mod insert;
mod interop;
mod interrupted;
mod machine;
mod mount;
mod overlay;
mod overlay_changes;
mod overlay_repack;
mod properties;
mod race;
mod recipes;
mod repack;
mod rootless;
#[path = "../schema.rs"]
mod schema;
#[cfg(feature = "serve")]
mod serve;
mod stat_index;
mod store_cli;
mod store_content;
mod store_driver;
mod store_repository;
mod store_rootfs;
mod store_snapshots;
mod tree;
