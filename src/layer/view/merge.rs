//! One layer onto a view: what `layer/apply/` does on disk, one function for each type of entry.

use std::io::Read;

use oci_cas::Algorithm;

use super::acl;
use super::resolve::{Components, Found, lookup};
use super::tree::{Content, View, ViewOptions, implied_directory};
use crate::archive::{Entry, EntryKind};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::split;
use crate::fs::tree::{Inode, NodeId, Tree};
use crate::fs::{InodeKind, escape_name, xattr};
use crate::layer::attributes::can_hold;
use crate::layer::consumer::Consumer;
use crate::layer::forward_links::{ForwardLink, ForwardLinks, missing_target};
use crate::layer::frame::Step;
use crate::layer::path::relative_path;
use crate::layer::pipeline::{Applied, LayerSource, Unverified, drive, run};
use crate::layer::whiteout::{Whiteout, whiteout};

/// Takes the steps of layers to a view.
pub(super) struct Merger<'v> {
    view: &'v mut View,
    memory_size: u64,
    /// Entries of the current layer so far.
    entry_count: u64,
    /// The file whose content is passing.
    file: Option<NodeId>,
    forward_links: ForwardLinks,
    /// Whether a name was looked for and not found: what a layer below has there would have mattered.
    missed: bool,
    path: Vec<u8>,
}

impl<'v> Merger<'v> {
    pub(super) fn new(view: &'v mut View, memory_size: u64) -> Self {
        Self {
            view,
            memory_size,
            entry_count: 0,
            file: None,
            forward_links: ForwardLinks::default(),
            missed: false,
            path: Vec::new(),
        }
    }

    /// Whether the steps so far would have come to something else on top of other layers. What they came to if not is
    /// there whatever is below, but for the content of directories.
    pub(super) fn needs_lower(&self) -> bool {
        self.missed
    }

    /// Takes an entry; its content goes by.
    pub(super) fn begin(&mut self, entry: &Entry) -> Result<()> {
        let mut path = std::mem::take(&mut self.path);
        relative_path(&mut path, &entry.path);
        let result = self
            .entry(&path, entry)
            .map_err(|error| at(&entry.path, error));
        self.path = path;
        self.entry_count += 1;
        result
    }

    /// The entry is complete; the digest of its content, if there is one.
    pub(super) fn end(&mut self, sha256: Option<[u8; 32]>) {
        if let Some(file) = self.file.take() {
            self.view.inode_mut(file).sha256 = sha256;
        }
    }
}

impl View {
    /// Adds a layer on top, given as an uncompressed tar stream, and says what digest (SHA-256) the stream had.
    ///
    /// On failure part of the layer is in the view.
    ///
    /// # Errors
    ///
    /// Fails if the reader does, if the stream is no sound archive or exceeds a limit, and where
    /// [`unpack_layer`](crate::layer::unpack_layer) would fail for what the layer says: an invalid whiteout, a hard
    /// link to nothing, a loop of symbolic links.
    pub fn add_layer(&mut self, reader: impl Read, options: &ViewOptions) -> Result<Applied> {
        let mut last = None;
        let layers = std::iter::once(Ok((Algorithm::Sha256, Unverified(reader))));
        self.add_layers(layers, options, |applied| {
            last = Some(applied);
            Ok(())
        })?;
        last.ok_or_else(|| Error::new(ErrorKind::Io, "the layer was not read"))
    }

    /// Adds a layer on top, given as its entries without their contents.
    ///
    /// # Errors
    ///
    /// Those of [`View::add_layer`] that come of what the layer says, and of the entries.
    pub(crate) fn add_entries(
        &mut self,
        entries: impl Iterator<Item = Result<Entry>>,
        options: &ViewOptions,
    ) -> Result<()> {
        let mut merger = Merger::new(self, options.memory_size);
        for entry in entries {
            merger.begin(&entry?)?;
            merger.end(None);
        }
        merger.finish_layer()
    }

    /// Adds layers, bottom first. Each comes with the algorithm by which its stream is to be hashed; `on_layer` is
    /// called after each with the result, and may end the work by an error. On failure part of the layers is in the
    /// view.
    ///
    /// # Errors
    ///
    /// As [`View::add_layer`], and with what `on_layer` or [`LayerSource::verdict`] return.
    pub fn add_layers<S: LayerSource>(
        &mut self,
        layers: impl Iterator<Item = Result<(Algorithm, S)>>,
        options: &ViewOptions,
        on_layer: impl FnMut(Applied) -> Result<()> + Send,
    ) -> Result<()> {
        let ViewOptions {
            limits,
            file_digests,
            memory_size,
        } = options;
        run(layers, limits, *file_digests, |framed, empty| {
            drive(
                framed,
                empty,
                &mut Merger::new(self, *memory_size),
                on_layer,
            )
        })
    }
}

