//! Directories, which are merged with what is there.

use super::{Applier, Place};
use crate::archive::{Entry, EntryKind};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::join;
use crate::fs::{Dir, Metadata, Resolved, tree};
use crate::layer::dirs::{Missing, directory_record};

impl Applier<'_> {
    pub(super) fn directory(&mut self, path: &[u8], place: &Place, entry: &Entry) -> Result<()> {
        let mut metadata = self.translator.metadata(entry)?;
        if let Some(existing) = place.dir.dir.create_dir(&place.name, 0o700)? {
            metadata.clear_xattrs = self.labels || place.dir.has_default_acl || !self.options.fresh;
            return self.new_directory(place, existing, metadata, false);
        }
        metadata.clear_xattrs = true;
        if let Some(existing) = place.dir.dir.open_dir_if_any(&place.name)? {
            let resolved = Resolved {
                dir: existing,
                path: join(&place.dir.path, &place.name),
            };
            let id = resolved.dir.stat_self()?.id;
            self.dirs.forget();
            let open = self.dirs.keep(path, resolved, &mut self.tree)?;
            self.tree.mark_written(open.node);
            self.described(open.node);
            self.dirs.set(&open, id, metadata);
            return Ok(());
        }
        if self.options.keep_dirlinks && self.is_dirlink(place)? {
            return self.keep_dirlink(place, metadata);
        }
        let dir = self.make_new(place, |dir, name| dir.create_dir(name, 0o700))?;
        self.new_directory(place, dir, metadata, true)
    }

    fn new_directory(
        &mut self,
        place: &Place,
        dir: Dir,
        metadata: Metadata,
        replaced: bool,
    ) -> Result<()> {
        let stat = dir.stat_self()?;
        let node = self.tree.insert(
            place.dir.node,
            &place.name,
            directory_record(&metadata, &stat),
        );
        let path = join(&place.dir.path, &place.name);
        if let Some(stacked) = &self.dirs.stacked {
            stacked.made_dir(&mut self.tree, node, &path, replaced);
        }
        let resolved = Resolved {
            dir,
            path: path.clone(),
        };
        // Not under the path as it is written: that may have led through the very link that was just replaced.
        let open = self.dirs.keep(&path, resolved, &mut self.tree)?;
        self.dirs.set(&open, stat.id, metadata);
        Ok(())
    }

    /// Whether a name is a symbolic link that leads, inside the root, to a directory.
    fn is_dirlink(&mut self, place: &Place) -> Result<bool> {
        let path = join(&place.dir.path, &place.name);
        Ok(self.root.find(&path)?.is_some())
    }

    /// Gives the metadata of a directory entry to the symbolic link that stays in its place.
    fn keep_dirlink(&mut self, place: &Place, mut metadata: Metadata) -> Result<()> {
        metadata.mode = None;
        metadata.xattrs.clear();
        metadata.clear_xattrs = false;
        let mut refused = |_| {};
        place
            .inode()
            .apply(&metadata, self.translator.rules(), &mut refused)?;
        let node = match self.tree.child(place.dir.node, &place.name) {
            Some(node) => node,
            None => self.tree.adopt(
                place.dir.node,
                &place.name,
                tree::Inode::of(&place.dir.dir.stat(&place.name)?),
            ),
        };
        let link = self.tree.inode_mut(node);
        (link.uid, link.gid) = metadata.owner.unwrap_or((link.uid, link.gid));
        link.mtime = metadata.times.mtime;
        link.stat_stamp = None;
        self.tree.mark_written(node);
        Ok(())
    }

    pub(super) fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryKind::Directory {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "the root must be a directory",
            ));
        }
        let mut metadata = self.translator.metadata(entry)?;
        metadata.clear_xattrs = true;
        let Some(root) = self
            .dirs
            .get(b"", Missing::Leave, &mut self.tree, &self.translator)?
        else {
            return Ok(());
        };
        let id = root.dir.stat_self()?.id;
        self.described(root.node);
        self.dirs.set(&root, id, metadata);
        Ok(())
    }
}
