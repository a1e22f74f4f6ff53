//! Images that are mounted: once each, as long as they are needed.

use std::collections::BTreeSet;

use super::build::ImageRecord;
use super::{IMAGE, IMAGE_RECORD};
use crate::erofs::{BlockSize, Device, ImageOptions, Plan};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::lock::{LockFile, LockMode};
use crate::fs::mount::{self, FileBelow, FileSystem, mount_erofs};
use crate::fs::tree::{Inode, NodeId, Tree};
use crate::fs::{Dir, InodeKind, XattrNamespace};
use crate::image::{ChainId, DiffId};
use crate::store::form::{LayerForm, LayersOption};
use crate::store::id::LayerId;
use crate::store::json;
use crate::store::layer::CONTENT;
use crate::store::place::{IMAGES, Store};
use crate::store::reason::Reason;

/// What EROFS is told by (statfs(2)).
const EROFS_MAGIC: u32 = 0xe0f5_e1e2;

/// A file of one block for the probe.
const PROBE: &str = "probe";

impl Store {
    /// The root of a chain's image, mounted.
    pub(crate) fn erofs_root(&self, id: &LayerId) -> Result<Dir> {
        let layer = self.layer(id)?;
        let root = layer.dir().open_dir(CONTENT)?;
        if is_erofs(&root)? {
            return Ok(root);
        }
        let _once = self.lock_name("erofs")?;
        let root = layer.dir().open_dir(CONTENT)?;
        if is_erofs(&root)? {
            return Ok(root);
        }
        self.mount_image(id, layer.dir(), &root)
            .map_err(|error| Reason::MountFailed.of_error(error))?;
        layer.dir().open_dir(CONTENT)
    }

    fn mount_image(&self, id: &LayerId, dir: &Dir, target: &Dir) -> Result<()> {
        let record: ImageRecord = json::read(dir, IMAGE_RECORD)?;
        let image = dir.stat(IMAGE.as_bytes())?.size;
        if image != record.size {
            return Err(changed(id, IMAGE, image, record.size));
        }
        let mut devices = Vec::new();
        let dirs = std::iter::once(self).chain(self.additional_stores());
        let dirs: Vec<&Dir> = dirs.map(Self::dir).collect();
        for device in &record.devices {
            let layer = self.layer(&device.layer.parse()?)?;
            let size = layer.dir().stat(device.file.as_bytes())?.size;
            if size != device.size {
                return Err(changed(layer.id(), &device.file, size, device.size));
            }
            let store = layer.place().map_or(0, |place| place + 1);
            let dir = dirs.get(store).copied().unwrap_or(self.dir());
            let path = format!("{}/{}", layer.id().path(), device.file);
            devices.push(FileBelow { dir, path });
        }
        let image = FileBelow {
            dir,
            path: IMAGE.to_owned(),
        };
        mount_erofs(&image, &devices)?.attach(target)?;
        Ok(())
    }

    /// Takes away the mount of an image, if it is one and mounted. Overlays on it stay what they are.
    pub(crate) fn unmount_erofs(&self, id: &LayerId) -> Result<bool> {
        if !id.is_erofs() {
            return Ok(false);
        }
        let dir = self.dir().open_below(id.path().as_bytes())?;
        if !is_erofs(&dir.open_dir(CONTENT)?)? {
            return Ok(false);
        }
        mount::unmount_at(&dir, CONTENT, true)?;
        Ok(true)
    }

    /// Takes away the mounts of images that nothing mounted needs, unless others use the store at this moment.
    pub(crate) fn unmount_idle_images(&self) -> Result<()> {
        let images: Vec<LayerId> = self.layers()?;
        let images: Vec<_> = images.into_iter().filter(LayerId::is_erofs).collect();
        if images.is_empty() {
            return Ok(());
        }
        let locks = self.sub("locks")?;
        let Some(_alone) = LockFile::try_acquire(&locks, IMAGES, LockMode::Exclusive)? else {
            return Ok(());
        };
        let mut used = BTreeSet::new();
        for record in self.mounts()? {
            if record.is_live()? {
                used.extend(record.chain.as_ref().map(LayerId::erofs));
            }
        }
        for id in images.iter().filter(|id| !used.contains(id)) {
            self.unmount_erofs(id)?;
        }
        Ok(())
    }

