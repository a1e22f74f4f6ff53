//! The body of a PAX header: `LEN key=value\n`, where LEN counts the whole record in decimal (POSIX, pax, "pax Extended
//! Header").
//!
//! Values are bytes and may hold newlines, `=` and NUL; only LEN says where a record ends. Every deviation is an error:
//! a reader that resynchronises at the next newline lets a value smuggle records. A value that is malformed is an error
//! too, but for the access time: it is lost to the next reader anyway, as it is in the header block.

use super::acl::{self, TextAcl};
use super::header::{invalid, owner, show};
use super::limits::Limits;
use super::numeric;
use super::pax_value::{name, size};
use super::sparse::SparseRecords;
use crate::{Error, ErrorKind, Result};
use filetime::FileTime;

/// The attributes that a global header may set for all entries: names and values in bytes. A list of names for one file
/// has at most 64 KiB on Linux, and every entry gets a copy.
const GLOBAL_XATTRS_SIZE: usize = 64 << 10;

/// A list of extended attributes: name and value.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The records of a body, in order.
pub(super) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Splits one record off: key and value.
    fn split(&mut self) -> Result<(&'a [u8], &'a [u8]), &'static str> {
        let digits = self
            .rest
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if digits == 0 {
            return Err("no length");
        }
        if self.rest[0] == b'0' {
            return Err("a length with leading zeros");
        }
        if self.rest.get(digits) != Some(&b' ') {
            return Err("no blank after the length");
        }
        let length = numeric::decimal(&self.rest[..digits])
            .and_then(|length| usize::try_from(length).ok())
            .filter(|&length| length <= self.rest.len())
            .ok_or("a length beyond the end of the header")?;
        if length < digits + 2 {
            return Err("a length too small");
        }
        let (record, rest) = self.rest.split_at(length);
        let Some(text) = record[digits + 1..].strip_suffix(b"\n") else {
            return Err("no newline at the end");
        };
        let equals = text.iter().position(|&byte| byte == b'=').ok_or("no '='")?;
        let (key, value) = (&text[..equals], &text[equals + 1..]);
        if key.is_empty() {
            return Err("no key");
        }
        if key.contains(&0) {
            return Err("a key with a NUL");
        }
        self.rest = rest;
        Ok((key, value))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(self.split().map_err(|reason| {
            let start = &self.rest[..self.rest.len().min(40)];
            self.rest = &[];
            invalid(format!("malformed PAX record {}: {reason}", show(start)))
        }))
    }
}

/// What the records of one key say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Record<T> {
    /// Nothing.
    #[default]
    Absent,
    /// An empty value, which takes back what a global header says.
    Unset,
    /// A value.
    Value(T),
}

impl<T: Copy> Record<T> {
    fn set(&mut self, value: &[u8], read: impl FnOnce(&[u8]) -> Result<T>) -> Result<()> {
        *self = if value.is_empty() {
            Self::Unset
        } else {
            Self::Value(read(value)?)
        };
        Ok(())
    }

    /// The value, `global` where there is none; `None` leaves it to the header block.
    pub(super) fn or(self, global: Self) -> Option<T> {
        match (self, global) {
            (Self::Value(value), _) | (Self::Absent, Self::Value(value)) => Some(value),
            _ => None,
        }
    }
}

/// The records that may be global: those that describe more than one entry with sense.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    pub(super) uid: Record<u32>,
    pub(super) gid: Record<u32>,
    pub(super) mtime: Record<FileTime>,
    pub(super) atime: Record<FileTime>,
    pub(super) xattrs: Xattrs,
    /// ACLs as text, by their keys.
    acls: Xattrs,
}

impl Shared {
    /// Makes attributes of the ACLs that are written as text, where the attribute itself is not written too. What is not
    /// understood keeps its key as a name, so that a warning names it.
    pub(super) fn read_acls(&mut self) {
        let texts = std::mem::take(&mut self.acls).into_iter();
        let read = texts.filter_map(|(key, text)| {
            let kind = key.get(acl::PREFIX.len()..).unwrap_or_default();
            match acl::read(kind, &text) {
                TextAcl::Attribute(name, value) => Some((name.to_vec(), value)),
                TextAcl::Mode => None,
                TextAcl::Unknown => Some((key, text)),
            }
        });
        // Where the attribute is written too, it is the exact form: of equal names the last one counts.
        self.xattrs.splice(0..0, read.collect::<Vec<_>>());
    }

