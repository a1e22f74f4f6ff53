//! `rebase`: puts what an image adds to its base onto another base. No layer is read or written.

use serde_json::Value;

use crate::image::{
    ConfigEdit, Descriptor, DiffId, Document, Name, Platform, Reference, Tag, complete_history,
    made_layer, object_mut, set_annotations,
};
use crate::layout::{DescriptorPath, LeasedLayout, Mutator};
use crate::progress::Progress;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Annotation of a manifest: the name of the image's base.
const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// Annotation of a manifest: the digest that the base's name meant.
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// What [`rebase`] may be told.
#[derive(Clone, Debug)]
pub struct RebaseOptions {
    /// The base that the image was made from, in the same layout. `None` takes it from the image's annotations
    /// `org.opencontainers.image.base.digest` and `.name`.
    pub old_base: Option<Name>,
    /// The base that it gets, in the same layout.
    pub new_base: Name,
    /// The result's tag; `None` replaces the image's.
    pub tag: Option<Tag>,
    /// Chooses among the images of an index; `None` means this machine's. The bases are those for the platform of the
    /// image.
    pub platform: Option<Platform>,
}

/// Replaces the layers of an image that are its old base's by those of a new base, and its history likewise.
///
/// The configuration stays the image's: environment, command and all else, even where the image had it from the old
/// base and the new base has something else. The annotations that name the base name the new one.
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) when the image does not begin with the layers of the old base,
/// [`NotFound`](ErrorKind::NotFound) when the old base is neither given nor known, otherwise those of resolving,
/// reading and writing images. The index is then as it was.
pub fn rebase(image: &Reference, options: &RebaseOptions, progress: &dyn Progress) -> Result<()> {
    let layout = LeasedLayout::open(&image.layout)?;
    let platform = options.platform.as_ref();
    let tag = options.tag.as_ref();
    // Bases are looked for before the layout is locked; what they are made of does not change.
    let path = layout.resolve(&image.name, platform)?;
    let manifest = layout.manifest(path.target())?;
    let wanted = layout.image_config(&manifest)?.platform();
    let wanted = platform.or(wanted.as_ref());
    let old = match &options.old_base {
        Some(old) => layout.resolve(old, wanted)?,
        None => find_base(&layout, &manifest.annotations(), wanted)?,
    };
    let old = Base::read(&layout, &old).context(|| "read the old base")?;
    let new_path = layout.resolve(&options.new_base, wanted)?;
    let new = Base::editable(&layout, &new_path).context(|| "read the new base")?;
    let annotations = [
        (BASE_NAME, options.new_base.to_string()),
        (BASE_DIGEST, new_path.target().digest().to_string()),
    ];
    let annotations = annotations.map(|(key, value)| (key.to_owned(), value));
    let edited = layout.edit(&image.name, platform, tag, |mutator| {
        let layers = mutator.layers()?;
        let diff_ids: Vec<DiffId> = layers.iter().map(|(_, id)| id.clone()).collect();
        expect_prefix(&old.diff_ids, &diff_ids)?;
        let own = layers.into_iter().skip(old.diff_ids.len());
        mutator.set_layers(new.layers.iter().cloned().chain(own).collect())?;
        let history = mutator.config().get("history").and_then(Value::as_array);
        let history = history.cloned().unwrap_or_default();
        let history = rebased_history(&old, &new, history, diff_ids.len());
        ConfigEdit::new(mutator.config_mut())?.set("history", Value::Array(history));
        set_annotations(
            Document::Manifest,
            object_mut(mutator.manifest_mut())?,
            &annotations.into(),
        )
    })?;
    edited.tell(progress);
    Ok(())
}

/// What matters of a base.
struct Base {
    layers: Vec<(Descriptor, DiffId)>,
    diff_ids: Vec<DiffId>,
    history: Vec<Value>,
    created: Option<Value>,
}

impl Base {
    /// Reads an image of any kind, Docker's too: of the old base only the diff IDs matter.
    fn read(layout: &LeasedLayout, path: &DescriptorPath) -> Result<Self> {
        let config = layout.image_config(&layout.manifest(path.target())?)?;
        let history = config.raw().get("history").and_then(Value::as_array);
        Ok(Self {
            layers: Vec::new(),
            diff_ids: config.diff_ids().to_vec(),
            history: history.cloned().unwrap_or_default(),
            created: config.raw().get("created").cloned(),
        })
    }

    /// Reads an image whose layers can be those of an OCI image.
    fn editable(layout: &LeasedLayout, path: &DescriptorPath) -> Result<Self> {
        let layers = Mutator::new(layout, path)?.layers()?;
        Ok(Self {
            layers,
            ..Self::read(layout, path)?
        })
    }
}

/// The image that the annotations name as base: by its digest, under whatever tag; else by its name.
fn find_base(
    layout: &LeasedLayout,
    annotations: &std::collections::BTreeMap<String, String>,
    platform: Option<&Platform>,
) -> Result<DescriptorPath> {
    let unknown = |message: &str| {
        Err(Error::new(ErrorKind::NotFound, message).with_hint("name the old base with --old-base"))
    };
    let digest = annotations.get(BASE_DIGEST);
    let name = annotations.get(BASE_NAME);
    if digest.is_none() && name.is_none() {
        return unknown("the image has no annotation that names its base");
    }
    for tag in layout.tags()? {
        // Another image that cannot be read, or has no such platform, is not the base.
        let Ok(path) = layout.resolve(Name::Tag(tag), platform) else {
            continue;
        };
        let is_it = |wanted: &String| {
            path.0
                .iter()
                .any(|descriptor| descriptor.digest().to_string() == *wanted)
        };
        if digest.is_some_and(is_it) {
            return Ok(path);
        }
    }
    let named = name.map(|name| Name::Tag(name.clone()));
    match named.map(|name| layout.resolve(name, platform)) {
        Some(Ok(path)) => Ok(path),
        _ => unknown("the layout does not have the image that the annotations name as base"),
    }
}

