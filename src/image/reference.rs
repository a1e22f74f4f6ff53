//! The names that users give: a tag to be made, and an image in a layout by its tag, its digest or neither.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use oci_cas::Digest;

use crate::{Error, ErrorKind, Result};

/// The tag that is meant where none is given.
pub(crate) const DEFAULT_TAG: &str = "latest";

/// A name for an image inside a layout, valid by the grammar of `annotations.md`:
///
/// ```text
/// tag       = component *( "/" component )
/// component = alphanum *( separator alphanum )
/// alphanum  = 1*( A-Z / a-z / 0-9 )
/// separator = "-" / "." / "_" / ":" / "@" / "+" / "--"
/// ```
///
/// Case matters. Entries of a layout may carry names outside of this grammar, which other programs have written; they can
/// be asked for (as a [`Name`]) and removed, but not made.
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

/// What is asked for in a layout.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// Nothing was said: the tag `latest`, or the only image of a layout without that tag.
    Default,
    /// A tag, within the grammar of [`Tag`] or outside of it.
    Tag(String),
    /// A manifest or an index, with a tag or without, on whatever level.
    Digest(Digest),
}

impl Name {
    /// The tag that a result gets that is written under this name; `latest` for [`Name::Default`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a digest, and for a tag outside of the grammar.
    pub fn to_tag(&self) -> Result<Tag> {
        match self {
            Self::Default => Tag::new(DEFAULT_TAG),
            Self::Tag(text) => Tag::new(text),
            Self::Digest(digest) => {
                let message = format!("{digest} can't be the name of what is written");
                Err(Error::new(ErrorKind::InvalidInput, message)
                    .with_hint("a digest follows from the content: give a tag"))
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str(DEFAULT_TAG),
            Self::Tag(text) => f.write_str(text),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl From<&Tag> for Name {
    fn from(tag: &Tag) -> Self {
        Self::Tag(tag.as_str().to_owned())
    }
}

impl From<Tag> for Name {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag.0)
    }
}

impl From<&Name> for Name {
    fn from(name: &Name) -> Self {
        name.clone()
    }
}

/// An image in a layout: `path`, `path:tag` or `path@algorithm:digest`.
///
/// The text is split at the first colon, hence the path has none, while the tag may. A path that ends with `@sha256` or
/// `@sha512` before the colon is one with a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Path of the layout.
    pub layout: PathBuf,
    /// The image in it.
    pub name: Name,
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (path, name) = match text.split_once(':') {
            None => (text, Name::Default),
            Some((_, "")) => {
                let message = format!("image {text:?} has an empty tag");
                return Err(Error::new(ErrorKind::InvalidInput, message)
                    .with_hint("leave the colon out to mean the tag latest"));
            }
            Some((path, rest)) => match path.rsplit_once('@') {
                Some((path, algorithm @ ("sha256" | "sha512"))) => {
                    let digest = format!("{algorithm}:{rest}").parse();
                    let digest = digest.map_err(|error| {
                        let message = format!("image {text:?} has a malformed digest");
                        Error::new(ErrorKind::InvalidInput, message).with_source(error)
                    })?;
                    (path, Name::Digest(digest))
                }
                _ => (path, Name::Tag(rest.to_owned())),
            },
        };
        if path.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("image {text:?} has an empty path"),
            ));
        }
        Ok(Self {
            layout: PathBuf::from(path),
            name,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = match self.name {
            Name::Digest(_) => '@',
            Name::Default | Name::Tag(_) => ':',
        };
        write!(f, "{}{separator}{}", self.layout.display(), self.name)
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
        let read = |text: &str| {
            let reference: Reference = text.parse().unwrap();
            (reference.layout.to_str().unwrap().to_owned(), reference)
        };
        let (path, reference) = read("foo:a:b");
        assert_eq!((&*path, &reference.name), ("foo", &Name::Tag("a:b".into())));
        let (path, reference) = read("dir/foo");
        assert_eq!((&*path, &reference.name), ("dir/foo", &Name::Default));
        assert_eq!(reference.to_string(), "dir/foo:latest");
        // Names that others have written can be asked for, but not made.
        let (_, reference) = read("foo:_x__2,y");
        assert_eq!(reference.name, Name::Tag("_x__2,y".into()));
        let error = reference.name.to_tag().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_reference_may_end_with_a_digest() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for path in ["dir", "a@b", "a@sha256"] {
            let text = format!("{path}@{digest}");
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.layout.to_str(), Some(path));
            assert_eq!(reference.name, Name::Digest(digest.parse().unwrap()));
            assert_eq!(reference.to_string(), text);
            let error = reference.name.to_tag().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        let tag: Reference = format!("dir:{digest}").parse().unwrap();
        assert_eq!(tag.name, Name::Tag(digest));
        for text in [
            "dir@sha256:ab",
            "dir@sha256:latest",
            "@sha256:ab",
            "dir@sha512:",
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        }
    }

    #[test]
    fn a_reference_needs_a_path_and_a_tag() {
        for text in ["", ":", ":tag", "path:"] {
            assert_eq!(
                text.parse::<Reference>().unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{text:?}"
            );
        }
    }
}
