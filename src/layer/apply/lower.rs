//! Whiteouts: what lower layers had goes, and what the layer itself has written stays.
//!
//! How deep the tree is does not matter: only the deepest directories of the way down are open, and the others are
//! found again by their paths on the way up. Nor does it matter how often a layer hides the same thing: what has been
//! hidden once is remembered.

use super::Applier;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::tree::NodeId;
use crate::fs::{Dir, InodeId, Root, escape_name};
use crate::layer::dirs::{Missing, OpenDir};
use crate::layer::whiteout::Whiteout;

/// How many directories of a way down are open: processes with a limit of 128 open files must be able to unpack.
const OPEN_LEVELS: usize = 32;

impl Applier<'_> {
    pub(super) fn whiteout(&mut self, parent: &[u8], hidden: Whiteout<'_>) -> Result<()> {
        // Where lower layers are in sight, nothing is there to hide, and nothing is made for it.
        let missing = match self.dirs.stacked {
            None => Missing::Leave,
            Some(_) => Missing::MakeToHide,
        };
        let Some(dir) = self
            .dirs
            .get(parent, missing, &mut self.tree, &self.translator)?
        else {
            return Ok(());
        };
        if self.dirs.stacked.is_some() {
            return self.hide_below(&dir, hidden);
        }
        match hidden {
            Whiteout::Name(name) => {
                if dir.dir.try_stat(name)?.is_some() && !self.is_hidden_below(dir.node, name) {
                    self.dirs.touch(&dir)?;
                    self.remove_lower(&dir, name)?;
                }
            }
            Whiteout::Opaque => {
                if !self.tree.is_cleared(dir.node) {
                    self.clear_lower(&dir)?;
                }
            }
        }
        Ok(())
    }

    /// Removes all names in a directory, as far as this layer has not written them.
    pub(super) fn clear_lower(&mut self, dir: &OpenDir) -> Result<()> {
        for name in dir.dir.names()? {
            self.dirs.touch(dir)?;
            self.remove_lower(dir, &name)?;
        }
        self.tree.mark_cleared(dir.node);
        Ok(())
    }

    /// Whether the layer has written a name and hidden what there was below it.
    pub(super) fn is_hidden_below(&self, dir: NodeId, name: &[u8]) -> bool {
        let child = self.tree.child(dir, name);
        child.is_some_and(|child| self.tree.is_written(child) && self.tree.is_cleared(child))
    }

    /// Removes a name as far as this layer has not written it: all of it, nothing, or the other names below it.
    pub(super) fn remove_lower(&mut self, top: &OpenDir, name: &[u8]) -> Result<()> {
        let mut way = Way {
            top,
            path: top.path.clone(),
            levels: Vec::new(),
        };
        self.remove_name(&mut way, name)?;
        while let Some(level) = way.levels.last_mut() {
            if let Some(name) = level.names.pop() {
                self.remove_name(&mut way, &name)?;
            } else {
                self.tree.mark_cleared(level.node);
                way.leave();
            }
        }
        Ok(())
    }

    /// Removes a name in the directory that the way has led to, or goes down into it.
    fn remove_name(&mut self, way: &mut Way<'_>, name: &[u8]) -> Result<()> {
        let node = way.levels.last().map_or(way.top.node, |level| level.node);
        let child = self.tree.child(node, name);
        let Some(child) = child.filter(|&child| self.tree.is_written(child)) else {
            self.dirs.forget();
            way.here(self.root)?.remove_all(name)?;
            return self.remove_node(node, &way.path, name);
        };
        if self.is_hidden_below(node, name) {
            return Ok(());
        }
        if let Some(below) = way.here(self.root)?.open_dir_if_any(name)? {
            way.enter(name, below, child)?;
            let level = way.levels.last().and_then(|level| level.dir.as_ref());
            if let Some(dir) = level {
                self.dirs.touch_dir(dir, &way.path)?;
            }
        }
        Ok(())
    }
}

