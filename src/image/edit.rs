//! The documents of a new layout and of a new, empty image, byte for byte as umoci writes them; and the edits of documents
//! that exist, each on the JSON and each at the place where peers have the member.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_cas::Digest;
use serde_json::{Map, Value, json};

use super::canonical::Document;
use super::members::malformed;
use super::{Descriptor, INDEX, MANIFEST, Platform, to_go_json};
use crate::Result;

/// `index.json` of a layout without images.
pub fn empty_index() -> Vec<u8> {
    to_go_json(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}))
}

/// The config of an image without layers. `created` is RFC 3339 text.
pub fn empty_config(created: &str, platform: &Platform) -> Vec<u8> {
    let mut config = json!({
        "created": created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    if let (Some(variant), Some(config)) = (&platform.variant, config.as_object_mut()) {
        Document::Config.set(config, "variant", variant.as_str().into());
    }
    to_go_json(&config)
}

/// The manifest of an image without layers.
pub fn empty_manifest(config: &Descriptor) -> Vec<u8> {
    to_go_json(
        &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config.to_value(), "layers": []}),
    )
}

/// The members of a document that must be an object.
pub(crate) fn object_mut(document: &mut Value) -> Result<&mut Map<String, Value>> {
    document
        .as_object_mut()
        .ok_or_else(|| malformed("the document is not a JSON object"))
}

/// A member that is an object, made where it is missing.
fn child<'a>(
    kind: Document,
    object: &'a mut Map<String, Value>,
    name: &str,
) -> Result<&'a mut Map<String, Value>> {
    if object.get(name).is_none_or(Value::is_null) {
        // Not by `set`, which takes out what is empty; this is about to be filled.
        kind.place(object, name, Value::Object(Map::new()));
    }
    object
        .get_mut(name)
        .and_then(Value::as_object_mut)
        .ok_or_else(|| malformed(format!("member {name:?} is not an object")))
}

/// A member that is a list, made where it is missing.
fn list<'a>(
    kind: Document,
    object: &'a mut Map<String, Value>,
    name: &str,
) -> Result<&'a mut Vec<Value>> {
    if object.get(name).is_none_or(Value::is_null) {
        kind.place(object, name, Value::Array(Vec::new()));
    }
    object
        .get_mut(name)
        .and_then(Value::as_array_mut)
        .ok_or_else(|| malformed(format!("member {name:?} is not an array")))
}

/// Sets annotations of a manifest, an index or a descriptor. The map is sorted, as peers do.
///
/// # Errors
///
/// [`crate::ErrorKind::InvalidData`] when the annotations that are there are no object.
pub(crate) fn set_annotations(
    kind: Document,
    object: &mut Map<String, Value>,
    annotations: &BTreeMap<String, String>,
) -> Result<()> {
    if annotations.is_empty() {
        return Ok(());
    }
    let map = child(kind, object, "annotations")?;
    for (key, value) in annotations {
        map.insert(key.clone(), value.as_str().into());
    }
    map.sort_keys();
    Ok(())
}

/// Takes one annotation off a manifest, an index or a descriptor.
pub(crate) fn remove_annotation(kind: Document, object: &mut Map<String, Value>, key: &str) {
    if let Some(mut annotations) = object.get("annotations").cloned() {
        remove_element(&mut annotations, key);
        kind.set(object, "annotations", annotations);
    }
}

/// An image configuration under edit.
///
/// Members are named as in the document. What is set to an empty value is taken out, unless the specification requires
/// the member.
pub(crate) struct ConfigEdit<'a>(&'a mut Map<String, Value>);

impl<'a> ConfigEdit<'a> {
    /// Begins with a document.
    pub(crate) fn new(document: &'a mut Value) -> Result<Self> {
        object_mut(document).map(Self)
    }

