//! A layer without those below it, in the form that overlayfs stacks: what the plain unpack removes is said to be hidden,
//! and what it finds in lower layers is left for later.
//!
//! Whiteouts become device nodes at the end of the layer only, when it is known which of them still hide something: an
//! entry of the same name needs none, nor does anything in a directory that is hidden as a whole, where nobody would
//! take them for whiteouts.

use super::{Applier, Place};
use crate::archive::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::tree::{NodeId, Tree};
use crate::fs::{InodeKind, MarkNamespace, Root};
use crate::layer::changeset::{Changeset, LinkBelow};
use crate::layer::dirs::{Missing, OpenDir, join};
use crate::layer::options::ApplyOptions;
use crate::layer::path::{relative_path, split};
use crate::layer::stacked::{DESCRIBED, FRESH, GIVES_WAY, OPAQUE, Stacked, ambiguous_link, note};
use crate::layer::whiteout::Whiteout;
use crate::progress::Progress;

impl<'a> Applier<'a> {
    /// Applies one layer, without those below it, to an empty root.
    pub(in crate::layer) fn stacked(
        root: &'a Root,
        options: &'a ApplyOptions,
        marks: MarkNamespace,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let mut applier = Self::new(root, options, progress)?;
        applier.translator = applier.translator.escaping(marks);
        applier.dirs.stacked = Some(Stacked::new(marks));
        Ok(applier)
    }

    /// Ends the work: the record of what was made, and what it says about the layers below.
    pub(in crate::layer) fn into_changeset(mut self) -> Result<(Tree, Changeset)> {
        let stacked = self.dirs.stacked.take();
        let changeset = stacked.map(|stacked| stacked.changeset).unwrap_or_default();
        Ok((self.into_tree()?, changeset))
    }

    /// Notes that a directory which is there has an entry of its own.
    pub(super) fn described(&mut self, node: NodeId) {
        if self.dirs.stacked.is_some() {
            let notes = self.tree.notes(node) & !GIVES_WAY;
            self.tree.set_notes(node, notes | DESCRIBED);
        }
    }

    fn is_directory(&self, node: Option<NodeId>) -> bool {
        node.is_some_and(|node| self.tree.inode(node).kind == InodeKind::Directory)
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
                if let (None, Some(stacked)) = (left, &mut self.dirs.stacked) {
                    stacked.hide(join(&dir.path, name))?;
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
        // The links hide these names, once they are there.
        let links = stacked.links_below.iter().map(|link| link.path.clone());
        let links: std::collections::HashSet<Vec<u8>> = links.collect();
        let mut whiteouts = Vec::new();
        for path in gone {
            let (parent, name) = split(&path);
            let parent_node = self.tree.find(parent);
            let needed = self.is_directory(parent_node)
                && parent_node.is_some_and(|node| {
                    self.tree.child(node, name).is_none() && !self.tree.is_cleared(node)
                });
            if !needed || links.contains(&*path) {
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
                let message = format!("hide {}: somebody else works there", path.display());
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
        self.tree.mark_written(place.dir.node);
        if let Some(replaced) = self.tree.child(place.dir.node, &place.name) {
            note(&mut self.tree, replaced, GIVES_WAY);
        }
        let path = join(&place.dir.path, &place.name);
        self.forward_links.push(entry, Some(path))
    }

    /// Makes a link whose target came later in the layer, and lists it: with a target below, it is a link to that one.
    /// `below` is the path of the link, without symbolic links.
    pub(super) fn late_link_below(&mut self, below: &[u8], path: &[u8], link: &[u8]) -> Result<()> {
        let (parent, name) = split(below);
        let parent_node = self.tree.find(parent);
        let existing = parent_node.and_then(|node| self.tree.child(node, name));
        let newer = existing.filter(|&node| self.tree.notes(node) & GIVES_WAY == 0);
        if let Some((found, _)) = self.link_target(link)? {
            let target = self.tree.child(found.dir.node, &found.name);
            match (newer, target) {
                (Some(newer), Some(target))
                    if self.tree.inode_index(newer) == self.tree.inode_index(target) =>
                {
                    // Linked once more, when the target was there.
                    return Ok(());
                }
                (Some(_), _) => return Err(ambiguous_link(link)),
                (None, _) => self.late_link(path, link)?,
            }
            let made = self.tree.find(below);
            if let Some(made) = made {
                note(&mut self.tree, made, GIVES_WAY);
            }
        } else {
            if newer.is_some() || !self.is_directory(parent_node) {
                // Whatever the link was, it has been replaced.
                return Ok(());
            }
            if existing.is_some() {
                let dir =
                    self.dirs
                        .get(parent, Missing::Leave, &mut self.tree, &self.translator)?;
                if let Some(dir) = dir {
                    self.dirs.touch(&dir)?;
                    let name = name.to_vec();
                    self.clear(&Place { dir, name })?;
                }
            }
        }
        let mut target = Vec::new();
        relative_path(&mut target, link);
        if let Some(stacked) = &mut self.dirs.stacked {
            stacked.links_below.push(LinkBelow {
                path: below.to_vec(),
                target,
            });
        }
        Ok(())
    }
}
