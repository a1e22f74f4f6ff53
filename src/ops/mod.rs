//! One verb per file: what the commands do, for any caller.
//!
//! An operation takes paths and names as the user gives them, prints nothing, reports to a
//! [`Progress`](crate::progress::Progress) where it may take long, and returns data. It either succeeds or leaves the
//! old state.

mod add_layer;
mod append;
mod cat;
mod compress;
mod config;
mod config_value;
mod copy;
pub mod diff;
mod export;
mod export_tar;
mod extract;
pub mod files;
mod gc;
mod history;
mod host;
mod index;
mod init;
mod insert;
mod layer_indexes;
mod layers;
mod list;
mod mtree_validate;
mod new;
mod raw_unpack;
mod read_ahead;
mod rebase;
mod record;
#[cfg(feature = "registry")]
mod registry_edit;
mod remove;
mod remove_bundle;
mod repack;
mod runtime_config;
mod squash;
pub mod stat;
pub mod store;
mod tag;
mod unpack;
mod validate;
mod view;

pub use add_layer::{AddLayerOptions, add_layer};
pub use append::{AppendOptions, append};
pub use cat::cat;
pub use compress::CompressOptions;
pub use config::{ClearKey, ConfigOptions, Healthcheck, config};
pub use config_value::{ConfigKey, config_value, plain_value};
pub use copy::{copy, layer_blobs};
pub use diff::diff;
pub use export::{ErofsOptions, export_erofs};
pub use export_tar::export_tar;
pub use files::files;
pub use gc::gc;
pub use history::{HistoryOptions, epoch_time};
pub use index::{add_to_index, create_index, list_index, remove_from_index};
pub use init::init;
pub use insert::{InsertOptions, insert};
pub use layers::{LayerInfo, layers};
pub use list::list;
pub use mtree_validate::mtree_validate;
pub use new::new;
pub use raw_unpack::raw_unpack;
pub use rebase::{RebaseOptions, rebase};
#[cfg(feature = "registry")]
pub use registry_edit::RegistryImage;
pub use remove::remove;
pub use remove_bundle::remove_bundle;
pub use repack::{RepackOptions, repack};
pub use runtime_config::{RuntimeConfigOptions, runtime_config};
pub use squash::{SquashOptions, squash};
pub use stat::stat;
pub use tag::tag;
pub use unpack::{LayerCallback, UnpackOptions, unpack, unpack_manifest};
pub use validate::validate;
