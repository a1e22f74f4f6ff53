//! Bundles whose root file system is a container of the store, mounted.
//!
//! The container is made before its bundle appears, the bundle appears before the mount. So what a killed process leaves
//! is a container whose bundle does not exist, which `gc` takes, or a bundle that is not mounted, which `mount` mounts.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::image::{BringInOptions, bring_in};
use crate::bundle::{
    Metadata, OverlayMetadata, RuntimeConfigOptions, runtime_config, to_config_json,
};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::mount::{self, Mount};
use crate::fs::names::{canonical, split_path};
use crate::fs::staging::{MadeDirs, Staging};
use crate::fs::{Access, Dir, MapOptions, Root, atomic, failpoint};
use crate::image::Descriptor;
use crate::layer::ROOTFS_NAME;
use crate::layout::ImageSource;
use crate::ops::extract::Found;
use crate::ops::host;
use crate::ops::unpack::{CONFIG_NAME, STAGING_PREFIX, Target, UnpackOptions};
use crate::progress::Progress;
use crate::store::{
    Chain, Container, ContainerMeta, Key, LeasedStore, MountOptions, MountRecord, Reason, Store,
    StoreOptions,
};

/// What a bundle consists of, the file by which it is recognised last.
const FILES: [&str; 4] = [
    CONFIG_NAME,
    Metadata::FILE_NAME,
    OverlayMetadata::FILE_NAME,
    ROOTFS_NAME,
];

/// Unpacks an image into the store, as far as it is not there, and makes a bundle with the image's layers and a directory
/// for changes mounted as `rootfs`. The directory may exist, but nothing in it may have one of the bundle's names.
///
/// On failure there is no bundle and no mount; layers that were complete may stay in the store.
///
/// # Errors
///
/// Those of [`unpack`](crate::ops::unpack), of unpacking into the store and of mounting; [`ErrorKind::Unsupported`] for
/// options that only a root file system of one's own can follow.
pub fn unpack_overlay(
    image: &dyn ImageSource,
    bundle: &Path,
    store: &LeasedStore,
    options: &UnpackOptions,
    mount_options: &MountOptions,
    progress: &dyn Progress,
) -> Result<MountRecord> {
    check(options)?;
    mount::check_privilege().context(|| format!("unpack to {}", bundle.display()))?;
    let found = Found::open(image, options.platform.as_ref())?;
    found.image().check()?;
    let target = Target::open(bundle, Access::Plain, Some(OverlayMetadata::FILE_NAME))?;
    let path = path_of(bundle)?;
    let bring_in_options = BringInOptions {
        max_size: options.max_size,
        verify: options.verify,
    };
    let chain = bring_in(store, &found, &image.origin(), bring_in_options, progress)?;
    let key = Key::unique();
    let staging = target.stage(Access::Plain)?;
    write_files(
        staging.dir(),
        &found,
        store,
        &chain,
        &key,
        &options.map_options,
        progress,
    )?;
    if options.sync {
        staging.sync()?;
    }
    let meta = ContainerMeta {
        bundle: Some(path.clone()),
        maps: options.map_options.clone(),
        ..ContainerMeta::default()
    };
    store.prepare(&key, &chain, meta)?;
    let names = FILES.map(str::as_bytes);
    let published = target.publish(staging, &names, None);
    failpoint::hit("bundle-published");
    let mounted = published.and_then(|()| {
        let mounted = store.mount_container(&key, &path.join(ROOTFS_NAME), mount_options);
        mounted.inspect_err(|_| {
            // It was ours alone until now; the error that matters is the one being returned.
            let _ = remove_files(&path);
        })
    });
    mounted.inspect_err(|_| {
        let _ = store.remove_container(&key);
    })
}

fn check(options: &UnpackOptions) -> Result<()> {
    let refuse = |what: &str, hint: &str| {
        let message = format!("{what} cannot be followed with an overlay");
        Err(Error::new(ErrorKind::Unsupported, message).with_hint(hint))
    };
    if options.map_options.rootless {
        return refuse(
            "--rootless",
            "run the command in a user namespace (`bundle unshare -- ...`), where owners are kept in full",
        );
    }
    if options.keep_dirlinks {
        return refuse("--keep-dirlinks", "unpack without --overlay");
    }
    if options.start_from.is_some() {
        return refuse("beginning with a later layer", "unpack without --overlay");
    }
    Ok(())
}

