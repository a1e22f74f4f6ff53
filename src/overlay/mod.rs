//! What overlayfs shows of a stack of directories, and what an upper directory has changed, both found without a mount.
//!
//! [`Stack`] is the merged view; [`changes()`] tells an upper directory from what is below it. Whiteouts and opaque
//! directories are the kernel's; which attributes it uses is said by [`XattrNamespace`](crate::fs::XattrNamespace), which
//! stays in [`fs`](crate::fs) because mounts are made with it.

mod changes;
pub(crate) mod stack;

pub(crate) use changes::changes_since;
pub use changes::{Changes, ChangesOptions, LinkGroups, changes, changes_between};
pub use stack::{Found, Stack};