impl Consumer for Merger<'_> {
    fn step(&mut self, step: Step, _chunk: &[u8]) -> Result<()> {
        match step {
            Step::Entry(entry) => self.begin(&entry),
            Step::Data { .. } => Ok(()),
            Step::End(sha256) => {
                self.end(sha256);
                Ok(())
            }
        }
    }

    fn finish_layer(&mut self) -> Result<()> {
        for ForwardLink { path, link, .. } in self.forward_links.take() {
            let mut clean = Vec::new();
            relative_path(&mut clean, &path);
            let linked = self
                .place(&clean)
                .and_then(|(dir, name)| self.hard_link(dir, name, &link))
                .map_err(|error| at(&path, error))?;
            if !linked {
                return Err(at(&path, missing_target(&link)));
            }
        }
        self.entry_count = 0;
        self.view.end_layer();
        Ok(())
    }
}

impl Merger<'_> {
    fn entry(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        if path.is_empty() {
            return self.root_entry(entry);
        }
        let (parent, name) = split(path);
        match whiteout(name)? {
            Some(hidden) => self.whiteout(parent, hidden),
            None => self.create(path, entry),
        }
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryKind::Directory {
            let message = "the root must be a directory";
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        self.hold(b"", entry)?;
        self.view.set_root(inode(entry, InodeKind::Directory));
        self.view.extra_mut(Tree::ROOT).atime = entry.atime;
        Ok(())
    }

    fn create(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let (dir, name) = self.place(path)?;
        match entry.kind {
            EntryKind::File => {
                let content = Content {
                    layer: self.view.layer_count(),
                    entry: self.entry_count,
                };
                let made = self.insert(dir, name, entry, InodeKind::File, Some(content))?;
                self.file = Some(made);
            }
            EntryKind::Directory => self.directory(dir, name, entry)?,
            EntryKind::Symlink => {
                if entry.link.is_empty() {
                    let message = "a symbolic link without a target";
                    return Err(Error::new(ErrorKind::InvalidData, message));
                }
                self.insert(dir, name, entry, InodeKind::Symlink, None)?;
            }
            EntryKind::HardLink => {
                if !self.hard_link(dir, name, &entry.link)? {
                    self.missed = true;
                    self.forward_links.push(entry, None)?;
                }
            }
            EntryKind::CharDevice => {
                self.insert(dir, name, entry, InodeKind::CharDevice, None)?;
            }
            EntryKind::BlockDevice => {
                self.insert(dir, name, entry, InodeKind::BlockDevice, None)?;
            }
            EntryKind::Fifo => {
                self.insert(dir, name, entry, InodeKind::Fifo, None)?;
            }
        }
        Ok(())
    }

    fn insert(
        &mut self,
        dir: NodeId,
        name: &[u8],
        entry: &Entry,
        kind: InodeKind,
        content: Option<Content>,
    ) -> Result<NodeId> {
        self.hold(name, entry)?;
        let inode = inode(entry, kind);
        let made = self.view.insert(dir, name, inode, content, entry.device);
        self.view.extra_mut(made).atime = entry.atime;
        Ok(made)
    }

    /// Over a directory, the metadata is replaced and the children stay.
    fn directory(&mut self, dir: NodeId, name: &[u8], entry: &Entry) -> Result<()> {
        let existing = self.view.tree().child(dir, name);
        match existing.filter(|&node| is_directory(self.view.tree(), node)) {
            Some(node) => {
                self.hold(b"", entry)?;
                *self.view.inode_mut(node) = inode(entry, InodeKind::Directory);
                self.view.extra_mut(node).atime = entry.atime;
                self.view.tree_mut().mark_written(node);
            }
            None => {
                self.insert(dir, name, entry, InodeKind::Directory, None)?;
            }
        }
        Ok(())
    }

    /// Makes a hard link. `false` if there is no such target (yet).
    fn hard_link(&mut self, dir: NodeId, name: &[u8], link: &[u8]) -> Result<bool> {
        let mut path = Vec::new();
        relative_path(&mut path, link);
        let (parent, target_name) = split(&path);
        let Found::Node(target_dir) = lookup(self.view.tree(), parent)? else {
            return Ok(false);
        };
        let tree = self.view.tree();
        let target = if target_name.is_empty() {
            Some(Tree::ROOT)
        } else {
            tree.child(target_dir, target_name)
        };
        let Some(target) = target else {
            return Ok(false);
        };
        if is_directory(tree, target) {
            let message = format!("hard link to {}, which is a directory", escape_name(&path));
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        match tree.child(dir, name) {
            // Another spelling of its own name.
            Some(existing) if existing == target => {
                self.view.tree_mut().mark_written(target);
                return Ok(true);
            }
            // Making room for the link takes its target away.
            Some(existing) if is_below(tree, target, existing) => {
                return Err(missing_target(link));
            }
            _ => {}
        }
        self.view.hold(name.len(), self.memory_size)?;
        self.view.insert_link(dir, name, target);
        Ok(true)
    }

    fn whiteout(&mut self, parent: &[u8], hidden: Whiteout<'_>) -> Result<()> {
        // Nothing is there to hide, and nothing is made for it.
        let Found::Node(dir) = lookup(self.view.tree(), parent)? else {
            self.missed = true;
            return Ok(());
        };
        let names = match hidden {
            Whiteout::Name(name) if self.view.tree().child(dir, name).is_none() => return Ok(()),
            Whiteout::Name(name) => vec![name.into()],
            Whiteout::Opaque => child_names(self.view.tree(), dir),
        };
        let tree = self.view.tree_mut();
        // What has been hidden once is not looked at again, however often a layer says so.
        if tree.is_cleared(dir) {
            return Ok(());
        }
        let is_opaque = hidden == Whiteout::Opaque;
        let mut stack = vec![(dir, names)];
        while let Some((dir, names)) = stack.last_mut() {
            let (dir, Some(name)) = (*dir, names.pop()) else {
                let done = stack.pop().map(|(dir, _)| dir);
                if let Some(dir) = done.filter(|_| is_opaque || !stack.is_empty()) {
                    tree.mark_cleared(dir);
                }
                continue;
            };
            match tree.child(dir, &name) {
                Some(child) if tree.is_written(child) && tree.is_cleared(child) => {}
                Some(child) if tree.is_written(child) => {
                    let names = child_names(tree, child);
                    stack.push((child, names));
                }
                _ => tree.remove(dir, &name),
            }
        }
        Ok(())
    }

    /// The directory that an entry goes to, made if need be, and the entry's name in it.
    fn place<'p>(&mut self, path: &'p [u8]) -> Result<(NodeId, &'p [u8])> {
        let (parent, name) = split(path);
        let mut components = Components::new(parent);
        loop {
            match components.walk(self.view.tree())? {
                Found::Node(dir) => return Ok((dir, name)),
                // What is missing is made, and what is in the way and no directory is replaced.
                Found::Obstacle { dir, name } => {
                    self.missed |= self.view.tree().child(dir, &name).is_none();
                    self.view.hold(name.len(), self.memory_size)?;
                    let inode = implied_directory();
                    let made = self.view.insert(dir, &name, inode, None, (0, 0));
                    components.enter(made);
                }
            }
        }
    }

    /// Counts the memory of a new name, or of new metadata.
    fn hold(&mut self, name: &[u8], entry: &Entry) -> Result<()> {
        let xattrs = entry.xattrs.iter();
        let attributes: usize = xattrs.map(|(name, value)| name.len() + value.len()).sum();
        let bytes = name.len() + entry.link.len() + attributes;
        self.view.hold(bytes, self.memory_size)
    }
}

