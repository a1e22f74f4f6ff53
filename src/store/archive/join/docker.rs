//! Docker archives: `manifest.json` lists images by the names of their members.

use oci_cas::{Store, StoreExt};
use serde_json::Value;

use super::super::diff_id::{DiffIds, check_counts, check_diff_id};
use super::super::members::{Members, StoredBlob};
use super::super::{DOCUMENT_SIZE, ImportedImage};
use super::{Images, malformed, object, store_manifest, text, texts};
use crate::fs::escape_name;
use crate::image::{Descriptor, ImageConfig, parse_json};
use crate::{Error, ErrorKind, Result, ResultExt};

/// The images of a Docker archive.
pub(in super::super) fn images(
    members: &Members,
    blobs: &dyn Store,
) -> Result<Option<Vec<ImportedImage>>> {
    let Some(list) = list(members)? else {
        return Ok(None);
    };
    let mut diff_ids = DiffIds::new(blobs);
    let mut images = Images::default();
    for (index, entry) in list.iter().enumerate() {
        let (manifest, names) = image(members, blobs, entry, &mut diff_ids)
            .context(|| format!("image {index} of manifest.json"))?;
        images.add(manifest, names);
    }
    images.unambiguous().map(Some)
}

/// The entries of `manifest.json`, if there is one.
fn list(members: &Members) -> Result<Option<Vec<Value>>> {
    let Some(list) = members.document(b"manifest.json")? else {
        return Ok(None);
    };
    match parse_json(list).context(|| "manifest.json")? {
        Value::Array(list) if !list.is_empty() => Ok(Some(list)),
        _ => Err(malformed("manifest.json lists no image")),
    }
}

/// The configs of the images that Docker would find in an archive, whatever else it is.
pub(super) fn configs(members: &Members) -> Result<Vec<&StoredBlob>> {
    let list = list(members)?.unwrap_or_default();
    list.iter().map(|entry| config_of(members, entry)).collect()
}

fn config_of<'a>(members: &'a Members, entry: &Value) -> Result<&'a StoredBlob> {
    let config = text(object(entry)?, "Config")?;
    let config = config.ok_or_else(|| malformed("an entry of manifest.json names no config"))?;
    members.blob(config.as_bytes(), "config")
}

fn image(
    members: &Members,
    blobs: &dyn Store,
    entry: &Value,
    diff_ids: &mut DiffIds<'_>,
) -> Result<(Descriptor, Vec<String>)> {
    let config = config_of(members, entry)?;
    let entry = object(entry)?;
    let names: Vec<&str> = texts(entry, "Layers")?;
    let layers = names
        .iter()
        .map(|name| members.blob(name.as_bytes(), "layer"))
        .collect::<Result<Vec<&StoredBlob>>>()?;
    let parsed = read_config(blobs, config)?;
    check_counts(layers.len(), &parsed)?;
    for ((name, layer), expected) in names.iter().zip(&layers).zip(parsed.diff_ids()) {
        let layer_failed = || format!("layer {}", escape_name(name.as_bytes()));
        let found = diff_ids.of(layer, expected.0.algorithm());
        check_diff_id(&found.context(layer_failed)?, expected).context(layer_failed)?;
    }
    let manifest = store_manifest(blobs, (&config.digest, config.size), &layers)?;
    let names = texts(entry, "RepoTags")?;
    Ok((manifest, names.into_iter().map(str::to_owned).collect()))
}

fn read_config(blobs: &dyn Store, config: &StoredBlob) -> Result<ImageConfig> {
    if config.size > DOCUMENT_SIZE {
        let message = format!(
            "the config has {} bytes, the limit is {DOCUMENT_SIZE}",
            config.size
        );
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    let bytes = blobs.read_verified(&config.digest, config.size)?;
    ImageConfig::parse(&bytes).context(|| format!("config {}", config.digest))
}
