//! Mounts: overlays, bind mounts, id-mapped mounts, and what is mounted.
//!
//! A mount is made *detached*: it is a descriptor ([`Mount`]) that no path leads to, gone when it is dropped, so nothing
//! is left mounted by a command that fails or is killed. [`Mount::attach`] puts it on an open directory, as the last step.
//! Directories are handed to the kernel as descriptors, never as paths: no character in a name means anything, no list is
//! too long, and nobody can exchange a directory between the look and the mount.
//!
//! Overlays are mounted by the first of four ways that works here ([`MountMethod`]). Only two of them are without a
//! moment in which the mount has a name, in a directory of the caller's (`scratch`). What killed processes leave there is
//! told from what others are about by a lock on a file in it ([`sweep`]).
//!
//! | file | what |
//! |---|---|
//! | `overlay.rs` | what to mount: layers, upper, options |
//! | `lowers.rs` | the layers, opened when they are wanted |
//! | `method.rs`, `ladder.rs` | the four ways, and when the next one is tried |
//! | `context.rs` | the two ways by `fsopen`, and the kernel's own words |
//! | `legacy.rs` | the way by `mount(2)` |
//! | `fuse.rs` | the way by fuse-overlayfs |
//! | `attach.rs` | a detached mount; bind mounts; unmounting |
//! | `erofs.rs` | EROFS images out of files |
//! | `idmap.rs` | mounts that show other owners |
//! | `id.rs` | which mount something is on |
//! | `namespace.rs` | mount namespaces |
//! | `table.rs` | what is mounted |
//! | `holders.rs` | who keeps a mount busy |
//! | `features.rs` | what works here, tried out |

mod attach;
mod context;
mod erofs;
mod features;
mod fuse;
mod holders;
mod id;
mod idmap;
mod ladder;
mod legacy;
mod lowers;
mod method;
mod namespace;
mod overlay;
mod table;

pub use attach::{Mount, bind, check_privilege, unmount, unmount_at};
pub use erofs::{FileBelow, mount_erofs};
pub use features::{Features, FileSystem, Support, sweep_probes};
pub use holders::{Hold, Holder, holders};
pub use id::{MountId, by_id, mounts_below};
pub use idmap::{UserNamespace, id_mapped};
pub use legacy::sweep;
pub use lowers::{Lower, Lowers};
pub use method::MountMethod;
pub use namespace::{is_mount_point, namespace_exists, own_namespace};
pub use overlay::{MAX_LOWERS, MountAttributes, Overlay, Upper};
pub use table::{MountEntry, at_target, from_source, mounts};
