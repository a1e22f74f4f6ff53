//! `store remove` and `store shutdown`: images and containers out of a store, and all of its mounts.

use std::path::PathBuf;

use super::meant::{Meant, live_mounts};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Key, Reason, Store, StoredImage};

/// What was removed.
#[derive(Clone, Debug, PartialEq)]
pub enum Removed {
    /// An image, with its names; its layers stay until `gc`.
    Image(oci_cas::Digest),
    /// A container, with all that was changed in it.
    Container(Key),
}

/// Removes an image or a container.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] if there is none of that name; [`Reason::InUse`] if it is mounted, or if a container is laid on
/// the image and no other image is the same chain: the message says by whom.
pub fn remove(store: &Store, word: &str) -> Result<Removed> {
    match Meant::find(store, word)? {
        Meant::Container(container) => {
            store.remove_container(container.key())?;
            Ok(Removed::Container(container.key().clone()))
        }
        Meant::Image(image) => {
            if let Some(user) = user_of(store, &image)? {
                let message = format!("image {word}: {user}");
                let error = Error::new(ErrorKind::Busy, message).with_code(Reason::InUse.word());
                return Err(error.with_hint("remove or unmount that first"));
            }
            store.remove_image(image.digest())?;
            Ok(Removed::Image(image.digest().clone()))
        }
        Meant::Chain(_) | Meant::Layer(_) => {
            let message = format!("{word}: layers and chains go with what needs them");
            let error = Error::new(ErrorKind::InvalidInput, message);
            Err(error.with_hint("remove images and containers, then run `bundle store gc`"))
        }
    }
}

/// Who needs an image's chain to be there, unless another image is the same.
fn user_of(store: &Store, image: &StoredImage) -> Result<Option<String>> {
    let chain = image.chain_id();
    let mut images = store.images()?.into_iter();
    if images.any(|other| other.digest() != image.digest() && other.chain_id() == chain) {
        return Ok(None);
    }
    for container in store.containers()? {
        if container.meta().chain == chain {
            return Ok(Some(format!("container {} is laid on it", container.key())));
        }
    }
    for mount in live_mounts(store)? {
        if mount.chain == chain {
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
