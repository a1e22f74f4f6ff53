//! The root file system of a bundle, as a view.

use std::collections::HashMap;
use std::path::Path;

use super::{Access, Dir, Error, ErrorKind, Inode, InodeKind, Result, ResultExt, View};
use crate::bundle::Metadata;
use crate::fs::tree::{NodeId, Tree};
use crate::fs::{
    Beneath, InodeId, MapOptions, Root, Stat, hash_file, mount::mounts_below, probe,
    without_mounts, xattr,
};
use crate::image::Descriptor;
use crate::layer::ROOTFS_NAME;
use crate::ops::store::OverlayBundle;
use crate::progress::Progress;
use crate::store::StoreOptions;

/// How deep a directory tree may be: a directory stays open per level.
const MAX_DEPTH: usize = 2048;

/// An open bundle.
pub(super) struct Bundle {
    pub dir: Dir,
    pub root: Root,
    metadata: Option<Metadata>,
}

impl Bundle {
    /// Opens a bundle. One without `umoci.json`, whoever made it, has the owners of the image on disk.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let dir = Dir::open(path, Access::Plain)?;
        let name = Metadata::FILE_NAME.as_bytes();
        let metadata = match dir.try_stat(name)? {
            Some(_) => {
                let bytes = dir.read_file(name, Metadata::MAX_SIZE)?;
                Some(Metadata::parse(&bytes)?)
            }
            None => None,
        };
        let is_rootless = metadata.as_ref().is_some_and(|m| m.map_options.rootless);
        let access = if is_rootless {
            Access::Unprivileged
        } else {
            Access::Plain
        };
        // Whether it is mounted or not: what is in the store counts.
        let overlay = OverlayBundle::open(path, |store| StoreOptions::new(store))?;
        let root = if let Some(overlay) = overlay {
            Root::from_dir(overlay.contents()?.root()?, access)?
        } else {
            let root = Root::open(&path.join(ROOTFS_NAME), access)?;
            match without_mounts(&root, access)? {
                Beneath::Root(beneath) => beneath,
                Beneath::Nothing | Beneath::Hidden(_) => root,
            }
        };
        Ok(Self {
            dir,
            root,
            metadata,
        })
    }

    /// What is mounted in the root file system is none of the image's, nor has it changed what lies beneath.
    pub(super) fn warn_of_mounts(&self, progress: &dyn Progress) {
        let root = self.dir.open_dir(ROOTFS_NAME.as_bytes());
        // Where the kernel does not tell, nothing can be said.
        for path in root
            .and_then(|root| mounts_below(&root))
            .unwrap_or_default()
        {
            progress.warn(format_args!(
                "/{} is a mount: what is mounted there is not compared",
                crate::fs::escape_name(&path)
            ));
        }
    }

    /// Whether the bundle was unpacked from this manifest.
    pub(super) fn is_of(&self, manifest: &oci_cas::Digest) -> bool {
        let walk = self.metadata.as_ref().map(|m| &m.descriptor_walk[..]);
        let target = walk.and_then(<[_]>::last).map(Descriptor::from_value);
        matches!(target, Some(Ok(target)) if target.digest() == manifest)
    }

    /// What is on disk. Files are hashed only where `other` has one of the same size; nothing else can be equal.
    pub(super) fn view(&self, other: &View) -> Result<View> {
        let maps = self.metadata.as_ref().map(|m| m.map_options.clone());
        let maps = maps.unwrap_or_default();
        Reader {
            is_lossy: maps.rootless || probe::in_user_namespace(),
            maps,
            other,
            view: View::new(),
            linked: HashMap::new(),
        }
        .run(self.root.open_self()?)
    }
}

struct Reader<'o> {
    maps: MapOptions,
    /// Whether the bundle may lack what an unpack without privilege cannot keep.
    is_lossy: bool,
    other: &'o View,
    view: View,
    /// Inodes with several names, and the first one.
    linked: HashMap<InodeId, NodeId>,
}

/// An open directory.
struct Level {
    dir: Dir,
    node: NodeId,
    /// The same directory in the other view.
    other: Option<NodeId>,
    names: Vec<Vec<u8>>,
}