/// The image must begin with the base's layers.
fn expect_prefix(base: &[DiffId], image: &[DiffId]) -> Result<()> {
    let refuse = |why: String| {
        let message = format!("the image was not made from the old base: {why}");
        Err(Error::new(ErrorKind::InvalidInput, message))
    };
    let mut pairs = base.iter().zip(image).enumerate();
    if let Some((place, (expected, found))) = pairs.find(|(_, (expected, found))| expected != found)
    {
        return refuse(format!(
            "layer {place} has the diff ID {found}, that of the base has {expected}"
        ));
    }
    if image.len() < base.len() {
        let (has, needs) = (image.len(), base.len());
        return refuse(format!("it has {has} layers, the base has {needs}"));
    }
    Ok(())
}

/// The new base's history, then what the image's own steps left. Where the image's history does not begin with the old
/// base's, the base's part ends with the step that made its last layer. It tells of all layers, or there is none.
fn rebased_history(
    old: &Base,
    new: &Base,
    mut image: Vec<Value>,
    layer_count: usize,
) -> Vec<Value> {
    if image.is_empty() && new.history.is_empty() {
        return image;
    }
    complete_history(&mut image, layer_count, old.created.as_ref());
    let own = image.strip_prefix(old.history.as_slice());
    let is_whole = |own: &&[Value]| {
        let own_layers = layer_count.saturating_sub(old.diff_ids.len());
        own.iter().filter(|step| made_layer(step)).count() == own_layers
    };
    let own = own.filter(is_whole).unwrap_or_else(|| {
        let mut rest = &image[..];
        let mut layers = old.diff_ids.len();
        while let (true, Some((step, tail))) = (layers > 0, rest.split_first()) {
            layers -= usize::from(made_layer(step));
            rest = tail;
        }
        rest
    });
    let mut history = new.history.clone();
    complete_history(&mut history, new.diff_ids.len(), new.created.as_ref());
    history.extend_from_slice(own);
    history
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ids(digits: &str) -> Vec<DiffId> {
        let digits = digits.chars();
        digits
            .map(|digit| {
                let encoded = digit.to_string().repeat(64);
                format!("sha256:{encoded}").parse().unwrap()
            })
            .collect()
    }

    fn base(layers: &str, history: &Value) -> Base {
        Base {
            layers: Vec::new(),
            diff_ids: ids(layers),
            history: history.as_array().unwrap().clone(),
            created: None,
        }
    }

    #[test]
    fn the_first_layer_that_differs_is_named() {
        assert!(expect_prefix(&ids("12"), &ids("123")).is_ok());
        assert!(expect_prefix(&[], &ids("1")).is_ok());
        let error = expect_prefix(&ids("12"), &ids("13")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(
            error
                .to_string()
                .contains("layer 1 has the diff ID sha256:3333")
        );
        let error = expect_prefix(&ids("12"), &ids("1")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("it has 1 layers, the base has 2")
        );
    }

    #[test]
    fn the_bases_history_is_exchanged() {
        let step = |name: &str| json!({"created_by": name});
        let empty = |name: &str| json!({"created_by": name, "empty_layer": true});
        let old = base("12", &json!([step("a"), step("b"), empty("c")]));
        let new = base("3", &json!([step("x")]));
        let rebased = |image: &[Value], layers| rebased_history(&old, &new, image.to_vec(), layers);
        let image = [step("a"), step("b"), empty("c"), step("d")];
        assert_eq!(rebased(&image, 3), [step("x"), step("d")]);
        // The base's history was rewritten since.
        let image = [step("A"), empty("c"), step("B"), step("d"), empty("e")];
        let expected = [step("x"), step("d"), empty("e")];
        assert_eq!(rebased(&image, 3), expected);
        assert_eq!(rebased(&[step("A")], 2), [step("x")]);
    }

    #[test]
    fn a_history_that_is_short_is_completed_or_left_absent() {
        let step = |name: &str| json!({"created_by": name});
        let count = |history: &[Value]| history.iter().filter(|step| made_layer(step)).count();
        let none = json!([]);
        for (old, new, image) in [
            (&none, &none, &[][..]),
            (&none, &none, &[step("a")]),
            (&none, &json!([step("n")]), &[]),
            (&json!([step("a")]), &none, &[step("a"), step("b")]),
            (
                &json!([step("a"), step("b"), step("c")]),
                &none,
                &[step("a")],
            ),
        ] {
            let history = rebased_history(&base("12", old), &base("345", new), image.to_vec(), 3);
            // Three layers of the new base, one of the image's own.
            let expected = if image.is_empty() && *new == none {
                0
            } else {
                4
            };
            assert_eq!(count(&history), expected, "{old} {new} {image:?}");
        }
    }
}
