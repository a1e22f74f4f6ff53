//! What metadata an entry of an archive means on disk: owners, and ids that attributes name, through the maps, attributes through the filters.

use std::collections::BTreeSet;

use crate::archive::{Entry, EntryKind};
use crate::error::Result;
use crate::fs::xattr::{self, ROOTLESS_OWNER, Xattrs};
use crate::fs::{
    InodeKind, MapOptions, Metadata, Refused, Rules, Times, XattrNamespace, escape_name, probe,
};
use crate::progress::Progress;

/// How many different warnings a layer may cause.
const MAX_WARNINGS: usize = 1000;

/// Whether the kernel keeps an attribute on an inode of this type: `user.*` it has on files and directories only, ACLs on
/// everything but symbolic links.
pub(super) fn can_hold(kind: InodeKind, name: &[u8]) -> bool {
    match kind {
        InodeKind::File | InodeKind::Directory => true,
        InodeKind::Symlink => {
            !name.starts_with(b"user.") && !name.starts_with(b"system.posix_acl_")
        }
        _ => !name.starts_with(b"user."),
    }
}

/// Translates entries to metadata and gathers what could not be kept.
pub(super) struct Translator<'a> {
    maps: &'a MapOptions,
    progress: &'a dyn Progress,
    in_user_namespace: bool,
    /// The attributes of overlayfs that images must not get at.
    marks: Option<XattrNamespace>,
    /// What has been warned of in this layer: the same cause is told once.
    warned: BTreeSet<Vec<u8>>,
}

impl<'a> Translator<'a> {
    pub(super) fn new(maps: &'a MapOptions, progress: &'a dyn Progress) -> Self {
        Self {
            maps,
            progress,
            in_user_namespace: probe::in_user_namespace(),
            marks: None,
            warned: BTreeSet::new(),
        }
    }

    /// Stores attributes that overlayfs would take for its own under other names.
    pub(super) fn escaping(self, marks: XattrNamespace) -> Self {
        Self {
            marks: Some(marks),
            ..self
        }
    }

    /// Begins a new layer: what was warned of before is worth another warning.
    pub(super) fn next_layer(&mut self) {
        self.warned.clear();
    }

    /// Whether device nodes cannot be made here and become empty files.
    pub(super) fn devices_are_files(&self) -> bool {
        self.maps.rootless || self.in_user_namespace
    }

    /// How metadata is applied here.
    pub(super) fn rules(&self) -> Rules {
        Rules {
            xattrs_first: self.maps.rootless,
            tolerate_denied: self.maps.rootless || self.in_user_namespace,
        }
    }

    /// The owner on disk of an owner in the image.
    pub(super) fn owner(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        self.maps.to_host(uid, gid)
    }

    /// Whether owners are set at all.
    pub(super) fn sets_owner(&self) -> bool {
        !self.maps.rootless
    }

    /// The metadata of an entry, without that of hard links, which have none of their own.
    pub(super) fn metadata(&mut self, entry: &Entry) -> Result<Metadata> {
        let owner = self.owner(entry.uid, entry.gid)?;
        let times = Times {
            atime: entry.atime.unwrap_or(entry.mtime),
            mtime: entry.mtime,
        };
        let is_link = entry.kind == EntryKind::Symlink;
        let mut xattrs = self.xattrs(entry);
        self.maps.xattrs_to_host(&mut xattrs)?;
        Ok(Metadata {
            owner: self.sets_owner().then_some(owner),
            mode: (!is_link).then_some(entry.mode),
            xattrs,
            clear_xattrs: false,
            times,
        })
    }

    fn xattrs(&mut self, entry: &Entry) -> Xattrs {
        // The common case, without an allocation.
        if entry.xattrs.is_empty() && !(self.maps.rootless && (entry.uid, entry.gid) != (0, 0)) {
            return Vec::new();
        }
        let kind = self.made_kind(entry);
        let mut kept = Vec::with_capacity(entry.xattrs.len() + 1);
        for (name, value) in &entry.xattrs {
            if !can_hold(kind, name) {
                self.warn_once(
                    name,
                    "is on a symbolic link, pipe or device, where Linux has none, and is left out there",
                );
            } else if name.starts_with(xattr::TEXT_ACL) {
                self.warn_once(
                    name,
                    "is an ACL as text that names no ids, or not one of Linux, and is left out",
                );
            } else if xattr::is_masked(name) {
                self.warn_once(name, "belongs to the host and is left out");
            } else if name == ROOTLESS_OWNER && self.maps.rootless {
                self.warn_once(name, "in the layer is replaced by the owner of the entry");
            } else {
                if name == ROOTLESS_OWNER {
                    self.warn_once(
                        name,
                        "in the layer is kept although this is not a rootless unpack",
                    );
                }
                let name = name.clone();
                let name = match self.marks {
                    Some(marks) => marks.escape(name),
                    None => name,
                };
                kept.push((name, value.clone()));
            }
        }
        let held = can_hold(kind, ROOTLESS_OWNER);
        if self.maps.rootless && held && (entry.uid, entry.gid) != (0, 0) {
            kept.push((
                ROOTLESS_OWNER.to_vec(),
                xattr::rootless_owner(entry.uid, entry.gid),
            ));
        }
        kept
    }

    /// What an entry becomes on disk.
    fn made_kind(&self, entry: &Entry) -> InodeKind {
        match entry.kind {
            EntryKind::Directory => InodeKind::Directory,
            EntryKind::Symlink => InodeKind::Symlink,
            EntryKind::Fifo => InodeKind::Fifo,
            EntryKind::CharDevice if !self.devices_are_files() => InodeKind::CharDevice,
            EntryKind::BlockDevice if !self.devices_are_files() => InodeKind::BlockDevice,
            _ => InodeKind::File,
        }
    }

    fn warn_once(&mut self, name: &[u8], what: &str) {
        // There is no end to the names of attributes.
        if self.warned.len() >= MAX_WARNINGS {
            if self.warned.len() == MAX_WARNINGS && self.warned.insert(b"\0more".to_vec()) {
                self.progress
                    .warn(format_args!("more extended attributes are left out"));
            }
            return;
        }
        if self.warned.insert(name.to_vec()) {
            self.progress.warn(format_args!(
                "extended attribute {} {what}",
                escape_name(name)
            ));
        }
    }

    /// Tells of an attribute that could not be set.
    pub(super) fn refused(&mut self, refused: &Refused) {
        if refused.unsupported {
            self.warn_once(
                &refused.name,
                "is not supported by the file system and is left out",
            );
        } else {
            self.warn_once(
                &refused.name,
                "may not be set without privilege and is left out",
            );
        }
    }

    /// Tells once a layer that a device became a file.
    pub(super) fn device_became_file(&mut self, path: &[u8]) {
        if self.warned.insert(b"\0device".to_vec()) {
            let path = escape_name(path);
            self.progress.warn(format_args!(
                "device nodes cannot be made here: {path} (and others) became empty files"
            ));
        }
    }
}
