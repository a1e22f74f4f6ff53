//! The pointer from one document to the next (`descriptor.md`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_cas::Digest;
use serde_json::{Map, Value};

use super::members::{self, insert_in_order, malformed};
use super::{MediaKind, Platform, REF_NAME, Tag, media_kind};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Members in the order in which peers write them.
const ORDER: &[&str] = &[
    "mediaType",
    "digest",
    "size",
    "urls",
    "annotations",
    "data",
    "platform",
    "artifactType",
];

/// Media type, digest and size of a blob: a validated view beside the JSON object, which keeps unknown members.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    raw: Map<String, Value>,
    digest: Digest,
    size: u64,
    media_type: String,
}

impl Descriptor {
    /// Makes a descriptor of the three required members. `size` is in bytes.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let mut raw = Map::new();
        raw.insert("mediaType".into(), media_type.into());
        raw.insert("digest".into(), digest.to_string().into());
        raw.insert("size".into(), size.into());
        Self {
            raw,
            digest,
            size,
            media_type: media_type.to_owned(),
        }
    }

    /// Reads a descriptor from JSON and validates it whole, so that the accessors cannot fail.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] for a missing or malformed media type, digest or size (an integer from 0 to 2⁶³-1), or
    /// an optional member of the wrong type; [`ErrorKind::Unsupported`] for an unknown digest algorithm;
    /// [`ErrorKind::Verification`] when embedded `data` has not the digest and the size given beside it.
    pub fn from_value(value: &Value) -> Result<Self> {
        let raw = value
            .as_object()
            .ok_or_else(|| malformed("descriptor is not a JSON object"))?;
        Self::from_object(raw).context(|| "malformed descriptor")
    }

    fn from_object(raw: &Map<String, Value>) -> Result<Self> {
        let media_type = members::text(raw, "mediaType")?.filter(|text| !text.is_empty());
        let media_type = media_type.ok_or_else(|| malformed("it has no media type"))?;
        let digest = members::text(raw, "digest")?.ok_or_else(|| malformed("it has no digest"))?;
        let digest: Digest = digest.parse()?;
        let size = members::member(raw, "size").ok_or_else(|| malformed("it has no size"))?;
        let size = size.as_u64().filter(|size| i64::try_from(*size).is_ok());
        let size = size.ok_or_else(|| {
            malformed(format!(
                "the size {} is out of range or no integer",
                raw["size"]
            ))
        })?;
        members::texts(raw, "urls")?;
        members::text_map(raw, "annotations")?;
        members::text(raw, "artifactType")?;
        platform_of(raw)?;
        if let Some(data) = members::text(raw, "data")? {
            verify_data(data, &digest, size)?;
        }
        Ok(Self {
            raw: raw.clone(),
            digest,
            size,
            media_type: media_type.to_owned(),
        })
    }

    /// The JSON object.
    pub fn raw(&self) -> &Map<String, Value> {
        &self.raw
    }

    /// The JSON object as a value, to be put into a document.
    pub fn to_value(&self) -> Value {
        Value::Object(self.raw.clone())
    }

    /// Digest of the blob.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Media type of the blob.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// What the media type stands for.
    pub fn kind(&self) -> MediaKind {
        media_kind(&self.media_type)
    }

    /// One annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.raw.get("annotations")?.get(key)?.as_str()
    }

    /// All annotations, sorted by key.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        // Validated at birth.
        members::text_map(&self.raw, "annotations").unwrap_or_default()
    }

    /// The platform, where operating system and architecture are both given.
    pub fn platform(&self) -> Option<Platform> {
        // Validated at birth.
        platform_of(&self.raw).unwrap_or_default()
    }

    /// The embedded copy of the blob, decoded. It was verified when the descriptor was read.
    pub fn data(&self) -> Option<Vec<u8>> {
        STANDARD
            .decode(members::text(&self.raw, "data").ok()??)
            .ok()
    }

    /// Names the descriptor: sets the annotation that holds a tag. The other annotations stay, sorted as peers do.
    #[must_use]
    pub fn with_ref_name(mut self, tag: &Tag) -> Self {
        set_ref_name(&mut self.raw, tag.as_str());
        self
    }

    /// The same under the name that another entry has, if it has one.
    pub(crate) fn with_name_of(mut self, other: &Self) -> Self {
        if let Some(name) = other.annotation(REF_NAME) {
            set_ref_name(&mut self.raw, name);
        }
        self
    }
}

/// Sets the tag of an `index.json` entry.
pub(crate) fn set_ref_name(entry: &mut Map<String, Value>, tag: &str) {
    let mut annotations = match entry.get_mut("annotations") {
        Some(Value::Object(annotations)) => std::mem::take(annotations),
        _ => Map::new(),
    };
    annotations.insert(REF_NAME.to_owned(), tag.into());
    annotations.sort_keys();
    insert_in_order(entry, ORDER, "annotations", Value::Object(annotations));
}

/// The tag of an `index.json` entry, read from the JSON alone: the entry need not be a valid descriptor.
pub(crate) fn ref_name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

