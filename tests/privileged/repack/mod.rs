//! `repack`: the layer, the bundle, and what is left of both when it fails.
//!
//! - `diff_ids`: layers are those of Debian's umoci, byte for byte
//! - `crossing`: each tool repacks the other's bundles, by root and by an ordinary user
//! - `layers`: what a repack adds and what it leaves alone: nothing changed, masks, refresh
//! - `index`: the stat index, from unpack to repack
//! - `failures`: bad input, full disks, kills

mod crossing;
mod diff_ids;
mod failures;
mod index;
mod layers;
