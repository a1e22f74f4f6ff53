//! `raw runtime-config`: writes the runtime configuration of an image.

use std::path::{Path, PathBuf};

use crate::bundle;
use crate::fs::{Access, MapOptions, Root, atomic};
use crate::image::Platform;
use crate::layout::ImageSource;
use crate::progress::Progress;
use crate::{Result, ResultExt};

use super::host;

/// What [`runtime_config`] may be told.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfigOptions {
    /// Owners, and whether the container runs without root's privileges.
    pub map_options: MapOptions,
    /// Chooses among the images of an index; `None` means this machine's.
    pub platform: Option<Platform>,
    /// Where to look up users and groups; its last component becomes the configuration's root path.
    pub rootfs: Option<PathBuf>,
}

/// Makes the runtime configuration of an image and writes it to the file `output`.
///
/// The file is made or replaced once the configuration is complete (mode 0666 less the umask).
///
/// # Errors
///
/// Those of resolving and reading the image, of looking up its user, and of writing.
/// A regular file at `output` is as it was after any error.
pub fn runtime_config(
    image: &dyn ImageSource,
    output: &Path,
    options: &RuntimeConfigOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let (layout, path) = image.open(options.platform.as_ref())?;
    let manifest = layout.manifest(path.target())?;
    let config = layout.image_config(&manifest)?;
    let access = if options.map_options.rootless {
        Access::Unprivileged
    } else {
        Access::Plain
    };
    let rootfs = match &options.rootfs {
        Some(rootfs) => Some(Root::open(rootfs, access)?),
        None => None,
    };
    let spec = bundle::runtime_config(
        &config,
        &bundle::RuntimeConfigOptions {
            rootfs: rootfs.as_ref(),
            root_path: root_path(options.rootfs.as_deref()),
            map_options: &options.map_options,
            resolv_conf: host::resolv_conf(),
        },
        progress,
    )
    .context(|| "make the runtime configuration")?;
    let document = bundle::to_config_json(&spec)?;
    atomic::replace(output, 0o666, &document)
}

/// The base name of the root file system; `.` when there is none.
fn root_path(rootfs: Option<&Path>) -> String {
    rootfs.and_then(Path::file_name).map_or_else(
        || ".".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_path_is_the_base_name() {
        assert_eq!(root_path(None), ".");
        assert_eq!(root_path(Some(Path::new("/a/b/rootfs/"))), "rootfs");
        assert_eq!(root_path(Some(Path::new("."))), ".");
    }
}
