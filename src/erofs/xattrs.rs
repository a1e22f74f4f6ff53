//! Extended attributes: an area behind each inode, and one for what several inodes have.
//!
//! ```text
//! area behind an inode: header (12 bytes) | ids of shared entries (4 each) | entries
//! entry: length of the name, prefix, length of the value (`struct erofs_xattr_entry`) | name without prefix | value | to 4
//! ```

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::fs::escape_name;

/// Prefixes of names, and their numbers (`EROFS_XATTR_INDEX_*`). A name of an ACL is all prefix.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];
const ENTRY_SIZE: usize = 4;
/// Bytes of the header of an area (`struct erofs_xattr_ibody_header`).
const HEADER_SIZE: usize = 12;
/// `h_shared_count` has 8 bits.
const MAX_SHARED: usize = 255;
/// Limit of the kernel for a whole name (`XATTR_NAME_MAX`).
const MAX_NAME: usize = 255;

/// An attribute: name and value.
type Attribute = (Vec<u8>, Vec<u8>);

/// How often an attribute was seen, and its id: place in the shared area, in units of 4 bytes.
#[derive(Debug, Default)]
struct Seen {
    times: u32,
    id: Option<u32>,
}

/// The attributes that more than one inode has.
#[derive(Debug, Default)]
pub(super) struct Shared<'t> {
    /// By name and value.
    known: HashMap<(&'t [u8], &'t [u8]), Seen>,
    /// Those seen twice, in the order in which they were.
    area: Vec<u8>,
}

impl<'t> Shared<'t> {
    /// Takes the attributes of an inode into account.
    pub(super) fn count(&mut self, xattrs: &'t [Attribute]) -> Result<()> {
        for (name, value) in xattrs {
            let seen = self.known.entry((name, value)).or_default();
            seen.times += 1;
            if seen.times == 2 {
                // A place beyond 16 GiB has no number; it is kept with each inode.
                seen.id = u32::try_from(self.area.len() / 4).ok();
                if seen.id.is_some() {
                    entry(name, value, &mut self.area)?;
                }
            }
        }
        Ok(())
    }

    /// The shared area.
    pub(super) fn area(&self) -> &[u8] {
        &self.area
    }

    /// Bytes of the area behind an inode.
    pub(super) fn area_size(&self, xattrs: &[Attribute]) -> Result<u64> {
        Ok(self.encode(xattrs)?.len() as u64)
    }

    /// The area behind an inode; empty if it has no attributes.
    pub(super) fn encode(&self, xattrs: &[Attribute]) -> Result<Vec<u8>> {
        if xattrs.is_empty() {
            return Ok(Vec::new());
        }
        let (mut ids, mut entries) = (Vec::new(), Vec::new());
        for (name, value) in xattrs {
            let known = self.known.get(&(name.as_slice(), value.as_slice()));
            match known.and_then(|seen| seen.id) {
                Some(id) if ids.len() < MAX_SHARED => ids.push(id),
                _ => entry(name, value, &mut entries)?,
            }
        }
        let mut out = vec![0; HEADER_SIZE];
        out[4] = u8::try_from(ids.len()).unwrap_or_default();
        out.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        out.append(&mut entries);
        area_count(out.len())?;
        Ok(out)
    }
}

/// `i_xattr_icount` of an area.
pub(super) fn area_count(size: usize) -> Result<u16> {
    if size == 0 {
        return Ok(0);
    }
    u16::try_from((size - HEADER_SIZE) / 4 + 1).map_err(|_| {
        let message = format!("its attributes take {size} bytes; the limit is 262148");
        Error::new(ErrorKind::LimitExceeded, message)
    })
}

fn entry(name: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let known = PREFIXES.iter().find(|(prefix, _)| match prefix.last() {
        Some(b'.') => name.len() > prefix.len() && name.starts_with(prefix),
        _ => name == *prefix,
    });
    let Some((prefix, number)) = known else {
        let message = format!("EROFS cannot keep the attribute {}", escape_name(name));
        return Err(Error::new(ErrorKind::Unsupported, message));
    };
    let rest = &name[prefix.len()..];
    let lengths = (u8::try_from(rest.len()), u16::try_from(value.len()));
    let (Ok(name_length), Ok(value_length)) = lengths else {
        return Err(too_long(name, value));
    };
    if name.len() > MAX_NAME {
        return Err(too_long(name, value));
    }
    out.reserve(ENTRY_SIZE + rest.len() + value.len() + 3);
    out.extend([name_length, *number]);
    out.extend(value_length.to_le_bytes());
    out.extend(rest);
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    Ok(())
}

fn too_long(name: &[u8], value: &[u8]) -> Error {
    let message = format!(
        "the attribute {} has a name of {} bytes and a value of {}; the limits are {MAX_NAME} and 65535",
        escape_name(&name[..name.len().min(64)]),
        name.len(),
        value.len()
    );
    Error::new(ErrorKind::LimitExceeded, message)
}
