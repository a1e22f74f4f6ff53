//! PAX records: which an entry needs, and their bytes.

use super::block::{NAME, fits_octal, is_ascii};
use super::size;
use crate::archive::{Entry, Limits};
use crate::{Error, ErrorKind, Result};
use filetime::FileTime;
use std::io::Write;

/// The records of one entry, in buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Records {
    body: Vec<u8>,
    /// The key of an attribute.
    key: Vec<u8>,
    /// The value of a number or time.
    value: Vec<u8>,
    /// The order of the attributes, where they are not sorted.
    order: Vec<usize>,
}

impl Records {
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Gathers the records of an entry, sorted by key. Says whether it needs them: a long name that can be split does
    /// not by itself, but if anything else does, has a record as well.
    pub(super) fn gather(&mut self, entry: &Entry, can_split: bool) -> Result<bool> {
        self.body.clear();
        self.gather_more(entry, can_split)
    }

    /// The same for a sparse file: `entry` is what the archive has, name and size are the file's.
    pub(super) fn gather_sparse(&mut self, entry: &Entry, name: &[u8], size: u64) -> Result<()> {
        self.body.clear();
        append(&mut self.body, b"GNU.sparse.major", b"1");
        append(&mut self.body, b"GNU.sparse.minor", b"0");
        append(&mut self.body, b"GNU.sparse.name", name);
        let size = size.to_string();
        append(&mut self.body, b"GNU.sparse.realsize", size.as_bytes());
        self.gather_more(entry, false).map(drop)
    }

    fn gather_more(&mut self, entry: &Entry, can_split: bool) -> Result<bool> {
        self.xattrs(entry)?;
        // In the order of the keys; capitals come first, so the attributes do.
        if let Some(atime) = entry.atime {
            self.time("atime", atime);
        }
        self.number("gid", 8, entry.gid.into());
        if too_much(&entry.link) {
            append(&mut self.body, b"linkpath", &entry.link);
        }
        if !fits_time(entry.mtime) {
            self.time("mtime", entry.mtime);
        }
        let before_path = self.body.len();
        if too_much(&entry.path) {
            append(&mut self.body, b"path", &entry.path);
        }
        let path_size = self.body.len() - before_path;
        self.number("size", 12, size(entry));
        self.number("uid", 8, entry.uid.into());
        let limit = Limits::default().header_size;
        if self.body.len() as u64 > limit {
            let message = format!(
                "names and attributes of {} bytes: readers take {limit} at most",
                self.body.len()
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(self.body.len() > path_size || (path_size > 0 && !can_split))
    }

    fn xattrs(&mut self, entry: &Entry) -> Result<()> {
        let xattrs = &entry.xattrs;
        self.order.clear();
        self.order.extend(0..xattrs.len());
        self.order.sort_unstable_by_key(|&index| &xattrs[index].0);
        for &index in &self.order {
            let (name, value) = &xattrs[index];
            if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
                let message = format!(
                    "the name of extended attribute \"{}\" cannot be written: it is empty or has a '=' or a NUL",
                    name.escape_ascii()
                );
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
            self.key.clear();
            self.key.extend_from_slice(b"SCHILY.xattr.");
            self.key.extend_from_slice(name);
            append(&mut self.body, &self.key, value);
        }
        Ok(())
    }

    fn number(&mut self, key: &str, width: usize, value: u64) {
        if !fits_octal(width, value) {
            self.value.clear();
            print(&mut self.value, format_args!("{value}"));
            append(&mut self.body, key.as_bytes(), &self.value);
        }
    }

    fn time(&mut self, key: &str, time: FileTime) {
        let nanos = i128::from(time.nanoseconds());
        let exact = i128::from(time.unix_seconds()) * 1_000_000_000 + nanos;
        let sign = if exact < 0 { "-" } else { "" };
        let (whole, part) = (exact.abs() / 1_000_000_000, exact.abs() % 1_000_000_000);
        self.value.clear();
        print(&mut self.value, format_args!("{sign}{whole}"));
        if part != 0 {
            print(&mut self.value, format_args!(".{part:09}"));
            while self.value.ends_with(b"0") {
                self.value.pop();
            }
        }
        append(&mut self.body, key.as_bytes(), &self.value);
    }
}

fn too_much(text: &[u8]) -> bool {
    text.len() > NAME || !is_ascii(text)
}

fn fits_time(time: FileTime) -> bool {
    time.nanoseconds() == 0
        && u64::try_from(time.unix_seconds()).is_ok_and(|seconds| fits_octal(12, seconds))
}

/// Appends `LEN key=value\n`, where LEN counts itself.
fn append(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    // The digits of the sum may be one more than those of the rest.
    if digits(length) > digits(rest) {
        length = rest + digits(length);
    }
    print(body, format_args!("{length} "));
    body.extend_from_slice(key);
    body.push(b'=');
    body.extend_from_slice(value);
    body.push(b'\n');
}

fn digits(value: usize) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

fn print(buffer: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a `Vec` cannot fail.
    let _ = buffer.write_fmt(text);
}
