//! Index and manifest (`image-index.md`, `manifest.md`): the JSON object beside the descriptors in it.
//!
//! The same bytes must not be an index for one reader and a manifest for another (CVE-2021-41190). A document is read as
//! what its descriptor's media type says, must say the same itself when it says anything, and must not have the
//! members that make it the other thing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::members::{self, malformed};
use super::{Descriptor, MediaKind, media_kind, parse_json};
use crate::{Error, ErrorKind, Result, ResultExt};

/// A list of manifests, usually one for each platform; OCI's or Docker's.
#[derive(Clone, Debug)]
pub struct Index {
    raw: Value,
    /// What the index lists, in its order.
    pub manifests: Vec<Descriptor>,
    /// The document that this one is about.
    pub subject: Option<Descriptor>,
}

impl Index {
    /// Parses the bytes of a blob whose descriptor says `media_type`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] when `media_type` is not an index's; [`ErrorKind::InvalidData`] for malformed JSON or
    /// descriptors, another media type inside, or members of a manifest; [`ErrorKind::LimitExceeded`] as for
    /// [`parse_json`].
    pub fn parse(bytes: &[u8], media_type: &str) -> Result<Self> {
        let raw = parse_guarded(bytes, media_type, MediaKind::Index, &["config", "layers"])?;
        let object = as_object(&raw)?;
        let manifests = descriptors(object, "manifests")?;
        let subject = descriptor(object, "subject")?;
        Ok(Self {
            raw,
            manifests,
            subject,
        })
    }

    /// The JSON.
    pub fn raw(&self) -> &Value {
        &self.raw
    }
}

/// A config and its layers; OCI's or Docker's schema 2.
#[derive(Clone, Debug)]
pub struct Manifest {
    raw: Value,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// The document that this one is about.
    pub subject: Option<Descriptor>,
}

impl Manifest {
    /// Parses the bytes of a blob whose descriptor says `media_type`. Missing `layers` read as none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] when `media_type` is not a manifest's; [`ErrorKind::InvalidData`] for malformed JSON or
    /// descriptors, no config, another media type inside, or members of an index; [`ErrorKind::LimitExceeded`] as for
    /// [`parse_json`].
    pub fn parse(bytes: &[u8], media_type: &str) -> Result<Self> {
        let raw = parse_guarded(bytes, media_type, MediaKind::Manifest, &["manifests"])?;
        let object = as_object(&raw)?;
        let config =
            descriptor(object, "config")?.ok_or_else(|| malformed("the manifest has no config"))?;
        let layers = descriptors(object, "layers")?;
        let subject = descriptor(object, "subject")?;
        members::text(object, "artifactType")?;
        members::text_map(object, "annotations")?;
        Ok(Self {
            raw,
            config,
            layers,
            subject,
        })
    }

    /// The JSON.
    pub fn raw(&self) -> &Value {
        &self.raw
    }

    /// The type of artifact that the manifest says it is of, or `""`.
    pub fn artifact_type(&self) -> &str {
        let artifact = self.raw.get("artifactType").and_then(Value::as_str);
        artifact.unwrap_or_default()
    }

    /// The annotations, sorted by key.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        // Validated when parsed.
        self.raw
            .as_object()
            .and_then(|object| members::text_map(object, "annotations").ok())
            .unwrap_or_default()
    }
}

fn parse_guarded(
    bytes: &[u8],
    media_type: &str,
    kind: MediaKind,
    forbidden: &[&str],
) -> Result<Value> {
    if media_kind(media_type) != kind {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("unsupported media type {media_type:?}"),
        ));
    }
    let raw = parse_json(bytes)?;
    let object = as_object(&raw)?;
    if let Some(name) = forbidden.iter().find(|name| object.contains_key(**name)) {
        return Err(malformed(format!(
            "a document of type {media_type} must not have a member {name:?}"
        )));
    }
    let inside = members::text(object, "mediaType")?.unwrap_or_default();
    if !inside.is_empty() && inside != media_type {
        return Err(malformed(format!(
            "the document says it is {inside:?}, its descriptor {media_type:?}"
        )));
    }
    match members::member(object, "schemaVersion") {
        None => Ok(raw),
        Some(version) if version.as_u64() == Some(2) => Ok(raw),
        Some(version) => Err(malformed(format!(
            "schema version {version} where 2 is known"
        ))),
    }
}

fn as_object(value: &Value) -> Result<&Map<String, Value>> {
    value
        .as_object()
        .ok_or_else(|| malformed("the document is not a JSON object"))
}

