//! Layers on disk: `layers/<id>/` with the content in `fs/`, the record of it in `record`, and `meta.json`.
//!
//! Visible means complete: a layer gets its name when all of it is written, verified and synced, and never changes then.

use std::io::BufWriter;

use serde::{Deserialize, Serialize};

use super::id::LayerId;
use super::json;
use super::place::Store;
use super::reason::Reason;
use super::record::Record;
use super::text::Text;
use crate::error::{ErrorKind, Result};
use crate::fs::tree::Tree;
use crate::fs::usage::{Usage, usage};
use crate::fs::{Dir, XattrNamespace};
use crate::layer::{ImpliedDir, LinkBelow, LowerDependencies};

/// The content, in overlayfs's form.
pub(crate) const CONTENT: &[u8] = b"fs";
/// The record of the content, by which it can be checked.
pub(crate) const RECORD: &str = "record";
/// A layer in the making, in its staging directory.
pub(crate) const LAYER: &[u8] = b"layer";
const META: &str = "meta.json";

/// What the store knows of a layer without looking at its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerMeta {
    /// Bytes of the uncompressed stream; 0 for layers that were not made of one.
    pub stream_size: u64,
    /// When it was unpacked, in seconds since 1970.
    pub created: u64,
    /// What it says of the layers below.
    pub changeset: LowerDependencies,
}

/// A layer of the store.
#[derive(Debug)]
pub struct Layer {
    id: LayerId,
    dir: Dir,
    /// The store that has it: one of the additional ones by its place, or this one.
    store: Option<usize>,
}

impl Layer {
    /// Its name.
    pub fn id(&self) -> &LayerId {
        &self.id
    }

    /// The directory with its content, for reading: nothing in it ever changes.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be opened. A layer that is kept as a tar file has none.
    pub fn content(&self) -> Result<Dir> {
        self.dir.open_dir(CONTENT)
    }

    /// What it takes on disk.
    pub(crate) fn usage(&self) -> Result<Usage> {
        if self.id.is_tar() || self.id.is_erofs() {
            // What is mounted in it is not on the same file system, and not counted.
            return usage(&self.dir);
        }
        usage(&self.content()?)
    }

    /// What the store knows of it.
    ///
    /// # Errors
    ///
    /// Fails if the record cannot be read.
    pub fn meta(&self) -> Result<LayerMeta> {
        read_meta(&self.dir)
    }

    /// Whether it is in a store that is only read.
    pub fn is_read_only(&self) -> bool {
        self.store.is_some()
    }

    /// Which of the additional stores it is in; `None` for this one.
    pub(crate) fn place(&self) -> Option<usize> {
        self.store
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }
}

impl LayerId {
    /// Where the content of the layer is, below the store.
    pub(crate) fn content_path(&self) -> String {
        format!("{}/{}", self.path(), String::from_utf8_lossy(CONTENT))
    }
}

impl Store {
    /// Whether there is such a layer, here or in an additional store.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub fn has_layer(&self, id: &LayerId) -> Result<bool> {
        Ok(self.find_layer(id)?.is_some())
    }

    /// Opens a layer.
    ///
    /// # Errors
    ///
    /// [`Reason::LayerUnknown`] if there is none.
    pub fn layer(&self, id: &LayerId) -> Result<Layer> {
        self.find_layer(id)?
            .ok_or_else(|| Reason::LayerUnknown.error(format!("layer {id}: not in the store")))
    }

    pub(crate) fn find_layer(&self, id: &LayerId) -> Result<Option<Layer>> {
        if let Some(dir) = self.own_layer(id)? {
            let id = id.clone();
            return Ok(Some(Layer {
                id,
                dir,
                store: None,
            }));
        }
        Ok(self.find_additional_layer(id)?.map(|(_, layer)| layer))
    }

    /// A layer of one of the additional stores, and which one that is.
    pub(crate) fn find_additional_layer(&self, id: &LayerId) -> Result<Option<(&Self, Layer)>> {
        // Where it is mounted is for its own store to say.
        let stores = if id.is_erofs() {
            &[]
        } else {
            self.additional_stores()
        };
        for (place, store) in stores.iter().enumerate() {
            if let Some(dir) = store.own_layer(id)? {
                let (id, place) = (id.clone(), Some(place));
                let layer = Layer {
                    id,
                    dir,
                    store: place,
                };
                return Ok(Some((store, layer)));
            }
        }
        Ok(None)
    }

    fn own_layer(&self, id: &LayerId) -> Result<Option<Dir>> {
        match self.dir().open_below(id.path().as_bytes()) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The layers that are in this store itself, in the order of their names.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub fn layers(&self) -> Result<Vec<LayerId>> {
        let layers = self.sub("layers")?;
        let mut found = Vec::new();
        for kind in LayerId::directories() {
            let Some(dir) = layers.open_dir_if_any(kind.as_bytes())? else {
                continue;
            };
            for name in dir.names()? {
                let name = String::from_utf8_lossy(&name).into_owned();
                // What is none of ours is for `check` to tell.
                found.extend(format!("{kind}/{name}").parse::<LayerId>());
            }
        }
        Ok(found)
    }

    /// The directory that a layer has its name in.
    pub(crate) fn layer_parent(&self, id: &LayerId) -> Result<Dir> {
        self.sub("layers")?.open_dir(id.place().0.as_bytes())
    }
}