    /// Sets a member of the document itself.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        Document::Config.set(self.0, name, value);
    }

    /// Sets a member of `config`.
    pub(crate) fn set_process(&mut self, name: &str, value: Value) -> Result<()> {
        Document::Process.set(self.process()?, name, value);
        Ok(())
    }

    /// Adds names to a set in `config`.
    pub(crate) fn add_to_set(&mut self, name: &str, elements: &[String]) -> Result<()> {
        if elements.is_empty() {
            return Ok(());
        }
        let set = child(Document::Process, self.process()?, name)?;
        for element in elements {
            set.entry(element.as_str())
                .or_insert_with(|| Value::Object(Map::new()));
        }
        set.sort_keys();
        Ok(())
    }

    /// Sets a label.
    pub(crate) fn set_label(&mut self, key: &str, value: &str) -> Result<()> {
        let labels = child(Document::Process, self.process()?, "Labels")?;
        labels.insert(key.to_owned(), value.into());
        labels.sort_keys();
        Ok(())
    }

    /// Sets a variable of the environment: in place of the first of that name, else behind all others.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) -> Result<()> {
        let env = list(Document::Process, self.process()?, "Env")?;
        let new = Value::String(format!("{name}={value}"));
        let is_it = |old: &&mut Value| {
            let rest = old.as_str().and_then(|old| old.strip_prefix(name));
            rest.is_some_and(|rest| rest.starts_with('='))
        };
        match env.iter_mut().find(is_it) {
            Some(old) => *old = new,
            None => env.push(new),
        }
        Ok(())
    }

    /// Takes one element out of a map, a set or a list of `NAME=value` in `config`. What is not there may be missing.
    pub(crate) fn remove_element(&mut self, member: &str, name: &str) -> Result<()> {
        let process = self.process()?;
        let Some(mut value) = process.get(member).cloned() else {
            return Ok(());
        };
        remove_element(&mut value, name);
        Document::Process.set(process, member, value);
        Ok(())
    }

    /// Makes an existing history tell of as many layers as there are: entries of layers that do not exist become those of
    /// steps without a layer, and layers without an entry get one that says so, with the image's date. So what is appended
    /// is taken for what it is. An image without history keeps none.
    pub(crate) fn settle_history(&mut self, layer_count: usize) -> Result<()> {
        match self.0.get("history") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::Array(entries)) if entries.is_empty() => Ok(()),
            Some(_) => self.complete_history(layer_count),
        }
    }

    /// Appends an entry to the history, which becomes one of all layers; `layer_count` is their number, that of the entry
    /// included.
    pub(crate) fn push_history(&mut self, entry: Value, layer_count: usize) -> Result<()> {
        self.complete_history(layer_count - usize::from(made_layer(&entry)).min(layer_count))?;
        list(Document::Config, self.0, "history")?.push(entry);
        Ok(())
    }

    /// Appends steps that are in the form of the document, as they are.
    pub(crate) fn append_history(&mut self, steps: Vec<Value>) -> Result<()> {
        if !steps.is_empty() {
            list(Document::Config, self.0, "history")?.extend(steps);
        }
        Ok(())
    }

    fn complete_history(&mut self, layer_count: usize) -> Result<()> {
        let created = self.0.get("created").cloned();
        let history = list(Document::Config, self.0, "history")?;
        complete_history(history, layer_count, created.as_ref());
        Ok(())
    }

    /// The diff IDs, with a `rootfs` around them.
    pub(crate) fn diff_ids(&mut self) -> Result<&mut Vec<Value>> {
        let rootfs = child(Document::Config, self.0, "rootfs")?;
        if rootfs.get("type").is_none_or(Value::is_null) {
            Document::Rootfs.set(rootfs, "type", "layers".into());
        }
        list(Document::Rootfs, rootfs, "diff_ids")
    }

    fn process(&mut self) -> Result<&mut Map<String, Value>> {
        child(Document::Config, self.0, "config")
    }
}

