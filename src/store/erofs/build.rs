//! The image of a chain: the merged tree of its layers, with the places of contents in the tar files.

use std::collections::{BTreeMap, BTreeSet};

use oci_cas::{Algorithm, Hasher};
use serde::{Deserialize, Serialize};

use super::{IMAGE, IMAGE_RECORD, INDEX, ODD, STREAM};
use crate::erofs::{BlockSize, DataPlace, Device, ImageOptions, Plan, Source};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::tree::{NodeId, Tree};
use crate::fs::{Dir, InodeKind, XattrNamespace, escape_name, failpoint};
use crate::image::{ChainId, DiffId};
use crate::layer::view::{View, ViewOptions};
use crate::layer::{IndexReader, Kept, LowerDependencies};
use crate::store::chain::Chain;
use crate::store::form::LayerForm;
use crate::store::id::LayerId;
use crate::store::json;
use crate::store::layer::{CONTENT, LAYER, LayerMeta, now, write_meta};
use crate::store::patch::{Attributes, Patch};
use crate::store::place::Store;

/// Bytes of a block: of tar, and of the images.
const BLOCK: u64 = 512;

/// The largest index that is read, in bytes.
const MAX_INDEX: u64 = 4 << 30;

/// What is known of an image beside what is in it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageRecord {
    pub size: u64,
    /// SHA-256 of the image.
    pub digest: String,
    /// The files that it refers to, in order.
    pub devices: Vec<DeviceRecord>,
    pub patch: String,
}

/// A file that an image refers to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeviceRecord {
    pub layer: String,
    pub file: String,
    pub size: u64,
}

/// A chain's merged tree, and where contents are.
struct Merged {
    view: View,
    layers: Vec<Places>,
    devices: Vec<DeviceRecord>,
}

/// Where the contents of a layer's entries are.
#[derive(Default)]
struct Places {
    /// Numbers of the devices that are its stream and its odd contents.
    stream: u16,
    odd: u16,
    entries: Vec<Kept>,
}

impl Source for Merged {
    fn tree(&self) -> &Tree {
        self.view.tree()
    }

    fn device(&self, node: NodeId) -> (u32, u32) {
        self.view.device(node)
    }

    fn place(&self, node: NodeId) -> Result<DataPlace> {
        let content = self.view.content(node);
        let found = content.and_then(|content| {
            let layer = self.layers.get(content.layer)?;
            let entry = usize::try_from(content.entry).ok()?;
            match *layer.entries.get(entry)? {
                Kept::Stream(block) => Some((layer.stream, block)),
                Kept::Odd(block) => Some((layer.odd, block)),
                Kept::Nothing => None,
            }
        });
        let (device, block) = found
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, "its layer has no content for it"))?;
        Ok(DataPlace::Device { device, block })
    }
}

