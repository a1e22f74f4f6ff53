//! ACLs as text: the records `SCHILY.acl.access` and `.default` of star, bsdtar and GNU tar, which some archives have and
//! no `SCHILY.xattr.system.posix_acl_access` beside them.
//!
//! The text is that of acl(5), entries separated by commas or line feeds; star and bsdtar append a fourth field, the id.
//! The value is that of Linux's extended attribute: a version and eight bytes for each entry, little-endian.

/// What the key of such a record begins with.
pub(super) const PREFIX: &[u8] = b"SCHILY.acl.";

/// Version of the attribute's format.
const VERSION: u32 = 2;

/// The id of an entry that has none.
const NO_ID: u32 = u32::MAX;

// Tags of entries, in the order that the kernel wants them in.
const OWNER: u16 = 1;
const USER: u16 = 2;
const OWNING_GROUP: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;

/// What a text says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TextAcl {
    /// This attribute.
    Attribute(&'static [u8], Vec<u8>),
    /// Nothing that the mode does not say.
    Mode,
    /// Nothing that is understood: names without ids, another kind of ACL.
    Unknown,
}

/// Reads a record; `kind` is its key without the prefix.
pub(super) fn read(kind: &[u8], text: &[u8]) -> TextAcl {
    let name: &[u8] = match kind {
        b"access" => b"system.posix_acl_access",
        b"default" => b"system.posix_acl_default",
        _ => return TextAcl::Unknown,
    };
    let Some(mut entries) = std::str::from_utf8(text).ok().and_then(entries) else {
        return TextAcl::Unknown;
    };
    entries.sort_unstable();
    entries.dedup();
    let count = |wanted: u16| entries.iter().filter(|(tag, ..)| *tag == wanted).count();
    let named = count(USER) + count(GROUP);
    let complete = [OWNER, OWNING_GROUP, OTHER].map(count) == [1; 3];
    let has_mask = match count(MASK) {
        0 => named == 0,
        1 => true,
        _ => false,
    };
    // Two entries for one id are no ACL either.
    let distinct = entries
        .windows(2)
        .all(|pair| (pair[0].0, pair[0].1) != (pair[1].0, pair[1].1));
    if !complete || !has_mask || !distinct {
        return TextAcl::Unknown;
    }
    if kind == b"access" && entries.len() == 3 {
        return TextAcl::Mode;
    }
    let mut value = VERSION.to_le_bytes().to_vec();
    for (tag, id, permissions) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    TextAcl::Attribute(name, value)
}

/// The entries: tag, id, permissions; `None` if one of them is not understood.
fn entries(text: &str) -> Option<Vec<(u16, u32, u16)>> {
    text.split([',', '\n'])
        // GNU tar's library appends what the mask leaves of an entry as a comment.
        .map(|entry| entry.split('#').next().unwrap_or_default().trim())
        .filter(|entry| !entry.is_empty())
        .map(entry)
        .collect()
}

fn entry(text: &str) -> Option<(u16, u32, u16)> {
    let mut fields = text.split(':');
    let (tag, name, permissions) = (fields.next()?, fields.next()?, fields.next());
    // `other:r-x` and `mask:r-x` are star's.
    let (name, permissions) = match (tag, permissions) {
        ("other" | "o" | "mask" | "m", None) => ("", name),
        (_, permissions) => (name, permissions?),
    };
    let tag = match (tag, name.is_empty()) {
        ("user" | "u", true) => OWNER,
        ("user" | "u", false) => USER,
        ("group" | "g", true) => OWNING_GROUP,
        ("group" | "g", false) => GROUP,
        ("mask" | "m", true) => MASK,
        ("other" | "o", true) => OTHER,
        _ => return None,
    };
    let id = if name.is_empty() {
        NO_ID
    } else {
        // The id of the archive's maker counts, not whom the name means here.
        let id = fields.next().map_or(name, str::trim);
        id.parse().ok().filter(|id| *id != NO_ID)?
    };
    Some((tag, id, permissions_of(permissions)?))
}

/// Reads `rwx`, with `-` for what is missing, as bits.
fn permissions_of(text: &str) -> Option<u16> {
    text.trim().bytes().try_fold(0, |bits, byte| {
        Some(
            bits | match byte {
                b'r' => 4,
                b'w' => 2,
                b'x' => 1,
                b'-' => 0,
                _ => return None,
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut value = vec![2, 0, 0, 0];
        for (tag, permissions, id) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    #[test]
    fn texts_of_all_writers_are_the_kernels_attribute() {
        let expected = value(&[
            (OWNER, 6, NO_ID),
            (USER, 4, 7),
            (USER, 5, 1000),
            (OWNING_GROUP, 4, NO_ID),
            (GROUP, 0, 10),
            (MASK, 5, NO_ID),
            (OTHER, 0, NO_ID),
        ]);
        for text in [
            // bsdtar and star.
            "user::rw-,group::r--,other::---,mask::r-x,user:lisa:r-x:1000,user:bin:r--:7,group:wheel:---:10",
            "user::rw-\ngroup::r--\nother:---\nmask:r-x\nuser:1000:r-x\nuser:7:r--\ngroup:10:---\n",
            "u::rw-,g::r--,o::---,m::r-x,u:1000:r-x\t#effective:r--,u:7:r--,g:10:---",
        ] {
            let found = read(b"access", text.as_bytes());
            let expected = TextAcl::Attribute(b"system.posix_acl_access", expected.clone());
            assert_eq!(found, expected, "{text}");
        }
        let default = read(b"default", b"user::rwx,group::r-x,other::r-x");
        let expected = value(&[
            (OWNER, 7, NO_ID),
            (OWNING_GROUP, 5, NO_ID),
            (OTHER, 5, NO_ID),
        ]);
        assert_eq!(
            default,
            TextAcl::Attribute(b"system.posix_acl_default", expected)
        );
    }

    #[test]
    fn an_acl_of_the_mode_alone_is_none() {
        assert_eq!(
            read(b"access", b"user::rwx,group::r-x,other::r-x"),
            TextAcl::Mode
        );
    }

    #[test]
    fn what_is_not_understood_is_unknown() {
        for text in [
            "",
            "user::rwx,group::r-x",
            "user::rwx,group::r-x,other::r-x,user:lisa:r-x,mask::rwx",
            "user::rwx,group::r-x,other::r-x,user:1:r-x",
            "user::rwx,group::r-x,other::r-x,user:1:r-x,user:1:rwx,mask::rwx",
            "user::rwz,group::r-x,other::r-x",
            "user::rwx,group::r-x,other::r-x,mask::r,mask::w",
            "user::rwx,group::r-x,other::r-x,user:4294967295:r-x,mask::r",
            "owner@:rwx::allow",
        ] {
            assert_eq!(read(b"access", text.as_bytes()), TextAcl::Unknown, "{text}");
        }
        assert_eq!(
            read(b"ace", b"user::rwx,group::r-x,other::r-x"),
            TextAcl::Unknown
        );
        assert_eq!(
            read(b"access", b"user::rwx,group::r-x,other::r-x\xff"),
            TextAcl::Unknown
        );
    }
}