/// Writes what is known of a layer into its directory.
pub(crate) fn write_meta(dir: &Dir, meta: &LayerMeta) -> Result<()> {
    json::replace(dir, META, &MetaRecord::of(meta))
}

/// Writes the record of a layer's content into its directory.
pub(crate) fn write_record(
    dir: &Dir,
    tree: &Tree,
    changes: &LowerDependencies,
    marks: XattrNamespace,
) -> Result<()> {
    let opaques = changes.opaque.iter().chain(&changes.fresh);
    let record = Record {
        tree,
        whiteouts: changes.whiteouts.iter().map(Vec::as_slice).collect(),
        opaques: opaques.map(Vec::as_slice).collect(),
        marks,
    };
    record.write(BufWriter::new(
        dir.create_new_file(RECORD.as_bytes(), 0o600)?.into_file(),
    ))
}

pub(crate) fn read_meta(dir: &Dir) -> Result<LayerMeta> {
    Ok(json::read::<MetaRecord>(dir, META)?.into_meta())
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// [`LayerMeta`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaRecord {
    stream_size: u64,
    created: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    needs_below: bool,
    root: bool,
    root_opaque: bool,
    implied: Vec<ImpliedRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    passed: Vec<Text>,
    opaque: Vec<Text>,
    fresh: Vec<Text>,
    whiteouts: Vec<Text>,
    links_below: Vec<(Text, Text)>,
    link_groups: Vec<Vec<Text>>,
    uids: Vec<u32>,
    gids: Vec<u32>,
    files: u64,
    size: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImpliedRecord {
    path: Text,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    described: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    only_marks: bool,
}

fn texts(paths: &[Vec<u8>]) -> Vec<Text> {
    paths.iter().map(|path| Text(path.clone())).collect()
}

fn paths(texts: Vec<Text>) -> Vec<Vec<u8>> {
    texts.into_iter().map(|text| text.0).collect()
}

impl MetaRecord {
    fn of(meta: &LayerMeta) -> Self {
        let changes = &meta.changeset;
        let implied = changes.implied.iter().map(|dir| ImpliedRecord {
            path: Text(dir.path.clone()),
            described: dir.described,
            only_marks: dir.only_marks,
        });
        let links = changes.links_below.iter();
        Self {
            stream_size: meta.stream_size,
            created: meta.created,
            needs_below: changes.needs_below,
            root: changes.root,
            root_opaque: changes.root_opaque,
            implied: implied.collect(),
            passed: texts(&changes.passed),
            opaque: texts(&changes.opaque),
            fresh: texts(&changes.fresh),
            whiteouts: texts(&changes.whiteouts),
            links_below: links
                .map(|link| (Text(link.path.clone()), Text(link.target.clone())))
                .collect(),
            link_groups: changes
                .link_groups
                .iter()
                .map(|group| texts(group))
                .collect(),
            uids: changes.uids.clone(),
            gids: changes.gids.clone(),
            files: changes.files,
            size: changes.size,
        }
    }

    fn into_meta(self) -> LayerMeta {
        let implied = self.implied.into_iter().map(|dir| ImpliedDir {
            path: dir.path.0,
            described: dir.described,
            only_marks: dir.only_marks,
        });
        let links = self
            .links_below
            .into_iter()
            .map(|(path, target)| LinkBelow {
                path: path.0,
                target: target.0,
            });
        LayerMeta {
            stream_size: self.stream_size,
            created: self.created,
            changeset: LowerDependencies {
                needs_below: self.needs_below,
                root: self.root,
                root_opaque: self.root_opaque,
                implied: implied.collect(),
                passed: paths(self.passed),
                opaque: paths(self.opaque),
                fresh: paths(self.fresh),
                whiteouts: paths(self.whiteouts),
                links_below: links.collect(),
                link_groups: self.link_groups.into_iter().map(paths).collect(),
                uids: self.uids,
                gids: self.gids,
                files: self.files,
                size: self.size,
            },
        }
    }
}
