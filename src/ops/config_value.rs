//! `config --get`: reads one value out of an image's documents.

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::image::{Descriptor, ImageConfig, Manifest, Platform};
use crate::layout::ImageSource;
use crate::{Error, ErrorKind, Result};

/// Names one value: a member, or one element of a map or of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigKey {
    text: String,
    place: Place,
    element: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Config(&'static str),
    Process(&'static str),
    Rootfs(&'static str),
    Manifest(&'static str),
    Entry(&'static str),
    /// Of the descriptor of the top layer.
    TopLayer(&'static str),
}

/// The keys, those with elements last. `config --clear` and the flags of `config` have the same names.
const KEYS: &[(&str, Place)] = &[
    ("created", Place::Config("created")),
    ("author", Place::Config("author")),
    ("architecture", Place::Config("architecture")),
    ("os", Place::Config("os")),
    ("os.version", Place::Config("os.version")),
    ("os.features", Place::Config("os.features")),
    ("platform.arch", Place::Config("architecture")),
    ("platform.os", Place::Config("os")),
    ("platform.os.version", Place::Config("os.version")),
    ("platform.os.features", Place::Config("os.features")),
    ("platform.variant", Place::Config("variant")),
    ("config.user", Place::Process("User")),
    ("config.exposedports", Place::Process("ExposedPorts")),
    ("config.entrypoint", Place::Process("Entrypoint")),
    ("config.cmd", Place::Process("Cmd")),
    ("config.volume", Place::Process("Volumes")),
    ("config.workingdir", Place::Process("WorkingDir")),
    ("config.stopsignal", Place::Process("StopSignal")),
    ("config.healthcheck", Place::Process("Healthcheck")),
    ("config.shell", Place::Process("Shell")),
    ("config.onbuild", Place::Process("OnBuild")),
    ("rootfs.diffids", Place::Rootfs("diff_ids")),
];

const MAPS: &[(&str, Place)] = &[
    ("config.env", Place::Process("Env")),
    ("config.labels", Place::Process("Labels")),
    ("config.label", Place::Process("Labels")),
    ("manifest.annotations", Place::Manifest("annotations")),
    ("manifest.annotation", Place::Manifest("annotations")),
    ("index.annotations", Place::Entry("annotations")),
    ("index.annotation", Place::Entry("annotations")),
    ("layer.annotations", Place::TopLayer("annotations")),
    ("layer.annotation", Place::TopLayer("annotations")),
];

impl FromStr for ConfigKey {
    type Err = Error;

    /// Reads a key such as `config.user`, `config.env` or `config.env.PATH`. What follows the name of a map and a full
    /// stop is the element's key, full stops and all.
    fn from_str(text: &str) -> Result<Self> {
        let whole = KEYS.iter().chain(MAPS).find(|(name, _)| *name == text);
        let element = || {
            MAPS.iter().find_map(|(name, place)| {
                let element = text.strip_prefix(name)?.strip_prefix('.')?;
                (!element.is_empty()).then(|| (*place, Some(element.to_owned())))
            })
        };
        let found = whole.map(|(_, place)| (*place, None)).or_else(element);
        let Some((place, element)) = found else {
            let names: Vec<_> = KEYS.iter().chain(MAPS).map(|(name, _)| *name).collect();
            let message = format!("unknown key {text:?}");
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint(format!("the keys are {}", names.join(", "))));
        };
        Ok(Self {
            text: text.to_owned(),
            place,
            element,
        })
    }
}

/// Reads the value of a key, as JSON. Nothing is changed.
///
/// `platform` chooses among the images of an index; `None` means this machine's.
///
/// # Errors
///
/// [`NotFound`](ErrorKind::NotFound) when the image has no such value, otherwise those of resolving and reading the
/// image.
pub fn config_value(
    image: &dyn ImageSource,
    platform: Option<&Platform>,
    key: &ConfigKey,
) -> Result<Value> {
    let (layout, path) = image.open(platform)?;
    let manifest = layout.manifest(path.target())?;
    let config = layout.image_config(&manifest)?;
    key.find(&config, &manifest, path.root())
        .filter(|value| !value.is_null())
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("{} is not set", key.text)))
}

impl ConfigKey {
    fn find(&self, config: &ImageConfig, manifest: &Manifest, entry: &Descriptor) -> Option<Value> {
        let config = config.raw();
        let value = match self.place {
            Place::Config(name) => config.get(name),
            Place::Process(name) => config.get("config")?.get(name),
            Place::Rootfs(name) => config.get("rootfs")?.get(name),
            Place::Manifest(name) => manifest.raw().get(name),
            Place::Entry(name) => entry.raw().get(name),
            Place::TopLayer(name) => manifest.layers.last()?.raw().get(name),
        }?;
        match &self.element {
            None => Some(value.clone()),
            Some(name) => element(value, name),
        }
    }
}

/// An element of a map, or of a list of `NAME=value`.
fn element(value: &Value, name: &str) -> Option<Value> {
    match value {
        Value::Object(map) => map.get(name).cloned(),
        Value::Array(list) => list.iter().find_map(|element| {
            let value = element.as_str()?.strip_prefix(name)?.strip_prefix('=')?;
            Some(value.into())
        }),
        _ => None,
    }
}

/// The plain text of a value: a text as it is, a list and a set with one element in a line, a map with `key=value` in a
/// line, anything deeper as JSON.
pub fn plain_value(value: &Value) -> String {
    let is_set = |map: &Map<String, Value>| {
        map.values()
            .all(|value| value.as_object().is_some_and(Map::is_empty) || value.is_null())
    };
    let lines: Vec<String> = match value {
        Value::String(text) => return text.clone(),
        Value::Array(list) => list.iter().map(plain_value).collect(),
        Value::Object(map) if is_set(map) => map.keys().cloned().collect(),
        Value::Object(map) if map.values().all(Value::is_string) => map
            .iter()
            .map(|(key, value)| format!("{key}={}", plain_value(value)))
            .collect(),
        other => return other.to_string(),
    };
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_elements_key_is_all_that_follows_the_maps_name() {
        let key: ConfigKey = "config.labels.org.example.a=b".parse().unwrap();
        assert_eq!(key.element.as_deref(), Some("org.example.a=b"));
        assert_eq!(key.place, Place::Process("Labels"));
        assert_eq!("config.env".parse::<ConfigKey>().unwrap().element, None);
        for text in ["", "config", "config.user.x", "config.env.", "Config.user"] {
            assert!(text.parse::<ConfigKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_element_of_the_environment_is_the_first_of_its_name() {
        let env = json!(["AB=0", "A", "A=1=2", "A=3"]);
        assert_eq!(element(&env, "A"), Some(json!("1=2")));
        assert_eq!(element(&env, "B"), None);
        assert_eq!(element(&json!({"k": "v"}), "k"), Some(json!("v")));
    }

    #[test]
    fn plain_values_are_lines() {
        for (value, expected) in [
            (json!("a b"), "a b"),
            (json!(["a", "b"]), "a\nb"),
            (json!({"/b": {}, "/a": null}), "/b\n/a"),
            (json!({"k": "v", "l": ""}), "k=v\nl="),
            (json!({"Test": ["x"]}), r#"{"Test":["x"]}"#),
            (json!([]), ""),
        ] {
            assert_eq!(plain_value(&value), expected);
        }
    }
}