/// The way from a directory down to one below it.
struct Way<'d> {
    top: &'d OpenDir,
    /// The path of the deepest directory, below the root.
    path: Vec<u8>,
    levels: Vec<Level>,
}

/// A directory on the way.
struct Level {
    /// Only the deepest ones are open.
    dir: Option<Dir>,
    id: InodeId,
    /// How much of the path is that of the directory above.
    parent_length: usize,
    node: NodeId,
    /// What is left to be looked at.
    names: Vec<Vec<u8>>,
}

impl Way<'_> {
    /// The directory that the way has led to.
    fn here(&mut self, root: &Root) -> Result<&Dir> {
        let Some(level) = self.levels.last_mut() else {
            return Ok(&self.top.dir);
        };
        if level.dir.is_none() {
            let found = root.find(&self.path)?;
            let same = found
                .filter(|found| found.path == self.path)
                .map(|it| it.dir);
            level.dir = match same {
                Some(dir) if dir.stat_self()?.id == level.id => Some(dir),
                _ => None,
            };
        }
        level.dir.as_ref().ok_or_else(|| {
            let path = escape_name(&self.path);
            let message = format!("remove below {path}: it was moved concurrently");
            Error::new(ErrorKind::Busy, message)
        })
    }

    fn enter(&mut self, name: &[u8], dir: Dir, node: NodeId) -> Result<()> {
        let parent_length = self.path.len();
        if parent_length > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.levels.push(Level {
            id: dir.stat_self()?.id,
            names: dir.names()?,
            dir: Some(dir),
            parent_length,
            node,
        });
        let deepest = self.levels.len();
        if let Some(level) = deepest
            .checked_sub(OPEN_LEVELS + 1)
            .and_then(|place| self.levels.get_mut(place))
        {
            level.dir = None;
        }
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(level) = self.levels.pop() {
            self.path.truncate(level.parent_length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Access;
    use crate::fs::tree::Tree;

    fn open_count(way: &Way<'_>) -> usize {
        let open = way.levels.iter().filter(|level| level.dir.is_some());
        open.count()
    }

    #[test]
    fn a_long_way_keeps_few_directories_open_and_finds_the_others_again() {
        const DEPTH: usize = 100;
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("d/".repeat(DEPTH))).unwrap();
        let root = Root::open(directory.path(), Access::Plain).unwrap();
        let top = OpenDir::of(root.open_self().unwrap(), Tree::ROOT);
        let mut way = Way {
            top: &top,
            path: Vec::new(),
            levels: Vec::new(),
        };
        for _ in 0..DEPTH {
            let below = way.here(&root).unwrap().open_dir(b"d").unwrap();
            way.enter(b"d", below, Tree::ROOT).unwrap();
            assert!(open_count(&way) <= OPEN_LEVELS);
        }
        assert_eq!(open_count(&way), OPEN_LEVELS);
        for _ in 0..DEPTH {
            let id = way.levels.last().unwrap().id;
            assert_eq!(way.here(&root).unwrap().stat_self().unwrap().id, id);
            assert!(open_count(&way) <= OPEN_LEVELS);
            way.leave();
        }
        assert!(way.path.is_empty());
    }

    #[test]
    fn a_directory_that_was_exchanged_meanwhile_is_not_taken_for_itself() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        let root = Root::open(directory.path(), Access::Plain).unwrap();
        let top = OpenDir::of(root.open_self().unwrap(), Tree::ROOT);
        let mut way = Way {
            top: &top,
            path: Vec::new(),
            levels: Vec::new(),
        };
        let below = root.dir().open_dir(b"d").unwrap();
        way.enter(b"d", below, Tree::ROOT).unwrap();
        std::fs::rename(directory.path().join("d"), directory.path().join("e")).unwrap();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        way.levels[0].dir = None;
        let error = way.here(&root).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
    }
}
