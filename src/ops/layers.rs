//! `layers`: what an image is stacked from.

use crate::image::{Descriptor, DiffId, History, Platform};
use crate::layout::ImageSource;
use crate::layout::uncompressed_size;
use crate::{Error, ErrorKind, Result};

/// One layer of an image.
#[derive(Clone, Debug)]
pub struct LayerInfo {
    /// The descriptor, as the manifest has it.
    pub descriptor: Descriptor,
    /// The diff ID; missing where the config names fewer than there are layers.
    pub diff_id: Option<DiffId>,
    /// Size of the uncompressed tar in bytes, where it is known without reading the layer.
    pub uncompressed_size: Option<u64>,
    /// The history entry of the step that made the layer; missing where the history is too short.
    pub history: Option<History>,
}

/// Lists the layers of an image, bottom first. No layer is read.
///
/// `platform` chooses among the images of an index; `None` means this machine's.
///
/// # Errors
///
/// [`NotFound`](ErrorKind::NotFound) and [`Ambiguous`](ErrorKind::Ambiguous) when the tag does not mean exactly one
/// image, [`Unsupported`](ErrorKind::Unsupported) when it means something else than an image, and those of reading.
pub fn layers(image: &dyn ImageSource, platform: Option<&Platform>) -> Result<Vec<LayerInfo>> {
    let stat = super::stat(image, platform)?;
    let Some(config) = &stat.image_config else {
        let message = format!(
            "{} is an artifact, not an image",
            stat.manifest.descriptor.digest()
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    };
    let mut diff_ids = config.diff_ids().iter();
    let mut steps = config.history().iter().filter(|step| !step.empty_layer);
    let layers = stat
        .manifest_view
        .layers
        .iter()
        .map(|descriptor| LayerInfo {
            descriptor: descriptor.clone(),
            diff_id: diff_ids.next().cloned(),
            uncompressed_size: uncompressed_size(descriptor),
            history: steps.next().cloned(),
        });
    Ok(layers.collect())
}
