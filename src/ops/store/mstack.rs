//! `store export --mstack`: an image of the store as a mount stack of systemd's.
//!
//! ```text
//! image -> chain -> its directories, topmost first -> NAME.mstack/layer@N, links to them, bottom first; and rw/
//! ```
//!
//! `systemd.mstack(7)`: `layer@ID` are overlayfs layers, in the order of a version sort, and `rw` takes the changes.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::fs::names::split_path;
use crate::fs::staging::Staging;
use crate::fs::{Access, Descent, Dir, XattrNamespace, escape_name};
use crate::store::{LayerForm, LeasedStore};
use crate::{Error, ErrorKind, Result, ResultExt};

/// How the name of a mount stack ends; systemd takes no other.
const SUFFIX: &[u8] = b".mstack";

/// How the name of a directory begins that is not a mount stack yet.
const STAGING_PREFIX: &str = ".bundle-mstack-";

/// Makes a mount stack of an image: a directory with links to the image's layers in the store, and with `writable` one that
/// takes changes. Nothing is copied: the stack works as long as the store keeps the image. Returns the layers, bottom first.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] for a name without `.mstack`, [`ErrorKind::AlreadyExists`], [`ErrorKind::NotFound`] for an image
/// that the store has not. [`ErrorKind::Unsupported`] where systemd would show another tree: it follows marks of overlayfs
/// only in `user.overlay.*` (262.1, as root too), so a directory that is opaque by `trusted.overlay.opaque` would show what it
/// hides; and for layers that are kept as tar files. Nothing is left then.
pub fn export_mstack(
    store: &LeasedStore,
    image: &str,
    path: &Path,
    writable: bool,
) -> Result<Vec<PathBuf>> {
    let failed = || format!("make mount stack {}", path.display());
    let (parent, name) = split_path(path)?;
    if !name.ends_with(SUFFIX) || name == SUFFIX {
        let error = Error::new(ErrorKind::InvalidInput, "the name must end with .mstack");
        return Err(error.context(failed()));
    }
    let image = store.image(image)?;
    let chain = store.chain(image.chain_id().as_ref())?;
    if chain.form() != LayerForm::Dir {
        let message = "its layers are tar files, which systemd does not mount";
        let hint =
            "bundle export --format erofs -o NAME.mstack/layer@0.raw makes one layer of the image";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint(hint)
            .context(failed()));
    }
    let lowers = store.lowers(&chain)?;
    let mut layers = Vec::new();
    for dir in lowers.dirs() {
        let dir = dir?;
        if store.marks() == XattrNamespace::Trusted {
            check(&dir).context(failed)?;
        }
        layers.push(dir.path().to_owned());
    }
    layers.reverse();
    let make = || {
        let staging = Staging::create(parent, STAGING_PREFIX, Access::Plain)?;
        for (place, layer) in layers.iter().enumerate() {
            let link = format!("layer@{place}");
            staging
                .dir()
                .create_symlink(link.as_bytes(), layer.as_os_str().as_bytes())?;
        }
        if writable {
            staging.dir().create_dir(b"rw", 0o755)?;
        }
        staging.publish_as(name)
    };
    make().context(failed)?;
    Ok(layers)
}

/// Refuses a layer with a directory, below its root, that hides what is below it by a mark which systemd does not follow.
fn check(layer: &Dir) -> Result<()> {
    let mut descent = Descent::new(layer)?;
    let mut levels = vec![descent.dir().names()?.into_iter()];
    let mut path: Vec<Vec<u8>> = Vec::new();
    while let Some(names) = levels.last_mut() {
        let Some(name) = names.next() else {
            levels.pop();
            path.pop();
            descent.leave()?;
            continue;
        };
        if !descent.dir().stat(&name)?.is_dir() {
            continue;
        }
        descent.enter(&name)?;
        path.push(name);
        if descent.dir().is_opaque(XattrNamespace::Trusted)? {
            let place = escape_name(&path.join(&b'/'));
            let message =
                format!("/{place} is opaque in a layer, by a mark that systemd does not follow");
            let hint = "bundle export --format erofs -o NAME.mstack/layer@0.raw makes one layer of the image";
            return Err(Error::new(ErrorKind::Unsupported, message).with_hint(hint));
        }
        levels.push(descent.dir().names()?.into_iter());
    }
    Ok(())
}
