//! `append`: puts the layers of other images on top of an image, each as it is: no layer is unpacked or compressed.
//!
//! ```text
//! images -> Source: layers and history
//!             -> blobs into the layout
//!             -> one edit -> Addition: what is above the layers that both begin with -> layers, diff IDs, history
//! ```

use std::io;

use oci_cas::{Digest, Store, StoreExt};
use serde_json::Value;

use crate::image::{
    ConfigEdit, Descriptor, DiffId, Platform, Reference, Tag, complete_history, made_layer,
};
use crate::layout::{ImageSource, LeasedLayout, Mutator};
use crate::progress::Progress;
use crate::{Result, ResultExt};

/// What [`append`] may be told.
#[derive(Clone, Debug, Default)]
pub struct AppendOptions {
    /// The result's tag; `None` replaces the image's.
    pub tag: Option<Tag>,
    /// Chooses among the images of an index; `None` means this machine's. The other images are those for the platform of
    /// the image.
    pub platform: Option<Platform>,
}

/// Appends the layers of other images to an image, in their order, and their histories to its history. The configuration
/// stays the image's. Layers with which both the image and another one begin are not repeated: two images of one base give
/// the base once, and what each of them adds.
///
/// # Errors
///
/// Those of opening, reading and verifying the images, and of writing. The index is then as it was; blobs that were copied
/// stay for `gc`.
pub fn append(
    image: &Reference,
    others: &[&dyn ImageSource],
    options: &AppendOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let layout = LeasedLayout::open(&image.layout)?;
    let platform = options.platform.as_ref();
    let path = layout.resolve(&image.name, platform)?;
    let own = Mutator::new(&layout, &path)?.layers()?;
    let wanted = layout
        .image_config(&layout.manifest(path.target())?)?
        .platform();
    let wanted = platform.or(wanted.as_ref());
    let mut sources = Vec::new();
    for other in others {
        sources.push(Source::open(*other, wanted)?);
    }
    for source in &sources {
        let addition = source.above(&own);
        if addition.layers.is_empty() {
            let digest = &source.manifest;
            progress.warn(format_args!(
                "image {digest} has no layers that the image lacks"
            ));
        }
        source.copy(&addition, &layout)?;
    }
    let tag = options.tag.as_ref();
    let edited = layout.edit(&image.name, platform, tag, |mutator| {
        // The image may have changed meanwhile, and with it what the others have that it lacks.
        let mut layers = mutator.layers()?;
        let additions: Vec<_> = sources.iter().map(|it| it.above(&layers)).collect();
        let history = joined_history(mutator.config(), layers.len(), &additions);
        for (source, addition) in sources.iter().zip(additions) {
            source.copy(&addition, &layout)?;
            layers.extend(addition.layers);
        }
        mutator.set_layers(layers)?;
        ConfigEdit::new(mutator.config_mut())?.set("history", Value::Array(history));
        Ok(())
    })?;
    edited.tell(progress);
    Ok(())
}

/// The joined history: it covers all layers, or is empty if no image has one.
fn joined_history(config: &Value, layer_count: usize, additions: &[Addition]) -> Vec<Value> {
    let history = config.get("history").and_then(Value::as_array);
    let mut history = history.cloned().unwrap_or_default();
    if history.is_empty() && additions.iter().all(|it| it.history.is_empty()) {
        return history;
    }
    complete_history(&mut history, layer_count, config.get("created"));
    for addition in additions {
        let mut steps = addition.history.clone();
        complete_history(&mut steps, addition.layers.len(), addition.created.as_ref());
        history.append(&mut steps);
    }
    history
}

/// An image whose layers are appended.
struct Source {
    layout: LeasedLayout,
    manifest: Digest,
    layers: Vec<(Descriptor, DiffId)>,
    history: Vec<Value>,
    created: Option<Value>,
}

