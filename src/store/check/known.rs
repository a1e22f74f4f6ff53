//! What refers to what, as far as it can be read: who depends on a layer, and what says of which layers a chain consists.

use oci_cas::Digest;

use crate::error::Result;
use crate::image::{ChainId, DiffId};
use crate::store::names::KeptChain;
use crate::store::{Chain, Container, Key, LayerId, MountRecord, PatchId, Store, StoredImage};

/// What can be read of a store.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) chains: Vec<Chain>,
    pub(super) images: Vec<StoredImage>,
    pub(super) containers: Vec<Container>,
    pub(super) names: Vec<(String, Digest)>,
    pub(super) snapshots: Vec<KeptChain>,
}

impl Known {
    /// Reads all records that can be read. The others are for the check to tell.
    pub(super) fn of(store: &Store) -> Result<Self> {
        let mut known = Self {
            // One that cannot be read keeps the others from being listed; it is told by itself.
            names: store.names().unwrap_or_default(),
            snapshots: store.committed_snapshots().unwrap_or_default(),
            ..Self::default()
        };
        for id in store.chains()? {
            known
                .chains
                .extend(store.recorded_chain(id.as_ref()).ok().flatten());
        }
        for digest in image_digests(store)? {
            known
                .images
                .extend(store.find_image(&digest).ok().flatten());
        }
        for key in container_keys(store)? {
            known.containers.extend(store.container(&key));
        }
        Ok(known)
    }

    /// The chains that have a layer, or of which it is a copy with other owners.
    pub(super) fn chains_with(&self, id: &LayerId) -> Vec<&Chain> {
        let plain = id.before_map();
        let has = |chain: &&Chain| {
            let mut layers = chain.layers.iter();
            let is_kept = || id.is_tar() && chain.needs().contains(id);
            layers.any(|layer| layer == id || Some(layer) == plain.as_ref()) || is_kept()
        };
        self.chains.iter().filter(has).collect()
    }

    /// The chains under a patch.
    pub(super) fn chains_under(&self, id: &PatchId) -> Vec<&Chain> {
        let chains = self.chains.iter();
        chains.filter(|chain| chain.patch == *id).collect()
    }

    /// What depends on chains, for people.
    pub(super) fn dependants(&self, chains: &[Option<ChainId>]) -> Vec<String> {
        let mut found = Vec::new();
        for image in &self.images {
            if !chains.contains(&image.chain_id()) {
                continue;
            }
            let names = self.names.iter();
            let names = names.filter(|(_, digest)| digest == image.digest());
            let before = found.len();
            found.extend(names.map(|(name, _)| format!("image {name}")));
            if found.len() == before {
                found.push(format!("image {}", image.digest()));
            }
        }
        let containers = self.containers.iter();
        let on = containers.filter(|container| chains.contains(&container.meta().chain));
        found.extend(on.map(|container| format!("container {}", container.key())));
        let snapshots = self.snapshots.iter();
        let of = snapshots.filter(|snapshot| chains.contains(&snapshot.chain));
        found.extend(of.map(|snapshot| format!("snapshot {}", snapshot.name)));
        found
    }

    /// The layers of a chain, bottom first, if any record says of which it consists.
    pub(super) fn diff_ids_of(&self, id: Option<&ChainId>) -> Option<Vec<DiffId>> {
        let Some(id) = id else {
            return Some(Vec::new());
        };
        let images = self.images.iter().map(|image| &image.diff_ids);
        let chains = self.chains.iter().map(|chain| &chain.diff_ids);
        let snapshots = self.snapshots.iter().map(|snapshot| &snapshot.diff_ids);
        for diff_ids in images.chain(snapshots).chain(chains) {
            let mut so_far: Option<ChainId> = None;
            for (place, diff_id) in diff_ids.iter().enumerate() {
                let next = match &so_far {
                    Some(below) => below.with_layer(diff_id),
                    None => ChainId::bottom(diff_id),
                };
                if next == *id {
                    return Some(diff_ids[..=place].to_vec());
                }
                so_far = Some(next);
            }
        }
        None
    }
}

/// The mounts of a store that are there now.
pub(super) fn live_mounts(store: &Store) -> Result<Vec<MountRecord>> {
    let mut live = Vec::new();
    for mount in store.mounts()? {
        if mount.is_live()? {
            live.push(mount);
        }
    }
    Ok(live)
}

/// The digest in the name of a record: `sha256-<hex>.json`.
pub(super) fn digest_in(name: &[u8]) -> Option<Digest> {
    let text = std::str::from_utf8(name).ok()?.strip_suffix(".json")?;
    text.replacen('-', ":", 1).parse().ok()
}

/// The images of which there is a record, whether it can be read or not.
pub(super) fn image_digests(store: &Store) -> Result<Vec<Digest>> {
    let names = store.sub("images")?.names()?;
    Ok(names.iter().filter_map(|name| digest_in(name)).collect())
}

/// The containers, whether they can be read or not.
fn container_keys(store: &Store) -> Result<Vec<Key>> {
    let names = store.sub("active")?.names()?;
    let keys = names
        .iter()
        .map(|name| Key::new(String::from_utf8_lossy(name)));
    Ok(keys.filter_map(Result::ok).collect())
}
