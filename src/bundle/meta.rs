//! `umoci.json`: which image a bundle was unpacked from, and with which id maps.
//!
//! The file is compact JSON with Go's escapes and a line feed, byte for byte what umoci writes for the same values, so
//! that either program can repack the other's bundles:
//!
//! ```json
//! {"umoci_version":"2","from_descriptor_path":{"descriptor_walk":[D, …]},"map_options":{…}}
//! ```
//!
//! Members that umoci does not know are kept in descriptors, behind those that it knows, and ignored elsewhere.

use std::io::Read;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::map_options::{self, MapOptionsDocument};
use crate::fs::MapOptions;
use crate::image::to_go_json;
use crate::{Error, ErrorKind, Result, ResultExt};

/// The only version of the format in use; umoci never wrote a `1` that is still around.
const VERSION: &str = "2";

/// Members of a descriptor in the order of Go's type. The first three are always written.
const DESCRIPTOR_MEMBERS: [&str; 8] = [
    "mediaType",
    "digest",
    "size",
    "urls",
    "annotations",
    "data",
    "platform",
    "artifactType",
];

/// Members of a platform in the order of Go's type. The first two are always written.
const PLATFORM_MEMBERS: [&str; 5] = ["architecture", "os", "os.version", "os.features", "variant"];

/// The content of `umoci.json`.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Descriptors (JSON objects) from the entry in `index.json` to the manifest. Never empty.
    pub descriptor_walk: Vec<Value>,
    /// How owners were translated; `repack` translates them back.
    pub map_options: MapOptions,
}

/// The document as it is read.
#[derive(Deserialize)]
struct Document {
    from_descriptor_path: DescriptorPath,
    map_options: MapOptionsDocument,
    #[serde(default)]
    whiteout_mode: Value,
}

#[derive(Deserialize)]
struct DescriptorPath {
    descriptor_walk: Vec<Map<String, Value>>,
}

/// The version alone, so that a newer file is refused for its version and not for its shape.
#[derive(Deserialize)]
struct VersionDocument {
    #[serde(default)]
    umoci_version: Value,
}

impl Metadata {
    /// Name of the file in a bundle.
    pub const FILE_NAME: &str = "umoci.json";

    /// Largest size that is read, in bytes. Descriptors can embed what they describe, else a kilobyte would do.
    pub const MAX_SIZE: u64 = 16 << 20;

    /// Encodes as umoci does, with a line feed at the end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let walk: Vec<Value> = self.descriptor_walk.iter().map(in_umocis_order).collect();
        to_go_json(&json!({
            "umoci_version": VERSION,
            "from_descriptor_path": {"descriptor_walk": walk},
            "map_options": map_options::to_value(&self.map_options),
        }))
    }

    /// Reads and parses, and never reads more than [`Self::MAX_SIZE`] and one byte.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`], and those of the reader.
    pub fn from_reader(reader: impl Read) -> Result<Self> {
        let mut bytes = Vec::new();
        reader
            .take(Self::MAX_SIZE + 1)
            .read_to_end(&mut bytes)
            .context(|| format!("read {}", Self::FILE_NAME))?;
        Self::parse(&bytes)
    }

    /// Parses. Descriptors are only known to be JSON objects afterwards.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LimitExceeded`] for more than [`Self::MAX_SIZE`] bytes, [`ErrorKind::Unsupported`] for another
    /// version than `"2"` or a `whiteout_mode` other than 0, [`ErrorKind::InvalidData`] for anything malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::parse_document(bytes).context(|| format!("parse {}", Self::FILE_NAME))
    }

    fn parse_document(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > Self::MAX_SIZE {
            let message = format!("larger than {} bytes", Self::MAX_SIZE);
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let version: VersionDocument = from_slice(bytes)?;
        if version.umoci_version != VERSION {
            let message = format!(
                "umoci_version is {}, not {VERSION:?}",
                version.umoci_version
            );
            return Err(
                Error::new(ErrorKind::Unsupported, message).with_hint("unpack the image again")
            );
        }
        let document: Document = from_slice(bytes)?;
        if !document.whiteout_mode.is_null() && document.whiteout_mode != 0 {
            let message = format!(
                "whiteout_mode is {}, and only 0 is known",
                document.whiteout_mode
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let descriptor_walk: Vec<Value> = document
            .from_descriptor_path
            .descriptor_walk
            .into_iter()
            .map(Value::Object)
            .collect();
        if descriptor_walk.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "descriptor_walk is empty",
            ));
        }
        Ok(Self {
            descriptor_walk,
            map_options: document.map_options.try_into()?,
        })
    }
}

