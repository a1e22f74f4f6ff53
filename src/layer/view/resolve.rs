//! Paths inside a view: what [`Root::resolve`](crate::fs::Root::resolve) does on disk.
//!
//! Component by component, symbolic links read and put in front of the rest, absolute targets starting at the root, `..`
//! never going above it, and at most 40 links a path.

use super::tree::View;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::tree::{NodeId, Tree};
use crate::fs::{InodeKind, escape_name};

/// How many symbolic links one path may lead through: the kernel's own limit.
const MAX_LINKS: usize = 40;

/// How many components the targets of these links may have together: 40 links of the longest targets would lead through
/// 80,000 for each entry of an archive.
const MAX_LINKED: usize = 8192;

/// Where a path leads.
pub(super) enum Found {
    /// To this name.
    Node(NodeId),
    /// To a name in this directory that is missing, or that is neither a directory nor a symbolic link.
    Obstacle { dir: NodeId, name: Box<[u8]> },
}

/// A path on its way.
pub(super) struct Components {
    /// The name reached.
    here: NodeId,
    /// Paths to be walked, the last one first, and how much of each is done.
    rest: Vec<(Box<[u8]>, usize)>,
    links: usize,
    /// Components of the links' targets.
    linked: usize,
}

impl Components {
    pub(super) fn new(path: &[u8]) -> Self {
        Self {
            here: Tree::ROOT,
            rest: vec![(path.into(), 0)],
            links: 0,
            linked: 0,
        }
    }

    /// Walks on from an obstacle that has become a directory.
    pub(super) fn enter(&mut self, dir: NodeId) {
        self.here = dir;
    }

    /// Walks to the end, or to the next obstacle.
    pub(super) fn walk(&mut self, tree: &Tree) -> Result<Found> {
        while let Some((path, at)) = self.rest.last_mut() {
            let rest = &path[(*at).min(path.len())..];
            if rest.is_empty() {
                self.rest.pop();
                continue;
            }
            let end = rest.iter().position(|&byte| byte == b'/');
            let name = &rest[..end.unwrap_or(rest.len())];
            *at += name.len() + 1;
            match name {
                b"" | b"." => {}
                b".." => self.here = tree.parent(self.here),
                _ => {
                    let child = tree.child(self.here, name);
                    match child.map(|child| (child, tree.inode(child))) {
                        Some((child, inode)) if inode.kind == InodeKind::Directory => {
                            self.here = child;
                        }
                        Some((_, inode)) if inode.kind == InodeKind::Symlink => {
                            let target = inode.link.clone();
                            self.follow(target)?;
                        }
                        _ => {
                            let (dir, name) = (self.here, name.into());
                            return Ok(Found::Obstacle { dir, name });
                        }
                    }
                }
            }
        }
        Ok(Found::Node(self.here))
    }

    fn follow(&mut self, target: Box<[u8]>) -> Result<()> {
        self.links += 1;
        self.linked += components(&target);
        if self.links > MAX_LINKS || self.linked > MAX_LINKED {
            let path = self.rest.first().map_or(&b""[..], |(path, _)| path);
            let message = format!(
                "resolve {}: more than {MAX_LINKS} symbolic links, or {MAX_LINKED} names in them",
                escape_name(path)
            );
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        if target.starts_with(b"/") {
            self.here = Tree::ROOT;
        }
        self.rest.push((target, 0));
        Ok(())
    }

    /// Whether nothing is left to walk but slashes.
    fn is_at_end(&self) -> bool {
        let left = |(path, at): &(Box<[u8]>, usize)| {
            let rest = &path[(*at).min(path.len())..];
            rest.iter().any(|&byte| byte != b'/')
        };
        !self.rest.iter().any(left)
    }
}

/// How many components a path has.
fn components(path: &[u8]) -> usize {
    path.split(|&byte| byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
        .count()
}

/// Finds the directory that a path means; never makes anything.
pub(super) fn lookup(tree: &Tree, path: &[u8]) -> Result<Found> {
    Components::new(path).walk(tree)
}

impl View {
    /// Finds what a path means, following symbolic links inside the view, also the last one, as a program in a
    /// container would. A path need not begin with a slash; an empty one is the root.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] at more than 40 symbolic links.
    pub fn resolve(&self, path: &[u8]) -> Result<Option<NodeId>> {
        let mut components = Components::new(path);
        Ok(match components.walk(self.tree())? {
            Found::Node(node) => Some(node),
            Found::Obstacle { dir, name } if components.is_at_end() => {
                self.tree().child(dir, &name)
            }
            Found::Obstacle { .. } => None,
        })
    }

    /// Finds what a path means, following symbolic links inside the view, but not the last one, if the path ends in a
    /// name. An empty path is the root.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] at more than 40 symbolic links.
    pub fn resolve_parent(&self, path: &[u8]) -> Result<Option<NodeId>> {
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => path.split_at(slash + 1),
            None => (&b""[..], path),
        };
        if matches!(name, b"" | b"." | b"..") {
            return self.resolve(path);
        }
        Ok(match lookup(self.tree(), parent)? {
            Found::Node(dir) => self.tree().child(dir, name),
            Found::Obstacle { .. } => None,
        })
    }
}
