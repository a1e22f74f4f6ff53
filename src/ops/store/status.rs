//! `store status` and `store probe`: what a store is, and what could be one.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::fs::mount::Features;
use crate::fs::names::absolute;
use crate::fs::probe::{in_user_namespace, is_superuser};
use crate::fs::{Access, Dir, XattrNamespace};
use crate::store::Store;

/// The file that says of which form a store is.
const CONFIG: &str = "store.json";

/// Its largest size, in bytes.
const CONFIG_SIZE: u64 = 1 << 20;

/// The version of the form of a store.
///
/// # Errors
///
/// Fails if `store.json` cannot be read.
pub fn format_version(store: &Store) -> Result<u64> {
    let dir = Dir::open(store.path(), Access::Plain)?;
    let bytes = dir.read_file(CONFIG.as_bytes(), CONFIG_SIZE)?;
    let config = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
    let version = config.and_then(|config| config["version"].as_u64());
    version.ok_or_else(|| {
        let message = format!(
            "read {}: it has no version",
            dir.path_of(CONFIG.as_bytes()).display()
        );
        Error::new(ErrorKind::InvalidData, message)
    })
}

/// Tries out what works where a store is, or would be: in the directory itself or the nearest one above it that exists,
/// which comes back too. `fuse-overlayfs` is tried out where the kernel mounts no overlays.
///
/// # Errors
///
/// Fails if nothing can be made there.
pub fn features(store: &Path) -> Result<(PathBuf, Features)> {
    try_out(store, Features::probe)
}

/// As [`features`], and whether `fuse-overlayfs` works, too, where the kernel mounts overlays.
///
/// # Errors
///
/// As [`features`].
pub fn all_features(store: &Path) -> Result<(PathBuf, Features)> {
    try_out(store, Features::probe_all)
}

fn try_out(
    store: &Path,
    probe: impl Fn(&Dir, XattrNamespace) -> Result<Features>,
) -> Result<(PathBuf, Features)> {
    let path = absolute(store)?;
    let marks = if is_superuser() && !in_user_namespace() {
        XattrNamespace::Trusted
    } else {
        XattrNamespace::User
    };
    for path in path.ancestors() {
        let dir = match Dir::open(path, Access::Plain) {
            Ok(dir) => dir,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // In a store, where it keeps what is in the making.
        let dir = match dir.try_stat(CONFIG.as_bytes())? {
            Some(_) => dir.open_dir(b"staging")?,
            None => dir,
        };
        return Ok((path.to_owned(), probe(&dir, marks)?));
    }
    let message = format!("{}: nothing above it exists", path.display());
    Err(Error::new(ErrorKind::NotFound, message))
}
