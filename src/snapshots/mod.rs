//! Snapshots: containerd's functions over the store.
//!
//! A snapshot is a state of a root file system with a name: *committed* (nothing changes it any more, others are laid on
//! it), *active* (being changed), or a *view* (looked at). [`Snapshotter`] is the contract, [`StoreSnapshots`] keeps it: what
//! is committed is a chain of the store, the others are containers, mounted as overlays.
//!
//! On top of it, and knowing nothing but the contract: layers come in ([`apply_layer`], [`apply_layers`]) and go out
//! ([`create_diff`]), and a root is made ready for a runtime ([`init_rootfs`]). Mounts are data ([`Mount`]) until a
//! [`Mounter`] makes them.
//!
//! Names, kinds, parents and labels are records of the store ([`store::names`](crate::store::names)). What a record leads
//! to is made before it and goes after it, so that a death leaves at most something without a name, which
//! [`cleanup`](Snapshotter::cleanup) takes.
//!
//! | file | what |
//! |---|---|
//! | `contract.rs` | the trait, and what it speaks of |
//! | `filter.rs` | which snapshots to list |
//! | `layered.rs` | snapshots in the store |
//! | `mounter.rs` | mounts, from data to the kernel |
//! | `engine.rs` | what containerd wants beside the contract |
//! | `apply.rs`, `diff.rs`, `init.rs` | layers in, layers out, directories for runtimes |

mod apply;
mod contract;
mod diff;
#[cfg(feature = "serve")]
pub(crate) mod engine;
mod filter;
mod init;
mod layered;
mod mounter;

#[cfg(feature = "serve")]
pub(crate) use apply::{apply_reader, compression_of};
#[cfg(feature = "serve")]
pub(crate) use diff::{Tee, UNCOMPRESSED, write_between};
#[cfg(feature = "serve")]
pub(crate) use mounter::{escape_free, lowers_of, paths as paths_of, upper_of};

pub use apply::{Applied, Applier, BlobApplier, BlobLayers, LayerDesc, apply_layer, apply_layers};
pub use contract::{Info, Kind, Labels, Mount, SnapshotOptions, SnapshotUsage, Snapshotter};
pub use diff::{BlobDiffer, DiffOptions, MountDiffer, create_diff};
pub use filter::Filter;
pub use init::init_rootfs;
pub use layered::StoreSnapshots;
pub use mounter::{Mounter, SystemMounter};