/// Takes an element out of a map, a set or a list of `NAME=value`.
pub(crate) fn remove_element(value: &mut Value, name: &str) {
    match value {
        Value::Object(map) => {
            map.shift_remove(name);
        }
        Value::Array(list) => list.retain(|element| {
            let rest = element.as_str().and_then(|text| text.strip_prefix(name));
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        }),
        _ => {}
    }
}

/// Whether an entry of a history is of a step that made a layer.
pub(crate) fn made_layer(entry: &Value) -> bool {
    entry.get("empty_layer") != Some(&Value::Bool(true))
}

/// Makes a history one of so many layers. The rule is `BuildKit`'s: which entries are too many cannot be known, so it is the
/// last ones; and those that lack are the last ones.
pub(crate) fn complete_history(
    history: &mut Vec<Value>,
    layer_count: usize,
    created: Option<&Value>,
) {
    let surplus = history.iter_mut().filter(|entry| made_layer(entry));
    for entry in surplus.skip(layer_count) {
        if let Some(entry) = entry.as_object_mut() {
            entry.insert("empty_layer".to_owned(), true.into());
        }
    }
    let told = history.iter().filter(|entry| made_layer(entry)).count();
    let mut unknown = Map::new();
    if let Some(created) =
        created.filter(|created| created.as_str().is_some_and(|it| !it.is_empty()))
    {
        unknown.insert("created".to_owned(), created.clone());
    }
    unknown.insert("comment".to_owned(), UNKNOWN_LAYER.into());
    let missing = layer_count.saturating_sub(told);
    history.extend(std::iter::repeat_n(Value::Object(unknown), missing));
}

/// Comment of the entry of a layer that had none.
const UNKNOWN_LAYER: &str = "the image did not say how this layer was made";

/// The layers of a manifest.
///
/// # Errors
///
/// [`crate::ErrorKind::InvalidData`] when the member is no array.
pub(crate) fn layers_mut(manifest: &mut Value) -> Result<&mut Vec<Value>> {
    list(Document::Manifest, object_mut(manifest)?, "layers")
}

/// The descriptor of a blob that takes the place of another: everything but digest and size is kept, and embedded data is
/// the new blob's.
///
/// # Errors
///
/// Those of [`Descriptor::from_value`], which cannot happen for a descriptor that was read.
pub(crate) fn repoint(old: &Descriptor, digest: &Digest, bytes: &[u8]) -> Result<Descriptor> {
    let mut raw = old.raw().clone();
    raw.insert("digest".to_owned(), digest.to_string().into());
    raw.insert("size".to_owned(), bytes.len().into());
    if old.data().is_some() {
        raw.insert("data".to_owned(), STANDARD.encode(bytes).into());
    }
    Descriptor::from_value(&Value::Object(raw))
}

