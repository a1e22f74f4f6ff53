//! Mounts, from data to the kernel.
//!
//! Whoever only wants to read or write what mounts show takes them [open](Mounter::open): no path leads to them, and they
//! are gone with the last descriptor, so that nothing can stay mounted.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::contract::Mount;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::mount::{self, MountAttributes, Overlay, Upper};
use crate::fs::{Access, Dir, XattrNamespace};
use crate::store::Reason;

/// What overlays are told, so that upper directories hold all that has changed.
const OVERLAY_OPTIONS: [&str; 3] = ["redirect_dir=nofollow", "metacopy=off", "index=off"];

/// Makes mounts of data.
pub trait Mounter {
    /// Opens the root of what one mount shows, without mounting it anywhere. The mount goes with the directory.
    ///
    /// # Errors
    ///
    /// As [`mount`](Self::mount); [`ErrorKind::InvalidInput`] for none or several mounts.
    fn open(&self, mounts: &[Mount]) -> Result<Dir>;

    /// Mounts on a directory, one over the other.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for an option or a type that is not known;
    /// [`MountFailed`](Reason::MountFailed) if the kernel refuses. Nothing is mounted then.
    fn mount(&self, target: &Path, mounts: &[Mount]) -> Result<()>;

    /// Unmounts the topmost mount on a directory.
    ///
    /// # Errors
    ///
    /// [`UnmountFailed`](Reason::UnmountFailed) if nothing is mounted there, or if it is in use.
    fn unmount(&self, target: &Path) -> Result<()>;
}

/// The data of an overlay; `upper` has the upper and the work directory, without which nothing can be written.
pub(super) fn overlay(lowers: &[&Path], upper: Option<(&Path, &Path)>, user_marks: bool) -> Mount {
    if let ([only], None) = (lowers, upper) {
        // The kernel stacks no single directory.
        return bind(only, true);
    }
    let mut lowerdir = b"lowerdir=".to_vec();
    for (place, lower) in lowers.iter().enumerate() {
        if place > 0 {
            lowerdir.push(b':');
        }
        escape(lower, &mut lowerdir);
    }
    let mut options = vec![OsString::from_vec(lowerdir)];
    for (name, dir) in upper
        .iter()
        .flat_map(|(upper, work)| [("upperdir=", upper), ("workdir=", work)])
    {
        let mut option = name.as_bytes().to_vec();
        escape(dir, &mut option);
        options.push(OsString::from_vec(option));
    }
    options.extend(OVERLAY_OPTIONS.map(OsString::from));
    if user_marks {
        options.push("userxattr".into());
    }
    if upper.is_none() {
        options.push("ro".into());
    }
    Mount {
        kind: "overlay".to_owned(),
        source: "overlay".into(),
        target: PathBuf::new(),
        options,
    }
}

/// The lower directories of an overlay, or the source of a bind mount.
#[cfg(feature = "serve")]
pub(crate) fn lowers_of(mount: &Mount) -> Vec<PathBuf> {
    match mount.kind.as_str() {
        "bind" => vec![mount.source.clone()],
        _ => named(mount, b"lowerdir"),
    }
}

/// The upper directory of an overlay.
#[cfg(feature = "serve")]
pub(crate) fn upper_of(mount: &Mount) -> Option<PathBuf> {
    named(mount, b"upperdir").pop()
}

#[cfg(feature = "serve")]
fn named(mount: &Mount, name: &[u8]) -> Vec<PathBuf> {
    let option = mount.options.iter().find(|option| split(option).0 == name);
    option.map_or_else(Vec::new, |option| paths(split(option).1))
}

/// Whether a path stands in the options of an overlay as it is.
#[cfg(feature = "serve")]
pub(crate) fn escape_free(path: &Path) -> bool {
    let mut escaped = Vec::new();
    escape(path, &mut escaped);
    escaped == path.as_os_str().as_bytes()
}

/// The data of a bind mount.
pub(super) fn bind(source: &Path, read_only: bool) -> Mount {
    let word = if read_only { "ro" } else { "rw" };
    Mount {
        kind: "bind".to_owned(),
        source: source.to_owned(),
        target: PathBuf::new(),
        options: vec!["rbind".into(), word.into()],
    }
}

