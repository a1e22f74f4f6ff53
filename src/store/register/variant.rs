//! Variants: a layer made once more, over the layers below it, because it reaches into them.
//!
//! The layers below are mounted with an empty directory on top, the layer is applied to that as to any root, and what
//! overlayfs has put into the upper directory is the variant. So a variant is right by construction, but for one thing:
//! overlayfs copies a file up by one name, and its other names stay behind. Where the layer has split a set of hard links,
//! it is hence applied a second time, to a view in which such sets have been brought up as a whole.

use super::scan::{Scanned, scan};
use super::{Builder, Over};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::mount::Upper;
use crate::fs::names::split;
use crate::fs::staging::Staging;
use crate::fs::{Access, Dir, Inode, Metadata, Root, Rules, Stat, Times, failpoint};
use crate::image::DiffId;
use crate::layer::{ApplyOptions, apply_layers};
use crate::store::chain::Chain;
use crate::store::id::LayerId;
use crate::store::layer::{CONTENT, LAYER};
use crate::store::reason::Reason;
use crate::store::unpack::lock_of;

/// The directory that overlayfs works in.
const WORK: &[u8] = b"work";

/// A layer that was applied to what is below it.
struct Made {
    layer: Dir,
    content: Dir,
    scanned: Scanned,
    stream_size: u64,
}

impl Builder<'_> {
    /// Makes the variant of a layer over what is below it, unless it is there.
    pub(super) fn variant(&self, diff_id: &DiffId, below: &Chain) -> Result<LayerId> {
        let id = LayerId::over(diff_id, below.id.as_ref());
        if self.store.has_layer(&id)? {
            return Ok(id);
        }
        let _once = self.store.lock_name(&lock_of(&id))?;
        if !self.store.has_layer(&id)? {
            self.write_variant(&id, diff_id, below)?;
        }
        Ok(id)
    }

    fn write_variant(&self, id: &LayerId, diff_id: &DiffId, below: &Chain) -> Result<()> {
        let staging = self.store.staging()?;
        let mut made = self.make(&staging, diff_id, below, &[])?;
        let split = self.split_links(&made)?;
        if !split.is_empty() {
            for entry in [LAYER, WORK] {
                staging.dir().remove_all(entry)?;
            }
            made = self.make(&staging, diff_id, below, &split)?;
        }
        let Made { layer, scanned, .. } = made;
        self.store
            .describe(&layer, &scanned.tree, scanned.changeset, made.stream_size)?;
        self.store.sync()?;
        failpoint::hit("layer-variant");
        self.store.publish_layer(id, &staging, LAYER)
    }

    /// Applies the layer to what is below it, with some sets of hard links brought up.
    fn make(
        &self,
        staging: &Staging,
        diff_id: &DiffId,
        below: &Chain,
        links: &[&[Vec<u8>]],
    ) -> Result<Made> {
        let layer = staging.dir().create_new_dir(LAYER, 0o700)?;
        let content = layer.create_new_dir(CONTENT, 0o700)?;
        self.root.apply(&content, self.store.marks())?;
        let work = staging.dir().create_new_dir(WORK, 0o700)?;
        let upper = Upper {
            dir: &content,
            work: &work,
        };
        let mount = self.store.mount_over(below, upper)?;
        let root = Root::from_dir(mount.root()?, Access::Plain)?;
        for names in links {
            raise(root.dir(), names)?;
        }
        let stream_size = self.apply(&root, diff_id)?;
        drop((root, mount));
        Ok(Made {
            scanned: scan(&content, self.store.marks())?,
            layer,
            content,
            stream_size,
        })
    }

    /// The sets of hard links below of which something has been taken away, or copied up by itself: be it that nothing of
    /// them is left, other links may have been made to them before. Which they are going to be cannot be told beforehand:
    /// symbolic links of all layers have a say in what a path means.
    fn split_links(&self, made: &Made) -> Result<Vec<&[Vec<u8>]>> {
        let over = Over::new(&made.scanned.changeset, &made.content, self.store)?;
        let mut split = Vec::new();
        for names in &self.links {
            for name in names {
                if over.covers(name)? {
                    split.push(&names[..]);
                    break;
                }
            }
        }
        Ok(split)
    }

    /// Applies the layer; the size of its stream.
    fn apply(&self, root: &Root, diff_id: &DiffId) -> Result<u64> {
        let source = self.provider.open(self.diff_ids.len())?;
        let layers = std::iter::once(Ok((diff_id.0.algorithm(), source)));
        let mut size = 0;
        let options = ApplyOptions::default();
        apply_layers(layers, root, &options, self.progress, |applied| {
            if applied.digest != diff_id.0 {
                let message = format!(
                    "diffid mismatch: expected {diff_id}, got {}",
                    applied.digest
                );
                return Err(Reason::WrongDiffId.error(message));
            }
            size = applied.size;
            Ok(())
        })?;
        Ok(size)
    }
}

/// Makes one file in the upper directory of all names of a file below, and leaves the times of directories alone.
fn raise(root: &Dir, names: &[Vec<u8>]) -> Result<()> {
    let Some((first, others)) = names.split_first() else {
        return Ok(());
    };
    let (parent, first) = split(first);
    let first_dir = root.open_below(parent)?;
    let stat = first_dir.stat(first)?;
    // Setting the times that it has is enough to have it copied.
    set_times(&Inode::Named(&first_dir, first), &stat)?;
    for other in others {
        let (parent, name) = split(other);
        let dir = root.open_below(parent)?;
        let before = dir.stat_self()?;
        dir.remove_all(name)?;
        if !dir.create_link(name, &first_dir, first)? {
            let path = dir.path_of(name);
            let message = format!("link {}: it is being created concurrently", path.display());
            return Err(Error::new(ErrorKind::Busy, message));
        }
        set_times(&Inode::of(&dir), &before)?;
    }
    Ok(())
}

fn set_times(inode: &Inode<'_>, stat: &Stat) -> Result<()> {
    let metadata = Metadata {
        owner: None,
        mode: None,
        xattrs: Vec::new(),
        clear_xattrs: false,
        times: Times {
            atime: stat.atime,
            mtime: stat.mtime,
        },
    };
    inode.apply(&metadata, Rules::default(), &mut |_| {})
}
