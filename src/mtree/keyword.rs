//! The keywords of a manifest: their names, their synonyms, and sets of them.
//!
//! The order of the enum is the order in which differences of one path are told: what a file *is* comes first.

use crate::{Error, ErrorKind, Result};
use std::fmt;

/// One thing that can be recorded of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Keyword {
    /// `type`: file, dir, link, char, block, fifo or socket.
    Type,
    /// `size`: `st_size` in bytes, of every type.
    Size,
    /// `uid`: numeric owner.
    Uid,
    /// `gid`: numeric group.
    Gid,
    /// `uname`: the owner's name, from [`OwnerNames`](super::OwnerNames).
    Uname,
    /// `gname`: the group's name, from [`OwnerNames`](super::OwnerNames).
    Gname,
    /// `mode`: twelve bits in octal with a leading zero.
    Mode,
    /// `link`: target of a symbolic link.
    Link,
    /// `nlink`: number of hard links.
    Nlink,
    /// `flags`: BSD file flags, of which Linux has none.
    Flags,
    /// `time`: modification time with nanoseconds.
    Time,
    /// `tar_time`: modification time in whole seconds, as a plain tar header holds it.
    TarTime,
    /// `md5digest` of the content.
    Md5,
    /// `sha1digest` of the content.
    Sha1,
    /// `sha256digest` of the content.
    Sha256,
    /// `sha384digest` of the content.
    Sha384,
    /// `sha512digest` of the content.
    Sha512,
    /// `sha512256digest` (SHA-512/256) of the content.
    Sha512256,
    /// `ripemd160digest` of the content.
    Ripemd160,
    /// `cksum`: the POSIX checksum of the content, decimal.
    Cksum,
    /// `xattr`: asks for all extended attributes, recorded as `xattr.NAME`.
    Xattr,
}

/// Every keyword with the name that is written, in the order of the enum.
const NAMES: &[(Keyword, &str)] = &[
    (Keyword::Type, "type"),
    (Keyword::Size, "size"),
    (Keyword::Uid, "uid"),
    (Keyword::Gid, "gid"),
    (Keyword::Uname, "uname"),
    (Keyword::Gname, "gname"),
    (Keyword::Mode, "mode"),
    (Keyword::Link, "link"),
    (Keyword::Nlink, "nlink"),
    (Keyword::Flags, "flags"),
    (Keyword::Time, "time"),
    (Keyword::TarTime, "tar_time"),
    (Keyword::Md5, "md5digest"),
    (Keyword::Sha1, "sha1digest"),
    (Keyword::Sha256, "sha256digest"),
    (Keyword::Sha384, "sha384digest"),
    (Keyword::Sha512, "sha512digest"),
    (Keyword::Sha512256, "sha512256digest"),
    (Keyword::Ripemd160, "ripemd160digest"),
    (Keyword::Cksum, "cksum"),
    (Keyword::Xattr, "xattr"),
];

/// Other names under which peers write or ask for a keyword.
const SYNONYMS: &[(Keyword, &str)] = &[
    (Keyword::Md5, "md5"),
    (Keyword::Sha1, "sha1"),
    (Keyword::Sha256, "sha256"),
    (Keyword::Sha384, "sha384"),
    (Keyword::Sha512, "sha512"),
    (Keyword::Sha512256, "sha512256"),
    (Keyword::Ripemd160, "rmd160"),
    (Keyword::Ripemd160, "rmd160digest"),
    (Keyword::Xattr, "xattrs"),
];

/// umoci's ten, in its order: what unpack records and repack compares.
pub const UMOCI_KEYWORDS: &[Keyword] = &[
    Keyword::Size,
    Keyword::Type,
    Keyword::Uid,
    Keyword::Gid,
    Keyword::Mode,
    Keyword::Link,
    Keyword::Nlink,
    Keyword::TarTime,
    Keyword::Sha256,
    Keyword::Xattr,
];

