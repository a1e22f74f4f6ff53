//! Docker archives of before version 1.2: a directory for each layer, which knows its parent.
//!
//! ```text
//! repositories        {"repository": {"tag": "<id of the top layer>"}}
//! <id>/VERSION        1.0
//! <id>/json           the layer's configuration, with id and parent; that of the top layer is the image's
//! <id>/layer.tar
//! ```
//!
//! There is no config as images have it today: it is made, as Docker itself did when it learned the new format.

use std::collections::{BTreeMap, BTreeSet};

use oci_cas::{Algorithm, Store, StoreExt};
use serde_json::{Map, Value, json};

use super::super::ImportedImage;
use super::super::diff_id::DiffIds;
use super::super::members::{Members, StoredBlob};
use super::{
    CONFIGS_SIZE, Images, check_image_count, malformed, object, store_manifest, text, texts,
};
use crate::fs::escape_name;
use crate::image::{Platform, parse_json, to_go_json};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Most layers of all images together, each counted as often as it is used.
const LAYER_COUNT: usize = 100_000;

/// What configurations of layers have and those of images don't.
const OF_LAYERS: &[&str] = &[
    "id",
    "parent",
    "parent_id",
    "layer_id",
    "throwaway",
    "Size",
    "comment",
    "container",
    "container_config",
    "docker_version",
];

/// What counts of a layer's configuration. The rest is parsed again when it is needed: parsed, it takes many times the
/// memory of its text.
struct Layer {
    parent: Option<String>,
    /// Whether it has no content, only a history.
    empty: bool,
    history: Value,
    /// Bytes of the configuration.
    size: u64,
}

/// Layers by their ids.
type Layers = BTreeMap<String, Layer>;

/// Names of images, by their topmost layers.
type Tops = BTreeMap<String, Vec<String>>;

/// The images of a legacy archive.
pub(in super::super) fn images(
    members: &Members,
    blobs: &dyn Store,
) -> Result<Option<Vec<ImportedImage>>> {
    let layers = read_layers(members)?;
    if layers.is_empty() {
        return Ok(None);
    }
    let tops = tops(members, &layers)?;
    let mut diff_ids = DiffIds::new(blobs);
    let mut images = Images::default();
    for (chain, names) in chains(&layers, &tops)? {
        let (config, stored) = image(members, &layers, &chain, &mut diff_ids).context(|| {
            let top = chain.last().copied().unwrap_or_default();
            format!("image of layer {}", escape_name(top.as_bytes()))
        })?;
        let digest = blobs.put(Algorithm::Sha256, &config);
        let digest = digest.context(|| "store a config")?;
        let manifest = store_manifest(blobs, (&digest, config.len() as u64), &stored)?;
        images.add(manifest, names.iter().cloned());
    }
    Ok(Some(images.images))
}

