//! `store prepare`, `store mount` and `store umount`: containers that belong to no bundle.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::object_ref::{self, ObjectRef};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::MapOptions;
use crate::fs::names::canonical;
use crate::store::{Container, ContainerMeta, Key, LeasedStore, MountOptions, MountRecord};

/// Makes a container on the chain of an image, or on a chain itself. `meta` says all about it but the chain and the time.
///
/// # Errors
///
/// Those of [`ObjectRef::find`] and [`Store::prepare`](crate::store::Store::prepare); [`ErrorKind::InvalidInput`] if the word means something else.
pub fn prepare(
    store: &LeasedStore,
    word: &str,
    key: &Key,
    meta: ContainerMeta,
) -> Result<Container> {
    let meant = ObjectRef::find(store, word)?;
    let chain = meant.image_chain(store, word)?;
    store.prepare(key, &chain, meta)
}

/// Mounts a container, or the chain of an image to look at. `maps` is for images: a container has its own.
///
/// # Errors
///
/// Those of [`ObjectRef::find`], [`Store::mount_container`](crate::store::Store::mount_container) and [`Store::mount_chain`](crate::store::Store::mount_chain); [`ErrorKind::InvalidInput`] if the word
/// means something else, or if a container is given maps.
pub fn mount(
    store: &LeasedStore,
    word: &str,
    maps: &MapOptions,
    target: &Path,
    options: &MountOptions,
) -> Result<MountRecord> {
    let meant = ObjectRef::find(store, word)?;
    if let ObjectRef::Container(container) = &meant {
        if *maps != MapOptions::default() {
            let message = format!("container {word}: its maps are those that it was made with");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        return store.mount_container(container.key(), target, options);
    }
    let chain = meant.image_chain(store, word)?;
    store.mount_chain(chain.id.as_ref(), maps, target, options)
}

/// Unmounts a container by its key, or whatever the store has mounted on a directory. Says what was unmounted: `None` if
/// nothing was mounted.
///
/// # Errors
///
/// Those of [`Store::unmount`](crate::store::Store::unmount); [`ErrorKind::NotFound`] if there is neither such a container nor such a directory.
pub fn unmount(store: &LeasedStore, word: &OsStr, lazy: bool) -> Result<Option<PathBuf>> {
    let key = word.to_str();
    let container = key.map_or(Ok(None), |key| object_ref::container(store, key))?;
    let live = if let Some(container) = &container {
        store.live_mount_of(container.key())?
    } else {
        let target = canonical(Path::new(word))?;
        let mut live = object_ref::live_mounts(store)?.into_iter();
        live.find(|mount| mount.target == target && mount.is_here())
    };
    let Some(live) = live else {
        return Ok(None);
    };
    if !live.is_here() {
        let (target, pid) = (live.target.display(), live.pid);
        let message = format!("{target}: mounted in another mount namespace, by process {pid}");
        return Err(Error::new(ErrorKind::Busy, message));
    }
    store.unmount(&live.target, lazy)?;
    Ok(Some(live.target))
}
