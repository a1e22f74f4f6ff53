//! Where the store is, and how it is opened.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use oci_bundle::fs::mount::MountMethod;
use oci_bundle::fs::probe;
use oci_bundle::ops::store::OverlayBundle;
use oci_bundle::store::{LayersOption, LeasedStore, StoreOptions, SyncPolicy};
use oci_bundle::{Error, ErrorKind, Result};

use super::args::path_parser;

/// Where root has its store.
const SYSTEM_STORE: &str = "/var/lib/bundle";

/// `--store` and its like.
#[derive(Debug, Default, clap::Args)]
pub struct StoreArgs {
    /// directory of the layer store (default: `$BUNDLE_STORE`; /var/lib/bundle for root, `$XDG_DATA_HOME/bundle` or
    /// ~/.local/share/bundle for others)
    #[arg(long, value_name = "dir", value_parser = path_parser())]
    store: Option<PathBuf>,

    /// additional read-only store whose layers are used (can be repeated)
    #[arg(long, value_name = "dir", value_parser = path_parser())]
    additional_store: Vec<PathBuf>,

    /// how layers of new images are stored: as directories (dir), as tar files mounted through EROFS (tar; Linux 6.12,
    /// root), or as tar files where that works (auto) (default: "dir")
    #[arg(long, value_name = "form", value_parser = layers)]
    layers: Option<LayersOption>,

    /// don't sync layers to disk before they are used
    #[arg(long)]
    no_sync: bool,
}

impl StoreArgs {
    /// How the store is opened that the user means.
    pub fn options(&self) -> Result<StoreOptions> {
        let path = match &self.store {
            Some(path) => path.clone(),
            None => default_store()?,
        };
        self.options_at(&path)
    }

    /// How a store at this path is opened.
    pub fn options_at(&self, path: &Path) -> Result<StoreOptions> {
        let mut options = StoreOptions::new(path);
        options.additional.clone_from(&self.additional_store);
        if self.no_sync {
            options.sync = SyncPolicy::None;
        }
        let from_environment = environment("BUNDLE_LAYERS");
        let from_environment = from_environment.as_deref().map(OsStr::to_string_lossy);
        let from_environment = from_environment.map(|text| layers(&text)).transpose()?;
        options.layers = self.layers.or(from_environment).unwrap_or_default();
        options.mount_method = mount_method()?;
        options.id_mapped_mounts = environment("BUNDLE_NO_IDMAP").is_none();
        #[cfg(debug_assertions)]
        super::faults::watch();
        Ok(options)
    }

    /// Opens the store that the user means, and makes it if it does not exist.
    pub fn open(&self) -> Result<LeasedStore> {
        LeasedStore::open(self.options()?)
    }

    /// Opens a bundle with the store that it is in. `None` if its root file system is its own.
    pub fn bundle(&self, bundle: &Path) -> Result<Option<OverlayBundle>> {
        // Whatever is wrong with the environment is found out before.
        self.options_at(Path::new("/"))?;
        OverlayBundle::open(bundle, |path| {
            self.options_at(path)
                .unwrap_or_else(|_| StoreOptions::new(path))
        })
    }
}

fn layers(text: &str) -> Result<LayersOption> {
    Ok(match text {
        "auto" => LayersOption::Auto,
        "tar" => LayersOption::Tar,
        "dir" => LayersOption::Dir,
        _ => {
            let message = format!("unknown form of layers {text:?}");
            let error = Error::new(ErrorKind::InvalidInput, message);
            return Err(error.with_hint("the forms are dir, tar and auto"));
        }
    })
}

/// A variable of the environment that is set to something.
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn default_store() -> Result<PathBuf> {
    if let Some(path) = environment("BUNDLE_STORE") {
        return Ok(path.into());
    }
    if probe::is_superuser() && !probe::in_user_namespace() {
        return Ok(SYSTEM_STORE.into());
    }
    if let Some(path) = environment("XDG_DATA_HOME") {
        return Ok(PathBuf::from(path).join("bundle"));
    }
    let home = environment("HOME").ok_or_else(|| {
        let message = "neither $BUNDLE_STORE, $XDG_DATA_HOME nor $HOME is set";
        Error::new(ErrorKind::InvalidInput, message).with_hint("name the store with --store")
    })?;
    Ok(PathBuf::from(home).join(".local/share/bundle"))
}

/// The one way to mount, for tests: `BUNDLE_MOUNT_API`.
fn mount_method() -> Result<Option<MountMethod>> {
    let method = environment("BUNDLE_MOUNT_API");
    let text = method.as_deref().map(OsStr::to_string_lossy);
    text.map(|text| text.parse()).transpose()
}
