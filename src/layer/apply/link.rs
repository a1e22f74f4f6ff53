//! Hard links, also to names that come later in the layer.

use super::{Applier, Place, at};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::join;
use crate::fs::names::split;
use crate::fs::{Stat, escape_name, tree};
use crate::layer::dirs::Missing;
use crate::layer::forward_links::{ForwardLink, missing_target};
use crate::layer::path::relative_path;

impl Applier<'_> {
    /// Makes the links that have waited for their targets.
    pub(super) fn finish_links(&mut self) -> Result<()> {
        for ForwardLink { path, link, below } in self.forward_links.take() {
            if self.is_left_to_below() {
                break;
            }
            let linked = match below {
                None => self.late_link(&path, &link),
                Some(below) => self.late_link_below(below, &path, &link),
            };
            let linked = linked.map_err(|error| at(&path, error));
            self.or_leave_to_below(linked)?;
        }
        Ok(())
    }

    pub(super) fn late_link(&mut self, path: &[u8], link: &[u8]) -> Result<()> {
        let path = self.clean(path);
        if let Some(place) = self.place(&path)?
            && !self.hard_link(&place, link)?
        {
            return Err(missing_target(link));
        }
        Ok(())
    }

    /// Finds the target of a hard link. `None` if there is none (yet).
    pub(super) fn link_target(&mut self, link: &[u8]) -> Result<Option<(Place, Stat)>> {
        let mut path = Vec::new();
        relative_path(&mut path, link);
        let (parent, name) = split(&path);
        let Some(dir) = self
            .dirs
            .get(parent, Missing::Leave, &mut self.tree, &self.translator)?
        else {
            return Ok(None);
        };
        let target = Place {
            dir,
            name: name.to_vec(),
        };
        let found = if name.is_empty() {
            Some(target.dir.dir.stat_self()?)
        } else {
            target.dir.dir.try_stat(name)?
        };
        let Some(stat) = found else { return Ok(None) };
        if stat.is_dir() && self.is_only_for_marks(target.dir.node, name) {
            return Ok(None);
        }
        Ok(Some((target, stat)))
    }

    /// Makes a hard link. `false` if there is no such target (yet).
    pub(super) fn hard_link(&mut self, place: &Place, link: &[u8]) -> Result<bool> {
        let Some((target, stat)) = self.link_target(link)? else {
            return Ok(false);
        };
        if stat.is_dir() {
            if self.leave_to_below() {
                return Ok(true);
            }
            let path = join(&target.dir.path, &target.name);
            let message = format!("hard link to {}, which is a directory", escape_name(&path));
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        let node = match self.tree.child(target.dir.node, &target.name) {
            Some(node) => node,
            // There before anything was recorded.
            None => self
                .tree
                .adopt(target.dir.node, &target.name, tree::Inode::of(&stat)),
        };
        if target.dir.path == place.dir.path && target.name == place.name {
            // Another spelling of its own name: removing it to make it again would lose it.
            self.tree.mark_written(node);
            return Ok(true);
        }
        self.make_new(place, |dir, name| {
            Ok(dir
                .create_link(name, &target.dir.dir, &target.name)?
                .then_some(()))
        })?;
        self.tree.insert_link(place.dir.node, &place.name, node);
        Ok(true)
    }
}
