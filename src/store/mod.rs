//! The layer store: layers unpacked once, shared by every image and bundle that has them, and stacked by overlayfs.
//!
//! # On disk
//!
//! ```text
//! store.json               form of the store, and where overlayfs keeps its marks in it
//! lock                     shared by whoever relies on layers, exclusive for `gc`
//! layers/tar|erofs/<id>/   layers as tar files, chains as images that refer to them (`erofs/`)
//! layers/<id>/             one layer: fs/ (content), record (what it must be), meta.json
//! patches/<digest>/        directories that lie on top of the layers of a chain
//! chains/<chain id>.json   which layers, in which order, over which patch
//! images/, names/          images and what they are called
//! active/<key>/            a container: fs/ (its changes), work/, meta.json
//! snapshots/               names of chains and containers, after containerd's contract
//! mounts/<id>.json         what is mounted where, by whom
//! blobs/                   blobs of images that came without a layout
//! features.json            what works here; a cache
//! staging/, trash/, locks/ what is being made, what is being deleted, who waits for whom
//! ```
//!
//! # What holds
//!
//! - *A name is complete.* What is made is made in `staging/`, synced, and renamed; what goes is renamed into `trash/`. A
//!   process may die anywhere: the next one finds the old state or the new one.
//! - *A layer never changes*, and does not depend on those below it: so layers are unpacked side by side and shared by all
//!   chains. What that loses is repaired for each chain (`register/`), so that *the overlay of a chain is the flat unpack
//!   of its layers, entry for entry*.
//! - *Chains are an index.* They can be made again from layers and images.
//! - *The kernel knows what is mounted.* Records say whose mount it is.
//!
//! | file | what |
//! |---|---|
//! | `place.rs`, `lease.rs` | a store on disk: open, make, lock; one that is used |
//! | `id.rs`, `text.rs`, `json.rs`, `reason.rs` | names, records, kinds of failure |
//! | `layer.rs`, `unpack.rs` | layers, and how they come in |
//! | `chain.rs`, `patch.rs`, `register/` | chains, and what they need beside layers |
//! | `image.rs` | images and their names |
//! | `container.rs`, `mounting.rs` | upper directories, and what is mounted |
//! | `commit.rs` | what was changed in a container, as a layer |
//! | `names/` | names of chains and containers, after containerd's contract |
//! | `record/`, `check/`, `remap.rs` | what a layer must be, whether it is, and copies with other owners |
//! | `gc.rs`, `trash.rs` | what nothing needs |
//! | `status.rs`, `suitable.rs` | what works in a store, and where one can be |
//! | `usage.rs`, `dedup.rs` | how much room things take, and how it becomes less |

mod chain;
pub mod check;
pub(crate) mod commit;
pub(crate) mod container;
mod dedup;
mod erofs;
mod form;
mod gc;
pub(crate) mod id;
mod image;
pub(crate) mod json;
pub(crate) mod layer;
mod lease;
pub(crate) mod mounting;
pub mod names;
pub(crate) mod patch;
pub(crate) mod place;
mod reason;
pub mod record;
mod register;
pub mod remap;
mod remapped;
mod status;
mod suitable;
pub(crate) mod text;
pub(crate) mod trash;
pub(crate) mod unpack;
mod usage;

pub use chain::{Chain, MAX_LOWERS};
pub use commit::{CommitOptions, Committed};
pub use container::{BUNDLE_FILE, Container, ContainerMeta};
pub use dedup::DedupReport;
pub use form::{LayerForm, LayersOption};
pub use gc::{GcOptions, GcReport};
pub use id::{Key, LayerId};
pub use image::{StoredImage, name_in_layout};
pub use layer::{Layer, LayerMeta};
pub use lease::LeasedStore;
pub use mounting::{MountOptions, MountRecord};
pub use names::KeptChain;
pub use patch::PatchId;
pub use place::{Lease, Store, StoreOptions, SyncPolicy};
pub use reason::Reason;
pub use status::{StoreFeature, StoreFeatures};
pub use unpack::{LayerProvider, UnpackLimits};
