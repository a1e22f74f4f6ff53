//! Where the store is, and how it is opened.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use oci_bundle::fs::mount::MountMethod;
use oci_bundle::fs::{fault, probe};
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

    /// another store, whose layers are used and which is never written to, can be given several times
    #[arg(long, value_name = "dir", value_parser = path_parser())]
    additional_store: Vec<PathBuf>,

    /// how layers of new images are kept: as directories (dir), as tar files that are mounted by EROFS (tar; Linux 6.12, root),
    /// or so where that works (auto) (default: "dir")
    #[arg(long, value_name = "form", value_parser = layers)]
    layers: Option<LayersOption>,

    /// don't wait for layers to be on the disk before they are used
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
        watch_for_faults();
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

/// What `BUNDLE_FAULT` asks for, for tests: to die at a place, which is the name of a point, or the name, a colon and how
/// many times it is passed before, where `*` is every point; or, as `log:FILE`, to append the names of all points that
/// are passed to a file. So a test finds the places by itself, and none has to be listed.
fn watch_for_faults() {
    let Some(fault) = environment("BUNDLE_FAULT") else {
        return;
    };
    let fault = fault.to_string_lossy().into_owned();
    let (name, rest) = fault.split_once(':').unwrap_or((&fault, "0"));
    if name == "log" {
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(rest);
        // Without a log there is nothing to see in it, which a test will notice.
        let Ok(log) = log else { return };
        fault::set_hook(Box::new(move |point| {
            let _ = (&log).write_all(format!("{point}\n").as_bytes());
        }));
        return;
    }
    let (name, passes) = (name.to_owned(), rest.parse().unwrap_or(0));
    let left = std::sync::atomic::AtomicU64::new(passes);
    fault::set_hook(Box::new(move |point| {
        use std::sync::atomic::Ordering;
        let is_it = name == point || name == "*";
        if is_it
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_err()
        {
            fault::die();
        }
    }));
}
