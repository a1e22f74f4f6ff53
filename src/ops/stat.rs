//! `stat`: what there is to know about one image.

use crate::image::Platform;
use crate::image::{Descriptor, DiffId, History, ImageConfig, Manifest, MediaKind};
use crate::layout::{ImageSource, LeasedLayout};
use crate::{Error, ErrorKind, Result, ResultExt};

/// A document, and the descriptor by which it was found.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The descriptor as its parent has it.
    pub descriptor: Descriptor,
    /// The bytes as they are stored, verified.
    pub bytes: Vec<u8>,
}

/// One entry of the history, with the layer that it made.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// The entry.
    pub history: History,
    /// The layer; none for an entry without one, and for an entry beyond the last layer.
    pub layer: Option<Descriptor>,
    /// The layer's diff ID; missing like `layer`.
    pub diff_id: Option<DiffId>,
}

/// Everything about one image.
#[derive(Clone, Debug)]
pub struct ImageStat {
    /// The manifest; its descriptor is the one of the index, with the name in its annotations.
    pub manifest: Blob,
    /// The manifest, parsed.
    pub manifest_view: Manifest,
    /// The config, when it is an image configuration, the empty document, or embedded in its descriptor.
    pub config: Option<Blob>,
    /// The config, parsed, when it is an image configuration.
    pub image_config: Option<ImageConfig>,
    /// The history; empty also when the config is no image configuration.
    pub history: Vec<HistoryEntry>,
}

/// Reads the manifest, the config and the history of the one image that `image` means.
///
/// `platform` chooses among the images of an index; `None` means this machine's.
///
/// # Errors
///
/// [`NotFound`](ErrorKind::NotFound) and [`Ambiguous`](ErrorKind::Ambiguous) when the tag does not mean exactly one
/// image, [`Unsupported`](ErrorKind::Unsupported) when it means something else than an image, and those of reading.
pub fn stat(image: &dyn ImageSource, platform: Option<&Platform>) -> Result<ImageStat> {
    let (layout, path) = image.open(platform)?;
    let target = path.target();
    if target.kind() != MediaKind::Manifest {
        let message = format!(
            "{} means a {}, which is not an image manifest",
            target.digest(),
            target.media_type()
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let manifest = Blob {
        descriptor: target.clone(),
        bytes: layout.read_document(target)?,
    };
    let manifest_view = Manifest::parse(&manifest.bytes, target.media_type())
        .context(|| format!("parse manifest {}", target.digest()))?;
    let config = config_blob(&layout, &manifest_view.config)?;
    let image_config = match &config {
        Some(blob) if blob.descriptor.kind() == MediaKind::Config => Some(
            ImageConfig::parse(&blob.bytes)
                .context(|| format!("parse config {}", blob.descriptor.digest()))?,
        ),
        _ => None,
    };
    let history = image_config
        .as_ref()
        .map(|config| assign(config.history(), &manifest_view.layers, config.diff_ids()))
        .unwrap_or_default();
    Ok(ImageStat {
        manifest,
        manifest_view,
        config,
        image_config,
        history,
    })
}

/// Reads the config where it is a document: what an artifact has there may be anything.
fn config_blob(layout: &LeasedLayout, descriptor: &Descriptor) -> Result<Option<Blob>> {
    let is_document = matches!(descriptor.kind(), MediaKind::Config | MediaKind::Empty);
    let bytes = if is_document {
        layout.read_document(descriptor)?
    } else if let Some(data) = descriptor.data() {
        data
    } else {
        return Ok(None);
    };
    Ok(Some(Blob {
        descriptor: descriptor.clone(),
        bytes,
    }))
}

/// Gives each history entry that made a layer the next layer, as long as there are any.
fn assign(history: &[History], layers: &[Descriptor], diff_ids: &[DiffId]) -> Vec<HistoryEntry> {
    let mut layers = layers.iter();
    let mut diff_ids = diff_ids.iter();
    let entries = history.iter().map(|entry| {
        let made_layer = !entry.empty_layer;
        HistoryEntry {
            history: entry.clone(),
            layer: made_layer.then(|| layers.next().cloned()).flatten(),
            diff_id: made_layer.then(|| diff_ids.next().cloned()).flatten(),
        }
    });
    entries.collect()
}
