//! Header blocks, field by field as Go's `archive/tar` fills them.

use super::size;
use crate::archive::{Entry, EntryKind};

/// Bytes of the name and of the prefix in a ustar header.
pub(super) const NAME: usize = 100;
const PREFIX: usize = 155;

/// The component that tells a PAX header by its name.
const PAX_NAME: &[u8] = b"PaxHeaders.0";

/// The component that tells the header of a sparse file by its name.
const SPARSE_NAME: &[u8] = b"GNUSparseFile.0";

/// A header block.
pub(super) struct Block(tar::Header);

impl Block {
    /// The block before the records of an entry of this name. It has no device fields.
    pub(super) fn of_records(path: &[u8], size: usize) -> Self {
        let mut block = Self(tar::Header::new_ustar());
        let (name, length) = name_with(PAX_NAME, path);
        text(&mut block.0.as_old_mut().name, &name[..length]);
        block.numbers(0, (0, 0), size as u64, 0);
        block.finish(b'x')
    }

    /// The block of an entry under a name (its own, or the second part of it when there is a prefix). What does not fit
    /// stands in the records before it and is cut here: texts to ASCII and to the field's size, numbers to 0.
    pub(super) fn of_entry(entry: &Entry, prefix: &[u8], name: &[u8]) -> Self {
        let mut block = Self(tar::Header::new_ustar());
        let old = block.0.as_old_mut();
        text(&mut old.name, name);
        text(&mut old.linkname, &entry.link);
        let owner = (entry.uid.into(), entry.gid.into());
        // Before 1970 is as much out of range as after 2242.
        let mtime = u64::try_from(entry.mtime.unix_seconds()).unwrap_or(u64::MAX);
        block.numbers(entry.mode.into(), owner, size(entry), mtime);
        if let Some(ustar) = block.0.as_ustar_mut() {
            octal(&mut ustar.dev_major, entry.device.0.into());
            octal(&mut ustar.dev_minor, entry.device.1.into());
            text(&mut ustar.prefix, prefix);
        }
        block.finish(flag(entry.kind))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn numbers(&mut self, mode: u64, (uid, gid): (u64, u64), size: u64, mtime: u64) {
        let old = self.0.as_old_mut();
        octal(&mut old.mode, mode);
        octal(&mut old.uid, uid);
        octal(&mut old.gid, gid);
        octal(&mut old.size, size);
        octal(&mut old.mtime, mtime);
    }

    /// Sets the type and the checksum: six digits, NUL and a blank, summed with blanks in its place.
    fn finish(mut self, flag: u8) -> Self {
        let old = self.0.as_old_mut();
        old.linkflag = [flag];
        old.cksum = *b"        ";
        let sum: u64 = self.0.as_bytes().iter().map(|&byte| u64::from(byte)).sum();
        octal(&mut self.0.as_old_mut().cksum[..7], sum);
        self
    }
}

fn flag(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::File => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    }
}

/// Splits a name that is too long for its field into prefix and name, at a slash, if both parts fit then.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME || !is_ascii(path) {
        return None;
    }
    let searched = if path.len() > PREFIX + 1 {
        &path[..=PREFIX]
    } else {
        // The slash of a directory stays with its name.
        path.strip_suffix(b"/").unwrap_or(path)
    };
    let slash = searched.iter().rposition(|&byte| byte == b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    let fits = !prefix.is_empty() && !name.is_empty() && name.len() <= NAME;
    fits.then_some((prefix, name))
}

/// The name in the header of a sparse file, whose own stands in the records: no reader without them takes the map for its content.
pub(super) fn sparse_name(path: &[u8]) -> Vec<u8> {
    let (name, length) = name_with(SPARSE_NAME, path);
    name[..length].to_vec()
}

/// The name of the header that precedes an entry: `a/PaxHeaders.0/b` for `a/b`, without what is not ASCII, cut to the
/// field.
fn name_with(component: &[u8], path: &[u8]) -> ([u8; NAME], usize) {
    let file = path
        .iter()
        .rposition(|&byte| byte == b'/')
        .map_or(0, |slash| slash + 1);
    let (directory, file) = path.split_at(file);
    let named = |part: &&[u8]| !part.is_empty() && *part != b".";
    let components = directory
        .split(|&byte| byte == b'/')
        .filter(named)
        .chain([component])
        .chain(Some(file).filter(named));
    let mut name = [0; NAME];
    let mut length = 0;
    let mut append = |bytes: &[u8]| {
        for &byte in bytes.iter().filter(|byte| byte.is_ascii()) {
            if length < NAME {
                name[length] = byte;
                length += 1;
            }
        }
    };
    for (index, component) in components.enumerate() {
        if index > 0 || path.starts_with(b"/") {
            append(b"/");
        }
        append(component);
    }
    while length > 0 && name[length - 1] == b'/' {
        length -= 1;
    }
    (name, length)
}

/// Whether a number fits into an octal field of this width, with a NUL behind it.
pub(super) fn fits_octal(width: usize, value: u64) -> bool {
    value < 1 << (3 * (width - 1))
}

/// Fills a field with octal digits and a NUL; with zeros if the number does not fit.
fn octal(field: &mut [u8], value: u64) {
    let mut rest = if fits_octal(field.len(), value) {
        value
    } else {
        0
    };
    if let Some((last, digits)) = field.split_last_mut() {
        *last = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest & 7) as u8;
            rest >>= 3;
        }
    }
}

/// Fills a field of zeros with the ASCII of a text, as much as fits.
fn text(field: &mut [u8], bytes: &[u8]) {
    let mut ascii = bytes.iter().filter(|byte| byte.is_ascii());
    for (place, &byte) in field.iter_mut().zip(ascii.by_ref()) {
        *place = byte;
    }
    // Where the name of a file is cut behind a slash, some readers would take it for a directory.
    if ascii.next().is_some() && field.ends_with(b"/") {
        let end = field
            .iter()
            .rposition(|&byte| byte != b'/')
            .map_or(0, |last| last + 1);
        field[end] = 0;
    }
}

/// Whether a header has the text as it is.
pub(super) fn is_ascii(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii)
}
