//! What lies beneath the mounts in a directory tree.
//!
//! A program that runs in a root file system has things mounted there (`/proc`, volumes, single files), which hide what is
//! below them. A copy of the mount that the tree is on, made without those on top of it, shows the tree as it is.

use super::dir::Access;
use super::mount::{self, mounts_below};
use super::root::Root;
use crate::error::Result;

/// What is known of a tree that things may be mounted in.
#[derive(Debug)]
pub enum Beneath {
    /// Nothing is mounted there, or the kernel does not tell.
    Nothing,
    /// The tree without what is mounted in it.
    Root(Root),
    /// Where something is mounted (relative paths), if this process has no right to look beneath.
    Hidden(Vec<Vec<u8>>),
}

/// Looks for mounts in the tree below a root, and beneath them. Nothing is unmounted, nothing stays mounted.
///
/// # Errors
///
/// Fails if the copy of the mount cannot be opened.
pub fn without_mounts(root: &Root, access: Access) -> Result<Beneath> {
    let paths = mounts_below(root.dir()).unwrap_or_default();
    if paths.is_empty() {
        return Ok(Beneath::Nothing);
    }
    // Whatever the reason (no right to mount, an old kernel, a mount that must not be lifted): the paths are known.
    let Ok(bare) = mount::bind(root.dir(), false, false) else {
        return Ok(Beneath::Hidden(paths));
    };
    Ok(Beneath::Root(Root::from_dir(bare.root()?, access)?))
}
