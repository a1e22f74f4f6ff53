//! Chains of more layers than overlayfs stacks: those so far become one, copied from their view.

use super::Builder;
use super::scan::scan;
use crate::error::Result;
use crate::fs::copy::{CopyOptions, copy_tree};
use crate::fs::failpoint;
use crate::store::id::LayerId;
use crate::store::layer::{CONTENT, LAYER};

impl Builder<'_> {
    /// Makes one layer of those so far.
    pub(super) fn merge(&mut self) -> Result<()> {
        let Some(id) = self.id.as_ref().map(LayerId::merged) else {
            return Ok(());
        };
        if !self.store.has_layer(&id)? {
            self.write_merged(&id)?;
        }
        let meta = self.store.layer(&id)?.meta()?;
        self.layers = vec![id];
        self.attributes.clear();
        self.merged.clear();
        self.links = meta.changeset.link_groups;
        Ok(())
    }

    fn write_merged(&self, id: &LayerId) -> Result<()> {
        self.progress.warn(format_args!(
            "the image has more layers than overlayfs stacks; the lowest {} are copied into one",
            self.diff_ids.len()
        ));
        let staging = self.store.staging()?;
        let layer = staging.dir().create_new_dir(LAYER, 0o700)?;
        let content = layer.create_new_dir(CONTENT, 0o700)?;
        let mount = self.store.mount_view(&self.chain()?)?;
        copy_tree(&mount.root()?, &content, CopyOptions::default())?;
        drop(mount);
        let scanned = scan(&content, self.store.marks())?;
        self.store
            .describe(&layer, &scanned.tree, scanned.changeset, 0)?;
        self.store.sync()?;
        failpoint::hit("layer-merged");
        self.store.publish_layer(id, &staging, LAYER)
    }
}
