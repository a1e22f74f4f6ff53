//! `squash`: several layers into one.
//!
//! Nothing that the layers to be squashed write and delete again is in the result; what they delete from the layers
//! below stays deleted, by whiteouts. The flat root file system is the same as before, times included.

use std::collections::BTreeMap;

use serde_json::Value;

use super::compress::CompressOptions;
use super::extract::Found;
use super::history::HistoryOptions;
use super::view::Layers;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::image::{ConfigEdit, Descriptor, DiffId, Platform, Reference, Tag};
use crate::layer::view::{View, write_layer};
use crate::layout::{Layout, Mutator};
use crate::progress::Progress;

/// How layers are squashed.
#[derive(Clone, Debug, Default)]
pub struct SquashOptions {
    /// How many layers, from the top; `None` is all of them.
    pub last: Option<usize>,
    /// The result's tag; `None` replaces the image's.
    pub tag: Option<Tag>,
    /// The platform that is wanted of an index of several; `None` is the host's.
    pub platform: Option<Platform>,
    /// How the new layer is compressed.
    pub compress: CompressOptions,
    /// The history entry of the new layer.
    pub history: HistoryOptions,
}

/// Makes one layer of all layers of an image, or of the topmost ones. The steps in the history that made them stay, as
/// steps that made no layer, and one step is added for the new layer.
///
/// Each of these layers is read twice at most; memory is taken for names and attributes only. The same image gives the
/// same layer.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] if the image has no such number of layers, [`ErrorKind::Busy`] if the tag was given another
/// image meanwhile, and those of reading and writing images. The index is then as it was.
pub fn squash(image: &Reference, options: &SquashOptions, progress: &dyn Progress) -> Result<()> {
    let found = Found::open(image, options.platform.as_ref())?;
    let source = found.image();
    let layout = source.layout;
    // What cannot be edited is found out before the work, and so is a time that is none.
    let before = Mutator::new(layout, found.path())?.layers()?;
    options.history.entry("", "", false)?;
    let keep = kept_count(before.len(), options.last)?;

    let layers = Layers::of(&source, progress)?;
    let mut base = View::new();
    layers.add_to(&mut base, 0..keep, false)?;
    let mut merged = base.clone();
    layers.add_to(&mut merged, keep..layers.len(), false)?;
    let encoder = options.compress.encoder(layout, source.manifest);
    let (descriptor, diff_id) = layout
        .store_layer(encoder, &BTreeMap::new(), &mut |out| {
            write_layer(out, &base, &merged, &mut |index, sink| {
                layers.copy(index, sink)
            })
            .map(|_| ())
        })
        .context(|| "squash layers")?;
    options.history.warn_of_none(progress);
    replace(layout, image, options, keep, &before, (descriptor, diff_id))
}

/// How many layers stay as they are.
fn kept_count(count: usize, last: Option<usize>) -> Result<usize> {
    let last = last.unwrap_or(count);
    match count.checked_sub(last) {
        Some(kept) if last > 0 => Ok(kept),
        _ => {
            let message = format!("squash {last} layers of an image that has {count}");
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

/// Puts the new layer into the image.
fn replace(
    layout: &Layout,
    image: &Reference,
    options: &SquashOptions,
    keep: usize,
    before: &[(Descriptor, DiffId)],
    layer: (Descriptor, DiffId),
) -> Result<()> {
    let tag = options.tag.as_ref().unwrap_or(&image.tag);
    layout.edit(&image.tag, options.platform.as_ref(), tag, |mutator| {
        let mut layers = mutator.layers()?;
        let same = |(now, then): (&(_, DiffId), &(_, DiffId))| now.1 == then.1;
        if layers.len() != before.len() || !layers.iter().zip(before).all(same) {
            let message = format!("tag {} was given another image meanwhile", image.tag);
            return Err(Error::new(ErrorKind::Busy, message).with_hint("try again"));
        }
        layers.truncate(keep);
        layers.push(layer);
        mutator.set_layers(layers)?;
        let history = mutator.config().get("history").and_then(Value::as_array);
        if let Some(mut history) = history.cloned() {
            empty_from(&mut history, keep);
            ConfigEdit::new(mutator.config_mut())?.set("history", history.into());
        }
        let author = mutator.author().to_owned();
        if let Some(entry) = options.history.entry("bundle squash", &author, false)? {
            mutator.add_history(entry)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Marks the steps that made the layers from this one on as steps that made none.
fn empty_from(history: &mut [Value], keep: usize) {
    let made_layer = |step: &&mut Value| step.get("empty_layer") != Some(&Value::Bool(true));
    for step in history.iter_mut().filter(made_layer).skip(keep) {
        if let Some(step) = step.as_object_mut() {
            step.insert("empty_layer".to_owned(), true.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_steps_of_squashed_layers_make_none() {
        let mut history = vec![
            json!({"created_by": "a"}),
            json!({"created_by": "b", "empty_layer": true}),
            json!({"created_by": "c", "empty_layer": false}),
            json!({"created_by": "d", "x": 1}),
        ];
        empty_from(&mut history, 1);
        assert_eq!(
            Value::from(history),
            json!([
                {"created_by": "a"},
                {"created_by": "b", "empty_layer": true},
                {"created_by": "c", "empty_layer": true},
                {"created_by": "d", "x": 1, "empty_layer": true},
            ])
        );
    }

    #[test]
    fn only_layers_that_are_there_can_be_squashed() {
        assert_eq!(kept_count(3, None).unwrap(), 0);
        assert_eq!(kept_count(3, Some(1)).unwrap(), 2);
        assert_eq!(kept_count(3, Some(3)).unwrap(), 0);
        for (count, last) in [(3, Some(4)), (3, Some(0)), (0, None)] {
            let error = kept_count(count, last).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}
