//! A layer without those below it, in the form that overlayfs stacks: what the plain unpack removes is said to be hidden,
//! and what it finds in lower layers is left for later.
//!
//! Whiteouts become device nodes at the end of the layer only, when it is known which of them still hide something: an
//! entry of the same name needs none, nor does anything in a directory that is hidden as a whole, where nobody would
//! take them for whiteouts.

use super::{Applier, Place};
use crate::archive::{Entry, EntryKind};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::join;
use crate::fs::names::split;
use crate::fs::tree::{NodeId, Tree};
use crate::fs::{InodeKind, Root, XattrNamespace};
use crate::layer::dirs::{Missing, OpenDir};
use crate::layer::lower_dependencies::{LinkBelow, LowerDependencies};
use crate::layer::notes::{DESCRIBED, FRESH, GIVES_WAY, HOLDS_LINK, OPAQUE};
use crate::layer::options::ApplyOptions;
use crate::layer::path::relative_path;
use crate::layer::stacked::{Stacked, note};
use crate::layer::whiteout::Whiteout;
use crate::progress::Progress;

impl<'a> Applier<'a> {
    /// Applies one layer, without those below it, to an empty root.
    pub(in crate::layer) fn stacked(
        root: &'a Root,
        options: &'a ApplyOptions,
        marks: XattrNamespace,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let mut applier = Self::new(root, options, progress)?;
        applier.translator = applier.translator.escaping(marks);
        applier.dirs.stacked = Some(Stacked::new(marks));
        Ok(applier)
    }

    /// Ends the work: the record of what was made, and what it says about the layers below.
    pub(in crate::layer) fn into_changeset(mut self) -> Result<(Tree, LowerDependencies)> {
        let stacked = self.dirs.stacked.take();
        let changeset = stacked.map(|stacked| stacked.changeset).unwrap_or_default();
        Ok((self.into_tree()?, changeset))
    }

    /// Notes that a directory which is there has an entry of its own.
    pub(super) fn described(&mut self, node: NodeId) {
        if self.dirs.stacked.is_some() {
            note(&mut self.tree, node, DESCRIBED);
        }
    }

    /// Refuses a device that overlayfs would take for a whiteout, also where nothing is applied any more: over the layers
    /// below, the kernel would not say why it makes none.
    pub(super) fn check_device(&self, entry: &Entry) -> Result<()> {
        let is_device = entry.kind == EntryKind::CharDevice && entry.device == (0, 0);
        if !is_device || self.dirs.stacked.is_none() || self.translator.devices_are_files() {
            return Ok(());
        }
        let message = "a character device 0:0: overlayfs would take it for a whiteout";
        let error = Error::new(ErrorKind::Unsupported, message);
        Err(error.with_hint("unpack the image without --overlay"))
    }

    fn is_directory(&self, node: Option<NodeId>) -> bool {
        node.is_some_and(|node| self.tree.inode(node).kind == InodeKind::Directory)
    }

    /// Whether a directory was made only to hide something in it: what has its name in lower layers may be another thing.
    pub(super) fn is_only_for_marks(&self, dir: NodeId, name: &[u8]) -> bool {
        let node = self.tree.child(dir, name);
        self.dirs.stacked.is_some() && node.is_some_and(|node| !self.tree.is_written(node))
    }

    /// Notes what a whiteout hides, and removes what the layer itself has only made for other whiteouts, as the plain
    /// unpack removes what it finds there.
    pub(super) fn hide_below(&mut self, dir: &OpenDir, hidden: Whiteout<'_>) -> Result<()> {
        if self.tree.is_cleared(dir.node) {
            return Ok(());
        }
        let opaque = match hidden {
            Whiteout::Opaque => {
                self.clear_lower(dir)?;
                Some(dir.node)
            }
            Whiteout::Name(name) => {
                if self.is_hidden_below(dir.node, name) {
                    return Ok(());
                }
                if self.is_directory(self.tree.child(dir.node, name)) {
                    self.dirs.touch(dir)?;
                    self.remove_lower(dir, name)?;
                }
                let left = self.tree.child(dir.node, name);
                let path = join(&dir.path, name);
                if let (None, Some(stacked)) = (left, &mut self.dirs.stacked)
                    && !stacked.is_waiting(&path)
                {
                    stacked.hide(path)?;
                }
                left.filter(|_| self.is_directory(left))
            }
        };
        if let Some(node) = opaque.filter(|&node| self.tree.notes(node) & FRESH == 0) {
            note(&mut self.tree, node, OPAQUE);
        }
        Ok(())
    }

    /// Makes the whiteouts that are still needed when everything else of the layer is there.
    pub(super) fn make_whiteouts(&mut self) -> Result<()> {
        let Some(stacked) = &mut self.dirs.stacked else {
            return Ok(());
        };
        let gone = stacked.take_gone();
        let mut whiteouts = Vec::new();
        for path in gone {
            let (parent, name) = split(&path);
            // A link hides the name, once it is there.
            let is_link = |stacked: &Stacked| stacked.is_waiting(&path);
            let parent_node = self.tree.find(parent);
            let needed = self.is_directory(parent_node)
                && parent_node.is_some_and(|node| {
                    self.tree.child(node, name).is_none() && !self.tree.is_cleared(node)
                });
            if !needed || self.dirs.stacked.as_ref().is_some_and(is_link) {
                continue;
            }
            let dir = self
                .dirs
                .get(parent, Missing::Leave, &mut self.tree, &self.translator)?;
            let made = match &dir {
                None => false,
                Some(dir) => {
                    self.dirs.touch(dir)?;
                    dir.dir.create_whiteout(name)?
                }
            };
            if !made {
                let path = self.root.dir().path_of(&path);
                let message = format!(
                    "create whiteout {}: the directory is being modified concurrently",
                    path.display()
                );
                return Err(Error::new(ErrorKind::Busy, message));
            }
            whiteouts.push(path.into_vec());
        }
        if let Some(stacked) = &mut self.dirs.stacked {
            stacked.whiteouts = whiteouts;
        }
        Ok(())
    }

