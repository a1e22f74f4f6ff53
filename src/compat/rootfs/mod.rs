//! Roots for containers out of a directory that is shared: the prototype is never written to, and what a container
//! changes goes with it.
//!
//! # On disk
//!
//! ```text
//! <rw base>/.rootfs-<hex>/       a root in the making, or one that is being deleted: nothing is mounted in it
//! <rw base>/rootfs-<hex>/        a root
//!     lock                       held while it is mounted or unmounted
//!     root.json                  what is mounted where, written before anything is
//!     root/                      the root: what `generate` gives and `remove` takes
//!     upper/, work/              overlay: the changes, and the kernel's directory
//!     rw/<name>/                 quilt: the directories that can be written to
//! ```
//!
//! # What holds
//!
//! - *All or nothing.* If any step fails, all that was mounted is unmounted in reverse and the directories go.
//! - *A crash can be undone.* The record says what is mounted before it is; whoever dies half-way leaves an unfinished
//!   record, by which [`Generator::recover`] finishes the job.
//! - *Nothing is deleted below a mount.* A directory is moved aside and deleted when the kernel says that nothing is
//!   mounted in it any more.
//!
//! | file | what |
//! |---|---|
//! | `generate.rs` | [`RootfsGenerator`], [`Generator`]: make, remove, recover |
//! | `options.rs` | [`GeneratorOptions`], [`RootfsMode`] |
//! | `home.rs` | the directory of one root, its record, and taking it down |
//! | `stage.rs` | what is made on disk before the first mount, for each mode |
//! | `mounter.rs` | [`Mounter`]: the three calls, by the kernel or by a test |
//! | `reason.rs` | [`RootfsReason`]: what can go wrong |

mod generate;
mod home;
mod mounter;
mod options;
mod reason;
mod stage;
#[cfg(test)]
mod tests;

pub use generate::{GeneratedRoot, Generator, RootfsGenerator};
pub use mounter::{KernelMounter, MountPlace, Mounter, OverlayParts};
pub use options::{GeneratorOptions, RootfsMode};
pub use reason::RootfsReason;