    fn read(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"uid" => self.uid.set(value, |value| id("uid", value)),
            b"gid" => self.gid.set(value, |value| id("gid", value)),
            b"mtime" => self.mtime.set(value, |value| time("mtime", value)),
            b"atime" => {
                // What is no time says nothing, so that another record or the header still counts.
                let _ = self.atime.set(value, |value| time("atime", value));
                Ok(())
            }
            _ => {
                // An attribute may well have an empty value, so that does not unset it.
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if name.is_empty() {
                        return Err(invalid("an extended attribute without a name".to_owned()));
                    }
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else if key.starts_with(acl::PREFIX) && !value.is_empty() {
                    self.acls.push((key.to_vec(), value.to_vec()));
                }
                Ok(())
            }
        }
    }

    /// Takes the records of a global header (`g`).
    ///
    /// As POSIX says, they hold for all entries that follow and say nothing themselves. Left out are `path`, `linkpath`
    /// and `size`: no two entries can share a name, and a common size would frame bodies differently than in readers
    /// that ignore global headers (umoci's among them).
    pub(super) fn read_global(&mut self, body: &[u8]) -> Result<()> {
        for record in Records::new(body) {
            let (key, value) = record?;
            self.read(key, value)?;
        }
        self.read_acls();
        keep_last(&mut self.xattrs);
        let size: usize = self
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if size > GLOBAL_XATTRS_SIZE {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "global extended attributes of {size} bytes: the limit is {GLOBAL_XATTRS_SIZE}"
                ),
            ));
        }
        Ok(())
    }
}

/// The records before one entry (`x`), of one header or more; the last of a key wins.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) shared: Shared,
    pub(super) sparse: SparseRecords,
}

impl Extended {
    pub(super) fn read(&mut self, body: &[u8], limits: &Limits) -> Result<()> {
        for record in Records::new(body) {
            let (key, value) = record?;
            match key {
                b"path" => self.path = name("path", value)?,
                b"linkpath" => self.link = name("linkpath", value)?,
                b"size" if value.is_empty() => self.size = None,
                b"size" => self.size = Some(size("size", value)?),
                _ => match key.strip_prefix(b"GNU.sparse.") {
                    Some(key) => self.sparse.read(key, value, limits)?,
                    None => self.shared.read(key, value)?,
                },
            }
        }
        Ok(())
    }
}

/// Keeps of each name the last value.
pub(super) fn keep_last(xattrs: &mut Xattrs) {
    if xattrs.len() < 2 {
        return;
    }
    // A header can hold fifty thousand of them: never compare each with each.
    let mut seen = std::collections::HashSet::with_capacity(xattrs.len());
    let mut last: Vec<bool> = xattrs
        .iter()
        .rev()
        .map(|(name, _)| seen.insert(name.as_slice()))
        .collect();
    if last.len() != seen.len() {
        xattrs.retain(|_| last.pop().unwrap_or(true));
    }
}

fn id(key: &str, value: &[u8]) -> Result<u32> {
    let (sign, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (-1, digits),
        None => (1, value),
    };
    match numeric::decimal(digits) {
        Some(id) => owner(key, sign * i128::from(id)),
        None => Err(invalid(format!(
            "the PAX {key} {} is not an id, or is too large",
            show(value)
        ))),
    }
}

fn time(key: &str, value: &[u8]) -> Result<FileTime> {
    let (seconds, nanos) = numeric::time(value).ok_or_else(|| {
        invalid(format!(
            "the PAX {key} {} is not a time, or is out of range",
            show(value)
        ))
    })?;
    Ok(FileTime::from_unix_time(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(body: &[u8]) -> Result<Vec<(&[u8], &[u8])>> {
        Records::new(body).collect()
    }

    #[test]
    fn values_may_hold_any_byte() {
        let body = b"17 a=\n9 path=x\n\0\n6 b==\n5 c=\n";
        let found = records(body).unwrap();
        assert_eq!(
            found,
            [
                (&b"a"[..], &b"\n9 path=x\n\0"[..]),
                (b"b", b"="),
                (b"c", b"")
            ]
        );
    }

    #[test]
    fn malformed_records_are_refused() {
        for body in [
            &b"6 path=pwned\n"[..],
            b"9 nokeys\n",
            b"0 a=b\n",
            b"06 a=b\n",
            b"6 a=b",
            b"6 a=bX",
            b"7 a=b\n",
            b"5 =b\n",
            b"2 \n",
            b"1 ",
            b"3 =\n",
            b"a=b\n",
            b" 6 a=b\n",
            b"-6 a=b\n",
            b"+6 a=b\n",
            b"6\ta=b\n",
            b"6",
            b"6 a=b\n\0\0",
            b"6 a=b\n\n",
            b"8 \0k=b\n",
            b"99999999999999999999999999 a=b\n",
            b"18446744073709551616 a=b\n",
        ] {
            let error = records(body).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::InvalidData,
                "{}",
                body.escape_ascii()
            );
        }
    }

    #[test]
    fn of_each_attribute_the_last_value_stays() {
        let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let mut xattrs = vec![
            pair("a", "1"),
            pair("b", "2"),
            pair("a", "3"),
            pair("c", ""),
        ];
        keep_last(&mut xattrs);
        assert_eq!(xattrs, [pair("b", "2"), pair("a", "3"), pair("c", "")]);
    }

    #[test]
    fn ids_that_do_not_fit_are_named() {
        for (value, says) in [
            ("4294968296", "4294968296 does not fit"),
            ("4294967295", "4294967295 is not an id"),
            ("-1", "-1 is negative"),
            ("18446744073709551615", "18446744073709551615 does not fit"),
            ("1.5", "\"1.5\""),
        ] {
            let error = id("uid", value.as_bytes()).unwrap_err();
            assert!(error.chain().contains(says), "{}", error.chain());
        }
        assert_eq!(id("gid", b"4294967294").unwrap(), u32::MAX - 1);
    }
}