fn platform_of(raw: &Map<String, Value>) -> Result<Option<Platform>> {
    let Some(platform) = members::object(raw, "platform")? else {
        return Ok(None);
    };
    let platform = Platform {
        os: members::owned_text(platform, "os")?,
        architecture: members::owned_text(platform, "architecture")?,
        variant: members::text(platform, "variant")?
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
    };
    Ok(Some(platform)
        .filter(|platform| !platform.os.is_empty() && !platform.architecture.is_empty()))
}

fn verify_data(data: &str, digest: &Digest, size: u64) -> Result<()> {
    let data = STANDARD
        .decode(data)
        .map_err(|error| malformed("its data is not base64").with_source(error))?;
    if data.len() as u64 != size || Digest::of(digest.algorithm(), &data) != *digest {
        let message = format!("its data is not the content that {digest} with {size} bytes names");
        return Err(Error::new(ErrorKind::Verification, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use oci_cas::Algorithm;
    use serde_json::json;

    use super::*;
    use crate::image::MANIFEST;

    fn digest() -> String {
        format!("sha256:{}", "0123456789abcdef".repeat(4))
    }

    fn minimal() -> Value {
        json!({"mediaType": "a/b", "digest": digest(), "size": 3})
    }

    #[test]
    fn malformed_descriptors_are_refused() {
        let table = [
            ("mediaType", json!(null)),
            ("mediaType", json!("")),
            ("mediaType", json!(3)),
            ("digest", json!(null)),
            ("digest", json!("sha256:../../outside.tar")),
            ("digest", json!(digest().to_uppercase())),
            ("digest", json!(digest() + "0")),
            ("digest", json!(digest().replace("sha256", ""))),
            ("digest", json!("crc32+b64u:abcDEF-_=")),
            ("size", json!(null)),
            ("size", json!(-1)),
            ("size", json!(1.5)),
            ("size", json!("3")),
            ("size", json!(9_223_372_036_854_775_808_u64)),
            ("size", json!(1e30)),
            ("urls", json!("http://x")),
            ("annotations", json!({"a": 1})),
            ("annotations", json!([])),
            ("platform", json!("linux/amd64")),
            ("platform", json!({"os": 1})),
            ("data", json!("%%%")),
            ("artifactType", json!([])),
        ];
        for (key, value) in table {
            let mut document = minimal();
            document[key] = value.clone();
            assert!(Descriptor::from_value(&document).is_err(), "{key} {value}");
        }
        for value in [json!([]), json!(null), json!("x")] {
            assert!(Descriptor::from_value(&value).is_err());
        }
    }

    #[test]
    fn null_members_count_as_absent() {
        let mut document = minimal();
        for key in ["urls", "annotations", "platform", "data", "artifactType"] {
            document[key] = Value::Null;
        }
        let descriptor = Descriptor::from_value(&document).unwrap();
        assert_eq!(descriptor.to_value(), document);
        assert_eq!((descriptor.platform(), descriptor.data()), (None, None));
    }

    #[test]
    fn embedded_data_must_be_the_content() {
        let content = b"{}";
        let mut document = json!({
            "mediaType": "a/b", "digest": Digest::of(Algorithm::Sha256, content).to_string(), "size": 2, "data": "e30=",
        });
        assert_eq!(
            Descriptor::from_value(&document).unwrap().data().unwrap(),
            content
        );
        document["size"] = json!(3);
        assert_eq!(
            Descriptor::from_value(&document).unwrap_err().kind(),
            ErrorKind::Verification
        );
        document["size"] = json!(2);
        document["data"] = json!("e3w=");
        assert_eq!(
            Descriptor::from_value(&document).unwrap_err().kind(),
            ErrorKind::Verification
        );
    }

    #[test]
    fn naming_keeps_unknown_members_and_their_order() {
        let document = json!({
            "future": [1], "mediaType": "a/b", "digest": digest(), "size": 3, "platform": {"os": "linux", "os.version": "1"},
        });
        let named = Descriptor::from_value(&document)
            .unwrap()
            .with_ref_name(&Tag::new("v1").unwrap());
        let expected = json!({
            "future": [1], "mediaType": "a/b", "digest": digest(), "size": 3,
            "annotations": {"org.opencontainers.image.ref.name": "v1"}, "platform": {"os": "linux", "os.version": "1"},
        });
        assert_eq!(named.to_value().to_string(), expected.to_string());
        assert_eq!(named.annotation(REF_NAME), Some("v1"));
    }

    #[test]
    fn annotations_are_sorted_when_a_name_is_set() {
        let mut document = minimal();
        document["annotations"] =
            json!({"z": "1", "a": "2", "org.opencontainers.image.ref.name": "old"});
        let named = Descriptor::from_value(&document)
            .unwrap()
            .with_ref_name(&Tag::new("new").unwrap());
        let written = named.raw()["annotations"].to_string();
        assert_eq!(
            written,
            r#"{"a":"2","org.opencontainers.image.ref.name":"new","z":"1"}"#
        );
    }

    #[test]
    fn a_plain_descriptor_has_the_three_members_in_order() {
        let descriptor = Descriptor::new(MANIFEST, digest().parse().unwrap(), 7);
        let expected = format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":7}}"#,
            digest()
        );
        assert_eq!(descriptor.to_value().to_string(), expected);
        assert_eq!(
            Descriptor::from_value(&descriptor.to_value()).unwrap(),
            descriptor
        );
    }
}
