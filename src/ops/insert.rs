//! `insert`: puts files and directories of the host into an image as a layer, without unpacking it.

use std::collections::BTreeMap;

use super::{CompressOptions, HistoryOptions};
use crate::error::Result;
use crate::image::{Platform, Reference, Tag};
use crate::layer::{InsertOptions as LayerOptions, Insertion, generate_insert_layer};
use crate::layout::{LeasedLayout, Mutator};
use crate::progress::Progress;

/// What [`insert`] may be told.
#[derive(Clone, Debug, Default)]
pub struct InsertOptions {
    /// The result's tag; `None` replaces the image's.
    pub tag: Option<Tag>,
    /// Chooses among the images of an index; `None` means this machine's.
    pub platform: Option<Platform>,
    /// How to compress the layer.
    pub compress: CompressOptions,
    /// The history entry; it has no author by default.
    pub history: HistoryOptions,
    /// Owners, modes and times of what is inserted.
    pub layer: LayerOptions,
}

/// Appends one layer to an image with everything that is to be inserted, in this order.
///
/// # Errors
///
/// Those of [`generate_insert_layer`], of resolving and reading the image, and of writing. The image is then as it was.
pub fn insert(
    image: &Reference,
    insertions: &[Insertion],
    options: &InsertOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let layout = LeasedLayout::open(&image.layout)?;
    let platform = options.platform.as_ref();
    let path = layout.resolve(&image.name, platform)?;
    let encoder = options
        .compress
        .encoder(&layout, &layout.manifest(path.target())?);
    // What cannot be edited, or is no time, is found out before the work.
    Mutator::new(&layout, &path)?.layers()?;
    options.history.entry("", "", false)?;
    let (layer, diff_id) = layout.store_layer(encoder, &BTreeMap::new(), &mut |out| {
        generate_insert_layer(out, insertions, &options.layer, progress)
    })?;
    options.history.warn_of_none(progress);
    let tag = options.tag.as_ref();
    let edited = layout.edit(&image.name, platform, tag, |mutator| {
        let history = options.history.entry("umoci insert", "", false)?;
        mutator.push_layer(&layer, &diff_id, history)
    })?;
    edited.tell(progress);
    Ok(())
}
