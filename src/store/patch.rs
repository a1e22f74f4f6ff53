//! Patches: the topmost lower directory of every chain, which has nothing in it but directories.
//!
//! Layers are unpacked without those below them. So a layer that writes `a/b` without an entry for `a/` has an `a/` with
//! attributes of nobody's choice, and overlayfs would show these. A patch has such directories with the attributes that
//! they have in the image, beginning with the root; and it has the directories in which whiteouts would be seen, because
//! overlayfs shows the whiteouts of a directory that it merges with no other.
//!
//! A patch is named by its content, so that chains share it. Most have a root and nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use filetime::FileTime;
use oci_cas::{Algorithm, Digest};
use serde::Serialize;

use super::json;
use super::layer::CONTENT;
use super::place::Store;
use super::reason::Reason;
use super::text::Text;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::split;
use crate::fs::xattr::Xattrs;
use crate::fs::{Dir, Inode, Metadata, Rules, Stat, Times, XattrNamespace, failpoint};

/// The attributes of a directory, as the image has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: FileTime,
    /// Without the marks of overlayfs, and with the names that they have in the image.
    pub xattrs: Xattrs,
}

impl Attributes {
    /// What a directory has for which no layer has an entry.
    pub(crate) fn implied() -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: FileTime::zero(),
            xattrs: Vec::new(),
        }
    }

    pub(crate) fn of(stat: &Stat, xattrs: Xattrs) -> Self {
        Self {
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            mtime: stat.mtime,
            xattrs,
        }
    }

    /// Those of an open directory of a layer.
    pub(crate) fn of_dir(dir: &Dir, marks: XattrNamespace) -> Result<Self> {
        let xattrs = dir.xattrs_self()?.into_iter();
        let xattrs = xattrs.filter_map(|(name, value)| Some((marks.unescape(name)?, value)));
        Ok(Self::of(&dir.stat_self()?, xattrs.collect()))
    }

    /// Gives them to a directory.
    pub(crate) fn apply(&self, dir: &Dir, marks: XattrNamespace) -> Result<()> {
        let masked = |name: &Vec<u8>| crate::fs::xattr::is_masked(name);
        let xattrs = self.xattrs.iter().filter(|(name, _)| !masked(name));
        let xattrs = xattrs.map(|(name, value)| (marks.escape(name.clone()), value.clone()));
        let metadata = Metadata {
            owner: Some((self.uid, self.gid)),
            mode: Some(self.mode),
            xattrs: xattrs.collect(),
            clear_xattrs: true,
            times: Times {
                atime: self.mtime,
                mtime: self.mtime,
            },
        };
        Inode::of(dir).apply(&metadata, Rules::default(), &mut |_| {})
    }
}

/// The name of a patch: the digest of what it consists of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PatchId(Digest);

impl PatchId {
    /// Where the patch is, below the store.
    pub(crate) fn path(&self) -> String {
        format!("patches/{self}")
    }
}

impl fmt::Display for PatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.encoded())
    }
}

impl FromStr for PatchId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digest = format!("{}:{text}", Algorithm::Sha256).parse();
        digest
            .map(Self)
            .map_err(|_| Error::new(ErrorKind::InvalidData, format!("{text:?} is not a patch")))
    }
}

/// What a patch consists of: directories by their paths, the root's empty. All that is above one is in it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Patch(pub BTreeMap<Vec<u8>, Attributes>);

#[derive(Serialize)]
struct Entry {
    path: Text,
    mode: u32,
    uid: u32,
    gid: u32,
    seconds: i64,
    nanoseconds: u32,
    xattrs: Vec<(Text, Text)>,
}

impl Patch {
    /// Its name: whatever is read back from disk has the same.
    pub(crate) fn id(&self) -> PatchId {
        let entries = self.0.iter().map(|(path, attributes)| {
            let xattrs = attributes.xattrs.iter();
            let xattrs = xattrs.filter(|(name, _)| !crate::fs::xattr::is_masked(name));
            let mut xattrs: Vec<_> = xattrs
                .map(|(name, value)| (Text(name.clone()), Text(value.clone())))
                .collect();
            xattrs.sort_unstable();
            Entry {
                path: Text(path.clone()),
                mode: attributes.mode,
                uid: attributes.uid,
                gid: attributes.gid,
                seconds: attributes.mtime.unix_seconds(),
                nanoseconds: attributes.mtime.nanoseconds(),
                xattrs,
            }
        });
        let entries: Vec<Entry> = entries.collect();
        PatchId(Digest::of(Algorithm::Sha256, &json::write(&entries)))
    }

    /// Makes the directories in an empty one, and gives them their attributes from the deepest up.
    fn write(&self, root: &Dir, marks: XattrNamespace) -> Result<()> {
        for path in self.0.keys().filter(|path| !path.is_empty()) {
            let (parent, name) = split(path);
            open(root, parent)?.create_dir(name, 0o700)?;
        }
        // In the order of paths, what is in a directory comes after it.
        for (path, attributes) in self.0.iter().rev() {
            attributes.apply(&open(root, path)?, marks)?;
        }
        Ok(())
    }
}

fn open(root: &Dir, path: &[u8]) -> Result<Dir> {
    root.open_below(path)
}

impl Store {
    pub(crate) fn has_patch(&self, id: &PatchId) -> Result<bool> {
        Ok(self
            .sub("patches")?
            .try_stat(id.to_string().as_bytes())?
            .is_some())
    }

    /// Opens a patch.
    pub(crate) fn patch(&self, id: &PatchId) -> Result<Dir> {
        self.dir()
            .open_below(id.path().as_bytes())
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => Reason::LayerUnknown
                    .of_error(error)
                    .with_hint("unpack the image again, or `bundle store check --repair`"),
                _ => error,
            })
    }

    /// Makes a patch, unless it is there.
    pub(crate) fn write_patch(&self, patch: &Patch) -> Result<PatchId> {
        let id = patch.id();
        if self.has_patch(&id)? {
            return Ok(id);
        }
        let staging = self.staging()?;
        // Not the staging directory itself: with another mode it could not be recognised as ours after a death.
        patch.write(&staging.dir().create_new_dir(CONTENT, 0o700)?, self.marks())?;
        self.sync()?;
        failpoint::hit("patch");
        let patches = self.sub("patches")?;
        match staging.publish_entry_into(CONTENT, &patches, id.to_string().as_bytes()) {
            // Somebody else was faster, with the same content.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(id),
            other => other.map(|()| id),
        }
    }

    /// The names of all patches.
    pub(crate) fn patches(&self) -> Result<Vec<PatchId>> {
        let names = self.sub("patches")?.names()?;
        let parsed = names
            .iter()
            .map(|name| String::from_utf8_lossy(name).parse());
        Ok(parsed.filter_map(Result::ok).collect())
    }
}
