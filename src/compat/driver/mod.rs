//! Layers by names of the caller's choice: what the overlay graph driver of containers/storage offers, over the store.
//!
//! A layer has a [`Key`](crate::store::Key), perhaps a parent, and goes through two states. *Open*, it is a container of the
//! store: it can be mounted and written to, or filled from a tar stream. *Committed*, it has a diff ID, its content is a
//! layer of the store like any other (shared with every image that has it), and others can be laid on it. There is no
//! third state: what is committed is an empty container whose chain has one more layer, and the switch is the
//! replacement of one record, so that a death leaves one or the other. All that the driver knows is kept with the
//! container, as labels; so `gc` sees what is used, and nothing has to be kept in step.
//!
//! ```text
//! active/<key>/meta.json   labels bundle.driver.*: kind, parent, diff ID, quota
//! active/<key>/users.json  who has it mounted: process and boot, or a name that stays
//! active/<key>/merged/     where it is mounted
//! locks/driver-<key>       one process at a time
//! features.json            what works here; void with another boot or kernel
//! ```
//!
//! Locks are taken in this order: the store's, the driver's of a key, the container's.
//!
//! | file | what |
//! |---|---|
//! | `traits.rs` | one small trait for each ability, and their data |
//! | `overlay.rs` | [`OverlayDriver`]: open, make, look, remove |
//! | `layers.rs` | find a layer, finish what a death has cut off, commit |
//! | `state.rs` | what the labels say |
//! | `users.rs`, `mounts.rs` | who uses a mount; get and put |
//! | `incoming.rs` | a stream whose diff ID nobody knows yet |
//! | `difference.rs` | apply, diff, changes: from the upper directory alone |
//! | `naive.rs` | the same for any driver, by looking at both sides |
//! | `staged.rs` | content that something else than a tar stream brings |
//! | `limits.rs` | quotas |
//! | `shifting.rs` | other owners |
//! | `additional.rs` | layers of stores that are only read |
//! | `files.rs` | files of a layer, by path |

mod additional;
mod difference;
mod files;
mod incoming;
mod layers;
mod limits;
mod mounts;
mod naive;
mod overlay;
mod shifting;
mod staged;
mod state;
mod traits;
mod users;

pub use additional::AdditionalLayer;
pub use files::LayerFiles;
pub use mounts::MountHandle;
pub use naive::NaiveDiff;
pub use overlay::{DriverOptions, NativeSupport, OverlayDriver};
pub use staged::StagedLayer;
pub use traits::{
    AdditionalLayers, AppliedDiff, CreateOptions, DiffDriver, Differ, DifferOutput, Driver,
    FileSource, GetOptions, IdMapUpdater, LayerInfo, LayerPaths, StagedApply,
};
