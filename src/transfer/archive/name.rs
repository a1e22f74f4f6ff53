//! Names: what the name of a member says of its content, and what the name of an image becomes in which format.

use oci_cas::{Algorithm, Digest};
use serde_json::Value;

use crate::image::{Descriptor, REF_NAME};
use crate::layer::clean_path;

/// Annotation of an `index.json` entry that holds the whole name of an image, `repository:tag` (containerd, Docker).
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";

/// What is done with a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Kept in memory.
    Document,
    /// Ingested with this algorithm; the digest that its name promises, if it does.
    Blob(Algorithm, Option<Digest>),
    /// Passed over.
    Ignored,
}

/// What a member of this clean name is. Names are conventions of many programs: Docker's `<id>/layer.tar` and
/// `<hex>.json`, the `<hex>.tar.gz` and `sha256:<hex>` of build tools, the `blobs/` of layouts. Nothing deeper is a layer:
/// a root file system that is given by mistake must not end in the store file by file.
pub(super) fn role(name: &[u8]) -> Role {
    let Ok(name) = std::str::from_utf8(name) else {
        return Role::Ignored;
    };
    let components: Vec<&str> = name.split('/').take(4).collect();
    match *components.as_slice() {
        ["manifest.json" | "repositories" | "index.json" | "oci-layout"] | [_, "json"] => {
            Role::Document
        }
        ["refs", _, ..] => Role::Document,
        ["blobs", algorithm, encoded] => {
            let digest = algorithm
                .parse()
                .and_then(|algorithm: Algorithm| algorithm.digest(encoded));
            digest.map_or(Role::Ignored, |digest| {
                Role::Blob(digest.algorithm(), Some(digest))
            })
        }
        [file] if is_layer(file) || is_config(file) => Role::Blob(Algorithm::Sha256, None),
        [_, file] if is_layer(file) => Role::Blob(Algorithm::Sha256, None),
        _ => Role::Ignored,
    }
}

fn is_layer(file: &str) -> bool {
    const ENDINGS: &[&str] = &[".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz"];
    ENDINGS.iter().any(|ending| file.ends_with(ending))
}

fn is_config(file: &str) -> bool {
    let encoded = file.strip_prefix("sha256:").unwrap_or(file);
    file.strip_suffix(".json").is_some() || Algorithm::Sha256.digest(encoded).is_ok()
}

/// A name without what does not count: leading slashes, `.`, doubled slashes; `..` takes the name before it back, and does
/// nothing at the top.
pub(super) fn clean(name: &[u8]) -> Vec<u8> {
    clean_path(&[b"/", name].concat()).split_off(1)
}

/// The clean name that a symbolic link leads to: relative to where it is, or to the top of the archive.
pub(super) fn link_target(name: &[u8], target: &[u8]) -> Vec<u8> {
    let directory = match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) if !target.starts_with(b"/") => &name[..slash],
        _ => b"",
    };
    clean(&[directory, target].join(&b'/'))
}

/// The member of a layout that holds a blob.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.encoded())
}

/// Splits the name of an image into repository and tag, if it has both: `host:5000/app` has no tag, `app@sha256:...`
/// names content.
pub(crate) fn split_tag(name: &str) -> Option<(&str, &str)> {
    let (repository, tag) = name.rsplit_once(':')?;
    let whole = !repository.is_empty() && !tag.is_empty();
    (whole && !tag.contains('/') && !name.contains('@')).then_some((repository, tag))
}

/// The annotations that give an image this name in an index.
pub(super) fn annotations_of(name: &str) -> Vec<(&'static str, &str)> {
    match split_tag(name) {
        Some((_, tag)) => vec![(IMAGE_NAME, name), (REF_NAME, tag)],
        None => vec![(REF_NAME, name)],
    }
}

/// The name that an index gives to an entry.
pub(super) fn name_of(entry: &Descriptor) -> Option<&str> {
    let name = |key| entry.annotation(key).filter(|name| !name.is_empty());
    name(IMAGE_NAME).or_else(|| name(REF_NAME))
}

/// A descriptor without what names it in an index.
pub(crate) fn without_names(entry: &Descriptor) -> Value {
    let mut value = entry.to_value();
    if let Some(raw) = value.as_object_mut()
        && let Some(Value::Object(annotations)) = raw.get_mut("annotations")
    {
        annotations.shift_remove(IMAGE_NAME);
        annotations.shift_remove(REF_NAME);
        if annotations.is_empty() {
            raw.shift_remove("annotations");
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_name_says_what_a_member_is() {
        let blob = Role::Blob(Algorithm::Sha256, None);
        let layout = Role::Blob(
            Algorithm::Sha256,
            Some(Algorithm::Sha256.digest(HEX).unwrap()),
        );
        for (name, expected) in [
            ("manifest.json".to_owned(), Role::Document),
            (format!("{HEX}/json"), Role::Document),
            ("refs/a/b".to_owned(), Role::Document),
            (format!("{HEX}/layer.tar"), blob.clone()),
            (format!("{HEX}.tar.gz"), blob.clone()),
            (format!("{HEX}.json"), blob.clone()),
            (format!("sha256:{HEX}"), blob.clone()),
            ("config.json".to_owned(), blob),
            (format!("blobs/sha256/{HEX}"), layout),
            (format!("blobs/sha256/{HEX}0"), Role::Ignored),
            (format!("blobs/md5/{HEX}"), Role::Ignored),
            (format!("{HEX}/VERSION"), Role::Ignored),
            ("usr/share/doc/x.tar".to_owned(), Role::Ignored),
            ("etc/passwd".to_owned(), Role::Ignored),
        ] {
            assert_eq!(role(name.as_bytes()), expected, "{name}");
        }
        assert_eq!(role(b"\xff.tar"), Role::Ignored);
    }

    #[test]
    fn names_are_cleaned_and_never_leave_the_archive() {
        for (name, expected) in [
            ("./a//b/./c", "a/b/c"),
            ("/a", "a"),
            ("a/../b", "b"),
            ("../../etc/passwd", "etc/passwd"),
            ("./", ""),
        ] {
            assert_eq!(clean(name.as_bytes()), expected.as_bytes(), "{name}");
        }
    }

    #[test]
    fn a_symbolic_link_is_relative_to_its_directory() {
        let target = |link: &str| link_target(b"a/layer.tar", link.as_bytes());
        assert_eq!(target("../b/layer.tar"), b"b/layer.tar");
        assert_eq!(target("x"), b"a/x");
        assert_eq!(target("/x"), b"x");
        assert_eq!(link_target(b"top", b"x"), b"x");
    }

    #[test]
    fn a_tag_is_what_follows_the_last_colon_of_the_last_component() {
        for (name, expected) in [
            ("app:1", Some(("app", "1"))),
            ("host:5000/app:1", Some(("host:5000/app", "1"))),
            ("host:5000/app", None),
            ("latest", None),
            (":1", None),
            ("app:", None),
            ("app@sha256:00", None),
        ] {
            assert_eq!(split_tag(name), expected, "{name}");
        }
    }
}
