//! Symbolic links, pipes and devices.

use super::{Applier, New, Place};
use crate::archive::Entry;
use crate::error::Result;
use crate::fs::InodeKind;

impl Applier<'_> {
    pub(super) fn symlink(&mut self, place: &Place, entry: &Entry) -> Result<()> {
        let metadata = self.translator.metadata(entry)?;
        self.make_new(place, |dir, name| {
            Ok(dir.create_symlink(name, &entry.link)?.then_some(()))
        })?;
        let (kind, size) = (InodeKind::Symlink, entry.link.len() as u64);
        let new = New {
            kind,
            mode: 0o777,
            size,
            link: &entry.link,
            sha256: None,
            metadata,
        };
        self.finish(place, &place.inode(), new).map(|_| ())
    }

    pub(super) fn node(&mut self, place: &Place, entry: &Entry, kind: InodeKind) -> Result<()> {
        let device = entry.device;
        let mut metadata = self.translator.metadata(entry)?;
        let plain = entry.mode & !0o777 == 0 && !place.dir.has_default_acl;
        let birth_mode = if plain { entry.mode } else { 0o600 };
        if plain {
            metadata.mode = None;
        }
        self.make_new(place, |dir, name| {
            Ok(dir
                .create_node(name, kind, birth_mode, device)?
                .then_some(()))
        })?;
        let new = New {
            kind,
            mode: entry.mode,
            size: 0,
            link: b"",
            sha256: None,
            metadata,
        };
        self.finish(place, &place.inode(), new).map(|_| ())
    }
}
