//! A view, or what it adds to another, as one layer.
//!
//! Directories, whiteouts, symbolic links, devices and empty files come first, parents before children; then the files,
//! layer by layer in the order in which the source layers have them, so that each of these is read once and nothing is
//! held; then the further names of hard-link sets. The same views give the same bytes.

use std::collections::HashMap;
use std::io::Write;

use filetime::FileTime;

use super::contents::{ContentSink, Wanted};
use super::pairs::{Descend, Pair, Pairs};
use super::tree::{Content, View};
use crate::archive::{Entry, EntryKind, Limits, SMALLEST_HOLE, Writer, parts_between_holes};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::{join, split};
use crate::fs::tree::{Inode, InodeIndex, NodeId, Tree};
use crate::fs::{InodeKind, escape_name};

/// Writes the layer that makes `merged` out of `base`, as an uncompressed tar stream.
///
/// `merged` must be a clone of `base` to which layers were added; with [`View::new`] as the base, the layer is all of it.
/// `read_layer` is called with the number of a layer and must give all files of that layer to the sink
/// ([`copy_contents`](super::copy_contents)): at most once for each layer, in ascending order.
///
/// # Errors
///
/// Fails if the output or `read_layer` does, if a file in `merged` is not where it should be
/// ([`ErrorKind::InvalidData`]), and if a path is longer than an archive may have it ([`ErrorKind::LimitExceeded`]):
/// symbolic links can lead to such places.
pub fn write_layer<W: Write>(
    out: W,
    base: &View,
    merged: &View,
    read_layer: &mut dyn FnMut(usize, &mut dyn ContentSink) -> Result<()>,
) -> Result<W> {
    let mut layer = Layer {
        writer: Writer::new(out),
        base,
        merged,
        names: in_place(base, merged),
        bodies: Vec::new(),
        links: Vec::new(),
    };
    let mut pairs = Pairs::new(base, merged, Descend::New);
    while let Some(pair) = pairs.next() {
        layer.pair(pairs.path(), pair)?;
    }
    layer.write_bodies(read_layer)?;
    layer.write_links()?;
    layer.writer.finish()
}

/// Of inodes with several names, one that is the same in both views, where there is one: the base has it already.
fn in_place(base: &View, merged: &View) -> HashMap<InodeIndex, Vec<u8>> {
    let mut names = HashMap::new();
    let mut pairs = Pairs::new(base, merged, Descend::New);
    while let Some(pair) = pairs.next() {
        if let Some((_, new)) = unchanged(base, merged, pair)
            && is_linked(merged.tree().inode(new))
        {
            let index = merged.tree().inode_index(new);
            let path = || pairs.path().to_vec();
            names.entry(index).or_insert_with(path);
        }
    }
    names
}

/// The two names of a path that has the same inode in both views, if that is no directory.
fn unchanged(base: &View, merged: &View, pair: Pair) -> Option<(NodeId, NodeId)> {
    let (old, new) = (pair.old?, pair.new?);
    let same = base.tree().inode_index(old) == merged.tree().inode_index(new);
    let is_directory = merged.tree().inode(new).kind == InodeKind::Directory;
    (same && !is_directory).then_some((old, new))
}

fn is_linked(inode: &Inode) -> bool {
    inode.nlink > 1
}

/// A file whose content is in a source layer.
struct Body {
    content: Content,
    path: Vec<u8>,
    node: NodeId,
}

struct Layer<'v, W: Write> {
    writer: Writer<W>,
    base: &'v View,
    merged: &'v View,
    /// Of inodes with several names, the one that the others are links to.
    names: HashMap<InodeIndex, Vec<u8>>,
    bodies: Vec<Body>,
    /// Further names, and what they are links to.
    links: Vec<(Vec<u8>, NodeId)>,
}

impl<W: Write> Layer<'_, W> {
    fn pair(&mut self, path: &[u8], pair: Pair) -> Result<()> {
        let Some(new) = pair.new else {
            return self.writer.entry(&whiteout(path)?);
        };
        if unchanged(self.base, self.merged, pair).is_some() {
            return Ok(());
        }
        let tree = self.merged.tree();
        let inode = tree.inode(new);
        if inode.kind == InodeKind::Directory {
            return self.directory(path, pair.old, new);
        }
        if is_linked(inode) {
            let index = tree.inode_index(new);
            if self.names.contains_key(&index) {
                self.links.push((path.to_vec(), new));
                return Ok(());
            }
            self.names.insert(index, path.to_vec());
        }
        match self.merged.content(new).filter(|_| inode.size > 0) {
            Some(content) => {
                let (path, node) = (path.to_vec(), new);
                self.bodies.push(Body {
                    content,
                    path,
                    node,
                });
                Ok(())
            }
            None => self.write(path, new),
        }
    }

    fn directory(&mut self, path: &[u8], old: Option<NodeId>, new: NodeId) -> Result<()> {
        let inode = self.merged.tree().inode(new);
        let is_same = old.is_some_and(|old| {
            let same_atime = self.base.extra(old).atime == self.merged.extra(new).atime;
            let old = self.base.tree().inode(old);
            let key = |inode: &Inode| (inode.kind, inode.mode, inode.uid, inode.gid, inode.mtime);
            key(old) == key(inode) && old.xattrs == inode.xattrs && same_atime
        });
        // What one reader takes for a root without an entry is not what another does.
        let is_said =
            new == Tree::ROOT && self.merged.has_root_entry() && !self.base.has_root_entry();
        if is_same && !is_said {
            return Ok(());
        }
        self.write(path, new)
    }

    /// Writes an entry without content.
    fn write(&mut self, path: &[u8], node: NodeId) -> Result<()> {
        let entry = entry(self.merged, path, node)?;
        self.writer.entry(&entry)
    }

    fn write_bodies(
        &mut self,
        read_layer: &mut dyn FnMut(usize, &mut dyn ContentSink) -> Result<()>,
    ) -> Result<()> {
        let mut bodies = std::mem::take(&mut self.bodies);
        bodies.sort_unstable_by_key(|body| body.content);
        for bodies in bodies.chunk_by(|a, b| a.content.layer == b.content.layer) {
            let Some(first) = bodies.first() else {
                continue;
            };
            let mut sink = Bodies {
                writer: &mut self.writer,
                merged: self.merged,
                left: bodies,
            };
            read_layer(first.content.layer, &mut sink)?;
            if let Some(missing) = sink.left.first() {
                let message = format!(
                    "{}: its layer does not have it any more",
                    escape_name(&missing.path)
                );
                return Err(Error::new(ErrorKind::InvalidData, message));
            }
        }
        Ok(())
    }

    fn write_links(&mut self) -> Result<()> {
        for (path, node) in std::mem::take(&mut self.links) {
            let index = self.merged.tree().inode_index(node);
            let link = checked(self.names.get(&index).cloned().unwrap_or_default())?;
            let entry = Entry {
                kind: EntryKind::HardLink,
                size: 0,
                atime: None,
                link,
                xattrs: Vec::new(),
                ..entry(self.merged, &path, node)?
            };
            self.writer.entry(&entry)?;
        }
        Ok(())
    }
}

