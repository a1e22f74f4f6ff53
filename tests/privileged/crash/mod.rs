//! What a death leaves of the layer store and of the bundles on it: the old state or the new one, and nothing that `gc`
//! does not take.
//!
//! The places to die at are found by running: the binary dies at the n-th point that it passes, for every n, until it
//! passes no more (`BUNDLE_FAULT=*:n`). So a new point is tested without being listed here.
//!
//! - `crash_fs`: a directory to crash in, and what has to hold whatever happened
//! - `points`: each command, killed at each of its points
//! - `collector`: the same for `gc`
//! - `crash_points`: killed at any moment, and ended by a signal
//! - `power`: a disk without what was not synced

mod collector;
pub mod crash_fs;
mod crash_points;
mod points;
mod power;