/// The mode, as it is when an access ACL has been set. One that says no more than the mode is not kept.
fn mode_of(mode: u32, xattrs: &mut Vec<(Vec<u8>, Vec<u8>)>) -> u32 {
    let found = xattrs.iter().position(|(name, _)| name == acl::ACCESS);
    let told = found.and_then(|at| Some((at, acl::permissions(&xattrs[at].1)?)));
    let Some((at, (permissions, says_more))) = told else {
        return mode;
    };
    if !says_more {
        xattrs.remove(at);
    }
    mode & !0o777 | permissions
}

/// The inode that an entry means.
fn inode(entry: &Entry, kind: InodeKind) -> Inode {
    let kept = |(name, _): &&(Vec<u8>, Vec<u8>)| !xattr::is_masked(name) && can_hold(kind, name);
    let mut xattrs: Vec<_> = entry.xattrs.iter().filter(kept).cloned().collect();
    xattrs.sort_unstable();
    let mode = mode_of(entry.mode, &mut xattrs);
    let is_link = kind == InodeKind::Symlink;
    Inode {
        kind,
        mode: if is_link { 0o777 } else { mode },
        uid: entry.uid,
        gid: entry.gid,
        size: if is_link {
            entry.link.len() as u64
        } else {
            entry.size
        },
        nlink: 1,
        mtime: entry.mtime,
        link: if is_link {
            entry.link.as_slice().into()
        } else {
            Box::default()
        },
        sha256: None,
        xattrs,
        stat_stamp: None,
    }
}

fn is_directory(tree: &Tree, node: NodeId) -> bool {
    tree.inode(node).kind == InodeKind::Directory
}

fn child_names(tree: &Tree, dir: NodeId) -> Vec<Box<[u8]>> {
    tree.children(dir).map(|(name, _)| name.into()).collect()
}

/// Whether a name is somewhere below another one.
fn is_below(tree: &Tree, mut node: NodeId, above: NodeId) -> bool {
    while node != Tree::ROOT {
        node = tree.parent(node);
        if node == above {
            return true;
        }
    }
    false
}

/// Says which entry an error is about.
fn at(path: &[u8], error: Error) -> Error {
    error.context(format!("entry {}", escape_name(path)))
}
