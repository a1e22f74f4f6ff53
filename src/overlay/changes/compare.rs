//! Whether two inodes are the same to whoever records them: umoci's keywords.

use std::collections::HashMap;

use crate::error::Result;
use crate::fs::xattr::Xattrs;
use crate::fs::{InodeId, InodeKind, Stat};
use crate::overlay::stack::Found;

/// Bytes of each file in memory.
const BUFFER_SIZE: usize = 64 << 10;

/// Compares inodes.
pub(super) struct Comparer {
    /// Whether the newer side was written by fuse-overlayfs, which has attributes of its own.
    fuse: bool,
    buffers: (Vec<u8>, Vec<u8>),
    /// What came out for the contents of inodes, which may have more names.
    contents: HashMap<(InodeId, InodeId), bool>,
}

impl Comparer {
    pub(super) fn new(fuse: bool) -> Self {
        Self {
            fuse,
            buffers: (vec![0; BUFFER_SIZE], vec![0; BUFFER_SIZE]),
            contents: HashMap::new(),
        }
    }

    /// Whether two inodes are told apart by type, mode, owner, whole second of modification, device number, size, target,
    /// attributes or content. Of directories the size is left out: it is that of the table in which a file system keeps
    /// the names. Numbers of links are for the caller to compare.
    pub(super) fn differ(&mut self, old: &Found, new: &Found) -> Result<bool> {
        if !is_same_stat(&old.stat, &new.stat) {
            return Ok(true);
        }
        if old.stat.kind == InodeKind::Symlink {
            return Ok(old.read_link()? != new.read_link()?);
        }
        // As in a manifest, nothing else has attributes.
        if matches!(old.stat.kind, InodeKind::File | InodeKind::Directory)
            && old.xattrs()? != self.xattrs(new)?
        {
            return Ok(true);
        }
        Ok(old.stat.kind == InodeKind::File && !self.is_same_content(old, new)?)
    }

    fn xattrs(&self, new: &Found) -> Result<Xattrs> {
        let mut xattrs = new.xattrs()?;
        if self.fuse {
            xattrs.retain(|(name, _)| !is_of_fuse(name));
        }
        Ok(xattrs)
    }

    /// Whether two files of one size have the same content.
    fn is_same_content(&mut self, old: &Found, new: &Found) -> Result<bool> {
        let key = (old.stat.id, new.stat.id);
        if key.0 == key.1 || old.stat.size == 0 {
            return Ok(true);
        }
        if let Some(same) = self.contents.get(&key) {
            return Ok(*same);
        }
        let (mut old_file, mut new_file) = (old.open_file()?, new.open_file()?);
        let same = loop {
            // Where both have a hole there is nothing to compare.
            let hole = old_file.hole()?.min(new_file.hole()?);
            if hole > 0 {
                old_file.skip(hole);
                new_file.skip(hole);
                continue;
            }
            let piece = old_file.read(&mut self.buffers.0)?;
            if piece != new_file.read(&mut self.buffers.1)? {
                break false;
            }
            if piece.is_empty() {
                break true;
            }
        };
        if old.stat.nlink > 1 || new.stat.nlink > 1 {
            self.contents.insert(key, same);
        }
        Ok(same)
    }
}

/// Owners are compared as they are on disk: an upper directory that is written through an id-mapped mount has the owners
/// of the mount's other side, and it is here that they would be mapped back.
fn is_same_stat(old: &Stat, new: &Stat) -> bool {
    let is_device = matches!(old.kind, InodeKind::CharDevice | InodeKind::BlockDevice);
    old.kind == new.kind
        && old.mode == new.mode
        && (old.uid, old.gid) == (new.uid, new.gid)
        && old.mtime.unix_seconds() == new.mtime.unix_seconds()
        && (old.is_dir() || old.size == new.size)
        && (!is_device || old.rdev == new.rdev)
}

/// Whether an attribute is a mark of fuse-overlayfs: those that it makes as root, or as somebody else.
fn is_of_fuse(name: &[u8]) -> bool {
    [
        &b"user.fuseoverlayfs."[..],
        b"trusted.overlay.",
        b"user.overlay.",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}
