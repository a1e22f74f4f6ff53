//! Whether a file system can hold layers.
//!
//! Some are refused by name, whatever they can do: what is upper directory of one overlay cannot be that of another,
//! network file systems have no attributes of the kernel's and other views of the same moment, and what a program or a
//! cipher lies behind is not what overlayfs expects. Everything else is tried out.

use super::reason::Reason;
use crate::error::Result;
use crate::fs::mount::{Features, FileSystem, Support};
use crate::fs::{Dir, XattrNamespace};

/// The directory in which it is tried out.
const TRIAL: &[u8] = b"staging";

/// File systems that cannot be below an overlay with changes, as [`FileSystem::name`] has them, and why.
const REFUSED: [(&str, &str); 4] = [
    (
        "overlayfs",
        "changes of an overlay cannot be kept on an overlay",
    ),
    ("nfs", "it keeps no marks of overlayfs"),
    (
        "fuse",
        "what a program lies behind is not for overlayfs to write to",
    ),
    ("ecryptfs", "overlayfs does not work on it"),
];

/// Tries out what layers need.
///
/// # Errors
///
/// [`Reason::IncompatibleFs`], with the name of the file system and what it lacks.
pub(crate) fn check(dir: &Dir, marks: XattrNamespace) -> Result<()> {
    let file_system = FileSystem::of(dir)?;
    if let Some(why) = refusal(file_system.name) {
        return Err(incompatible(dir, file_system.name, why));
    }
    let trial = match dir.create_dir(TRIAL, 0o700)? {
        Some(trial) => trial,
        None => dir.open_dir(TRIAL)?,
    };
    for answer in Features::probe_storage(&trial, marks)? {
        if let Support::No(why) = answer {
            return Err(incompatible(dir, file_system.name, &why));
        }
    }
    Ok(())
}

fn refusal(name: &str) -> Option<&'static str> {
    let mut refused = REFUSED.iter();
    refused
        .find(|(known, _)| *known == name)
        .map(|(_, why)| *why)
}

fn incompatible(dir: &Dir, name: &str, why: &str) -> crate::error::Error {
    let message = format!("keep layers in {}, on {name}: {why}", dir.path().display());
    Reason::IncompatibleFs
        .error(message)
        .with_hint("put the store on another file system (--store)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Access;

    #[test]
    fn what_holds_layers_is_told_from_what_does_not() {
        for name in ["overlayfs", "nfs", "fuse", "ecryptfs"] {
            assert!(refusal(name).is_some());
        }
        for name in ["ext4", "xfs", "btrfs", "tmpfs", "unknown"] {
            assert_eq!(refusal(name), None);
        }
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open(scratch.path(), Access::Plain).unwrap();
        let error = incompatible(&dir, "nfs", "why");
        assert_eq!(Reason::of(&error), Some(Reason::IncompatibleFs));
        assert!(error.chain().ends_with("on nfs: why"), "{error:?}");
    }

    #[test]
    fn a_file_system_without_marks_is_refused_by_name() {
        // The kernel has no attributes of anybody's there.
        let dir = Dir::open("/proc/self".as_ref(), Access::Plain).unwrap();
        assert!(check(&dir, XattrNamespace::User).is_err());
    }
}