/// Writes all of a bundle but what is mounted.
fn write_files(
    dir: &Dir,
    found: &Found,
    store: &Store,
    chain: &Chain,
    key: &Key,
    maps: &MapOptions,
    progress: &dyn Progress,
) -> Result<()> {
    if let Some(rootfs) = dir.create_dir(ROOTFS_NAME.as_bytes(), 0o755)? {
        rootfs.sync_names()?;
    }
    let view = store.mount_view(chain)?;
    let root = Root::from_dir(view.root()?, Access::Plain)?;
    let config_options = RuntimeConfigOptions {
        rootfs: Some(&root),
        root_path: ROOTFS_NAME.to_owned(),
        map_options: maps,
        resolv_conf: host::resolv_conf(),
    };
    let spec = runtime_config(found.image().config, &config_options, progress)
        .context(|| "generate config.json")?;
    let metadata = Metadata {
        descriptor_walk: found.path().0.iter().map(Descriptor::to_value).collect(),
        map_options: maps.clone(),
    };
    let overlay = OverlayMetadata {
        store: store.path().to_owned(),
        key: key.clone(),
    };
    for (name, content) in [
        (Metadata::FILE_NAME, metadata.to_bytes()),
        (OverlayMetadata::FILE_NAME, overlay.to_bytes()),
        (CONFIG_NAME, to_config_json(&spec)?),
    ] {
        atomic::create(dir, name, 0o666, &content)?;
    }
    Ok(())
}

/// An overlay bundle, and the store that has its root file system.
#[derive(Debug)]
pub struct OverlayBundle {
    dir: Dir,
    path: PathBuf,
    key: Key,
    store: LeasedStore,
}

impl OverlayBundle {
    /// Opens a bundle and its store. `None` if the bundle's root file system is its own. `options` says how a store at
    /// this path is opened.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be opened, and if the store cannot.
    pub fn open(
        bundle: &Path,
        options: impl FnOnce(&Path) -> StoreOptions,
    ) -> Result<Option<Self>> {
        let dir = Dir::open(bundle, Access::Plain).context(|| "open bundle")?;
        // Of an unpack that was killed when the bundle was there, or nearly.
        Staging::sweep(&dir, STAGING_PREFIX);
        let Some(metadata) = OverlayMetadata::read(&dir)? else {
            return Ok(None);
        };
        let path = canonical(bundle)?;
        let mut options = options(&metadata.store);
        options.create = false;
        Ok(Some(Self {
            dir,
            path,
            key: metadata.key,
            store: LeasedStore::open(options)?,
        }))
    }

    /// The store.
    pub fn store(&self) -> &LeasedStore {
        &self.store
    }

    /// The container that is its root file system.
    pub fn key(&self) -> &Key {
        &self.key
    }

    fn rootfs(&self) -> PathBuf {
        self.path.join(ROOTFS_NAME)
    }

    /// A detached mount of the root file system as it is now, for reading.
    ///
    /// # Errors
    ///
    /// [`Reason::InUse`] if the bundle is a copy of another one; [`ErrorKind::InvalidInput`] if it is not mounted and
    /// somebody has written where it would be; and those of [`Store::mount_contents`].
    pub fn contents(&self) -> Result<Mount> {
        let container = self.store.container(&self.key)?;
        check_contents(&self.dir, &container)?;
        self.store.mount_contents(&container)
    }

    /// Mounts the root file system; if it is mounted already, nothing happens.
    ///
    /// # Errors
    ///
    /// Those of [`Store::mount_container`].
    pub fn mount(&self, options: &MountOptions) -> Result<MountRecord> {
        let container = self.store.container(&self.key)?;
        check_owner(&self.dir, &container)?;
        if container.meta().bundle.as_ref() != Some(&self.path) {
            // The bundle was moved.
            let bundle = Some(self.path.clone());
            self.store
                .update_container(&self.key, |meta| meta.bundle = bundle)?;
        }
        self.store
            .mount_container(&self.key, &self.rootfs(), options)
    }

