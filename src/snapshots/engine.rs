//! What an engine such as containerd wants beside the contract: layers that need not be brought because the store has them,
//! and layers that are unpacked beside the upper directory that they belong in.
//!
//! The container of such a snapshot has its layer as [`applied`](ContainerMeta::applied). Its upper directory stays empty,
//! a commit is a record, and `gc` keeps the layer from the moment at which the container has it.

use std::io::{Read, Write};

use super::apply::{BlobLayer, TARGET};
use super::contract::{Kind, Mount, SnapshotOptions};
use super::layered::{ENGINE, Nothing, StoreSnapshots};
use crate::error::{ErrorKind, Result};
use crate::fs::{MapOptions, failpoint};
use crate::image::{ChainId, Descriptor, DiffId};
use crate::layer::LayerSource;
use crate::progress::Silent;
use crate::store::names::{RecordCache, Snapshot};
use crate::store::{
    Chain, CommitOptions, ContainerMeta, Key, LayerId, LayerProvider, Reason, Store, UnpackLimits,
};

/// Opens the blob of a layer, as often as it is wanted.
pub(crate) type OpenBlob<'a> = &'a (dyn Fn() -> Result<Box<dyn Read + Send>> + Sync);

/// The label of a container that says which chain it is going to be.
const CHAIN: &str = "chain";

/// What a snapshot of an engine is beside what the contract says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Purpose {
    /// The chain that it is made for, if it is made to unpack a layer into.
    pub target: Option<ChainId>,
    /// The layer that it has already. Nothing can be written to it then.
    pub staged: Option<DiffId>,
    /// How owners of the image are owners on disk.
    pub maps: MapOptions,
}

impl<'s> StoreSnapshots<'s> {
    /// Those that an engine makes and is shown: a walk tells of no others.
    pub(crate) fn of_engine(store: &'s Store, cache: &RecordCache) -> Result<Self> {
        let snapshots = Self::new(store)?;
        Ok(Self {
            prefix: ENGINE,
            records: snapshots.records.remembered_by(cache),
            ..snapshots
        })
    }

    /// Makes a snapshot for a purpose.
    pub(crate) fn make_for(
        &self,
        kind: Kind,
        key: &str,
        parent: Option<&str>,
        options: &SnapshotOptions,
        purpose: &Purpose,
    ) -> Result<Vec<Mount>> {
        let target = purpose.target.as_ref();
        let labels = target.map(|chain| (CHAIN.to_owned(), chain.to_string()));
        let meta = ContainerMeta {
            maps: purpose.maps.clone(),
            view: purpose.staged.is_some(),
            applied: purpose.staged.clone(),
            labels: labels.into_iter().collect(),
            ..ContainerMeta::default()
        };
        self.make(kind, key, parent, options, meta)
    }

    /// The layer that makes a chain of what a committed snapshot is (or of nothing), if the store has it and it can be
    /// stacked without being read again. `known` is its diff ID, where somebody has said it.
    pub(crate) fn recognise(
        &self,
        parent: Option<&str>,
        target: &ChainId,
        known: Option<&DiffId>,
    ) -> Result<Option<DiffId>> {
        let _in_use = self.store.shared()?;
        let parent = parent.map(|parent| self.records.get(parent)).transpose()?;
        let below = self.chain_of(parent.as_ref())?;
        self.recognise_on(&below, target, known)
    }

