//! Images of layouts in the layer store, and bundles on it.

mod archive;
mod changes;
mod check;
mod commit;
mod container;
mod image;
mod mstack;
mod object_ref;
mod overlay_bundle;
mod remove;
mod status;
mod usage;
mod written;

pub use archive::{Imported, export, gc, import};
pub use changes::Difference;
pub use check::check;
pub use commit::{CommitOptions, Committed, commit};
pub use container::{mount, prepare, unmount};
pub use image::ImageMount;
pub(super) use image::{BringInOptions, add_found};
pub use mstack::export_mstack;
pub use object_ref::{ObjectRef, live_mounts};
pub(in crate::ops) use overlay_bundle::check_contents;
pub use overlay_bundle::{OverlayBundle, unpack_overlay};
pub use remove::{Removed, ShutdownReport, remove, shutdown};
pub use status::{all_features, features, format_version};
pub use usage::{ImageUsage, StoreUsage};
pub use written::{Written, write_file};
