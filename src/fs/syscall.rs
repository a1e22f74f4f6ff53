//! The one file with `unsafe`: system calls that no crate wraps safely.
#![allow(unsafe_code, reason = "this is the one file where it is allowed")]

use rustix::fs::Mode;
use rustix::thread::UnshareFlags;

use crate::error::{Error, Result};

/// Gives the calling thread a file-mode creation mask of its own and sets it to 0, so that a mode given at creation is
/// the mode of the file. Other threads keep the mask of the process.
///
/// From then on the thread also has its own working directory.
///
/// # Errors
///
/// Fails if the kernel refuses `unshare(CLONE_FS)`, which needs no privilege; the mask is then unchanged.
pub fn private_umask() -> Result<()> {
    // SAFETY: unsharing is unsafe for CLONE_FILES, where descriptors owned elsewhere would be closed in this thread's
    // table only. CLONE_FS concerns the working directory, the root and the umask: no memory, no descriptor.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }
        .map_err(|errno| Error::io("give the thread its own umask:", "unshare", errno))?;
    rustix::process::umask(Mode::empty());
    Ok(())
}