fn descriptor(object: &Map<String, Value>, key: &str) -> Result<Option<Descriptor>> {
    let value = members::member(object, key);
    value
        .map(|value| Descriptor::from_value(value).context(|| format!("read {key}")))
        .transpose()
}

fn descriptors(object: &Map<String, Value>, key: &str) -> Result<Vec<Descriptor>> {
    let values = members::list(object, key)?.iter().enumerate();
    values
        .map(|(place, value)| {
            Descriptor::from_value(value).context(|| format!("read {key}[{place}]"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::image::{CONFIG, INDEX, LAYER, MANIFEST};

    const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

    fn pointer(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", "a".repeat(64)), "size": 1})
    }

    fn manifest() -> Value {
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": pointer(CONFIG), "layers": [pointer(LAYER)]})
    }

    fn parse_manifest(value: &Value) -> Result<Manifest> {
        Manifest::parse(value.to_string().as_bytes(), MANIFEST)
    }

    #[test]
    fn a_manifest_keeps_what_it_does_not_know() {
        let mut document = manifest();
        document["x"] = json!([1]);
        document["LAYERS"] = json!([pointer("evil")]);
        document["CONFIG"] = json!(7);
        document["annotations"] = json!({"b": "2", "a": null});
        let read = parse_manifest(&document).unwrap();
        assert_eq!(read.raw().to_string(), document.to_string());
        assert_eq!((read.layers.len(), read.layers[0].media_type()), (1, LAYER));
        assert_eq!(
            read.annotations().into_iter().collect::<Vec<_>>(),
            [("a".into(), String::new()), ("b".into(), "2".into())]
        );
    }

    #[test]
    fn a_document_is_not_manifest_and_index_at_once() {
        for member in ["manifests"] {
            for value in [json!([]), json!(null)] {
                let mut document = manifest();
                document[member] = value;
                assert_eq!(
                    parse_manifest(&document).unwrap_err().kind(),
                    ErrorKind::InvalidData
                );
            }
        }
        for member in ["config", "layers"] {
            let document = json!({"schemaVersion": 2, "manifests": [], member: null});
            assert!(
                Index::parse(document.to_string().as_bytes(), INDEX).is_err(),
                "{member}"
            );
        }
    }

    #[test]
    fn the_media_type_inside_must_be_the_descriptors() {
        let mut document = manifest();
        for (value, accepted) in [
            (json!(MANIFEST), true),
            (json!(""), true),
            (json!(null), true),
            (json!(INDEX), false),
            (json!(DOCKER_MANIFEST), false),
            (json!(1), false),
        ] {
            document["mediaType"] = value.clone();
            assert_eq!(parse_manifest(&document).is_ok(), accepted, "{value}");
        }
    }

    #[test]
    fn a_docker_manifest_is_read_and_a_foreign_type_is_not() {
        let mut document = manifest();
        document["mediaType"] = json!(DOCKER_MANIFEST);
        let bytes = document.to_string();
        assert!(Manifest::parse(bytes.as_bytes(), DOCKER_MANIFEST).is_ok());
        assert_eq!(
            Manifest::parse(bytes.as_bytes(), INDEX).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
        assert_eq!(
            Index::parse(bytes.as_bytes(), "a/b").unwrap_err().kind(),
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn a_manifest_needs_a_config_and_may_lack_layers() {
        let mut document = manifest();
        document["layers"] = Value::Null;
        assert!(parse_manifest(&document).unwrap().layers.is_empty());
        for config in [json!(null), json!([]), json!({})] {
            document["config"] = config.clone();
            assert!(parse_manifest(&document).is_err(), "{config}");
        }
    }

    #[test]
    fn another_schema_version_is_not_guessed_at() {
        let mut document = manifest();
        for version in [json!(1), json!(3), json!("2"), json!(2.5)] {
            document["schemaVersion"] = version.clone();
            assert!(parse_manifest(&document).is_err(), "{version}");
        }
    }

    #[test]
    fn an_index_with_null_for_its_list_is_empty() {
        let index = Index::parse(br#"{"manifests":null,"subject":null}"#, INDEX).unwrap();
        assert!(index.manifests.is_empty() && index.subject.is_none());
        for document in ["[]", "1", r#"{"manifests":{}}"#, r#"{"manifests":[null]}"#] {
            assert!(
                Index::parse(document.as_bytes(), INDEX).is_err(),
                "{document}"
            );
        }
    }
}