/// The same mounts for reading only, whether they are mounted elsewhere or not: an upper directory lies on the others as
/// one more that is only read.
pub(super) fn for_reading(mounts: &[Mount]) -> Vec<Mount> {
    let mut mounts = mounts.to_vec();
    for mount in &mut mounts {
        let named = |name: &[u8]| {
            let option = mount.options.iter().find(|option| split(option).0 == name);
            option.map(|option| split(option).1.to_vec())
        };
        let upper = named(b"upperdir");
        let lowers = upper.into_iter().chain(named(b"lowerdir"));
        let lowers: Vec<Vec<u8>> = lowers.collect();
        let replaced: [&[u8]; 5] = [b"upperdir", b"workdir", b"lowerdir", b"ro", b"rw"];
        mount
            .options
            .retain(|option| !replaced.contains(&split(option).0));
        if !lowers.is_empty() {
            let lowerdir = [b"lowerdir=", &lowers.join(&b':')[..]].concat();
            mount.options.push(OsString::from_vec(lowerdir));
        }
        mount.options.push("ro".into());
    }
    mounts
}

fn escape(path: &Path, out: &mut Vec<u8>) {
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b':' | b',') {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

/// The paths in a value, between colons that no backslash stands before.
pub(crate) fn paths(value: &[u8]) -> Vec<PathBuf> {
    let mut paths = vec![Vec::new()];
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, paths.last_mut()) {
            (b':', _) => paths.push(Vec::new()),
            (b'\\', Some(path)) => path.extend(bytes.next()),
            (byte, Some(path)) => path.push(byte),
            // There always is one.
            (_, None) => {}
        }
    }
    paths
        .into_iter()
        .map(|path| OsString::from_vec(path).into())
        .collect()
}

/// Mounts by the kernel.
#[derive(Clone, Debug)]
pub struct SystemMounter {
    /// A directory for the ways to mount that need a name for a moment.
    scratch: PathBuf,
}

impl SystemMounter {
    /// A mounter with a directory that is its own, on any file system.
    pub fn new(scratch: impl Into<PathBuf>) -> Self {
        Self {
            scratch: scratch.into(),
        }
    }

    fn detached(&self, mount: &Mount) -> Result<mount::Mount> {
        let made = match mount.kind.as_str() {
            "overlay" => self.overlay(mount),
            "bind" => bind_mount(mount),
            other => Err(unsupported(&format!("type {other:?}"))),
        };
        made.map_err(|error| match error.kind() {
            ErrorKind::Unsupported => error,
            _ => Reason::MountFailed.of_error(error),
        })
    }

    fn overlay(&self, mount: &Mount) -> Result<mount::Mount> {
        let mut lowers = Vec::new();
        let (mut upper, mut work) = (None, None);
        let mut read_only = false;
        let mut marks = XattrNamespace::Trusted;
        let mut attributes = MountAttributes::default();
        for option in &mount.options {
            let (name, value) = split(option);
            let dir = || open(&paths(value));
            match name {
                b"lowerdir" => {
                    for path in paths(value) {
                        lowers.push(open(&[path])?);
                    }
                }
                b"upperdir" => upper = Some(dir()?),
                b"workdir" => work = Some(dir()?),
                b"userxattr" => marks = XattrNamespace::User,
                _ if OVERLAY_OPTIONS.iter().any(|known| option == known) => {}
                name => word(name, &mut read_only, &mut attributes)?,
            }
        }
        let fds: Vec<_> = lowers.iter().map(AsFd::as_fd).collect();
        let upper = match (&upper, &work) {
            (Some(dir), Some(work)) => Some(Upper { dir, work }),
            (None, None) => None,
            _ => {
                let message = "an upper directory and a work directory come together";
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        };
        let overlay = Overlay {
            lowers: &fds,
            read_only: read_only || upper.is_none(),
            upper,
            marks,
            source: "overlay",
            volatile: false,
            attributes,
            selinux_context: None,
        };
        overlay.mount(None, &Dir::open(&self.scratch, Access::Plain)?)
    }
}

/// Reads an option that is a word.
fn word(name: &[u8], read_only: &mut bool, attributes: &mut MountAttributes) -> Result<()> {
    match name {
        b"ro" => *read_only = true,
        b"rw" | b"" => *read_only = false,
        b"nodev" => attributes.nodev = true,
        b"nosuid" => attributes.nosuid = true,
        b"noexec" => attributes.noexec = true,
        b"noatime" => attributes.noatime = true,
        other => {
            return Err(unsupported(&format!(
                "option {:?}",
                crate::fs::escape_name(other)
            )));
        }
    }
    Ok(())
}

fn bind_mount(mount: &Mount) -> Result<mount::Mount> {
    let (mut read_only, mut recursive) = (false, false);
    for option in &mount.options {
        match split(option).0 {
            b"rbind" => recursive = true,
            b"bind" => {}
            name @ (b"ro" | b"rw") => read_only = name == b"ro",
            other => {
                return Err(unsupported(&format!(
                    "option {:?} of a bind mount",
                    crate::fs::escape_name(other)
                )));
            }
        }
    }
    mount::bind(
        &Dir::open(&mount.source, Access::Plain)?,
        read_only,
        recursive,
    )
}

fn split(option: &OsStr) -> (&[u8], &[u8]) {
    let option = option.as_bytes();
    match option.iter().position(|&byte| byte == b'=') {
        Some(at) => (&option[..at], &option[at + 1..]),
        None => (option, b""),
    }
}

fn open(paths: &[PathBuf]) -> Result<Dir> {
    match paths {
        [path] => Dir::open(path, Access::Plain),
        _ => Err(Error::new(
            ErrorKind::InvalidInput,
            "one directory is wanted, not several",
        )),
    }
}

fn unsupported(what: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("mount: {what} is not known"),
    )
}

