//! Checking what is in the store against what was recorded of it, and putting it right.
//!
//! A store is checked from its layers up: what each has on disk against its record, patches against their names, chains
//! against the layers that they stack, images, names, containers and mounts against what they refer to. Repair goes the
//! same way: a layer is unpacked again from its blob, patches and variants are made again from layers, chains from what
//! images say, and records that lead nowhere go. *Nothing of a user's is ever deleted*: containers stay as they are.
//!
//! | file | what |
//! |---|---|
//! | `layer.rs` | an unpacked layer and the record of its content, side by side |
//! | `compare.rs` | one name of it |
//! | `finding.rs` | what is found in a layer |
//! | `report.rs` | what is wrong in a store, and what was done about it |
//! | `store.rs` | a whole store; layers, patches, leftovers |
//! | `records.rs` | chains, images, names, containers, mounts |
//! | `patch.rs` | patches |
//! | `known.rs` | who depends on what |
//! | `repair.rs` | putting it right |

mod compare;
mod finding;
mod kept;
mod known;
mod layer;
mod patch;
mod records;
mod repair;
mod report;
mod store;
#[cfg(test)]
mod tests;

pub use finding::{Finding, FindingKind, MAX_FINDINGS};
pub use layer::{Level, check_layer};
pub use repair::LayerBlobs;
pub use report::{Action, CheckReport, Object, Problem, ProblemKind};
pub use store::CheckOptions;
