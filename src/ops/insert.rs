//! `insert`: puts files and directories of the host into an image as a layer, without unpacking it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::extract::Image;
use super::view::Layers;
use super::{CompressOptions, HistoryOptions};
use crate::error::{Result, ResultExt};
use crate::fs::input;
use crate::image::{Platform, Reference, Tag};
use crate::layer::view::View;
use crate::layer::{
    InsertOptions as LayerOptions, Insertion, clean_path, generate_insert_layer_on,
};
use crate::layout::{DescriptorPath, LeasedLayout, Mutator};
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
    /// A directory of the user's in which to remember what is in layers of 1 MiB or more, so that they are read once only.
    pub cache: Option<PathBuf>,
}

/// Appends one layer to an image with everything that is to be inserted, in this order.
///
/// The image's layers are read, from the top down as far as needed, to see what is at the targets; nothing is unpacked.
/// Where they cannot be read, a warning says that nothing was compared.
///
/// # Errors
///
/// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) where something of another type is at a target and would be lost.
/// Those of [`generate_insert_layer`](crate::layer::generate_insert_layer), of resolving and reading the image, and of
/// writing. The image is then as it was.
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
    let mut image_view = view(&layout, &path, insertions, options, progress)?;
    let (layer, diff_id) = layout.store_layer(encoder, &BTreeMap::new(), &mut |out| {
        let view = std::mem::take(&mut image_view);
        generate_insert_layer_on(out, insertions, view, &options.layer, progress)
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

/// What the image has.
fn view(
    layout: &LeasedLayout,
    path: &DescriptorPath,
    insertions: &[Insertion],
    options: &InsertOptions,
    progress: &dyn Progress,
) -> Result<View> {
    let is_tree = |insertion: &Insertion| matches!(insertion, Insertion::Tree { .. });
    if !insertions.iter().any(is_tree) {
        return Ok(View::new());
    }
    let read = || -> Result<View> {
        let manifest = layout.manifest(path.target())?;
        let image = Image {
            layout,
            path: &path.0,
            manifest: &manifest,
            config: &layout.config(&manifest.config)?,
        };
        let layers = Layers::of(&image, progress)?.remembered_in(options.cache.as_deref());
        let (view, _) = layers.upper_view(false, |view| {
            insertions.iter().all(|insertion| is_known(insertion, view))
        })?;
        Ok(view)
    };
    match read() {
        Ok(view) => Ok(view),
        Err(error) if options.layer.parents => {
            Err(error).context(|| "see which directories the image has")
        }
        Err(error) => {
            progress.warn(format_args!(
                "what the image has at the targets is not known, and may be replaced: {}",
                error.chain()
            ));
            Ok(View::new())
        }
    }
}

/// Whether a view of upper layers says all about the place of an insertion: what is in a tree may be in any layer.
fn is_known(insertion: &Insertion, view: &View) -> bool {
    match insertion {
        Insertion::Whiteout { .. } => true,
        Insertion::Tree { source, target, .. } => {
            let is_leaf = input::is_no_directory(source) && !target.ends_with(b"/");
            is_leaf && matches!(view.resolve_parent(&clean_path(target)), Ok(Some(_)))
        }
    }
}