    /// Whether a new image is to be kept as tar files.
    pub(crate) fn keeps_tars(&self, diff_ids: &[DiffId]) -> Result<bool> {
        let chain = ChainId::of(diff_ids);
        if diff_ids.is_empty() || diff_ids.iter().any(|id| LayerId::tar(id).is_none()) {
            return Ok(false);
        }
        // What is made again gets the form that it had.
        let was = self.recorded_chain(chain.as_ref());
        if matches!(was, Ok(Some(chain)) if chain.form() == LayerForm::Tar) {
            return Ok(true);
        }
        match self.options().layers {
            LayersOption::Dir => Ok(false),
            LayersOption::Auto => Ok(self.probe_erofs().is_ok()),
            LayersOption::Tar => self.probe_erofs().map(|()| true),
        }
    }

    /// Finds out whether images are mounted from files of this store, by mounting one, and an overlay on it.
    ///
    /// # Errors
    ///
    /// Says why not.
    pub fn probe_erofs(&self) -> Result<()> {
        let fail = || format!("keep layers as tar files in {}", self.path().display());
        if self.marks() != XattrNamespace::Trusted || !self.options().id_mapped_mounts {
            let message = format!("{}: not in a user namespace", fail());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let staging = self.staging()?;
        let dir = staging.dir();
        let probe = Probe(probe_tree());
        let options = ImageOptions {
            block_size: BlockSize::B512,
            uuid: [0; 16],
            devices: vec![Device {
                tag: Vec::new(),
                size: 512,
            }],
        };
        let mut plan = Plan::new(&probe, options)?;
        let mut image = dir.create_new_file(IMAGE.as_bytes(), 0o600)?;
        plan.write(&mut |offset, bytes| image.write_at(offset, bytes, || IMAGE.into()))?;
        let mut device = dir.create_new_file(PROBE.as_bytes(), 0o600)?;
        device.append(&[b'x'; 512], || PROBE.into())?;
        let below = |path: &str| FileBelow {
            dir,
            path: path.to_owned(),
        };
        let read = mount_erofs(&below(IMAGE), &[below(PROBE)])
            .and_then(|mounted| mounted.root()?.read_file(PROBE.as_bytes(), 512))
            .context(fail)?;
        if read != [b'x'; 512] {
            let message = format!("{}: contents come back changed", fail());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(())
    }
}

fn is_erofs(dir: &Dir) -> Result<bool> {
    Ok(FileSystem::of(dir)?.magic == EROFS_MAGIC)
}

fn changed(id: &LayerId, file: &str, size: u64, expected: u64) -> Error {
    let message = format!("layer {id}: {file} has {size} bytes, and had {expected}");
    Error::new(ErrorKind::InvalidData, message).with_hint("`bundle store check --repair`")
}

/// The tree of the probe: one file.
struct Probe(Tree);

impl crate::erofs::Source for Probe {
    fn tree(&self) -> &Tree {
        &self.0
    }

    fn device(&self, _: NodeId) -> (u32, u32) {
        (0, 0)
    }

    fn place(&self, _: NodeId) -> Result<crate::erofs::DataPlace> {
        Ok(crate::erofs::DataPlace::Device {
            device: 1,
            block: 0,
        })
    }
}

fn probe_tree() -> Tree {
    let inode = |kind, size| Inode {
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size,
        nlink: 1,
        mtime: filetime::FileTime::zero(),
        link: Box::default(),
        sha256: None,
        xattrs: Vec::new(),
        stat_stamp: None,
    };
    let mut tree = Tree::new(inode(InodeKind::Directory, 0));
    tree.insert(Tree::ROOT, PROBE.as_bytes(), inode(InodeKind::File, 512));
    tree
}
