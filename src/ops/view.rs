//! The layers of an image, read for a view instead of a disk; verified as for an unpack.

use std::ops::Range;
use std::path::Path;

use super::extract::{Image, Layer, LayerReader, layers};
use super::layer_indexes::LayerIndexes;
use crate::error::{Result, ResultExt};
use crate::image::DiffId;
use crate::layer::view::{ContentSink, UpperLayers, View, ViewOptions, copy_contents};
use crate::layout::LeasedLayout;
use crate::progress::{Event, Progress};

/// The layers of an image.
pub(super) struct Layers<'a> {
    layout: &'a LeasedLayout,
    list: Vec<Layer<'a>>,
    indexes: Option<LayerIndexes>,
    progress: &'a dyn Progress,
}

/// Bytes of the smallest blob whose index is worth a file.
const REMEMBERED_SIZE: u64 = 1 << 20;

impl<'a> Layers<'a> {
    pub(super) fn of(image: &Image<'a>, progress: &'a dyn Progress) -> Result<Self> {
        Ok(Self {
            layout: image.layout,
            list: layers(image.manifest, image.config)?,
            indexes: None,
            progress,
        })
    }

    /// With what is known of layers from earlier commands, in a directory of the user's cache.
    pub(super) fn remembered_in(self, cache: Option<&Path>) -> Self {
        // What cannot be remembered is read.
        let indexes = cache.and_then(|path| LayerIndexes::open(path).ok());
        Self { indexes, ..self }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn diff_ids(&self) -> impl Iterator<Item = &DiffId> {
        self.list.iter().map(|layer| layer.diff_id)
    }

    /// The view of as few layers from the top as answer a question, and the number of layers below them, which are not
    /// read. When this returns, those in the view are verified, now or when they were read for what is remembered.
    ///
    /// `answers` is asked of views in which a path leads where it leads in the image, or nowhere (yet), and directories
    /// may lack names.
    pub(super) fn upper_view(
        &self,
        file_digests: bool,
        answers: impl Fn(&View) -> bool,
    ) -> Result<(View, usize)> {
        let mut upper = UpperLayers::new(ViewOptions {
            file_digests,
            ..ViewOptions::default()
        });
        for (below_count, layer) in self.list.iter().enumerate().rev() {
            self.add_below(&mut upper, layer, file_digests)?;
            if below_count > 0
                && let Some(view) = upper.view()?
                && answers(&view)
            {
                return Ok((view, below_count));
            }
        }
        Ok((upper.into_view()?, 0))
    }

    /// Adds a layer below others: from its index, if that is remembered.
    fn add_below(
        &self,
        upper: &mut UpperLayers,
        layer: &Layer<'_>,
        file_digests: bool,
    ) -> Result<()> {
        let is_worth_it = !file_digests && layer.descriptor.size() >= REMEMBERED_SIZE;
        let indexes = self.indexes.as_ref().filter(|_| is_worth_it);
        let known = indexes.and_then(|indexes| indexes.read(layer.diff_id).ok());
        if known.is_some_and(|index| upper.add_known(&index).is_ok()) {
            return Ok(());
        }
        let source = self.open(layer)?;
        let applied = upper.add_below(layer.diff_id.0.algorithm(), source)?;
        layer.check(&applied.digest)?;
        let index = layer.index;
        self.progress.event(Event::LayerFinished { index });
        if let Some(indexes) = indexes {
            // Without it, the layer is read once more next time.
            let _ = indexes.write(layer.diff_id, &upper.last_index());
        }
        Ok(())
    }

    /// The view of all layers.
    pub(super) fn view(&self, file_digests: bool) -> Result<View> {
        let mut view = View::new();
        self.add_to(&mut view, 0..self.len(), file_digests)?;
        Ok(view)
    }

    /// Adds some of the layers to a view that has those below them. When this returns, they are verified.
    pub(super) fn add_to(
        &self,
        view: &mut View,
        range: Range<usize>,
        file_digests: bool,
    ) -> Result<()> {
        let layers = &self.list[range];
        let sources = layers.iter().map(|layer| {
            let source = self.open(layer)?;
            Ok((layer.diff_id.0.algorithm(), source))
        });
        let options = ViewOptions {
            file_digests,
            ..ViewOptions::default()
        };
        view.add_layers(sources, &options, |applied| {
            let layer = &layers[applied.index];
            layer.check(&applied.digest)?;
            let index = layer.index;
            self.progress.event(Event::LayerFinished { index });
            Ok(())
        })
    }

    /// Reads a layer once more, for the content of files in it. Only when this returns the content is verified, but it
    /// was when the view was made. No bar is shown for this: the content may be going to the same terminal.
    pub(super) fn copy(&self, index: usize, sink: &mut dyn ContentSink) -> Result<()> {
        let layer = &self.list[index];
        let mut read = || {
            let source = LayerReader::open(self.layout, layer, self.progress)?;
            copy_contents(source, &ViewOptions::default().limits, sink)
        };
        read().context(|| format!("layer {}", layer.descriptor.digest()))
    }

    fn open(&self, layer: &Layer<'_>) -> Result<LayerReader<'a>> {
        let (digest, size) = (layer.descriptor.digest(), layer.descriptor.size());
        self.progress.event(Event::LayerStarted {
            index: layer.index,
            count: self.list.len(),
            digest,
            size,
        });
        LayerReader::open(self.layout, layer, self.progress).context(|| format!("layer {digest}"))
    }
}