/// Takes the files of one source layer to the writer.
struct Bodies<'a, W: Write> {
    writer: &'a mut Writer<W>,
    merged: &'a View,
    /// Those that have not come yet, in the order of the layer.
    left: &'a [Body],
}

impl<W: Write> Bodies<'_, W> {
    /// The entry of a file that is wanted.
    fn wanted(&mut self, number: u64, size: u64) -> Result<Option<Entry>> {
        let Some((body, rest)) = self.left.split_first() else {
            return Ok(None);
        };
        if body.content.entry != number {
            return Ok(None);
        }
        let entry = entry(self.merged, &body.path, body.node)?;
        if entry.size != size {
            let message = format!(
                "{}: has {size} bytes now, {} before",
                escape_name(&body.path),
                entry.size
            );
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        self.left = rest;
        Ok(Some(entry))
    }
}

impl<W: Write> ContentSink for Bodies<'_, W> {
    fn begin(&mut self, number: u64, size: u64) -> Result<bool> {
        let wanted = self.wanted(number, size)?;
        if let Some(entry) = &wanted {
            self.writer.entry(entry)?;
        }
        Ok(wanted.is_some())
    }

    fn begin_sparse(&mut self, number: u64, size: u64, pieces: &[(u64, u64)]) -> Result<Wanted> {
        let Some(entry) = self.wanted(number, size)? else {
            return Ok(Wanted::Nothing);
        };
        let parts = parts_between_holes(pieces, size, SMALLEST_HOLE);
        if parts == [(0, size)] {
            self.writer.entry(&entry)?;
        } else {
            self.writer.sparse_entry(&entry, &parts)?;
        }
        Ok(Wanted::Parts(parts))
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.data(bytes)
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The entry that makes an inode.
fn entry(view: &View, path: &[u8], node: NodeId) -> Result<Entry> {
    let inode = view.tree().inode(node);
    let (kind, suffix) = match inode.kind {
        InodeKind::Directory => (EntryKind::Directory, &b"/"[..]),
        InodeKind::File => (EntryKind::File, &b""[..]),
        InodeKind::Symlink => (EntryKind::Symlink, &b""[..]),
        InodeKind::CharDevice => (EntryKind::CharDevice, &b""[..]),
        InodeKind::BlockDevice => (EntryKind::BlockDevice, &b""[..]),
        InodeKind::Fifo => (EntryKind::Fifo, &b""[..]),
        InodeKind::Socket => {
            let message = format!("{}: an archive has no sockets", escape_name(path));
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    let path = if path.is_empty() {
        b".".to_vec()
    } else {
        [path, suffix].concat()
    };
    Ok(Entry {
        path: checked(path)?,
        kind,
        mode: inode.mode,
        uid: inode.uid,
        gid: inode.gid,
        size: if kind == EntryKind::File {
            inode.size
        } else {
            0
        },
        mtime: inode.mtime,
        atime: view.extra(node).atime,
        link: inode.link.to_vec(),
        device: view.device(node),
        xattrs: inode.xattrs.clone(),
        pieces: None,
    })
}

/// The whiteout of a path (image-spec `layer.md`).
fn whiteout(path: &[u8]) -> Result<Entry> {
    let (dir, name) = split(path);
    Ok(Entry {
        path: checked(join(dir, &[b".wh.", name].concat()))?,
        kind: EntryKind::File,
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: FileTime::zero(),
        atime: None,
        link: Vec::new(),
        device: (0, 0),
        xattrs: Vec::new(),
        pieces: None,
    })
}

/// A path that readers of archives take.
fn checked(path: Vec<u8>) -> Result<Vec<u8>> {
    let limit = Limits::default().path_size;
    if path.len() > limit {
        let message = format!(
            "a path of {} bytes cannot be written; the limit is {limit}",
            path.len()
        );
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    Ok(path)
}