    /// Unmounts the root file system; if it is not mounted, nothing happens.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] if somebody uses it, unless `lazy`.
    pub fn unmount(&self, lazy: bool) -> Result<()> {
        self.store.unmount(&self.rootfs(), lazy)
    }

    /// Removes the bundle with all that was changed in it. What else is in its directory stays.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] if somebody uses it, unless `lazy`; then nothing was removed. After another failure, or a death
    /// on the way, removing it once more goes on where this ended.
    pub fn remove(&self, lazy: bool) -> Result<()> {
        match self.remove_container(lazy) {
            // Somebody else is removing the bundle, or was.
            Err(error) if Reason::of(&error) == Some(Reason::KeyUnknown) => {}
            other => other?,
        }
        failpoint::hit("bundle-container-removed");
        remove_files(&self.path)
    }

    fn remove_container(&self, lazy: bool) -> Result<()> {
        check_owner(&self.dir, &self.store.container(&self.key)?)?;
        self.unmount(lazy)?;
        self.store.remove_container(&self.key)
    }
}

/// Makes sure that what is in a container is what a bundle has as its root file system.
///
/// # Errors
///
/// [`Reason::InUse`] if the bundle is a copy of another one; [`ErrorKind::InvalidInput`] if it is not mounted and
/// somebody has written where it would be: nothing would come of that.
pub(in crate::ops) fn check_contents(bundle: &Dir, container: &Container) -> Result<()> {
    check_owner(bundle, container)?;
    let rootfs = bundle.path_of(ROOTFS_NAME.as_bytes());
    let beneath = bundle.open_dir_if_any(ROOTFS_NAME.as_bytes())?;
    let names = beneath.map_or(Ok(Vec::new()), |dir| dir.names())?;
    if names.is_empty() || mount::is_mount_point(&rootfs)? {
        return Ok(());
    }
    let message = format!(
        "{}: it is not mounted, and there is something in it that would be left out",
        rootfs.display()
    );
    Err(Error::new(ErrorKind::InvalidInput, message)
        .with_hint("move that away; `bundle mount` mounts the bundle"))
}

/// Makes sure that no other bundle has the container: a copy of a bundle's directory is no second bundle.
fn check_owner(bundle: &Dir, container: &Container) -> Result<()> {
    let Some(owner) = container.meta().bundle.as_ref() else {
        return Ok(());
    };
    // Where there is none any more, this is the bundle, moved.
    let Ok(dir) = Dir::open(owner, Access::Plain) else {
        return Ok(());
    };
    if dir.stat_self()?.id == bundle.stat_self()?.id {
        return Ok(());
    }
    let named = OverlayMetadata::read(&dir);
    if !matches!(named, Ok(Some(named)) if named.key == *container.key()) {
        return Ok(());
    }
    let message = format!(
        "container {}: it belongs to the bundle {}, of which this one is a copy",
        container.key(),
        owner.display()
    );
    Err(Reason::InUse.error(message).with_hint(
        "unpack the image once more for another bundle; the copy is only its files, for `rm -r`",
    ))
}

/// The one path of a bundle that may not exist yet; the directory that it is in does.
fn path_of(bundle: &Path) -> Result<PathBuf> {
    match canonical(bundle) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let (parent, name) = split_path(bundle)?;
            Ok(canonical(parent)?.join(OsStr::from_bytes(name)))
        }
        other => other,
    }
}

/// Removes the files of a bundle, and its directory if there is nothing else in it.
fn remove_files(bundle: &Path) -> Result<()> {
    let dir = Dir::open(bundle, Access::Plain)?;
    for name in [
        ROOTFS_NAME,
        CONFIG_NAME,
        Metadata::FILE_NAME,
        OverlayMetadata::FILE_NAME,
    ] {
        dir.remove_all(name.as_bytes())?;
    }
    drop(MadeDirs::of(bundle));
    Ok(())
}
