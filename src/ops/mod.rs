//! One verb per file: what the commands do, for any caller.
//!
//! An operation takes paths and names as the user gives them, prints nothing, reports to a
//! [`Progress`](crate::progress::Progress) where it may take long, and returns data. It either succeeds or leaves the
//! old state.

mod extract;
mod gc;
mod host;
mod init;
mod list;
mod mtree_validate;
mod new;
mod raw_unpack;
mod read_ahead;
mod record;
mod remove;
mod runtime_config;
pub mod stat;
mod tag;
mod unpack;
mod validate;

pub use gc::gc;
pub use init::init;
pub use list::list;
pub use mtree_validate::mtree_validate;
pub use new::new;
pub use raw_unpack::raw_unpack;
pub use remove::remove;
pub use runtime_config::{RuntimeConfigOptions, runtime_config};
pub use stat::stat;
pub use tag::tag;
pub use unpack::{LayerCallback, UnpackOptions, unpack, unpack_manifest};
pub use validate::validate;
