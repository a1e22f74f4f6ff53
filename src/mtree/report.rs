//! How a directory differs from a manifest, and the lines that tell it.

use std::fmt::{self, Write as _};

/// One path that differs. Its [`Display`](fmt::Display) form is the line that `raw mtree-validate` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The manifest has the path, the directory does not.
    Missing {
        /// Relative to the root, raw bytes; `.` is the root.
        path: Vec<u8>,
    },
    /// The directory has the path, the manifest does not.
    Extra {
        /// Relative to the root, raw bytes; `.` is the root.
        path: Vec<u8>,
    },
    /// Both have the path, with different values.
    Modified {
        /// Relative to the root, raw bytes; `.` is the root.
        path: Vec<u8>,
        /// Key, value in the manifest, value in the directory; at least one, in the order of
        /// [`Keyword`](super::Keyword).
        keywords: Vec<(String, Option<String>, Option<String>)>,
    },
}

impl Difference {
    /// The path, relative to the root, raw bytes; `.` is the root.
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Missing { path } | Self::Extra { path } | Self::Modified { path, .. } => path,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = Quoted(self.path());
        match self {
            Self::Missing { .. } => write!(f, "{path}: missing path"),
            Self::Extra { .. } => write!(f, "{path}: unexpected path"),
            Self::Modified { keywords, .. } => {
                let Some((key, old, new)) = keywords.first() else {
                    return write!(f, "{path}: modified");
                };
                let key = Quoted(key.as_bytes());
                let old = old.as_deref().unwrap_or_default();
                let new = new.as_deref().unwrap_or_default();
                write!(f, "{path}: keyword {key}: expected {old}; got {new}")
            }
        }
    }
}

/// Bytes quoted as Go's `%q` does: printable Unicode as it is, the rest as escapes.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            chunk.valid().chars().try_for_each(|c| write_char(c, f))?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str("\"")
    }
}

fn write_char(c: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match c {
        '"' => f.write_str("\\\""),
        '\\' => f.write_str("\\\\"),
        '\x07' => f.write_str("\\a"),
        '\x08' => f.write_str("\\b"),
        '\x0c' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\x0b' => f.write_str("\\v"),
        c if is_printable(c) => f.write_char(c),
        c => match u32::from(c) {
            code @ ..0x80 => write!(f, "\\x{code:02x}"),
            code @ ..0x1_0000 => write!(f, "\\u{code:04x}"),
            code => write!(f, "\\U{code:08x}"),
        },
    }
}

/// Go's `IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII blank.
fn is_printable(c: char) -> bool {
    // The standard library knows it, but tells it only through its debug form. There a mark is escaped if it comes
    // first, so it must not; quotes are, but they are dealt with already.
    let mut buffer = [b'-', 0, 0, 0, 0];
    let length = 1 + c.encode_utf8(&mut buffer[1..]).len();
    str::from_utf8(&buffer[..length])
        .is_ok_and(|text| c == '\'' || text.escape_debug().nth(1) == Some(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_as_go_quotes_them() {
        for (raw, quoted) in [
            (&b"usr/bin"[..], r#""usr/bin""#),
            (b"it's \"a\\b\"", r#""it's \"a\\b\"""#),
            (
                b"\x00\x07\x08\x0c\n\r\t\x0b\x1b\x7f",
                r#""\x00\a\b\f\n\r\t\v\x1b\x7f""#,
            ),
            ("ü\u{301}漢".as_bytes(), "\"ü\u{301}漢\""),
            (
                "\u{a0}\u{200b}\u{e0001}".as_bytes(),
                r#""\u00a0\u200b\U000e0001""#,
            ),
            (b"a\xff\xc3", r#""a\xff\xc3""#),
        ] {
            assert_eq!(Quoted(raw).to_string(), quoted);
        }
    }

    #[test]
    fn lines_are_those_of_umoci_with_the_first_difference_only() {
        let path = b"d/\n".to_vec();
        let missing = Difference::Missing { path: path.clone() };
        assert_eq!(missing.to_string(), r#""d/\n": missing path"#);
        let extra = Difference::Extra { path: path.clone() };
        assert_eq!(extra.to_string(), r#""d/\n": unexpected path"#);
        let keywords = vec![
            (
                "size".to_owned(),
                Some("1".to_owned()),
                Some("2".to_owned()),
            ),
            ("mode".to_owned(), None, None),
        ];
        let modified = Difference::Modified {
            path: path.clone(),
            keywords,
        };
        assert_eq!(
            modified.to_string(),
            r#""d/\n": keyword "size": expected 1; got 2"#
        );
        let keywords = vec![("sha1digest".to_owned(), None, Some("ab".to_owned()))];
        let modified = Difference::Modified { path, keywords };
        assert_eq!(
            modified.to_string(),
            r#""d/\n": keyword "sha1digest": expected ; got ab"#
        );
    }
}
