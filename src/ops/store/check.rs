//! `store check`: the blobs by which a store is put right are those of the layouts that its images came from.

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::layer::LayerSource;
use crate::layout::LeasedLayout;
use crate::ops::extract::{LayerReader, layers};
use crate::progress::Progress;
use crate::store::check::{CheckOptions, CheckReport, LayerBlobs};
use crate::store::{Store, StoredImage};

/// The blobs in the layouts of images.
struct Layouts<'a> {
    progress: &'a dyn Progress,
}

impl LayerBlobs for Layouts<'_> {
    fn open(&self, image: &StoredImage, index: usize) -> Result<Box<dyn LayerSource + '_>> {
        let open = || {
            let layout = LeasedLayout::open(&image.layout)?;
            let manifest = layout.manifest(&image.manifest)?;
            let config = layout.image_config(&manifest)?;
            let layers = layers(&manifest, &config)?;
            let layer = layers.get(index);
            // The manifest has the digest that the store has recorded, and with it the layers.
            let layer = layer.filter(|layer| image.diff_ids.get(index) == Some(layer.diff_id));
            let layer = layer.ok_or_else(|| {
                let message = format!("layer {index} is not the one that was recorded");
                Error::new(ErrorKind::InvalidData, message)
            })?;
            LayerReader::open(&layout, layer, self.progress)
        };
        let source = open().context(|| format!("read image {}", image.digest()))?;
        Ok(Box::new(source))
    }
}

/// Checks a store, and puts right what can be from the layouts of its images.
///
/// # Errors
///
/// Those of [`Store::check`].
pub fn check(store: &Store, options: CheckOptions, progress: &dyn Progress) -> Result<CheckReport> {
    store.check(options, &Layouts { progress }, progress)
}