fn only(mounts: &[Mount]) -> Result<&Mount> {
    match mounts {
        [mount] if mount.target.as_os_str().is_empty() => Ok(mount),
        _ => {
            let message = format!(
                "one mount of a whole root can be opened, not {}",
                mounts.len()
            );
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

impl Mounter for SystemMounter {
    fn open(&self, mounts: &[Mount]) -> Result<Dir> {
        self.detached(only(mounts)?)?.root()
    }

    fn mount(&self, target: &Path, mounts: &[Mount]) -> Result<()> {
        let mut done: Vec<PathBuf> = Vec::new();
        for mount in mounts {
            // Opened by its path, the directory is on top of what was mounted there before.
            let target = if mount.target.as_os_str().is_empty() {
                target.to_owned()
            } else {
                target.join(&mount.target)
            };
            let attached = self.detached(mount).and_then(|mount| {
                let dir = Dir::open(&target, Access::Plain)?;
                mount
                    .attach(&dir)
                    .map_err(|error| Reason::MountFailed.of_error(error))
            });
            if let Err(error) = attached {
                for target in done.iter().rev() {
                    // The error that matters is the one being returned.
                    let _ = mount::unmount(target, true);
                }
                return Err(error).context(|| format!("mount on {}", target.display()));
            }
            done.push(target);
        }
        Ok(())
    }

    fn unmount(&self, target: &Path) -> Result<()> {
        mount::unmount(target, false).map_err(|error| Reason::UnmountFailed.of_error(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::{InvalidInput, Unsupported};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_paths_survive_in_the_options_of_an_overlay(
            names in proptest::collection::vec("[a-c:,\\\\ =\n]{1,8}", 2..5)
        ) {
            let lowers: Vec<&Path> = names.iter().map(Path::new).collect();
            let mount = overlay(&lowers, Some((lowers[0], lowers[1])), false);
            let value = |at: usize| paths(split(&mount.options[at]).1);
            prop_assert_eq!(value(0), names.iter().map(PathBuf::from).collect::<Vec<_>>());
            prop_assert_eq!(value(1), vec![PathBuf::from(&names[0])]);
            prop_assert_eq!(value(2), vec![PathBuf::from(&names[1])]);
        }
    }

    #[test]
    fn what_cannot_be_written_to_is_told_from_the_data() {
        let (a, b) = (Path::new("/a"), Path::new("/b"));
        assert!(overlay(&[a, b], None, true).is_read_only());
        assert!(overlay(&[a], None, false).is_read_only());
        assert!(!overlay(&[a], Some((a, b)), false).is_read_only());
        assert!(bind(a, true).is_read_only() && !bind(a, false).is_read_only());
    }

    #[test]
    fn what_is_not_known_is_not_mounted() {
        let mounter = SystemMounter::new("/");
        let mut mount = bind(Path::new("/"), true);
        mount.options.push("dirsync".into());
        let kinds = [
            mounter.open(&[mount.clone()]).unwrap_err().kind(),
            mounter
                .open(&[Mount {
                    kind: "ext4".into(),
                    ..mount.clone()
                }])
                .unwrap_err()
                .kind(),
            mounter.open(&[]).unwrap_err().kind(),
        ];
        assert_eq!(kinds, [Unsupported, Unsupported, InvalidInput]);
    }
}
