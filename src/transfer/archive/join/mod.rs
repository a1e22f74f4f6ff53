//! From the members of an archive to images, one file for each format.
//!
//! Each gives `None` for an archive that is none of its own, so that they can be tried one after the other.

pub(super) mod docker;
pub(super) mod legacy;
pub(super) mod oci;

use std::collections::BTreeMap;

use oci_cas::{Algorithm, Digest, Store, StoreExt};
use serde_json::{Value, json};

use super::ImportedImage;
use super::members::StoredBlob;
use crate::archive::Compression;
use crate::image::{CONFIG, Descriptor, LAYER, MANIFEST, to_go_json};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Most bytes of the configs of all images of a Docker archive together.
const CONFIGS_SIZE: u64 = 64 << 20;

/// Most images of a Docker archive. Each makes a manifest, which is written and synced.
const IMAGE_COUNT: usize = 10_000;

fn check_image_count(count: usize) -> Result<()> {
    if count <= IMAGE_COUNT {
        return Ok(());
    }
    let message = format!("{count} images in an archive, the limit is {IMAGE_COUNT}");
    Err(Error::new(ErrorKind::LimitExceeded, message))
}

/// The images of an archive: each once, with all its names, in the order of appearance.
#[derive(Default)]
struct Images {
    images: Vec<ImportedImage>,
    /// Where an image is in the list.
    places: BTreeMap<Digest, usize>,
}

impl Images {
    fn add(&mut self, manifest: Descriptor, names: impl IntoIterator<Item = String>) {
        let next = self.images.len();
        let place = *self.places.entry(manifest.digest().clone()).or_insert(next);
        if place == next {
            self.images.push(ImportedImage {
                names: Vec::new(),
                manifest,
                for_docker: false,
            });
        }
        let known = &mut self.images[place].names;
        for name in names {
            if !known.contains(&name) {
                known.push(name);
            }
        }
    }

    /// The images, where a name may stand for one of them only.
    fn unambiguous(self) -> Result<Vec<ImportedImage>> {
        let mut names = BTreeMap::new();
        for image in &self.images {
            for name in &image.names {
                if names.insert(name, image.manifest.digest()).is_some() {
                    let message = format!("the archive names two images {name:?}");
                    return Err(Error::new(ErrorKind::Ambiguous, message));
                }
            }
        }
        Ok(self.images)
    }
}

/// Stores the manifest of an image of Docker's.
fn store_manifest(
    blobs: &dyn Store,
    config: (&Digest, u64),
    layers: &[&StoredBlob],
) -> Result<Descriptor> {
    let layers = layers.iter().map(|layer| {
        let suffix = match layer.compression()? {
            Compression::None => "",
            Compression::Gzip => "+gzip",
            Compression::Zstd => "+zstd",
        };
        let media_type = format!("{LAYER}{suffix}");
        Ok(Descriptor::new(&media_type, layer.digest.clone(), layer.size).to_value())
    });
    let layers = layers.collect::<Result<Vec<Value>>>()?;
    let (digest, size) = config;
    let manifest = to_go_json(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": Descriptor::new(CONFIG, digest.clone(), size).to_value(),
        "layers": layers,
    }));
    let digest = blobs
        .put(Algorithm::Sha256, &manifest)
        .context(|| "store a manifest")?;
    Ok(Descriptor::new(MANIFEST, digest, manifest.len() as u64))
}

/// A document as a JSON object.
fn object(value: &Value) -> Result<&serde_json::Map<String, Value>> {
    value
        .as_object()
        .ok_or_else(|| Error::new(ErrorKind::InvalidData, "not a JSON object"))
}

/// A member by its name, in whatever case the letters are: most readers of these documents are written in Go, whose JSON
/// doesn't care, and so writers got away with it (Jib before 2.3). Two spellings with different values are refused, since
/// readers differ in which one they take.
fn member<'a>(object: &'a serde_json::Map<String, Value>, key: &str) -> Result<Option<&'a Value>> {
    let mut spelled = object
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(key))
        .map(|(_, value)| value);
    let first = spelled.next();
    if spelled.any(|other| Some(other) != first) {
        let message = format!("member {key:?} is there in two spellings");
        return Err(Error::new(ErrorKind::Ambiguous, message));
    }
    Ok(first)
}

/// A member that is a string; `null` is absent.
fn text<'a>(object: &'a serde_json::Map<String, Value>, key: &str) -> Result<Option<&'a str>> {
    match member(object, key)? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(malformed(format!("member {key:?} is not a string"))),
    }
}

/// A member that is a list of strings; `null` and nothing are an empty one.
fn texts<'a>(object: &'a serde_json::Map<String, Value>, key: &str) -> Result<Vec<&'a str>> {
    let strings = match member(object, key)? {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    strings.ok_or_else(|| malformed(format!("member {key:?} is not a list of strings")))
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, message)
}