/// Carries changes of a config's platform over to the platform of the descriptor that leads to it, where it has one.
pub(crate) fn follow_platform(descriptor: &mut Map<String, Value>, before: &Value, after: &Value) {
    let Some(platform) = descriptor
        .get_mut("platform")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for name in ["architecture", "os", "os.version", "os.features", "variant"] {
        if before.get(name) != after.get(name) {
            let value = after.get(name).cloned().unwrap_or_default();
            Document::Platform.set(platform, name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use oci_cas::Algorithm;
    use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};

    use super::*;
    use crate::image::{CONFIG, ImageConfig, Manifest};

    #[test]
    fn the_documents_have_umocis_bytes() {
        let platform = "linux/amd64".parse().unwrap();
        let config = empty_config("2020-01-01T00:00:00Z", &platform);
        let expected = concat!(
            r#"{"created":"2020-01-01T00:00:00Z","architecture":"amd64","os":"linux","config":{},"#,
            r#""rootfs":{"type":"layers","diff_ids":[]}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(config.clone()).unwrap(), expected);
        let digest = Digest::of(Algorithm::Sha256, &config);
        let manifest = empty_manifest(&Descriptor::new(
            CONFIG,
            digest.clone(),
            config.len() as u64,
        ));
        let expected = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{{\"mediaType\":\"{CONFIG}\",\"digest\":\"{digest}\",\
             \"size\":{}}},\"layers\":[]}}\n",
            config.len()
        );
        assert_eq!(String::from_utf8(manifest).unwrap(), expected);
        let expected =
            format!("{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[]}}\n");
        assert_eq!(String::from_utf8(empty_index()).unwrap(), expected);
    }

    #[test]
    fn a_variant_stands_before_the_config() {
        let config = empty_config("2020-01-01T00:00:00Z", &"linux/arm64/v8".parse().unwrap());
        let text = String::from_utf8(config).unwrap();
        assert!(
            text.contains(r#""os":"linux","variant":"v8","config":{}"#),
            "{text}"
        );
    }

    #[test]
    fn a_second_reader_understands_the_documents() {
        let config = empty_config("2020-01-01T00:00:00Z", &"linux/arm64/v8".parse().unwrap());
        let theirs = ImageConfiguration::from_reader(&*config).unwrap();
        let ours = ImageConfig::parse(&config).unwrap();
        assert_eq!(theirs.variant().as_deref(), Some(ours.variant()));
        assert_eq!(theirs.rootfs().typ(), ours.rootfs_type());
        let descriptor = Descriptor::new(
            CONFIG,
            Digest::of(Algorithm::Sha256, &config),
            config.len() as u64,
        );
        let manifest = empty_manifest(&descriptor);
        let theirs = ImageManifest::from_reader(&*manifest).unwrap();
        let ours = Manifest::parse(&manifest, MANIFEST).unwrap();
        assert_eq!(
            theirs.config().digest().to_string(),
            ours.config.digest().to_string()
        );
        assert!(
            ImageIndex::from_reader(&*empty_index())
                .unwrap()
                .manifests()
                .is_empty()
        );
    }

    fn edited(mut config: Value, edit: impl Fn(&mut ConfigEdit<'_>) -> Result<()>) -> String {
        edit(&mut ConfigEdit::new(&mut config).unwrap()).unwrap();
        config.to_string()
    }

    fn history_after(history: &Value, layers: usize, entry: &Value) -> Value {
        let mut config = json!({"created": "2020-01-01T00:00:00Z", "history": history});
        let mut edit = ConfigEdit::new(&mut config).unwrap();
        edit.push_history(entry.clone(), layers).unwrap();
        config["history"].clone()
    }

    #[test]
    fn an_entry_is_never_taken_for_that_of_another_layer() {
        let unknown = json!({"created": "2020-01-01T00:00:00Z", "comment": UNKNOWN_LAYER});
        let (new, empty) = (
            json!({"created_by": "new"}),
            json!({"created_by": "e", "empty_layer": true}),
        );
        let old = json!({"created_by": "old"});
        // The entry's own layer is among those that are counted.
        for nothing in [json!(null), json!([])] {
            assert_eq!(
                history_after(&nothing, 3, &new),
                json!([unknown, unknown, new])
            );
            assert_eq!(
                history_after(&nothing, 2, &empty),
                json!([unknown, unknown, empty])
            );
        }
        assert_eq!(history_after(&json!([]), 0, &empty), json!([empty]));
        assert_eq!(
            history_after(&json!([old]), 3, &new),
            json!([old, unknown, new])
        );
        assert_eq!(
            history_after(&json!([empty]), 1, &empty),
            json!([empty, unknown, empty])
        );
        let surplus = json!({"created_by": "old", "empty_layer": true});
        assert_eq!(
            history_after(&json!([old, empty, old, old]), 2, &new),
            json!([old, empty, surplus, surplus, new])
        );
        assert_eq!(
            history_after(&json!([old, {}]), 3, &new),
            json!([old, {}, new])
        );
    }

    #[test]
    fn an_image_without_history_keeps_none_and_a_short_one_is_completed() {
        for (history, expected) in [
            (json!(null), json!(null)),
            (json!([]), json!([])),
            (json!([{}]), json!([{}, {"comment": UNKNOWN_LAYER}])),
        ] {
            let mut config = json!({"created": "", "history": history});
            ConfigEdit::new(&mut config)
                .unwrap()
                .settle_history(2)
                .unwrap();
            assert_eq!(config["history"], expected);
        }
    }

    #[test]
    fn one_element_is_taken_out_and_the_last_one_with_its_member() {
        let config = json!({"config": {"Env": ["A=1", "AB=2", "A", "B=A=1"], "Volumes": {"/x": {}}, "Labels": {"a.b": "1", "a": "2"}}});
        let edit = |edit: &mut ConfigEdit<'_>| {
            edit.remove_element("Env", "A")?;
            edit.remove_element("Volumes", "/x")?;
            edit.remove_element("Labels", "a.b")?;
            edit.remove_element("Labels", "none")?;
            edit.remove_element("ExposedPorts", "80")
        };
        let expected = r#"{"config":{"Env":["AB=2","B=A=1"],"Labels":{"a":"2"}}}"#;
        assert_eq!(edited(config, edit), expected);
    }

    #[test]
    fn a_variable_replaces_the_first_of_its_name_or_goes_to_the_end() {
        let config = json!({"config": {"Env": ["AB=1", "A=1", "A", "A=2"], "Healthcheck": {}}});
        let edit = |edit: &mut ConfigEdit<'_>| {
            edit.set_env("A", "x=y")?;
            edit.set_env("NEW", "")
        };
        let expected = r#"{"config":{"Env":["AB=1","A=x=y","A","A=2","NEW="],"Healthcheck":{}}}"#;
        assert_eq!(edited(config, edit), expected);
    }

    #[test]
    fn sets_and_labels_are_sorted_and_made_where_missing() {
        let edit = |edit: &mut ConfigEdit<'_>| {
            edit.set_label("z", "1")?;
            edit.set_label("a", "2")?;
            edit.add_to_set("Volumes", &["/b".into(), "/a".into(), "/b".into()])?;
            edit.add_to_set("ExposedPorts", &[])?;
            edit.set("author", "me".into());
            edit.diff_ids().map(drop)
        };
        let expected = concat!(
            r#"{"author":"me","os":"linux","config":{"Volumes":{"/a":{},"/b":{}},"Labels":{"a":"2","z":"1"}},"#,
            r#""rootfs":{"type":"layers","diff_ids":[]}}"#
        );
        assert_eq!(
            edited(json!({"os": "linux", "config": null}), edit),
            expected
        );
    }

    #[test]
    fn a_replaced_descriptor_keeps_what_it_knows_and_embeds_the_new_blob() {
        let digest = |bytes: &[u8]| Digest::of(Algorithm::Sha256, bytes);
        let old = json!({"mediaType": "a/b", "digest": digest(b"old").to_string(), "size": 3, "annotations": {"k": "v"},
            "data": STANDARD.encode("old"), "x": 1});
        let old = Descriptor::from_value(&old).unwrap();
        let new = repoint(&old, &digest(b"new!"), b"new!").unwrap();
        assert_eq!((new.size(), new.data().unwrap()), (4, b"new!".to_vec()));
        assert_eq!(
            (new.annotation("k"), &new.raw()["x"]),
            (Some("v"), &json!(1))
        );
    }

    #[test]
    fn a_platform_follows_what_changed_and_keeps_the_rest() {
        let mut descriptor =
            json!({"platform": {"os": "linux", "architecture": "arm", "variant": "v7", "x": 1}});
        let (before, after) = (
            json!({"os": "linux", "architecture": "arm", "variant": "v6"}),
            json!({"os": "linux", "architecture": "arm64"}),
        );
        follow_platform(descriptor.as_object_mut().unwrap(), &before, &after);
        let expected = json!({"platform": {"os": "linux", "architecture": "arm64", "x": 1}});
        assert_eq!(descriptor, expected);
    }
}