fn from_slice<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::new(ErrorKind::InvalidData, error.to_string()))
}

/// A descriptor as Go's encoder would write it: members in the order of its type, empty optional ones left out,
/// annotations sorted. Members that umoci would drop follow.
fn in_umocis_order(descriptor: &Value) -> Value {
    let Value::Object(descriptor) = descriptor else {
        return descriptor.clone();
    };
    let mut ordered = reorder(descriptor, &DESCRIPTOR_MEMBERS, 3);
    if let Some(Value::Object(annotations)) = ordered.get_mut("annotations") {
        annotations.sort_keys();
    }
    if let Some(Value::Object(platform)) = ordered.get_mut("platform") {
        *platform = reorder(platform, &PLATFORM_MEMBERS, 2);
    }
    Value::Object(ordered)
}

fn reorder(object: &Map<String, Value>, members: &[&str], required: usize) -> Map<String, Value> {
    let mut ordered = Map::with_capacity(object.len());
    for (position, &name) in members.iter().enumerate() {
        if let Some(value) = object
            .get(name)
            .filter(|value| position < required || !is_empty(value))
        {
            ordered.insert(name.to_owned(), value.clone());
        }
    }
    let unknown = object
        .iter()
        .filter(|(name, _)| !members.contains(&name.as_str()));
    ordered.extend(unknown.map(|(name, value)| (name.clone(), value.clone())));
    ordered
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;

    use super::*;
    use crate::fs::{IdMap, IdRange};

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn metadata(descriptor: Value) -> Metadata {
        Metadata {
            descriptor_walk: vec![descriptor],
            map_options: MapOptions::default(),
        }
    }

    fn document() -> Value {
        json!({
            "umoci_version": "2",
            "from_descriptor_path": {"descriptor_walk": [{"mediaType": "m", "digest": DIGEST, "size": 7}]},
            "map_options": {"uid_mappings": null, "gid_mappings": null, "rootless": false},
        })
    }

    fn parse(document: &Value) -> Result<Metadata> {
        Metadata::parse(document.to_string().as_bytes())
    }

    fn with(name: &str, value: Value) -> Value {
        let mut document = document();
        document[name] = value;
        document
    }

    #[test]
    fn bytes_are_those_of_umoci() {
        let mut metadata = metadata(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": DIGEST,
            "size": 348,
            "annotations": {"org.opencontainers.image.ref.name": "a<b"},
        }));
        let walk = format!(
            "[{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{DIGEST}\",\"size\":348,\
             \"annotations\":{{\"org.opencontainers.image.ref.name\":\"a\\u003cb\"}}}}]"
        );
        assert_eq!(
            String::from_utf8(metadata.to_bytes()).unwrap(),
            format!(
                "{{\"umoci_version\":\"2\",\"from_descriptor_path\":{{\"descriptor_walk\":{walk}}},\
                 \"map_options\":{{\"uid_mappings\":null,\"gid_mappings\":null,\"rootless\":false}}}}\n"
            )
        );
        metadata.map_options.uid = IdMap(vec![IdRange {
            container: 0,
            host: 1000,
            size: 1,
        }]);
        let text = String::from_utf8(metadata.to_bytes()).unwrap();
        assert!(text.ends_with(
            "{\"uid_mappings\":[{\"containerID\":0,\"hostID\":1000,\"size\":1}],\"gid_mappings\":null,\
             \"rootless\":false}}\n"
        ));
    }

    #[test]
    fn descriptors_of_other_writers_are_put_into_umocis_order() {
        let bytes = metadata(json!({
            "x-unknown": [1],
            "platform": {"variant": "v8", "os.features": [], "os": "linux", "architecture": "arm64"},
            "annotations": {"b": "2", "a": "1"},
            "urls": [],
            "data": "",
            "artifactType": "t",
            "size": 0,
            "digest": DIGEST,
            "mediaType": "",
        }))
        .to_bytes();
        let expected = format!(
            "[{{\"mediaType\":\"\",\"digest\":\"{DIGEST}\",\"size\":0,\"annotations\":{{\"a\":\"1\",\"b\":\"2\"}},\
             \"platform\":{{\"architecture\":\"arm64\",\"os\":\"linux\",\"variant\":\"v8\"}},\
             \"artifactType\":\"t\",\"x-unknown\":[1]}}]"
        );
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(&expected), "{text}");
    }

    #[test]
    fn another_version_is_refused_for_its_version() {
        for version in [
            json!("1"),
            json!("3"),
            json!(2),
            json!(null),
            json!("2 "),
            json!([]),
        ] {
            let error = parse(&json!({"umoci_version": version})).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{version}");
        }
        assert_eq!(
            parse(&json!({})).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn a_whiteout_mode_other_than_zero_is_refused() {
        assert!(parse(&with("whiteout_mode", json!(0))).is_ok());
        assert!(parse(&with("whiteout_mode", json!(null))).is_ok());
        for mode in [json!(1), json!(-1), json!("0"), json!({}), json!(true)] {
            let error = parse(&with("whiteout_mode", mode.clone())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{mode}");
        }
    }

    #[test]
    fn unknown_members_are_ignored() {
        let metadata = parse(&with("x", json!({"y": [null]}))).unwrap();
        assert_eq!(metadata.descriptor_walk[0]["size"], 7);
    }

    #[test]
    fn malformed_documents_are_refused() {
        let walk = |walk: Value| with("from_descriptor_path", json!({ "descriptor_walk": walk }));
        let cases = [
            walk(json!([])),
            walk(json!(null)),
            walk(json!(["x"])),
            with("from_descriptor_path", json!({})),
            with("map_options", json!(null)),
            json!(7),
        ];
        for case in cases {
            assert_eq!(
                parse(&case).unwrap_err().kind(),
                ErrorKind::InvalidData,
                "{case}"
            );
        }
        assert!(parse(&json!([])).is_err());
        let twice = document()
            .to_string()
            .replacen('{', "{\"map_options\":{},", 1);
        assert_eq!(
            Metadata::parse(twice.as_bytes()).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        let trailing = document().to_string() + "{}";
        assert_eq!(
            Metadata::parse(trailing.as_bytes()).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        let deep = format!("{{\"x\":{}", "[".repeat(100_000));
        assert_eq!(
            Metadata::parse(deep.as_bytes()).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        for cut in 0..document().to_string().len() {
            assert!(Metadata::parse(&document().to_string().as_bytes()[..cut]).is_err());
        }
    }

    #[test]
    fn an_endless_file_is_refused_at_the_limit() {
        let error = Metadata::from_reader(io::repeat(b' ')).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            names in proptest::collection::vec("[a-z<&\u{2028}\"]{0,8}", 1..4),
            rootless: bool,
            host in 0u32..1 << 31,
        ) {
            let walk = names.iter().map(|name| json!({"mediaType": name, "digest": DIGEST, "size": 3})).collect();
            let uid = IdMap(vec![IdRange { container: 0, host, size: 1 }]);
            let metadata = Metadata {
                descriptor_walk: walk,
                map_options: MapOptions { uid, gid: IdMap::default(), rootless },
            };
            let read = Metadata::parse(&metadata.to_bytes()).unwrap();
            prop_assert_eq!(read.descriptor_walk, metadata.descriptor_walk);
            prop_assert_eq!(read.map_options, metadata.map_options);
        }
    }
}
