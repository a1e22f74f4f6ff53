//! `store commit`: what a container has changed becomes a layer on its chain, and, if a layout is named, on its image there.
//! Without a layout, a snapshot of the chain's own name says that it stays.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use super::changes::Difference;
use super::image::{BringInOptions, bring_in};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::failpoint;
use crate::image::{ChainId, DiffId, Reference};
use crate::layout::{DescriptorPath, Layout, LeasedLayout, Mutator, Origin};
use crate::ops::extract::Found;
use crate::ops::{CompressOptions, HistoryOptions};
use crate::progress::Progress;
use crate::snapshots::StoreSnapshots;
use crate::store::{self, Key, LeasedStore, StoredImage};

/// What [`commit`] may be told.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The tag of the new image, in the layout of the image that the container is laid on. Without it, there is a chain only, and a
    /// committed snapshot of its name.
    pub image: Option<Reference>,
    /// How the layer is compressed in the layout.
    pub compress: CompressOptions,
    /// The history entry of the new image.
    pub history: HistoryOptions,
    /// `SOURCE_DATE_EPOCH`, in seconds: newer times of files are lowered to it.
    pub source_date_epoch: Option<i64>,
}

/// What a commit has made.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The new layer; none if nothing was changed.
    pub diff_id: Option<DiffId>,
    /// The chain with it. It stays until the image is removed, or the snapshot of the chain's name.
    pub chain: Option<ChainId>,
    /// The new image, if one was asked for.
    pub image: Option<oci_cas::Digest>,
}

/// Makes a layer of what has been changed in a container. The container stays as it is, on the chain that it is laid on.
///
/// # Errors
///
/// Those of comparing and packing; [`ErrorKind::NotFound`] if no image of the container's chain is in the layout. After a
/// failure, the image is as it was; a layer that nothing refers to may be in the store.
pub fn commit(
    store: &LeasedStore,
    key: &Key,
    options: &CommitOptions,
    progress: &dyn Progress,
) -> Result<Committed> {
    let difference = Difference::find(store, key.as_str(), None)?;
    let chain = store.container(key)?.meta().chain.clone();
    let committed = || format!("commit container {key}");
    if let Some(image) = &options.image {
        commit_image(store, &difference, chain.as_ref(), image, options, progress)
    } else {
        let is_changed = !difference.changes().is_empty();
        commit_chain(store, key, is_changed, options, progress)
    }
    .context(committed)
}

fn commit_image(
    store: &LeasedStore,
    difference: &Difference<'_>,
    chain: Option<&ChainId>,
    target: &Reference,
    options: &CommitOptions,
    progress: &dyn Progress,
) -> Result<Committed> {
    let tag = target.name.to_tag()?;
    let layout = LeasedLayout::open(&target.layout)?;
    let base = base_image(store, chain, &layout, &target.layout)?;
    let path = DescriptorPath(vec![base.manifest]);
    let manifest = layout.manifest(path.target())?;
    options.history.entry("", "", false)?;
    let layer = if difference.changes().is_empty() {
        None
    } else {
        let encoder = options.compress.encoder(&layout, &manifest);
        let epoch = options.source_date_epoch;
        let mut write = |out: &mut dyn Write| difference.write(out, epoch, progress);
        Some(layout.store_layer(encoder, &BTreeMap::new(), &mut write)?)
    };
    let mut mutator = Mutator::new(&layout, &path)?;
    let author = mutator.author().to_owned();
    let history = &options.history;
    let history = history.entry("bundle store commit", &author, layer.is_none())?;
    match (&layer, history) {
        (Some((layer, diff_id)), history) => mutator.push_layer(layer, diff_id, history)?,
        (None, Some(history)) => mutator.add_history(history)?,
        (None, None) => {}
    }
    let edited = mutator.commit(&tag)?;
    edited.tell(progress);
    let digest = edited.target().digest().clone();
    let found = Found::open(target, None)?;
    let chain = bring_in(
        store,
        &found,
        &Origin::Layout(target),
        BringInOptions::default(),
        progress,
    )?;
    Ok(Committed {
        diff_id: layer.map(|(_, diff_id)| diff_id),
        chain: chain.id,
        image: Some(digest),
    })
}

/// An image of a chain whose manifest is in a layout.
fn base_image(
    store: &LeasedStore,
    chain: Option<&ChainId>,
    layout: &Layout,
    path: &Path,
) -> Result<StoredImage> {
    for image in store.images()? {
        let is_of_chain = image.chain_id().as_ref() == chain;
        if is_of_chain && layout.store().stat(image.digest())?.is_some() {
            return Ok(image);
        }
    }
    let message = format!(
        "no image that it is laid on is in the layout {}",
        path.display()
    );
    let error = Error::new(ErrorKind::NotFound, message);
    Err(error.with_hint("name the layout that the image came from"))
}

/// Makes the chain, and keeps it.
fn commit_chain(
    store: &LeasedStore,
    key: &Key,
    is_changed: bool,
    options: &CommitOptions,
    progress: &dyn Progress,
) -> Result<Committed> {
    let (chain, diff_id) = if is_changed {
        let how = store::CommitOptions {
            source_date_epoch: options.source_date_epoch,
            ..store::CommitOptions::default()
        };
        let committed = store.commit_container(key, &how, progress)?;
        (committed.chain, Some(committed.diff_id))
    } else {
        let container = store.container(key)?;
        (store.chain(container.meta().chain.as_ref())?, None)
    };
    failpoint::hit("commit-chain");
    StoreSnapshots::new(store)?.keep(&chain)?;
    Ok(Committed {
        diff_id,
        chain: chain.id,
        image: None,
    })
}
