//! What is made on disk before the first mount, and which mounts follow.

use super::mounter::Mounter;
use super::options::{GeneratorOptions, RootfsMode};
use super::reason::RootfsReason;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::copy::{CopyOptions, copy_tree};
use crate::fs::{Dir, InodeKind};
use crate::store::patch::Attributes;

/// Where the changes of an overlay go.
pub(super) const UPPER: &[u8] = b"upper";
/// The directory of the kernel's.
pub(super) const WORK: &[u8] = b"work";
/// The directories of a quilt that can be written to.
const RW: &[u8] = b"rw";

/// A mount that is to be made; the root itself comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    /// What is mounted: a path below the directory of the root.
    pub source: Vec<u8>,
    /// On what: a path below the root.
    pub below: Vec<u8>,
}

/// Makes what a mode needs in the directory of a root. Returns what is mounted on the root.
pub(super) fn stage(
    mounter: &impl Mounter,
    mode: RootfsMode,
    options: &GeneratorOptions,
    prototype: &Dir,
    home: &Dir,
) -> Result<Vec<Patch>> {
    match mode {
        RootfsMode::Overlay => {
            stage_overlay(mounter, options, prototype, home)?;
            Ok(Vec::new())
        }
        RootfsMode::Quilt => stage_quilt(options, prototype, home),
    }
}

/// An upper directory that shows the prototype's own attributes, and hides what begins empty.
fn stage_overlay(
    mounter: &impl Mounter,
    options: &GeneratorOptions,
    prototype: &Dir,
    home: &Dir,
) -> Result<()> {
    let fail = |error| RootfsReason::OverlayDir.of_error(error, "make the upper directory");
    let upper = make_dir(home, UPPER, 0o700).map_err(fail)?;
    make_dir(home, WORK, 0o700).map_err(fail)?;
    for name in &options.empty {
        let doing = || format!("make an empty {name}");
        let made = make_dir(&upper, name.as_bytes(), 0o777)
            .map_err(|error| RootfsReason::OverlayTempDir.of_error(error, doing()))?;
        made.set_opaque(mounter.marks()).map_err(|error| {
            // A file system without such attributes is none for an upper directory: a quilt does without them.
            let error = Error::new(ErrorKind::Unsupported, doing()).with_source(error);
            error.with_code(RootfsReason::OverlayTempDir.word())
        })?;
    }
    // Last: names that are made in it change its times.
    Attributes::of_dir(prototype, mounter.marks())
        .and_then(|attributes| attributes.apply(&upper, mounter.marks()))
        .map_err(fail)
}

fn stage_quilt(options: &GeneratorOptions, prototype: &Dir, home: &Dir) -> Result<Vec<Patch>> {
    let rw = make_dir(home, RW, 0o700)
        .map_err(|error| RootfsReason::OverlayDir.of_error(error, "make the writable directory"))?;
    let mut patches: Vec<Patch> = Vec::new();
    let writable = options.writable.iter().map(|name| (name, false));
    for (name, is_empty) in writable.chain(options.empty.iter().map(|name| (name, true))) {
        let below = find_subdir(prototype, name)?;
        // Two names of one directory: what was mounted for the first is seen by both.
        if patches.iter().any(|patch| patch.below == below) {
            continue;
        }
        if is_empty {
            make_dir(&rw, name.as_bytes(), 0o777).map_err(|error| {
                RootfsReason::OverlayTempDir.of_error(error, format!("make an empty {name}"))
            })?;
        } else {
            let copied = make_dir(&rw, name.as_bytes(), 0o700).and_then(|copy| {
                copy_tree(
                    &prototype.open_below(&below)?,
                    &copy,
                    CopyOptions::default(),
                )
            });
            copied.map_err(|error| {
                RootfsReason::OverlayDir.of_error(error, format!("copy {name} of the prototype"))
            })?;
        }
        let source = [RW, b"/", name.as_bytes()].concat();
        patches.push(Patch { source, below });
    }
    Ok(patches)
}

/// The directory of a name in the prototype: the name, or where the symbolic link of that name leads to, as `sbin` often
/// does.
fn find_subdir(prototype: &Dir, name: &str) -> Result<Vec<u8>> {
    let path = name.as_bytes();
    let fail = |error| RootfsReason::OverlayDir.of_error(error, format!("look at {name}"));
    let Some(stat) = prototype.try_stat(path).map_err(fail)? else {
        let message = format!("the prototype has no {name}");
        return Err(RootfsReason::SubdirMissing.error(ErrorKind::NotFound, message));
    };
    match stat.kind {
        InodeKind::Directory => Ok(path.to_vec()),
        InodeKind::Symlink => {
            let target = prototype.read_link(path).map_err(fail)?;
            let target = inside(&target).ok_or_else(|| {
                let message =
                    format!("{name} of the prototype is a symbolic link that leads out of it");
                RootfsReason::OverlayDir.error(ErrorKind::InvalidData, message)
            })?;
            prototype.open_below(&target).map_err(fail)?;
            Ok(target)
        }
        _ => {
            let message = format!("{name} of the prototype is not a directory");
            Err(RootfsReason::SubdirMissing.error(ErrorKind::InvalidData, message))
        }
    }
}

/// The clean path that a symbolic link in a root leads to, if it stays in there whatever the root is.
fn inside(target: &[u8]) -> Option<Vec<u8>> {
    if target.starts_with(b"/") {
        return None;
    }
    let parts = target.split(|&byte| byte == b'/');
    let parts: Vec<&[u8]> = parts
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    let stays = !parts.is_empty() && !parts.contains(&&b".."[..]);
    stays.then(|| parts.join(&b'/'))
}

/// Makes a directory with exactly this mode.
pub(super) fn make_dir(parent: &Dir, name: &[u8], mode: u32) -> Result<Dir> {
    let dir = parent.create_new_dir(name, mode)?;
    // Whatever the umask.
    dir.set_mode(mode)?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_count_as_inside_only_if_they_cannot_lead_out() {
        assert_eq!(inside(b"usr/sbin").unwrap(), b"usr/sbin");
        assert_eq!(inside(b"./usr//sbin/").unwrap(), b"usr/sbin");
        for out in [&b"/usr/sbin"[..], b"../x", b"usr/../../x", b".", b""] {
            assert_eq!(inside(out), None, "{out:?}");
        }
    }
}
