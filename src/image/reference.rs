//! The names that users give: a tag, and a layout with a tag.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::{Error, ErrorKind, Result};

/// The tag of a [`Reference`] that names none.
const DEFAULT_TAG: &str = "latest";

/// A name for an image inside a layout, valid by the grammar of `annotations.md`:
///
/// ```text
/// tag       = component *( "/" component )
/// component = alphanum *( separator alphanum )
/// alphanum  = 1*( A-Z / a-z / 0-9 )
/// separator = "-" / "." / "_" / ":" / "@" / "+" / "--"
/// ```
///
/// Case matters. Entries of a layout may carry names outside of this grammar; they can be listed, but not asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// The tag that is meant where none is given.
    pub fn latest() -> Self {
        Self(DEFAULT_TAG.to_owned())
    }

    /// Validates a tag.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when `text` does not match the grammar.
    pub fn new(text: &str) -> Result<Self> {
        if text.split('/').all(is_component) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::new(ErrorKind::InvalidInput, format!("invalid tag {text:?}")).with_hint(
                "a tag is letters and digits with single separators of -._:@+ between them, and slashes between such parts",
            ))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_component(text: &str) -> bool {
    // Between two alphanumeric runs stands one separator or a double dash, so with the double dashes made single, no
    // separator may be followed by another, nor stand at an end. (`---` becomes `--` and is refused.)
    let mut after_separator = true;
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let is_separator = b"-._:@+".contains(first);
        if !is_separator && !first.is_ascii_alphanumeric() || is_separator && after_separator {
            return false;
        }
        after_separator = is_separator;
        rest = rest.strip_prefix(b"--").unwrap_or(tail);
    }
    !after_separator
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

/// An image in a layout: `path[:tag]`.
///
/// The text is split at the first colon, hence the path has none, while the tag may. Without a colon the tag is
/// `latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Path of the layout.
    pub layout: PathBuf,
    /// The image in it.
    pub tag: Tag,
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (path, tag) = text.split_once(':').unwrap_or((text, DEFAULT_TAG));
        if path.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("image {text:?} has an empty path"),
            ));
        }
        if tag.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("image {text:?} has an empty tag"),
            )
            .with_hint("leave the colon out to mean the tag latest"));
        }
        Ok(Self {
            layout: PathBuf::from(path),
            tag: Tag::new(tag)?,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.layout.display(), self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_within_the_grammar_are_valid() {
        for text in [
            "a",
            "latest",
            "A1",
            "a:b",
            "a/b",
            "a@b",
            "1.2--rc1",
            "a-b",
            "a--b",
            "a_b",
            "a+b",
            "a/b:c/d.e",
            "x--y--z",
        ] {
            assert_eq!(Tag::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn tags_outside_the_grammar_are_refused() {
        for text in [
            "",
            ".x",
            "x.",
            "a..b",
            "a//b",
            "/a",
            "a/",
            "_",
            "-",
            "--",
            "a---b",
            "a----b",
            "--a",
            "a--",
            "a-.b",
            "a--.b",
            "a.--b",
            ".AZ94n18s",
            "é",
            "a b",
            "a\n",
            "a\0b",
        ] {
            assert_eq!(
                Tag::new(text).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_reference_splits_at_the_first_colon() {
        let reference: Reference = "foo:a:b".parse().unwrap();
        assert_eq!(
            (reference.layout.to_str(), reference.tag.as_str()),
            (Some("foo"), "a:b")
        );
        let reference: Reference = "dir/foo".parse().unwrap();
        assert_eq!(
            (reference.layout.to_str(), reference.tag.as_str()),
            (Some("dir/foo"), "latest")
        );
        assert_eq!(reference.to_string(), "dir/foo:latest");
    }

    #[test]
    fn a_reference_needs_a_path_and_a_tag() {
        for text in ["", ":", ":tag", "path:", "path:.x"] {
            assert_eq!(
                text.parse::<Reference>().unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{text:?}"
            );
        }
    }
}
