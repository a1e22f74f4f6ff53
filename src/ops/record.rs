//! The mtree record of a root that was just made, from what making it has told.

use std::io::Write;
use std::path::Path;

use crate::error::Result;
use crate::fs::tree::{NodeId, Tree};
use crate::fs::{InodeKind, probe};
use crate::mtree::{Attributes, Header, UMOCI_KEYWORDS, Writer};

/// Writes the record of a tree as umoci does. `rootfs` is the path that the header shows.
pub(super) fn write(out: impl Write, tree: &Tree, rootfs: &Path) -> Result<()> {
    let header = Header {
        user: probe::is_superuser().then(|| "root".to_owned()),
        machine: probe::host_name(),
        tree: rootfs.display().to_string(),
        date: Some(Header::format_date(&jiff::Zoned::now())),
    };
    let mut writer = Writer::new(out, UMOCI_KEYWORDS, &header)?;
    writer.enter(b".", &attributes(tree, Tree::ROOT))?;
    // By hand, not by calls: a tree may be deeper than the stack.
    let mut levels = vec![subdirectories(&mut writer, tree, Tree::ROOT)?];
    while let Some(level) = levels.last_mut() {
        if let Some((name, dir)) = level.pop() {
            writer.enter(name, &attributes(tree, dir))?;
            levels.push(subdirectories(&mut writer, tree, dir)?);
        } else {
            writer.leave()?;
            levels.pop();
        }
    }
    writer.finish()?;
    Ok(())
}

/// Writes what is in a directory but for its subdirectories, and returns these, last one first.
fn subdirectories<'t, W: Write>(
    writer: &mut Writer<W>,
    tree: &'t Tree,
    dir: NodeId,
) -> Result<Vec<(&'t [u8], NodeId)>> {
    let mut subdirectories = Vec::new();
    for (name, node) in tree.children(dir) {
        if tree.inode(node).kind == InodeKind::Directory {
            subdirectories.push((name, node));
        } else {
            writer.leaf(name, &attributes(tree, node))?;
        }
    }
    subdirectories.reverse();
    Ok(subdirectories)
}

fn attributes(tree: &Tree, node: NodeId) -> Attributes<'_> {
    let inode = tree.inode(node);
    Attributes {
        kind: inode.kind,
        size: inode.size,
        uid: inode.uid,
        gid: inode.gid,
        mode: inode.mode,
        nlink: inode.nlink,
        mtime: inode.mtime,
        link: &inode.link,
        sha256: inode.sha256,
        xattrs: &inode.xattrs,
        other: Vec::new(),
    }
}