impl Store {
    /// Records the chain of layers that are there as tar files, and makes its image.
    ///
    /// # Errors
    ///
    /// Errors of which [`is_beyond_erofs`](crate::store::form::is_beyond_erofs) is true if the image cannot be in this form.
    pub(crate) fn register_erofs(&self, diff_ids: &[DiffId]) -> Result<Chain> {
        let Some(chain_id) = ChainId::of(diff_ids) else {
            let message = "a chain without layers has no tar files";
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let id = LayerId::erofs(&chain_id);
        if !self.has_layer(&id)? {
            self.build_erofs(&id, diff_ids)
                .context(|| format!("merge the layers of chain {chain_id}"))?;
        }
        let layer = self.layer(&id)?;
        // A mount that cannot be made is found out now.
        drop(self.erofs_root(&id)?);
        let record: ImageRecord = json::read(layer.dir(), IMAGE_RECORD)?;
        let changes = layer.meta()?.changeset;
        let chain = Chain {
            id: Some(chain_id),
            diff_ids: diff_ids.to_vec(),
            layers: vec![id],
            patch: record.patch.parse()?,
            uids: changes.uids,
            gids: changes.gids,
        };
        self.write_chain(&chain)?;
        Ok(chain)
    }

    fn build_erofs(&self, id: &LayerId, diff_ids: &[DiffId]) -> Result<()> {
        let merged = self.merge_tars(diff_ids)?;
        let known = survey(&merged.view, self.marks())?;
        let root = merged.view.tree().inode(Tree::ROOT);
        let root = Attributes {
            mode: root.mode,
            uid: root.uid,
            gid: root.gid,
            mtime: root.mtime,
            xattrs: root.xattrs.clone(),
        };
        let patch = self.write_patch(&Patch(BTreeMap::from([(Vec::new(), root)])))?;
        let devices = merged.devices.iter().map(|device| Device {
            tag: device.layer.clone().into_bytes(),
            size: device.size,
        });
        let options = ImageOptions {
            block_size: BlockSize::B512,
            uuid: [0; 16],
            devices: devices.collect(),
        };
        let mut plan = Plan::new(&merged, options)?;
        let staging = self.staging()?;
        let dir = staging.dir().create_new_dir(LAYER, 0o700)?;
        dir.create_new_dir(CONTENT, 0o755)?;
        let mut file = dir.create_new_file(IMAGE.as_bytes(), 0o600)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        plan.write(&mut |offset, bytes| {
            hasher.update(bytes);
            file.write_at(offset, bytes, || IMAGE.into())
        })?;
        let record = ImageRecord {
            size: plan.size(),
            digest: hasher.finish().to_string(),
            devices: merged.devices.clone(),
            patch: patch.to_string(),
        };
        json::replace(&dir, IMAGE_RECORD, &record)?;
        let meta = LayerMeta {
            stream_size: 0,
            created: now(),
            changeset: known,
        };
        write_meta(&dir, &meta)?;
        self.sync()?;
        failpoint::hit("image-staged");
        self.publish_layer(id, &staging, LAYER)
    }

    /// Merges layers as unpacking them would.
    fn merge_tars(&self, diff_ids: &[DiffId]) -> Result<Merged> {
        let mut merged = Merged {
            view: View::new(),
            layers: Vec::new(),
            devices: Vec::new(),
        };
        for diff_id in diff_ids {
            let id = LayerForm::Tar.layer(diff_id);
            let id = id.ok_or_else(|| Error::new(ErrorKind::Unsupported, "named by SHA-512"))?;
            let layer = self.layer(&id)?;
            if !layer.meta()?.stream_size.is_multiple_of(BLOCK) {
                // The kernel does not read a block that ends behind the file.
                let message = format!("layer {diff_id} ends within a block");
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            let mut places = Places {
                stream: merged.add_device(&id, layer.dir(), STREAM)?,
                odd: merged.add_device(&id, layer.dir(), ODD)?,
                entries: Vec::new(),
            };
            let index = layer.dir().read_file(INDEX.as_bytes(), MAX_INDEX)?;
            let entries = IndexReader::new(&index)?.map(|entry| {
                let (entry, kept) = entry?;
                places.entries.push(kept);
                Ok(entry)
            });
            merged
                .view
                .add_entries(entries, &ViewOptions::default())
                .context(|| format!("layer {diff_id}"))?;
            merged.layers.push(places);
        }
        Ok(merged)
    }
}

impl Merged {
    /// Adds a file to the devices, unless it is empty; its number.
    fn add_device(&mut self, id: &LayerId, dir: &Dir, file: &str) -> Result<u16> {
        let size = dir.stat(file.as_bytes())?.size;
        if size == 0 {
            return Ok(0);
        }
        self.devices.push(DeviceRecord {
            layer: id.to_string(),
            file: file.to_owned(),
            size,
        });
        u16::try_from(self.devices.len()).map_err(|_| {
            let message = "more layers than an EROFS image can have devices";
            Error::new(ErrorKind::LimitExceeded, message)
        })
    }
}

/// What is in a merged tree, by the way to finding what an overlay on it would not show as it is.
fn survey(view: &View, marks: XattrNamespace) -> Result<LowerDependencies> {
    let tree = view.tree();
    let (mut uids, mut gids) = (BTreeSet::new(), BTreeSet::new());
    let mut known = LowerDependencies::default();
    let mut pending = vec![Tree::ROOT];
    let mut look = |node: NodeId| -> Result<()> {
        let inode = tree.inode(node);
        uids.insert(inode.uid);
        gids.insert(inode.gid);
        if inode.kind == InodeKind::File {
            known.files += 1;
            known.size = known.size.saturating_add(inode.size);
        }
        let is_mark = |name: &Vec<u8>| marks.escape(name.clone()) != *name;
        let refused = match inode.kind {
            InodeKind::CharDevice if view.device(node) == (0, 0) => "a device 0:0",
            _ if inode.xattrs.iter().any(|(name, _)| is_mark(name)) => "an attribute of overlayfs",
            _ => return Ok(()),
        };
        let path = escape_name(&view.path_of(node));
        let message = format!("{path}: {refused}, which an overlay on an image cannot show");
        Err(Error::new(ErrorKind::Unsupported, message))
    };
    look(Tree::ROOT)?;
    while let Some(dir) = pending.pop() {
        for (_, node) in tree.children(dir) {
            look(node)?;
            if tree.inode(node).kind == InodeKind::Directory {
                pending.push(node);
            }
        }
    }
    known.uids = uids.into_iter().collect();
    known.gids = gids.into_iter().collect();
    Ok(known)
}
