//! `store remove` and `store shutdown`: images, commits and containers out of a store, and all of its mounts.

use std::path::PathBuf;

use super::object_ref::{ObjectRef, live_mounts};
use crate::error::{Error, ErrorKind, Result};
use crate::image::ChainId;
use crate::snapshots::{Snapshotter, StoreSnapshots};
use crate::store::{Key, LeasedStore, Reason, Store};

/// What was removed.
#[derive(Clone, Debug, PartialEq)]
pub enum Removed {
    /// An image, with its names; its layers stay until `gc`.
    Image(oci_cas::Digest),
    /// A container, with all that was changed in it.
    Container(Key),
    /// What a container was committed as, by its chain; its layers stay until `gc`.
    Snapshot(ChainId),
}

/// Removes an image, a container, or the snapshot that keeps a chain which is neither's.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] if there is none of that name; [`Reason::InUse`] if it is mounted, or if a container is laid on
/// its chain and no other image or snapshot is the same one: the message says by whom; [`Reason::HasChildren`] if another
/// snapshot is laid on it.
pub fn remove(store: &LeasedStore, word: &str) -> Result<Removed> {
    match ObjectRef::find(store, word)? {
        ObjectRef::Container(container) => {
            store.remove_container(container.key())?;
            Ok(Removed::Container(container.key().clone()))
        }
        ObjectRef::Image(image) => {
            refuse_used(store, image.chain_id().as_ref(), &format!("image {word}"))?;
            store.remove_image(image.digest())?;
            Ok(Removed::Image(image.digest().clone()))
        }
        ObjectRef::Chain(chain) => {
            let snapshots = store.committed_snapshots()?.into_iter();
            let names: Vec<String> = snapshots.map(|snapshot| snapshot.name).collect();
            let Some(id) = chain.id.filter(|id| names.contains(&id.to_string())) else {
                return Err(goes_by_itself(word));
            };
            refuse_used(store, Some(&id), &format!("chain {word}"))?;
            StoreSnapshots::new(store)?.remove(&id.to_string())?;
            Ok(Removed::Snapshot(id))
        }
        ObjectRef::Layer(_) => Err(goes_by_itself(word)),
    }
}

fn goes_by_itself(word: &str) -> Error {
    let message = format!("{word}: layers and chains go with what needs them");
    let error = Error::new(ErrorKind::InvalidInput, message);
    error.with_hint("remove images, commits and containers, then run `bundle store gc`")
}

fn refuse_used(store: &Store, chain: Option<&ChainId>, what: &str) -> Result<()> {
    let Some(user) = user_of(store, chain)? else {
        return Ok(());
    };
    let message = format!("{what}: {user}");
    let error = Error::new(ErrorKind::Busy, message).with_code(Reason::InUse.word());
    Err(error.with_hint("remove or unmount that first"))
}

/// Who needs a chain to be there that an image or a snapshot keeps, unless another one keeps it, too.
fn user_of(store: &Store, chain: Option<&ChainId>) -> Result<Option<String>> {
    let images = store.images()?.into_iter();
    let kept_by_images = images
        .filter(|image| image.chain_id().as_ref() == chain)
        .count();
    let snapshots = store.committed_snapshots()?.into_iter();
    let kept_by_snapshots = snapshots
        .filter(|kept| kept.chain.as_ref() == chain)
        .count();
    if kept_by_images + kept_by_snapshots > 1 {
        return Ok(None);
    }
    for container in store.containers()? {
        if container.meta().chain.as_ref() == chain {
            return Ok(Some(format!("container {} is laid on it", container.key())));
        }
    }
    for mount in live_mounts(store)? {
        if mount.chain.as_ref() == chain {
            let target = mount.target.display();
            return Ok(Some(format!("it is mounted on {target}")));
        }
    }
    Ok(None)
}

/// What a shutdown has done.
#[derive(Debug, Default)]
pub struct ShutdownReport {
    /// What was unmounted.
    pub unmounted: Vec<PathBuf>,
    /// What somebody uses, and who; or what is mounted elsewhere.
    pub busy: Vec<(PathBuf, String)>,
    /// How many leftovers of killed processes, and records of mounts that are gone, were removed.
    pub leftovers: usize,
}

/// Unmounts all that the store has mounted and nobody uses, and removes what killed processes have left. What is mounted in
/// another mount namespace is told as busy.
///
/// # Errors
///
/// Fails if the store cannot be read, or if others use it for longer than the lock may be waited for.
pub fn shutdown(store: &Store) -> Result<ShutdownReport> {
    let mut report = ShutdownReport::default();
    // The last one first: something of ours may be mounted in something of ours.
    for mount in live_mounts(store)?.into_iter().rev() {
        if !mount.is_here() {
            let why = format!("in another mount namespace, by process {}", mount.pid);
            report.busy.push((mount.target, why));
            continue;
        }
        match store.unmount(&mount.target, false) {
            Ok(()) => report.unmounted.push(mount.target),
            Err(error) => report.busy.push((mount.target, error.chain())),
        }
    }
    report.leftovers = store.sweep()?;
    Ok(report)
}
