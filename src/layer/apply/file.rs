//! Regular files: made, filled as the content comes, given their metadata at the end.

use std::os::fd::AsFd;

use super::{Applier, New, Place, at};
use crate::archive::{Entry, EntryKind};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileWriter, Inode, InodeKind, Metadata};

/// A regular file whose content is coming.
pub(super) struct OpenFile {
    writer: FileWriter,
    place: Place,
    entry: Box<Entry>,
    metadata: Metadata,
}

impl Applier<'_> {
    pub(super) fn begin_file(&mut self, place: Place, entry: Box<Entry>) -> Result<()> {
        let begin = |this: &mut Self| {
            this.size = this.size.saturating_add(entry.size);
            if let Some(limit) = this.options.max_size.filter(|&limit| this.size > limit) {
                let message = format!(
                    "the files of the image have {} bytes or more; the limit is {limit}",
                    this.size
                );
                return Err(
                    Error::new(ErrorKind::LimitExceeded, message).with_hint("see --max-size")
                );
            }
            let mut metadata = this.translator.metadata(&entry)?;
            // Right from birth where possible; with more than the plain bits, or attributes to set, closed until then.
            let plain = entry.mode & !0o777 == 0
                && metadata.xattrs.is_empty()
                && !place.dir.has_default_acl;
            let birth_mode = if plain { entry.mode } else { 0o600 };
            if plain {
                metadata.mode = None;
            }
            let writer = this.make_new(&place, |dir, name| dir.create_file(name, birth_mode))?;
            Ok((writer, metadata))
        };
        let (writer, metadata) = begin(self).map_err(|error| at(&entry.path, error))?;
        self.file = Some(OpenFile {
            writer,
            place,
            entry,
            metadata,
        });
        Ok(())
    }

    pub(super) fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        // Content of what became a whiteout or another type has no file, and goes nowhere.
        let Some(OpenFile {
            writer,
            place,
            entry,
            ..
        }) = &mut self.file
        else {
            return Ok(());
        };
        let path = || place.dir.dir.path_of(&place.name);
        let written = if entry.pieces.is_some() {
            writer.write_at(offset, bytes, path)
        } else {
            writer.append(bytes, path)
        };
        written.map_err(|error| at(&entry.path, error))
    }

    pub(super) fn end(&mut self, sha256: Option<[u8; 32]>) -> Result<()> {
        let Some(OpenFile {
            mut writer,
            place,
            entry,
            metadata,
        }) = self.file.take()
        else {
            return Ok(());
        };
        // A device that became an empty file was no file to the hasher.
        let is_empty_device = self.options.file_digests && entry.kind != EntryKind::File;
        let sha256 = sha256.or(is_empty_device.then_some(EMPTY_SHA256));
        let mut finish = || {
            writer.finish(entry.size, || place.dir.dir.path_of(&place.name))?;
            let inode = Inode::Open(writer.as_fd(), &place.dir.dir, &place.name);
            let kind = InodeKind::File;
            let new = New {
                kind,
                mode: entry.mode,
                size: entry.size,
                link: b"",
                sha256,
                metadata: metadata.clone(),
            };
            self.finish(&place, &inode, new)
        };
        finish().map(|_| ()).map_err(|error| at(&entry.path, error))
    }
}

/// SHA-256 of nothing.
const EMPTY_SHA256: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];
