//! `store usage`: how much room is taken by what, and how much of it is shared.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::fs::usage::{Usage, usage};
use crate::store::{Key, LayerId, LeasedStore, Store, StoredImage};

/// What everything in a store takes.
#[derive(Clone, Debug, Default)]
pub struct StoreUsage {
    /// Each layer of the store itself, in the order of their names.
    pub layers: Vec<(LayerId, Usage)>,
    /// Each image.
    pub images: Vec<ImageUsage>,
    /// What was changed in each container.
    pub containers: Vec<(Key, Usage)>,
}

/// What the layers of an image take, those of stores that are only read left out.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    /// The image.
    pub image: StoredImage,
    /// What only this image has: what `gc` would free if the image went.
    pub own: Usage,
    /// What other images have, too.
    pub shared: Usage,
}

impl StoreUsage {
    /// Layers and containers together.
    pub fn total(&self) -> Usage {
        let layers = self.layers.iter().map(|(_, usage)| usage);
        let containers = self.containers.iter().map(|(_, usage)| usage);
        let mut total = Usage::default();
        for usage in layers.chain(containers) {
            total += *usage;
        }
        total
    }

    /// Measures a store: every file of it is looked at.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub fn of(store: &LeasedStore) -> Result<Self> {
        let mut found = Self::default();
        for id in store.layers()? {
            let taken = store.layer_usage(&id)?;
            found.layers.push((id, taken));
        }
        for container in store.containers()? {
            let taken = usage(&container.upper()?)?;
            found.containers.push((container.key().clone(), taken));
        }
        found.images = images(store, &found.layers)?;
        Ok(found)
    }
}

fn images(store: &Store, layers: &[(LayerId, Usage)]) -> Result<Vec<ImageUsage>> {
    let taken: BTreeMap<&LayerId, Usage> = layers.iter().map(|(id, usage)| (id, *usage)).collect();
    let mut of_images = Vec::new();
    let mut users: BTreeMap<LayerId, usize> = BTreeMap::new();
    for image in store.images()? {
        let chain = store.find_chain(image.chain_id().as_ref())?;
        let layers = chain.map(|chain| chain.needs()).unwrap_or_default();
        for layer in &layers {
            *users.entry(layer.clone()).or_default() += 1;
        }
        of_images.push((image, layers));
    }
    let measured = of_images.into_iter().map(|(image, layers)| {
        let (mut own, mut shared) = (Usage::default(), Usage::default());
        for layer in &layers {
            let usage = taken.get(layer).copied().unwrap_or_default();
            match users.get(layer) {
                Some(1) => own += usage,
                _ => shared += usage,
            }
        }
        ImageUsage { image, own, shared }
    });
    Ok(measured.collect())
}