    /// Keeps a hard link whose target is not there (yet). If it may be in a lower layer, the link is as good as made: its
    /// directory has been written.
    pub(super) fn wait_for_target(&mut self, place: &Place, entry: &Entry) -> Result<()> {
        let Some(stacked) = &self.dirs.stacked else {
            return self.forward_links.push(entry, None);
        };
        let mut target = Vec::new();
        relative_path(&mut target, &entry.link);
        if !stacked.may_be_below(&self.tree, &target) {
            return self.forward_links.push(entry, None);
        }
        if stacked.leads_on(&self.tree, &target) {
            self.leave_to_below();
            return Ok(());
        }
        self.tree.mark_written(place.dir.node);
        note(&mut self.tree, place.dir.node, HOLDS_LINK);
        if let Some(existing) = self.tree.child(place.dir.node, &place.name) {
            if self.is_only_for_marks(place.dir.node, &place.name) {
                self.clear(place)?;
            } else if self.is_directory(Some(existing)) {
                self.leave_to_below();
                return Ok(());
            } else {
                note(&mut self.tree, existing, GIVES_WAY);
            }
        }
        let path = join(&place.dir.path, &place.name);
        let stacked = self.dirs.stacked.as_mut();
        let below = stacked.map(|stacked| stacked.wait(path, target));
        self.forward_links.push(entry, below)
    }

    /// Ends the wait of a link whose target may be below. If it is in the layer by now, the link is made; in either case
    /// it is listed, because a target below is what it means.
    pub(super) fn late_link_below(
        &mut self,
        below: LinkBelow,
        path: &[u8],
        link: &[u8],
    ) -> Result<()> {
        let (parent, name) = split(&below.path);
        let dir = self.tree.find(parent);
        // Another directory may have taken the place of the one that the link was in.
        let is_lost = dir.is_none_or(|dir| self.tree.notes(dir) & HOLDS_LINK == 0);
        let existing = dir.and_then(|dir| self.tree.child(dir, name));
        let newer = existing.filter(|&node| self.tree.notes(node) & GIVES_WAY == 0);
        let target = self.link_target(link)?;
        // A directory that has come where the target was is none.
        let target = target.filter(|(_, stat)| !stat.is_dir());
        if target.is_some() {
            if newer.is_some() || is_lost {
                self.leave_to_below();
                return Ok(());
            }
            self.late_link(path, link)?;
            if let Some(made) = self.tree.find(&below.path) {
                note(&mut self.tree, made, GIVES_WAY);
            }
        } else {
            if newer.is_some() || is_lost {
                // If it was found below, the link was replaced; if it was not, the layer is wrong.
                self.leave_to_below();
                return Ok(());
            }
            if existing.is_some() {
                self.clear_at(parent, name)?;
            }
        }
        if let Some(stacked) = &mut self.dirs.stacked {
            stacked.links_below.push(below);
        }
        Ok(())
    }

    /// Gives up an entry that means one thing or another, as the layers below decide, and all that come after it. `false`
    /// if these layers are in sight.
    pub(super) fn leave_to_below(&mut self) -> bool {
        if let Some(stacked) = &mut self.dirs.stacked {
            stacked.needs_below = true;
        }
        self.dirs.stacked.is_some()
    }

    /// Whether an entry was given up.
    pub(super) fn is_left_to_below(&self) -> bool {
        let stacked = self.dirs.stacked.as_ref();
        stacked.is_some_and(|stacked| stacked.needs_below)
    }

    /// Gives up an entry that leads in a circle or to nothing: where a directory of the layer is a symbolic link below, or
    /// what a link of the layer leads through, it may lead elsewhere. If it does not, it fails there.
    pub(super) fn or_leave_to_below(&mut self, made: Result<()>) -> Result<()> {
        match made {
            Err(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::NotFound) => {
                if self.leave_to_below() {
                    return Ok(());
                }
                Err(error)
            }
            made => made,
        }
    }

    /// Forgets a name that was removed on disk, if it was there, and all below it.
    pub(super) fn remove_node(&mut self, dir: NodeId, path: &[u8], name: &[u8]) -> Result<()> {
        if let Some(stacked) = &mut self.dirs.stacked
            && let Some(node) = self.tree.child(dir, name)
        {
            stacked.remove(&self.tree, node, join(path, name))?;
        }
        self.tree.remove(dir, name);
        Ok(())
    }

    /// Removes a name of the layer.
    fn clear_at(&mut self, parent: &[u8], name: &[u8]) -> Result<()> {
        let dir = self
            .dirs
            .get(parent, Missing::Leave, &mut self.tree, &self.translator)?;
        let Some(dir) = dir else { return Ok(()) };
        self.dirs.touch(&dir)?;
        let name = name.to_vec();
        self.clear(&Place { dir, name })
    }
}