impl Keyword {
    /// The name that is written in a manifest.
    pub fn as_str(self) -> &'static str {
        // The table is in the order of the enum, which a test holds.
        NAMES[self as usize].1
    }

    /// Finds a keyword by its name or a synonym.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        NAMES
            .iter()
            .chain(SYNONYMS)
            .find(|(_, known)| known.as_bytes() == name)
            .map(|(keyword, _)| *keyword)
    }

    /// Whether the value is computed from the content, and so exists for regular files only.
    pub fn is_digest(self) -> bool {
        matches!(
            self,
            Self::Md5
                | Self::Sha1
                | Self::Sha256
                | Self::Sha384
                | Self::Sha512
                | Self::Sha512256
                | Self::Ripemd160
                | Self::Cksum
        )
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parses a list of keywords as `raw mtree-validate -k` takes it: separated by commas, blanks or both, synonyms
/// allowed. The order is kept, a repeated keyword counts once.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] for a word that is no keyword.
pub fn parse_keywords(list: &str) -> Result<Vec<Keyword>> {
    let mut keywords = Vec::new();
    let words = list.split(|c: char| c == ',' || c.is_ascii_whitespace());
    for word in words.filter(|word| !word.is_empty()) {
        let keyword = Keyword::from_name(word.as_bytes()).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("unknown mtree keyword {word:?}"),
            )
        })?;
        if !keywords.contains(&keyword) {
            keywords.push(keyword);
        }
    }
    Ok(keywords)
}

/// A set of keywords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeywordSet(u32);

impl KeywordSet {
    /// Adds a keyword.
    pub fn insert(&mut self, keyword: Keyword) {
        self.0 |= 1 << keyword as u32;
    }

    /// Whether the keyword is in the set.
    pub fn contains(self, keyword: Keyword) -> bool {
        self.0 & (1 << keyword as u32) != 0
    }

    /// The keywords of the set, in the order of the enum.
    pub fn iter(self) -> impl Iterator<Item = Keyword> {
        NAMES
            .iter()
            .map(|(keyword, _)| *keyword)
            .filter(move |keyword| self.contains(*keyword))
    }
}

impl FromIterator<Keyword> for KeywordSet {
    fn from_iter<I: IntoIterator<Item = Keyword>>(keywords: I) -> Self {
        let mut set = Self::default();
        keywords.into_iter().for_each(|keyword| set.insert(keyword));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_is_found_by_its_own_name_and_sits_at_its_place_in_the_table() {
        for (place, (keyword, name)) in NAMES.iter().enumerate() {
            assert_eq!(*keyword as usize, place);
            assert_eq!(keyword.as_str(), *name);
            assert_eq!(Keyword::from_name(name.as_bytes()), Some(*keyword));
        }
    }

    #[test]
    fn a_list_takes_commas_blanks_and_synonyms_and_keeps_the_order() {
        let keywords = parse_keywords(" size,sha256 , xattrs\trmd160,,sha256digest").unwrap();
        assert_eq!(
            keywords,
            [
                Keyword::Size,
                Keyword::Sha256,
                Keyword::Xattr,
                Keyword::Ripemd160
            ]
        );
        assert_eq!(parse_keywords(" , ").unwrap(), []);
    }

    #[test]
    fn an_unknown_word_in_a_list_is_refused_by_name() {
        for list in ["size,nochange", "Size", "xattr.user.foo"] {
            let error = parse_keywords(list).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{list}");
        }
        let error = parse_keywords("size bogus").unwrap_err();
        assert_eq!(error.to_string(), "unknown mtree keyword \"bogus\"");
    }

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        let set: KeywordSet = UMOCI_KEYWORDS.iter().copied().collect();
        for (keyword, _) in NAMES {
            assert_eq!(set.contains(*keyword), UMOCI_KEYWORDS.contains(keyword));
        }
        assert_eq!(set.iter().count(), UMOCI_KEYWORDS.len());
    }
}
