//! Docker archives: `manifest.json` lists images by the names of their members.

use std::collections::BTreeMap;

use oci_cas::{Digest, Store, StoreExt};
use serde_json::Value;

use super::super::diff_id::{DiffIds, check_counts, check_diff_id};
use super::super::members::{Members, StoredBlob};
use super::super::{DOCUMENT_SIZE, ImportedImage};
use super::{
    CONFIGS_SIZE, Images, check_image_count, malformed, object, store_manifest, text, texts,
};
use crate::fs::escape_name;
use crate::image::{Descriptor, DiffId, ImageConfig, parse_json};
use crate::{Error, ErrorKind, Result, ResultExt};

/// The images of a Docker archive.
pub(in super::super) fn images(
    members: &Members,
    blobs: &dyn Store,
) -> Result<Option<Vec<ImportedImage>>> {
    let Some(list) = list(members)? else {
        return Ok(None);
    };
    if list.is_empty() {
        return Err(malformed("manifest.json lists no image"));
    }
    check_image_count(list.len())?;
    let mut joiner = Joiner {
        members,
        blobs,
        diff_ids: DiffIds::new(blobs),
        configs: BTreeMap::new(),
        config_size: 0,
    };
    let mut images = Images::default();
    for (index, entry) in list.iter().enumerate() {
        let (manifest, names) = joiner
            .image(entry)
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
        Value::Array(list) => Ok(Some(list)),
        Value::Null => Ok(Some(Vec::new())),
        _ => Err(malformed("manifest.json is not a list")),
    }
}

/// The configs of the images that Docker would find in an archive, whatever else it is.
pub(in super::super) fn configs(members: &Members) -> Result<Vec<&StoredBlob>> {
    let list = list(members)?.unwrap_or_default();
    list.iter().map(|entry| config_of(members, entry)).collect()
}

fn config_of<'a>(members: &'a Members, entry: &Value) -> Result<&'a StoredBlob> {
    let config = text(object(entry)?, "Config")?;
    let config = config.ok_or_else(|| malformed("an entry of manifest.json names no config"))?;
    members.blob(config.as_bytes(), "config")
}

/// Makes images of the entries of a list.
struct Joiner<'a> {
    members: &'a Members,
    blobs: &'a dyn Store,
    diff_ids: DiffIds<'a>,
    /// The diff IDs in the configs that were read: however many images have a config, it is read once.
    configs: BTreeMap<Digest, Vec<DiffId>>,
    /// Bytes of those configs.
    config_size: u64,
}

impl Joiner<'_> {
    fn image(&mut self, entry: &Value) -> Result<(Descriptor, Vec<String>)> {
        let config = config_of(self.members, entry)?;
        self.read_config(config)?;
        let expected = &self.configs[&config.digest];
        let entry = object(entry)?;
        let names: Vec<&str> = texts(entry, "Layers")?;
        let layers = names
            .iter()
            .map(|name| self.members.blob(name.as_bytes(), "layer"))
            .collect::<Result<Vec<&StoredBlob>>>()?;
        check_counts(layers.len(), expected.len())?;
        for ((name, layer), expected) in names.iter().zip(&layers).zip(expected) {
            let layer_failed = || format!("layer {}", escape_name(name.as_bytes()));
            let found = self.diff_ids.of(layer, expected.0.algorithm());
            check_diff_id(&found.context(layer_failed)?, expected).context(layer_failed)?;
        }
        let manifest = store_manifest(self.blobs, (&config.digest, config.size), &layers)?;
        let names = texts(entry, "RepoTags")?;
        Ok((manifest, names.into_iter().map(str::to_owned).collect()))
    }

    fn read_config(&mut self, config: &StoredBlob) -> Result<()> {
        if self.configs.contains_key(&config.digest) {
            return Ok(());
        }
        self.config_size = self.config_size.saturating_add(config.size);
        if config.size > DOCUMENT_SIZE || self.config_size > CONFIGS_SIZE {
            let message = format!(
                "config {} has {} bytes: the limit is {DOCUMENT_SIZE}, and {CONFIGS_SIZE} for all of an archive",
                config.digest, config.size
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let bytes = self.blobs.read_verified(&config.digest, config.size)?;
        let parsed = ImageConfig::parse(&bytes).context(|| format!("config {}", config.digest))?;
        let diff_ids = parsed.diff_ids().to_vec();
        self.configs.insert(config.digest.clone(), diff_ids);
        Ok(())
    }
}
