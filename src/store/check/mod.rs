//! Checking what is in the store against what was recorded of it.
//!
//! | file | what |
//! |---|---|
//! | `layer.rs` | an unpacked layer and the record of its content, side by side |
//! | `compare.rs` | one name of it |
//! | `finding.rs` | what is found |

mod compare;
mod finding;
mod layer;
#[cfg(test)]
mod tests;

pub use finding::{Finding, FindingKind, MAX_FINDINGS};
pub use layer::{Level, check_layer};