/// The chains below the topmost layers, within the limits.
fn chains<'a>(layers: &'a Layers, tops: &'a Tops) -> Result<Vec<(Vec<&'a str>, &'a [String])>> {
    check_image_count(tops.len())?;
    let (mut chains, mut layer_count, mut config_size) = (Vec::new(), 0, 0);
    for (top, names) in tops {
        let chain = chain(layers, top)
            .context(|| format!("image of layer {}", escape_name(top.as_bytes())))?;
        layer_count += chain.len();
        // A layer's history is in the config of every image that has it.
        config_size += chain.iter().map(|id| layers[*id].size).sum::<u64>();
        if layer_count > LAYER_COUNT || config_size > CONFIGS_SIZE {
            let message = format!(
                "the images have more than {LAYER_COUNT} layers, or configs of more than {CONFIGS_SIZE} bytes"
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        chains.push((chain, names.as_slice()));
    }
    Ok(chains)
}

fn read_layers(members: &Members) -> Result<Layers> {
    let mut layers = Layers::new();
    for path in members.document_names() {
        let directory = path.strip_suffix(b"/json").map(std::str::from_utf8);
        let Some(Ok(id)) = directory.filter(|_| !path.starts_with(b"refs/")) else {
            continue;
        };
        let size = members.document(path)?.unwrap_or_default().len() as u64;
        let layer = read_json(members, path).and_then(|json| Layer::read(&json, size));
        layers.insert(id.to_owned(), layer.context(|| escape_name(path))?);
    }
    Ok(layers)
}

/// Reads the configuration of a layer.
fn read_json(members: &Members, path: &[u8]) -> Result<Map<String, Value>> {
    match parse_json(members.document(path)?.unwrap_or_default())? {
        Value::Object(json) => Ok(json),
        _ => Err(malformed("not a JSON object")),
    }
}

impl Layer {
    fn read(json: &Map<String, Value>, size: u64) -> Result<Self> {
        let empty = json.get("throwaway") == Some(&Value::Bool(true));
        let parent = text(json, "parent")?.filter(|parent| !parent.is_empty());
        Ok(Self {
            parent: parent.map(str::to_owned),
            empty,
            history: history_of(json, empty)?,
            size,
        })
    }
}

/// The topmost layers of images, with the names of those: what `repositories` says, or else every layer that is nobody's
/// parent.
fn tops(members: &Members, layers: &Layers) -> Result<Tops> {
    let mut tops = Tops::new();
    let repositories = match members.document(b"repositories")? {
        Some(bytes) => parse_json(bytes).context(|| "repositories")?,
        None => Value::Null,
    };
    for (repository, tags) in repositories.as_object().into_iter().flatten() {
        for (tag, id) in object(tags).context(|| "repositories")? {
            let id = id.as_str().ok_or_else(|| {
                malformed(format!("repositories: {repository}:{tag} names no layer"))
            })?;
            let names = tops.entry(id.to_owned()).or_default();
            names.push(format!("{repository}:{tag}"));
        }
    }
    if tops.is_empty() {
        let parents: BTreeSet<&String> = layers
            .values()
            .filter_map(|it| it.parent.as_ref())
            .collect();
        let free = layers.keys().filter(|id| !parents.contains(id));
        tops.extend(free.map(|id| (id.clone(), Vec::new())));
    }
    if tops.is_empty() {
        return Err(malformed("each layer is the parent of another"));
    }
    Ok(tops)
}

/// The ids from the bottom to a top layer.
fn chain<'a>(layers: &'a Layers, top: &'a str) -> Result<Vec<&'a str>> {
    let mut chain = Vec::new();
    let mut next = Some(top);
    while let Some(id) = next {
        let layer = layers.get(id).ok_or_else(|| {
            let message = format!("the archive lacks the layer {}", escape_name(id.as_bytes()));
            Error::new(ErrorKind::NotFound, message)
        })?;
        chain.push(id);
        if chain.len() > layers.len() {
            return Err(malformed("a layer is its own ancestor"));
        }
        next = layer.parent.as_deref();
    }
    chain.reverse();
    Ok(chain)
}

/// Makes the config of a chain of layers, and finds their blobs.
fn image<'a>(
    members: &'a Members,
    layers: &Layers,
    chain: &[&str],
    diff_ids: &mut DiffIds<'_>,
) -> Result<(Vec<u8>, Vec<&'a StoredBlob>)> {
    let (mut stored, mut ids, mut history) = (Vec::<&StoredBlob>::new(), Vec::new(), Vec::new());
    for id in chain {
        let layer = &layers[*id];
        if !layer.empty {
            let blob = members.blob(format!("{id}/layer.tar").as_bytes(), "layer")?;
            let diff_id = diff_ids.of(blob, Algorithm::Sha256);
            ids.push(diff_id.context(|| format!("layer {id}"))?.to_string());
            stored.push(blob);
        }
        history.push(layer.history.clone());
    }
    let top = chain
        .last()
        .map(|id| read_json(members, format!("{id}/json").as_bytes()));
    let top = top.transpose()?.unwrap_or_default();
    let config = config_of(top, &ids, history)?;
    Ok((to_go_json(&Value::Object(config)), stored))
}

/// The history of a layer.
fn history_of(layer: &Map<String, Value>, empty: bool) -> Result<Value> {
    let mut entry = Map::new();
    for key in ["created", "author", "comment"] {
        if let Some(value) = text(layer, key)?.filter(|value| !value.is_empty()) {
            entry.insert(key.to_owned(), value.into());
        }
    }
    if let Some(Value::Object(container)) = layer.get("container_config") {
        let command = texts(container, "Cmd")?.join(" ");
        entry.insert("created_by".to_owned(), command.into());
    }
    if empty {
        entry.insert("empty_layer".to_owned(), true.into());
    }
    Ok(Value::Object(entry))
}

/// The config of an image: what its top layer says but for what belongs to layers.
fn config_of(
    mut config: Map<String, Value>,
    diff_ids: &[String],
    history: Vec<Value>,
) -> Result<Map<String, Value>> {
    for key in OF_LAYERS {
        config.shift_remove(*key);
    }
    let host = Platform::host();
    for (key, usual) in [("architecture", host.architecture), ("os", host.os)] {
        if text(&config, key)?.is_none_or(str::is_empty) {
            config.insert(key.to_owned(), usual.into());
        }
    }
    let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
    config.insert("rootfs".to_owned(), rootfs);
    config.insert("history".to_owned(), history.into());
    Ok(config)
}
