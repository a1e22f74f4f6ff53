//! What is mounted: `/proc/self/mountinfo`, read as bytes.
//!
//! A line reads `id parent major:minor root target options [optional...] - type source super-options`; space, tab, line
//! feed and backslash are written as a backslash and three octal digits.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// One mount in the mount namespace of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Id of the mount, which the kernel gives again to another one when this is gone.
    pub id: u64,
    /// Id of the mount that it is mounted on.
    pub parent: u64,
    /// Device number, major and minor, that files on it show.
    pub device: (u32, u32),
    /// The directory of the file system that is mounted.
    pub root: PathBuf,
    /// Where it is mounted, as this process sees it.
    pub target: PathBuf,
    /// Options of the mount, separated by commas: `rw,nodev`.
    pub options: String,
    /// Type of the file system: `overlay`, `fuse.fuse-overlayfs`.
    pub file_system: String,
    /// What the file system says that it is mounted from; anything, for overlays.
    pub source: Vec<u8>,
    /// Options of the file system, separated by commas.
    pub super_options: Vec<u8>,
}

/// What is mounted, in the order of the kernel: a mount comes after the one that it is mounted on.
///
/// # Errors
///
/// Fails if `/proc` is missing or does not read as described in proc(5).
pub fn mounts() -> Result<Vec<MountEntry>> {
    const TABLE: &str = "/proc/self/mountinfo";
    let table = std::fs::read(TABLE).map_err(|error| Error::io("read", TABLE, error))?;
    let lines = table.split(|&byte| byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            parse(line).ok_or_else(|| {
                let line = super::super::escape_name(line);
                Error::new(ErrorKind::InvalidData, format!("read {TABLE}: {line:?}"))
            })
        })
        .collect()
}

/// The mount that is seen at a path, the uppermost if there are several.
pub fn at_target<'t>(table: &'t [MountEntry], target: &Path) -> Option<&'t MountEntry> {
    table.iter().rev().find(|entry| entry.target == target)
}

/// The mounts from a source.
pub fn from_source<'t>(
    table: &'t [MountEntry],
    source: &'t [u8],
) -> impl Iterator<Item = &'t MountEntry> {
    table.iter().filter(move |entry| entry.source == source)
}

fn parse(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mut next = || fields.next();
    let (id, parent) = (number(next()?)?, number(next()?)?);
    let mut device = next()?.split(|&byte| byte == b':');
    let device = (
        u32::try_from(number(device.next()?)?).ok()?,
        u32::try_from(number(device.next()?)?).ok()?,
    );
    let (root, target, options) = (path(next()?), path(next()?), text(next()?));
    while next()? != b"-" {}
    Some(MountEntry {
        id,
        parent,
        device,
        root,
        target,
        options,
        file_system: text(next()?),
        source: unescape(next()?),
        super_options: unescape(next()?),
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Whoever mounts by FUSE chooses part of the type; no bytes of theirs may keep others from reading the table.
fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// Undoes the escapes. What is no escape stays as it is.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let octal = |digit: &u8| (b'0'..=b'7').contains(digit);
        match after {
            [a @ b'0'..=b'3', b, c, after @ ..] if byte == b'\\' && octal(b) && octal(c) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_and_without_optional_fields() {
        let line = br"36 35 98:0 /mnt1 /a\040b\134c\012d rw,noatime shared:1 master:2 - overlay bundle:key rw,lowerdir=/x\054";
        let entry = parse(line).unwrap();
        assert_eq!((entry.id, entry.parent, entry.device), (36, 35, (98, 0)));
        assert_eq!(entry.root, Path::new("/mnt1"));
        assert_eq!(entry.target, Path::new("/a b\\c\nd"));
        assert_eq!(entry.options, "rw,noatime");
        assert_eq!(entry.file_system, "overlay");
        assert_eq!(entry.source, b"bundle:key");
        assert_eq!(entry.super_options, b"rw,lowerdir=/x,");
        let bare = parse(b"1 1 0:2 / / rw - rootfs rootfs rw").unwrap();
        assert_eq!(bare.target, Path::new("/"));
    }

    #[test]
    fn bytes_that_are_no_text_are_read_too() {
        let entry = parse(b"1 1 0:2 / /\xff rw - fuse.\xff \xff rw").unwrap();
        assert_eq!(entry.file_system, "fuse.\u{fffd}");
        assert_eq!(entry.source, b"\xff");
    }

    #[test]
    fn malformed_lines_are_refused() {
        for line in [
            "",
            "1",
            "x 1 0:2 / / rw - a b c",
            "1 1 0 / / rw - a b c",
            "1 1 0:2 / / rw a b c",
            "1 1 0:2 / / rw - a b",
            "1 1 0:4294967296 / / rw - a b c",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn only_escapes_of_three_octal_digits_are_undone() {
        assert_eq!(unescape(br"\040\1\18 \477\\134"), br" \1\18 \477\\");
    }

    #[test]
    fn the_uppermost_of_several_mounts_is_the_one_seen() {
        let line = |id| parse(format!("{id} 1 0:2 / /x rw - overlay s rw").as_bytes()).unwrap();
        let table = [line(5), line(6)];
        assert_eq!(at_target(&table, Path::new("/x")).unwrap().id, 6);
        assert_eq!(at_target(&table, Path::new("/y")), None);
        assert_eq!(from_source(&table, b"s").count(), 2);
    }

    #[test]
    fn this_machines_table_can_be_read() {
        let table = mounts().unwrap();
        assert!(at_target(&table, Path::new("/proc")).is_some());
    }
}