impl Reader<'_> {
    fn run(mut self, root: Dir) -> Result<View> {
        let mut made = self.inode(&root.stat_self()?, root.xattrs_self()?, Box::default())?;
        round(&mut made, self.other.tree().inode(Tree::ROOT));
        *self.view.inode_mut(Tree::ROOT) = made;
        let names = root.names()?;
        let mut levels = vec![Level {
            dir: root,
            node: Tree::ROOT,
            other: Some(Tree::ROOT),
            names,
        }];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.pop() else {
                levels.pop();
                continue;
            };
            if let Some(level) = self.name(level, &name)? {
                if levels.len() >= MAX_DEPTH {
                    let message = format!(
                        "{}: deeper than {MAX_DEPTH} directories",
                        level.dir.path().display()
                    );
                    return Err(Error::new(ErrorKind::LimitExceeded, message));
                }
                levels.push(level);
            }
        }
        Ok(self.view)
    }

    /// Takes in one name; the level below it if it is a directory.
    fn name(&mut self, level: &Level, name: &[u8]) -> Result<Option<Level>> {
        let Level {
            dir, node, other, ..
        } = level;
        let stat = dir.stat(name)?;
        if stat.kind == InodeKind::Socket {
            // No layer can hold one.
            return Ok(None);
        }
        let link = match stat.kind {
            InodeKind::Symlink => dir.read_link(name)?.into(),
            _ => Box::default(),
        };
        let other = other.and_then(|other| self.other.tree().child(other, name));
        let theirs = other.map(|other| self.other.tree().inode(other));
        let may_be_equal =
            theirs.is_some_and(|theirs| theirs.kind == InodeKind::File && theirs.size == stat.size);
        if let Some(&first) = self.linked.get(&stat.id)
            && !stat.is_dir()
        {
            self.view.insert_link(*node, name, first);
            // The first name may have had nothing to be equal to.
            let inode = self.view.inode_mut(first);
            if may_be_equal && inode.kind == InodeKind::File && inode.sha256.is_none() {
                inode.sha256 = Some(hash(dir, name)?);
            }
            return Ok(None);
        }
        let mut made = self
            .inode(&stat, dir.xattrs(name)?, link)
            .context(|| format!("read {}", dir.path_of(name).display()))?;
        if let Some(theirs) = theirs {
            round(&mut made, theirs);
        }
        let mut device = stat.rdev;
        if let (Some(other), Some(theirs)) = (other, theirs)
            && self.is_lossy
        {
            liken(&mut made, theirs, self.maps.rootless);
            if made.kind != stat.kind {
                device = self.other.device(other);
            }
        }
        if may_be_equal && made.kind == InodeKind::File {
            made.sha256 = Some(hash(dir, name)?);
        }
        let made = self.view.insert(*node, name, made, None, device);
        if stat.is_dir() {
            let below = dir.open_dir(name)?;
            let names = below.names()?;
            return Ok(Some(Level {
                dir: below,
                node: made,
                other,
                names,
            }));
        }
        if stat.nlink > 1 {
            self.linked.insert(stat.id, made);
        }
        Ok(None)
    }

    fn inode(&self, stat: &Stat, mut xattrs: xattr::Xattrs, link: Box<[u8]>) -> Result<Inode> {
        let recorded = xattrs
            .iter()
            .find(|(name, _)| name == xattr::ROOTLESS_OWNER)
            .and_then(|(_, value)| xattr::read_rootless_owner(value));
        let (uid, gid) = if self.maps.rootless {
            recorded.unwrap_or((0, 0))
        } else {
            let uid = self.maps.uid.to_container(stat.uid);
            (uid?, self.maps.gid.to_container(stat.gid)?)
        };
        let rootless = self.maps.rootless;
        xattrs.retain(|(name, _)| {
            !(xattr::is_masked(name) || rootless && name == xattr::ROOTLESS_OWNER)
        });
        self.maps.xattrs_to_container(&mut xattrs)?;
        let is_directory = stat.kind == InodeKind::Directory;
        Ok(Inode {
            kind: stat.kind,
            mode: stat.mode,
            uid,
            gid,
            size: if is_directory { 0 } else { stat.size },
            nlink: 1,
            mtime: stat.mtime,
            link,
            sha256: None,
            xattrs,
            stat_stamp: None,
        })
    }
}

/// Takes over the image's time if it is of the same second: no layer that repack makes has more.
fn round(made: &mut Inode, theirs: &Inode) {
    if made.mtime.unix_seconds() == theirs.mtime.unix_seconds() {
        made.mtime = theirs.mtime;
    }
}

/// Undoes what an unpack without privilege cannot keep: devices are empty files, attributes outside of `user.` may be
/// missing, and with `--rootless` symbolic links and pipes have lost their owner.
fn liken(made: &mut Inode, theirs: &Inode, rootless: bool) {
    let is_device = matches!(theirs.kind, InodeKind::CharDevice | InodeKind::BlockDevice);
    if is_device && made.kind == InodeKind::File && made.size == 0 {
        made.kind = theirs.kind;
    }
    if rootless && matches!(made.kind, InodeKind::Symlink | InodeKind::Fifo) {
        (made.uid, made.gid) = (theirs.uid, theirs.gid);
    }
    let lost = theirs.xattrs.iter().filter(|(name, _)| {
        !name.starts_with(b"user.") && made.xattrs.iter().all(|(own, _)| own != name)
    });
    let lost: Vec<_> = lost.cloned().collect();
    made.xattrs.extend(lost);
    made.xattrs.sort_unstable();
}

/// Hashes a regular file.
pub(super) fn hash(dir: &Dir, name: &[u8]) -> Result<[u8; 32]> {
    hash_file(dir, name, &mut Vec::new())
}
