//! Names, times and types out of images, as text and as JSON.
//!
//! A name is bytes. In text, what is no printable character is an escape (`\n`, `\x1b`, `\xff`), and a backslash is two.
//! In JSON, a name that is no UTF-8 appears twice: with replacement characters under its own key, and exactly, in
//! base64, under that key with `_base64` behind it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_bundle::fs::InodeKind;
use serde_json::{Map, Value};

use super::quote::quote;

/// A name for people and for scripts that read lines.
pub fn text(name: &[u8]) -> String {
    let quoted = quote(name);
    // Between no quotation marks, these need no escape.
    quoted[1..quoted.len() - 1].replace("\\\"", "\"")
}

/// Sets a member to a name.
pub fn insert(members: &mut Map<String, Value>, key: &str, name: &[u8]) {
    let shown = String::from_utf8_lossy(name).into_owned();
    members.insert(key.to_owned(), shown.into());
    if std::str::from_utf8(name).is_err() {
        members.insert(format!("{key}_base64"), STANDARD.encode(name).into());
    }
}

/// The word for a type.
pub fn kind(kind: InodeKind) -> &'static str {
    match kind {
        InodeKind::File => "file",
        InodeKind::Directory => "directory",
        InodeKind::Symlink => "symlink",
        InodeKind::CharDevice => "char",
        InodeKind::BlockDevice => "block",
        InodeKind::Fifo => "fifo",
        InodeKind::Socket => "socket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_and_can_be_read_back() {
        for (name, shown) in [
            (&b"plain name"[..], "plain name"),
            (b"a\nb\x1b", "a\\nb\\x1b"),
            (b"\xff\\", "\\xff\\\\"),
            (b"say \"hi\"", "say \"hi\""),
            (b"\\\"", "\\\\\""),
        ] {
            assert_eq!(text(name), shown);
        }
    }

    #[test]
    fn json_has_the_bytes_of_what_is_no_text() {
        let mut members = Map::new();
        insert(&mut members, "path", b"a\xff");
        insert(&mut members, "link", b"b");
        let expected = serde_json::json!({"path": "a\u{fffd}", "path_base64": "Yf8=", "link": "b"});
        assert_eq!(Value::Object(members), expected);
    }
}
