//! Tests that need root: ownership, devices, mounts, containers, and peers from Debian's packages.
//!
//! They are listed as ignored; `cargo test -- --include-ignored` asks for them, and then they fail, not
//! skip, when they are not run by root or when a peer is missing: a skipped test would pass for proof.
//!
//! - `machine`: what a test asks of the machine: root, peers, bounded commands, a temporary directory
//! - `image`: images as recipes
//! - `tree`: reading and comparing directory trees
//! - `edit`: bundles under edit, with either tool
//! - `containers`, `insert`, `interop`, `interrupted`, `properties`, `race`, `repack`, `rootless`, `stat_index`,
//!   `store_content`: the tests
//! - `containers`, `insert`, `interop`, `interrupted`, `overlay_changes`, `properties`, `race`, `repack`, `rootless`, `stat_index`: the tests
//! - `archives`, `containers`, `insert`, `interop`, `interrupted`, `properties`, `race`, `repack`, `rootless`, `stat_index`: the tests
//! - `containers`, `insert`, `interop`, `interrupted`, `mount`, `properties`, `race`, `repack`, `rootless`, `stat_index`: the tests
//!
//! `BUNDLE_TEST_BINARY` names another program with umoci's command line to be tested instead of ours.

mod archives;
mod containers;
mod edit;
mod image;
mod insert;
mod interop;
mod interrupted;
mod machine;
mod mount;
mod overlay_changes;
mod properties;
mod race;
mod repack;
mod rootless;
mod stat_index;
mod store_content;
mod tree;