impl Source {
    fn open(image: &dyn ImageSource, platform: Option<&Platform>) -> Result<Self> {
        let (layout, path) = image.open(platform)?;
        let layers = Mutator::new(&layout, &path)?.layers()?;
        let config = layout.image_config(&layout.manifest(path.target())?)?;
        let history = config.raw().get("history").and_then(Value::as_array);
        Ok(Self {
            manifest: path.target().digest().clone(),
            layers,
            history: history.cloned().unwrap_or_default(),
            created: config.raw().get("created").cloned(),
            layout,
        })
    }

    /// What it has above the layers with which it and another image begin.
    fn above(&self, other: &[(Descriptor, DiffId)]) -> Addition {
        Addition::new(other, &self.layers, &self.history, self.created.as_ref())
    }

    /// Copies the blobs that the target lacks.
    fn copy(&self, addition: &Addition, to: &LeasedLayout) -> Result<()> {
        for (layer, _) in &addition.layers {
            let digest = layer.digest();
            copy_blob(self.layout.store(), to.store(), digest, layer.size())
                .context(|| format!("copy layer {digest}"))?;
        }
        Ok(())
    }
}

/// What an image adds to another one.
struct Addition {
    layers: Vec<(Descriptor, DiffId)>,
    history: Vec<Value>,
    created: Option<Value>,
}

impl Addition {
    fn new(
        other: &[(Descriptor, DiffId)],
        layers: &[(Descriptor, DiffId)],
        history: &[Value],
        created: Option<&Value>,
    ) -> Self {
        let pairs = other.iter().zip(layers);
        let common = pairs.take_while(|((_, other), (_, own))| other == own);
        let common = common.count();
        let mut history = history.to_vec();
        if !history.is_empty() {
            complete_history(&mut history, layers.len(), created);
            let mut left = common;
            let steps = history.iter().take_while(|step| {
                let is_common = left > 0;
                left -= usize::from(is_common && made_layer(step));
                is_common
            });
            let steps = steps.count();
            history.drain(..steps);
        }
        Self {
            layers: layers[common..].to_vec(),
            history,
            created: created.cloned(),
        }
    }
}

/// Copies a blob that the target lacks, verified.
fn copy_blob(from: &dyn Store, to: &dyn Store, digest: &Digest, size: u64) -> Result<()> {
    if to.stat(digest)? == Some(size) {
        return Ok(());
    }
    let mut reader = from.open_verified(digest, size)?;
    let mut ingest = to.ingest(digest.algorithm())?;
    io::copy(&mut reader, &mut ingest).context(|| "write")?;
    ingest.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::LAYER;
    use serde_json::json;

    #[test]
    fn what_both_begin_with_is_not_repeated_nor_told_twice() {
        let id = |number: u32| -> DiffId { format!("sha256:{number:064x}").parse().unwrap() };
        let layer = |number| (Descriptor::new(LAYER, id(number).0, 1), id(number));
        let step = |name: &str, empty: bool| json!({"created_by": name, "empty_layer": empty});
        let history = || {
            vec![
                step("base", false),
                step("env", true),
                step("one", false),
                step("command", true),
                step("two", false),
            ]
        };
        let add = |other: &[u32], numbers: &[u32]| {
            let [other, layers] =
                [other, numbers].map(|numbers| numbers.iter().copied().map(layer));
            let (other, layers) = (other.collect::<Vec<_>>(), layers.collect::<Vec<_>>());
            let added = Addition::new(&other, &layers, &history(), None);
            let told = added.history.iter().map(|step| step["created_by"].clone());
            let ids = added.layers.into_iter().map(|(_, id)| id);
            (ids.collect::<Vec<_>>(), told.collect::<Vec<_>>())
        };
        let (layers, told) = add(&[1, 2], &[1, 3, 4]);
        assert_eq!(layers, [id(3), id(4)]);
        assert_eq!(told, ["env", "one", "command", "two"]);
        let (layers, told) = add(&[9], &[1, 3, 4]);
        assert_eq!(layers, [id(1), id(3), id(4)]);
        assert_eq!(told, ["base", "env", "one", "command", "two"]);
        let (layers, told) = add(&[1, 3, 4], &[1, 3, 4]);
        assert!(layers.is_empty() && told.is_empty());
    }
}
