//! Names in an archive that take something away (image-spec `layer.md`, "Whiteouts").

use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::join;
use crate::fs::names::split;

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a whiteout hides. Only lower layers are meant, wherever in its layer the whiteout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whiteout<'a> {
    /// All children of the directory that the whiteout is in.
    Opaque,
    /// The sibling of this name.
    Name(&'a [u8]),
}

/// Whether the last component of an entry's path makes it a whiteout.
///
/// # Errors
///
/// Refuses `.wh.` without a name, and `.wh..` and `.wh...`: they name the directory itself and its parent, and
/// honouring them would delete what no layer may touch.
pub(super) fn whiteout(name: &[u8]) -> Result<Option<Whiteout<'_>>> {
    if name == OPAQUE {
        return Ok(Some(Whiteout::Opaque));
    }
    match name.strip_prefix(PREFIX) {
        None => Ok(None),
        Some(b"" | b"." | b"..") => {
            let name = String::from_utf8_lossy(name);
            Err(Error::new(
                ErrorKind::InvalidData,
                format!("invalid whiteout {name:?}: it names no entry"),
            ))
        }
        Some(hidden) => Ok(Some(Whiteout::Name(hidden))),
    }
}

/// The name of the entry that hides a path.
pub(super) fn of_path(path: &[u8]) -> Vec<u8> {
    let (dir, name) = split(path);
    join(dir, &[PREFIX, name].concat())
}

/// The name of the entry that hides all children of a directory.
pub(super) fn opaque_in(dir: &[u8]) -> Vec<u8> {
    join(dir, OPAQUE)
}

/// Makes sure that the last component of a path can stand in an archive: with the prefix, it would take something away.
///
/// # Errors
///
/// Refuses names with the prefix of whiteouts.
pub(super) fn check_name(path: &[u8]) -> Result<()> {
    let (_, name) = split(path);
    if !name.starts_with(PREFIX) {
        return Ok(());
    }
    let name = String::from_utf8_lossy(name);
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("the name {name:?} would be a whiteout: no layer can hold it"),
    )
    .with_hint("rename or remove it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_a_path_is_beside_it() {
        assert_eq!(of_path(b"a"), b".wh.a");
        assert_eq!(of_path(b"a/b/c"), b"a/b/.wh.c");
        assert_eq!(opaque_in(b""), b".wh..wh..opq");
        assert_eq!(opaque_in(b"a/b"), b"a/b/.wh..wh..opq");
        assert!(check_name(b"a/.wh.b").is_err());
        assert!(check_name(b".wh.a/b").is_ok());
    }

    #[test]
    fn only_the_exact_prefix_makes_a_whiteout() {
        for name in ["a", ".wh", ".whfoo", "x.wh.foo", ".WH.bar"] {
            assert_eq!(whiteout(name.as_bytes()).unwrap(), None, "{name}");
        }
        assert_eq!(whiteout(b".wh.a").unwrap(), Some(Whiteout::Name(b"a")));
        assert_eq!(whiteout(b".wh..wh..opq").unwrap(), Some(Whiteout::Opaque));
        assert_eq!(
            whiteout(b".wh..wh.plnk").unwrap(),
            Some(Whiteout::Name(b".wh.plnk"))
        );
        assert_eq!(whiteout(b".wh....").unwrap(), Some(Whiteout::Name(b"...")));
    }

    #[test]
    fn a_whiteout_of_nothing_is_refused() {
        let error = whiteout(b".wh.").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
