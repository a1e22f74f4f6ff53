//! The runtime bundle: what stands beside `rootfs/` so that a runtime can start it and `repack` can find its way back.
//!
//! ```text
//! <bundle>/
//!   config.json   runtime configuration, made from the image configuration     runtime_config
//!   umoci.json    which image was unpacked, and with which id maps             meta
//!   rootfs/       read here for etc/passwd and etc/group only                  users
//! ```
//!
//! Everything in this room turns values into values: nothing is written, and of the file system only the two user
//! databases are read, through [`crate::fs::Root`], so that no symbolic link of an image leads out of the rootfs.
//! Whoever writes the files does so when all of them are known to be good; a configuration that cannot be made leaves
//! nothing behind.
//!
//! Both formats are umoci's: bundles of either program can be repacked by the other.

mod env;
mod map_options;
mod meta;
mod overlay;
mod rootless;
mod runtime_config;
mod spec_version;
mod template;
mod users;

pub use meta::Metadata;
pub use overlay::OverlayMetadata;
pub use rootless::{MountFlags, to_rootless};
pub use runtime_config::{RuntimeConfigOptions, runtime_config, to_config_json};
pub use spec_version::lowest_spec_version;
