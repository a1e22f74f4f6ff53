//! Variants: a layer made once more, over the layers below it, because it reaches into them.
//!
//! The layers below are mounted with an empty directory on top, the layer is applied to that as to any root, and what
//! overlayfs has put into the upper directory is the variant. So a variant is right by construction, but for one thing:
//! overlayfs copies a file up by one name, and its other names stay behind. Sets of hard links that the layer takes part
//! in are therefore brought up as a whole beforehand.

use std::collections::BTreeSet;

use super::scan::scan;
use super::{Builder, Over, clean};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::mount::Upper;
use crate::fs::{Access, Dir, Inode, Metadata, Root, Rules, Stat, Times, fault};
use crate::image::DiffId;
use crate::layer::{ApplyOptions, above, apply_layers, split};
use crate::store::chain::Chain;
use crate::store::id::LayerId;
use crate::store::layer::{CONTENT, LAYER};
use crate::store::reason::Reason;
use crate::store::unpack::{lock_of, make_dir};

/// The directory that overlayfs works in.
const WORK: &[u8] = b"work";

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
        let layer = make_dir(staging.dir(), LAYER)?;
        let content = make_dir(&layer, CONTENT)?;
        self.root.apply(&content, self.store.marks())?;
        let work = make_dir(staging.dir(), WORK)?;
        let upper = Upper {
            dir: &content,
            work: &work,
        };
        let mount = self.store.mount_over(below, upper)?;
        let root = Root::from_dir(mount.root()?, Access::Plain)?;
        self.raise_links(&root, diff_id)?;
        let stream_size = self.apply(&root, diff_id)?;
        drop((root, mount));
        drop(work);
        let scanned = scan(&content, self.store.marks())?;
        self.store
            .describe(&layer, &scanned.tree, scanned.changeset, stream_size)?;
        self.store.sync()?;
        fault::point("layer-variant");
        self.store.publish_layer(id, &staging, LAYER)
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

    /// Copies up, as a whole, each set of hard links that the layer hides a name of or links to.
    fn raise_links(&self, root: &Root, diff_id: &DiffId) -> Result<()> {
        let plain = self.store.layer(&LayerId::of(diff_id))?;
        let (meta, content) = (plain.meta()?, plain.content()?);
        let over = Over::new(&meta.changeset, &content, self.store)?;
        let links = &meta.changeset.links_below;
        let targets: BTreeSet<Vec<u8>> = links.iter().map(|link| clean(&link.target)).collect();
        // They hide what has their names, but are not in the layer.
        let links: BTreeSet<&[u8]> = links.iter().map(|link| &link.path[..]).collect();
        // Behind a symbolic link of its own or of those below, the layer's paths are not those that it changes or links to:
        // any set may take part.
        let mut leads_elsewhere = false;
        for target in &targets {
            let (parent, _) = split(target);
            let found = root.find(parent)?;
            leads_elsewhere |= found.is_none_or(|found| found.path != parent);
        }
        let implied = meta.changeset.implied.iter().map(|dir| &dir.path);
        for path in implied.chain(&meta.changeset.passed) {
            let found = root.find(path)?;
            leads_elsewhere |= found.is_some_and(|found| found.path != *path);
        }
        for names in &self.links {
            // What such a layer links to is not all listed.
            let mut takes_part = leads_elsewhere || meta.changeset.needs_below;
            for name in names {
                takes_part = takes_part
                    || targets.contains(name)
                    || above(name).chain([&name[..]]).any(|at| links.contains(at))
                    || over.covers(name)?;
            }
            if takes_part {
                raise(root.dir(), names)?;
            }
        }
        Ok(())
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
            let message = format!("link {}: somebody else makes it", path.display());
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