    fn recognise_on(
        &self,
        below: &Chain,
        target: &ChainId,
        known: Option<&DiffId>,
    ) -> Result<Option<DiffId>> {
        let makes_target = |layer: &DiffId| match &below.id {
            Some(below) => below.with_layer(layer) == *target,
            None => ChainId::bottom(layer) == *target,
        };
        let found = match (known, &below.id) {
            (Some(known), _) => makes_target(known).then(|| known.clone()),
            (None, None) => Some(DiffId(target.digest().clone())),
            // The digest of a chain does not lead back to its layers, but there are only so many.
            (None, Some(_)) => {
                let layers = self.store.layers()?;
                let mut layers = layers.iter().filter_map(LayerId::diff_id);
                layers.find(makes_target)
            }
        };
        let Some(layer) = found else { return Ok(None) };
        if !self.store.has_layer(&LayerId::of(&layer))? {
            return Ok(None);
        }
        match self.above(below, &layer, &Nothing) {
            Ok(_) => Ok(Some(layer)),
            // The layer has to be looked into once more for this chain.
            Err(error) if Reason::of(&error) == Some(Reason::LayerUnknown) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Commits what the store has as a snapshot on another one.
    pub(crate) fn commit_known(
        &self,
        name: &str,
        parent: Option<&str>,
        layer: &DiffId,
        options: &SnapshotOptions,
    ) -> Result<()> {
        let _in_use = self.store.shared()?;
        let locked = self.records.lock()?;
        let below = match locked.check_new(name, parent, options) {
            // Somebody else was faster with the same.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            checked => checked?,
        };
        let chain = self.above(&self.chain_of(below.as_ref())?, layer, &Nothing)?;
        let place = format!("{ENGINE}chain {name}");
        let mut snapshot = Snapshot::new(Kind::Committed, name, parent, options, place);
        snapshot.content = chain.id.map(|id| id.to_string());
        snapshot.layers = chain.diff_ids;
        locked.insert(&snapshot)
    }

    /// Applies the layer that a blob has to an active snapshot, by its container: if that was made for a chain and nothing
    /// was written to it yet, in the store, where the layer may even be already. What the uncompressed stream is, and
    /// whether the blob was read; `None` if the container is for something else.
    ///
    /// # Errors
    ///
    /// Those of [`Store::add_layer`], and [`Reason::WrongDiffId`] if it is not the layer of the chain. The container is
    /// then what it was.
    pub(crate) fn apply_to(
        &self,
        container: &Key,
        blob: &Descriptor,
        open: OpenBlob<'_>,
    ) -> Result<Option<(Descriptor, bool)>> {
        let lease = self.store.shared()?;
        let opened = self.store.container(container)?;
        let meta = opened.meta();
        let Some(target) = meta.labels.get(CHAIN) else {
            return Ok(None);
        };
        let target: ChainId = target.parse()?;
        let stands = meta.applied.clone();
        if stands.is_none() && (meta.view || !opened.upper()?.names()?.is_empty()) {
            return Ok(None);
        }
        let below = self.store.chain(meta.chain.as_ref())?;
        let known = match stands {
            Some(layer) => Some(layer),
            None => self.recognise_on(&below, &target, None)?,
        };
        let was_read = known.is_none();
        let layer = match known {
            Some(layer) => layer,
            None => self.bring(&below, blob, open)?,
        };
        let stacked = match &below.id {
            Some(below) => below.with_layer(&layer),
            None => ChainId::bottom(&layer),
        };
        // In parallel unpacking it is made without the layers below it.
        if stacked != target && below.id.is_some() {
            let message = format!("layer {layer} does not make the chain {target}");
            return Err(Reason::WrongDiffId.error(message));
        }
        self.store.update_container(container, |meta| {
            meta.applied = Some(layer.clone());
        })?;
        failpoint::hit("layer-applied");
        drop(lease);
        let size = self.store.layer(&LayerId::of(&layer))?.meta()?.stream_size;
        let stream = Descriptor::new(crate::image::LAYER, layer.0, size);
        Ok(Some((stream, was_read)))
    }

    /// Unpacks a blob into the store, and lays it on a chain.
    fn bring(&self, below: &Chain, blob: &Descriptor, open: OpenBlob<'_>) -> Result<DiffId> {
        let source = BlobLayer::new(open()?, blob)?;
        let layer = self
            .store
            .add_layer(source, &UnpackLimits::default(), &Silent)?;
        let again = Again {
            place: below.diff_ids.len(),
            blob,
            open,
        };
        self.above(below, &layer, &again)?;
        Ok(layer)
    }

    /// Writes what a container has changed of its chain, as the uncompressed stream of a layer, without sockets.
    pub(crate) fn write_diff(
        &self,
        container: &Key,
        source_date_epoch: Option<i64>,
        out: impl Write,
    ) -> Result<()> {
        let options = CommitOptions {
            source_date_epoch,
            skip_sockets: true,
            ..CommitOptions::default()
        };
        self.store.write_changes(container, &options, out)
    }
}

/// The chain that a snapshot is made for, as containerd says it: by a label or, where its client unpacks, by the end of the
/// key, which is `extract-<number>-<letters> <chain ID>`.
pub(crate) fn target_of(key: &str, options: &SnapshotOptions) -> Option<ChainId> {
    if let Some(label) = options.labels.get(TARGET) {
        return label.parse().ok();
    }
    let (extract, chain) = key.rsplit_once(' ')?;
    let (_, extract) = extract.rsplit_once('/').unwrap_or(("", extract));
    let is_extraction = extract.starts_with("extract-");
    is_extraction.then(|| chain.parse().ok()).flatten()
}

/// Opens a layer once more, where its chain needs another form of it.
struct Again<'a> {
    place: usize,
    blob: &'a Descriptor,
    open: OpenBlob<'a>,
}

impl LayerProvider for Again<'_> {
    fn open(&self, index: usize) -> Result<Box<dyn LayerSource + '_>> {
        if index == self.place {
            return Ok(Box::new(BlobLayer::new((self.open)()?, self.blob)?));
        }
        let message = format!("layer {index} of the chain has to be unpacked again");
        Err(Reason::LayerUnknown
            .error(message)
            .with_hint("pull the image again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_of_an_extraction_is_told_by_a_label_or_by_the_key() {
        let chain = format!("sha256:{}", "ab".repeat(32));
        let other = format!("sha256:{}", "cd".repeat(32));
        let plain = SnapshotOptions::default();
        let labelled = SnapshotOptions::with_labels([(TARGET.to_owned(), other.clone())]);
        let told = |key: &str, options| target_of(key, options).map(|id| id.to_string());
        let key = format!("default/3/extract-813-Xy_z {chain}");
        assert_eq!(told(&key, &plain), Some(chain.clone()));
        assert_eq!(told(&key, &labelled), Some(other));
        for key in [
            "default/3/web".to_owned(),
            format!("default/3/{chain}"),
            format!("default/3/web {chain}"),
            "default/3/extract-813-Xy_z web".to_owned(),
        ] {
            assert_eq!(told(&key, &plain), None, "{key}");
        }
    }
}
