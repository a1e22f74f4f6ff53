//! What the image has where something is inserted: `cp`'s rules, so that nothing of the image is lost silently.
//!
//! | in the image | inserted | |
//! |---|---|---|
//! | directory | directory | merged; the metadata is that of the inserted one, with a warning if mode or owner change |
//! | directory, or a link to one | anything of another type | refused |
//! | anything else of another type | anything | replaced, with a warning |
//! | the same type | | replaced |
//!
//! A target that ends in a slash is a directory: what is not one is put into it under its own name, and a symbolic link to
//! a directory is followed.

use super::pack::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::{join, parents, split};
use crate::fs::tree::{Inode, NodeId, Tree};
use crate::fs::{InodeKind, Stat, escape_name};
use crate::layer::view::View;

/// What is going to be inserted, as far as it is compared.
#[derive(Clone, Copy)]
pub(super) struct New {
    pub kind: InodeKind,
    pub mode: u32,
    /// `None` where the attributes on disk decide.
    pub owner: Option<(u32, u32)>,
}

/// What an image has, and what has been inserted into it since.
pub(super) struct Target {
    view: View,
    /// Whether to keep account of what is inserted: more is to come that may lead there.
    records: bool,
}

impl Target {
    pub(super) fn new(view: View, records: bool) -> Self {
        Self { view, records }
    }

    /// Where something goes, and what of the image that loses. `target` is clean and relative; `is_directory` says that
    /// it was spelled as one. `name` is the source's own name.
    pub(super) fn place(
        &self,
        target: &[u8],
        is_directory: bool,
        name: Option<&[u8]>,
        kind: InodeKind,
    ) -> Result<Vec<u8>> {
        if !is_directory {
            return Ok(target.to_vec());
        }
        let found = self.view.resolve(target)?;
        let base = match found {
            Some(node) if self.is_directory(node) => self.view.path_of(node),
            Some(node) => {
                let what = describe(self.view.tree().inode(node));
                return Err(refuse(
                    target,
                    &format!("it is {what} in the image, not a directory"),
                ));
            }
            None => target.to_vec(),
        };
        match name {
            Some(name) if kind != InodeKind::Directory => Ok(join(&base, name)),
            _ => Ok(base),
        }
    }

    /// Whether the image has a directory at a path, or a link, which must not become one.
    pub(super) fn has_parent(&self, path: &[u8]) -> Result<bool> {
        let found = self.view.resolve_parent(path)?;
        Ok(found.is_some_and(|node| {
            let kind = self.view.tree().inode(node).kind;
            matches!(kind, InodeKind::Directory | InodeKind::Symlink)
        }))
    }

    /// Makes sure that every directory above a path can be one: what is in the way of it would be lost.
    pub(super) fn check_above(&self, path: &[u8]) -> Result<()> {
        for parent in parents(path) {
            match self.view.resolve(parent)? {
                None => return Ok(()),
                Some(node) if self.is_directory(node) => {}
                Some(node) => {
                    let what = describe(self.view.tree().inode(node));
                    let why = format!("/{} is {what} in the image", escape_name(parent));
                    return Err(refuse(path, &why));
                }
            }
        }
        Ok(())
    }

    /// What of the image an entry replaces that is worth a warning.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`] where a directory, or the way to one, would be lost.
    pub(super) fn check(&self, path: &[u8], new: New) -> Result<Option<String>> {
        let kind = new.kind;
        let Some(node) = self.view.resolve_parent(path)? else {
            return Ok(None);
        };
        let old = self.view.tree().inode(node);
        if old.kind == kind {
            return Ok(changed_directory(old, new));
        }
        if old.kind == InodeKind::Directory {
            let names = match self.view.tree().children(node).count() {
                0 => "an empty directory".to_owned(),
                1 => "a directory with 1 name in it".to_owned(),
                count => format!("a directory with {count} names in it"),
            };
            let why = format!("the image has {names} there, which would be lost");
            return Err(refuse(path, &why).with_hint(SLASH_HINT));
        }
        let what = describe(old);
        let leads_to_directory = old.kind == InodeKind::Symlink
            && matches!(self.view.resolve(path), Ok(Some(node)) if self.is_directory(node));
        if leads_to_directory {
            let why =
                format!("the image has {what} there, which leads to a directory and would be lost");
            return Err(refuse(path, &why).with_hint(SLASH_HINT));
        }
        Ok(Some(format!("it replaces {what} of the image")))
    }

