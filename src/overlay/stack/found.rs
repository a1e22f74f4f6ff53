//! A name that was found: where it is, and what it has there.

use std::rc::Rc;

use super::{Shared, check_marks};
use crate::error::{Result, ResultExt};
use crate::fs::names::split;
use crate::fs::xattr::Xattrs;
use crate::fs::{FileReader, Stat};

/// A name, in the topmost layer that has it.
#[derive(Clone, Debug)]
pub struct Found {
    pub(super) shared: Rc<Shared>,
    /// The layer, counted from the topmost.
    pub layer: usize,
    /// What the layer says of it. The number of links is that within the layer, hidden names included.
    pub stat: Stat,
    pub(super) path: Box<[u8]>,
}

impl Found {
    /// Its path in the stack; empty for the root.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Opens a regular file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if it has a mark that says that its content lies elsewhere, [`ErrorKind::InvalidData`](crate::ErrorKind::InvalidData) if it
    /// is no regular file, and those of the file system.
    pub fn open_file(&self) -> Result<FileReader> {
        if self.stat.size > 0 {
            self.xattrs()?;
        }
        let (parent, name) = split(&self.path);
        let dir = self.shared.dir(self.layer, parent)?;
        FileReader::open(&dir, name)
    }

    /// Reads the target of a symbolic link.
    ///
    /// # Errors
    ///
    /// Fails if it is no symbolic link, or if the file system does.
    pub fn read_link(&self) -> Result<Vec<u8>> {
        let (parent, name) = split(&self.path);
        self.shared.dir(self.layer, parent)?.read_link(name)
    }

    /// The attributes that it has in the image, sorted: marks are not among them, and escaped names are as in the image.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if it has a mark that says that its content lies elsewhere, and those of the file system.
    pub fn xattrs(&self) -> Result<Xattrs> {
        let marks = self.shared.marks;
        let stored = self.stored_xattrs()?;
        check_marks(marks, &stored).context(|| {
            let layer = self.shared.dir(self.layer, b"");
            let path = layer.map(|layer| layer.path_of(&self.path));
            format!("look at {}", path.unwrap_or_default().display())
        })?;
        let unescaped = stored.into_iter();
        let mut xattrs: Xattrs = unescaped
            .filter_map(|(name, value)| Some((marks.unescape(name)?, value)))
            .collect();
        xattrs.sort_unstable();
        Ok(xattrs)
    }

    /// The attributes as they are on disk, marks and all.
    pub(crate) fn stored_xattrs(&self) -> Result<Xattrs> {
        if self.path.is_empty() {
            return self.shared.dir(self.layer, b"")?.xattrs_self();
        }
        let (parent, name) = split(&self.path);
        self.shared.dir(self.layer, parent)?.xattrs(name)
    }
}
