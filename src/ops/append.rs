//! `append`: puts the layers of other images on top of an image, each as it is: no layer is unpacked or compressed.
//!
//! ```text
//! images -> Addition: layers above those that both begin with, and their history
//!             -> blobs into the layout -> one edit: layers, diff IDs, history
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
    let own = diff_ids(&Mutator::new(&layout, &path)?.layers()?);
    let wanted = layout
        .image_config(&layout.manifest(path.target())?)?
        .platform();
    let wanted = platform.or(wanted.as_ref());
    let mut additions = Vec::new();
    for other in others {
        let (theirs, path) = other.open(wanted)?;
        let layers = Mutator::new(&theirs, &path)?.layers()?;
        let config = theirs.image_config(&theirs.manifest(path.target())?)?;
        let history = config.raw().get("history").and_then(Value::as_array);
        let addition = Addition::above(
            &own,
            layers,
            history.cloned().unwrap_or_default(),
            config.raw().get("created"),
        );
        if addition.layers.is_empty() {
            let digest = path.target().digest();
            progress.warn(format_args!(
                "image {digest} has no layers that the image lacks"
            ));
        }
        for (layer, _) in &addition.layers {
            let (digest, size) = (layer.digest(), layer.size());
            copy_blob(theirs.store(), layout.store(), digest, size)
                .context(|| format!("copy layer {digest}"))?;
        }
        additions.push(addition);
    }
    let tag = options.tag.as_ref();
    let edited = layout.edit(&image.name, platform, tag, |mutator| {
        let mut layers = mutator.layers()?;
        let history = joined_history(mutator.config(), layers.len(), &additions);
        for addition in &additions {
            layers.extend_from_slice(&addition.layers);
        }
        mutator.set_layers(layers)?;
        ConfigEdit::new(mutator.config_mut())?.set("history", Value::Array(history));
        Ok(())
    })?;
    edited.tell(progress);
    Ok(())
}

/// A history of all layers, or none where nobody has one.
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

/// What an image adds.
struct Addition {
    layers: Vec<(Descriptor, DiffId)>,
    history: Vec<Value>,
    created: Option<Value>,
}

impl Addition {
    /// What an image has above the layers with which it and another one begin.
    fn above(
        own: &[DiffId],
        mut layers: Vec<(Descriptor, DiffId)>,
        mut history: Vec<Value>,
        created: Option<&Value>,
    ) -> Self {
        let pairs = own.iter().zip(&layers);
        let common = pairs.take_while(|(own, (_, id))| *own == id).count();
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
        layers.drain(..common);
        Self {
            layers,
            history,
            created: created.cloned(),
        }
    }
}

fn diff_ids(layers: &[(Descriptor, DiffId)]) -> Vec<DiffId> {
    layers.iter().map(|(_, id)| id.clone()).collect()
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
        let add = |own: &[DiffId], numbers: &[u32]| {
            let layers = numbers.iter().map(|&number| layer(number)).collect();
            let added = Addition::above(own, layers, history(), None);
            let told = added.history.iter().map(|step| step["created_by"].clone());
            (diff_ids(&added.layers), told.collect::<Vec<_>>())
        };
        let (layers, told) = add(&[id(1), id(2)], &[1, 3, 4]);
        assert_eq!(layers, [id(3), id(4)]);
        assert_eq!(told, ["env", "one", "command", "two"]);
        let (layers, told) = add(&[id(9)], &[1, 3, 4]);
        assert_eq!(layers, [id(1), id(3), id(4)]);
        assert_eq!(told, ["base", "env", "one", "command", "two"]);
        let (layers, told) = add(&[id(1), id(3), id(4)], &[1, 3, 4]);
        assert!(layers.is_empty() && told.is_empty());
    }
}