    /// Whether nothing is at a path, so that whatever is inserted below it replaces nothing.
    pub(super) fn is_new(&self, path: &[u8]) -> Result<bool> {
        Ok(self.view.resolve(path)?.is_none())
    }

    /// Notes that something has been inserted.
    pub(super) fn added(&mut self, path: &[u8], stat: &Stat, place: Place<'_>) -> Result<()> {
        if !self.records {
            return Ok(());
        }
        let Some((dir, name)) = self.directory(path)? else {
            return Ok(());
        };
        let is_there = self.view.tree().child(dir, name);
        if stat.is_dir() && is_there.is_some_and(|node| self.is_directory(node)) {
            return Ok(());
        }
        let mut inode = Inode::of(stat);
        if let (InodeKind::Symlink, Place::Name(dir, name)) = (stat.kind, place) {
            inode.link = dir.read_link(name)?.into();
        }
        self.view.insert(dir, name, inode, None, (0, 0));
        Ok(())
    }

    /// Notes that a path is hidden, or with `opaque` all that is in it.
    pub(super) fn hidden(&mut self, path: &[u8], opaque: bool) -> Result<()> {
        if opaque {
            if let Some(dir) = self.view.resolve(path)? {
                let children = self.view.tree().children(dir);
                let names: Vec<Vec<u8>> = children.map(|(name, _)| name.to_vec()).collect();
                for name in &names {
                    self.view.remove(dir, name);
                }
            }
        } else if let (parent, name) = split(path)
            && let Some(dir) = self.view.resolve(parent)?
        {
            self.view.remove(dir, name);
        }
        Ok(())
    }

    /// The directory that a path is in, made where it is missing.
    fn directory<'p>(&mut self, path: &'p [u8]) -> Result<Option<(NodeId, &'p [u8])>> {
        let name = split(path).1;
        let mut dir = Tree::ROOT;
        for parent in parents(path) {
            dir = match self.view.resolve(parent)? {
                Some(node) => node,
                None if self.view.resolve_parent(parent)?.is_none() => {
                    self.view.insert_directory(dir, split(parent).1)
                }
                // A link to nothing: whatever unpacking makes of it.
                None => return Ok(None),
            };
        }
        Ok(Some((dir, name)))
    }

    fn is_directory(&self, node: NodeId) -> bool {
        self.view.tree().inode(node).kind == InodeKind::Directory
    }
}

const SLASH_HINT: &str = "with a slash at its end the target is a directory to insert into; `insert --whiteout` removes what is there";

fn refuse(path: &[u8], why: &str) -> Error {
    let message = format!("insert at /{}: {why}", escape_name(path));
    Error::new(ErrorKind::AlreadyExists, message)
}

fn describe(inode: &Inode) -> String {
    match inode.kind {
        InodeKind::File => format!("a file of {} bytes", inode.size),
        InodeKind::Directory => "a directory".to_owned(),
        InodeKind::Symlink => format!("a symbolic link to {}", escape_name(&inode.link)),
        InodeKind::CharDevice | InodeKind::BlockDevice => "a device".to_owned(),
        InodeKind::Fifo => "a pipe".to_owned(),
        InodeKind::Socket => "a socket".to_owned(),
    }
}

/// What an entry changes of a directory of the image.
fn changed_directory(old: &Inode, new: New) -> Option<String> {
    let owner = new.owner.unwrap_or((old.uid, old.gid));
    let is_same = old.mode == new.mode && (old.uid, old.gid) == owner;
    if old.kind != InodeKind::Directory || is_same {
        return None;
    }
    Some(format!(
        "the directory of the image with mode {:04o} and owner {}:{} gets {:04o} and {}:{}",
        old.mode, old.uid, old.gid, new.mode, owner.0, owner.1
    ))
}
