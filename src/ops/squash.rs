//! `squash`: several layers into one.
//!
//! Nothing that the layers to be squashed write and delete again is in the result; what they delete from the layers
//! below stays deleted, by whiteouts. The flat root file system is the same as before, times included.
//!
//! Reading the layers takes long, and the layout is not locked meanwhile. Layers that others have put on top by then stay
//! there, as if they had come after the squash; an image that was replaced by another one is squashed anew.

use std::collections::BTreeMap;

use serde_json::Value;

use super::compress::CompressOptions;
use super::extract::Found;
use super::history::HistoryOptions;
use super::view::Layers;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::image::{ConfigEdit, Descriptor, DiffId, Platform, Reference, Tag, made_layer};
use crate::layer::view::{View, write_layer};
use crate::layout::{LeasedLayout, Mutator};
use crate::progress::Progress;

/// How often an image that others replace meanwhile is squashed.
const ATTEMPTS: usize = 8;

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
/// [`ErrorKind::InvalidInput`] if the image has no such number of layers, [`ErrorKind::Busy`] if the tag was given other
/// images again and again, and those of reading and writing images. The index is then as it was.
pub fn squash(image: &Reference, options: &SquashOptions, progress: &dyn Progress) -> Result<()> {
    for _ in 0..ATTEMPTS {
        if attempt(image, options, progress)? {
            options.history.warn_of_none(progress);
            return Ok(());
        }
    }
    let message = format!("tag {} is given other images all the time", image.name);
    Err(Error::new(ErrorKind::Busy, message).with_hint("try again"))
}

/// Squashes the image as it is; `false` if the tag was given another one meanwhile.
fn attempt(image: &Reference, options: &SquashOptions, progress: &dyn Progress) -> Result<bool> {
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
    let squashed = Squashed {
        keep,
        before,
        layer: (descriptor, diff_id),
    };
    let is_other = |tag: &&Tag| image.name.to_string() != tag.as_str();
    if let Some(tag) = options.tag.as_ref().filter(is_other) {
        // Whatever has become of the source, it is not what is replaced.
        let mut mutator = Mutator::new(layout, found.path())?;
        squashed.replace_in(&mut mutator, options)?;
        mutator.commit(tag)?.tell(progress);
        return Ok(true);
    }
    squashed.replace(layout, image, options, progress)
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

/// The new layer, and the layers of the image that it was made of.
struct Squashed {
    /// How many of them stay as they are.
    keep: usize,
    before: Vec<(Descriptor, DiffId)>,
    layer: (Descriptor, DiffId),
}

impl Squashed {
    /// Puts the new layer into the image of the tag; `false` if that does not begin with the layers that were read.
    fn replace(
        &self,
        layout: &LeasedLayout,
        image: &Reference,
        options: &SquashOptions,
        progress: &dyn Progress,
    ) -> Result<bool> {
        let mut is_other = false;
        let edited = layout.edit(
            &image.name,
            options.platform.as_ref(),
            options.tag.as_ref(),
            |mutator| {
                let layers = mutator.layers()?;
                let same = |(now, then): (&(_, DiffId), &(_, DiffId))| now.1 == then.1;
                is_other =
                    layers.len() < self.before.len() || !layers.iter().zip(&self.before).all(same);
                if is_other {
                    return Err(Error::new(ErrorKind::Busy, "the image is another one"));
                }
                self.replace_in(mutator, options)
            },
        );
        match edited {
            Err(_) if is_other => Ok(false),
            edited => {
                edited?.tell(progress);
                Ok(true)
            }
        }
    }

    /// Puts the new layer in the place of the squashed ones, below what has been added since.
    fn replace_in(&self, mutator: &mut Mutator<'_>, options: &SquashOptions) -> Result<()> {
        let mut layers = mutator.layers()?;
        let added_layers = layers.split_off(self.before.len());
        layers.truncate(self.keep);
        layers.push(self.layer.clone());
        mutator.set_layers(layers.clone())?;
        let history = mutator.config().get("history").and_then(Value::as_array);
        let history = history.cloned().unwrap_or_default();
        let (mut own, added) = split_history(history, self.before.len());
        empty_from(&mut own, self.keep);
        ConfigEdit::new(mutator.config_mut())?.set("history", own.into());
        let author = mutator.author().to_owned();
        let entry = options.history.entry("bundle squash", &author, false)?;
        let is_whole = entry.is_some();
        if let Some(entry) = entry {
            mutator.add_history(entry)?;
        }
        layers.extend(added_layers);
        let count = layers.len();
        mutator.set_layers(layers)?;
        let mut edit = ConfigEdit::new(mutator.config_mut())?;
        edit.append_history(added)?;
        if is_whole {
            edit.settle_history(count)?;
        }
        Ok(())
    }
}

/// The steps of the first `count` layers with what follows them, and the steps from the next layer on.
fn split_history(mut history: Vec<Value>, count: usize) -> (Vec<Value>, Vec<Value>) {
    let layers = history
        .iter()
        .enumerate()
        .filter(|(_, step)| made_layer(step));
    let next = layers.map(|(place, _)| place).nth(count);
    let added = next.map_or_else(Vec::new, |place| history.split_off(place));
    (history, added)
}

/// Marks the steps that made the layers from this one on as steps that made none.
fn empty_from(history: &mut [Value], keep: usize) {
    let layers = history.iter_mut().filter(|step| made_layer(step));
    for step in layers.skip(keep) {
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
    fn the_steps_of_layers_that_were_added_meanwhile_come_after() {
        let step = |name: &str| json!({"created_by": name});
        let empty = |name: &str| json!({"created_by": name, "empty_layer": true});
        let history = vec![step("a"), empty("b"), step("c"), empty("d")];
        assert_eq!(split_history(history.clone(), 2), (history.clone(), vec![]));
        let (own, added) = split_history(history, 1);
        assert_eq!(own, [step("a"), empty("b")]);
        assert_eq!(added, [step("c"), empty("d")]);
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
