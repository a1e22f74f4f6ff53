//! The third stage: one step at a time to the disk, one function for each type of entry.
//!
//! A new name is made first and asked about later: only when the kernel says that it exists is it looked at, and, unless
//! both it and the entry are directories, removed with everything below it and made afresh. So a hard link's other
//! names keep their content, and nothing is ever written through what was there. Mode bits are right from birth where
//! no others than the plain nine are wanted; that is why the stage runs with an umask of its own, which is 0.

use std::os::fd::AsFd;
use std::rc::Rc;

use filetime::FileTime;

use super::attributes::Translator;
use super::dirs::{Dirs, OpenDir, directory_record, join, record};
use super::frame::Step;
use super::options::ApplyOptions;
use super::path::{relative_path, split};
use super::whiteout::{Whiteout, whiteout};
use crate::archive::{Entry, EntryKind};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::tree::{self, NodeId, Tree};
use crate::fs::{Dir, FileWriter, Inode, InodeKind, Metadata, Resolved, Root, escape_name, probe};
use crate::progress::Progress;

/// Applies steps to a root.
pub(super) struct Applier<'a> {
    root: &'a Root,
    options: &'a ApplyOptions,
    tree: Tree,
    dirs: Dirs<'a>,
    translator: Translator<'a>,
    /// Whether files are born with attributes here, so that each must be looked at.
    labels: bool,
    file: Option<OpenFile>,
    /// Hard links to names that have not come yet.
    forward_links: Vec<Entry>,
    /// Bytes of all files so far.
    size: u64,
    path: Vec<u8>,
}

/// A regular file whose content is coming.
struct OpenFile {
    writer: FileWriter,
    place: Place,
    entry: Box<Entry>,
    metadata: Metadata,
}

/// Where an entry goes: a name in an open directory.
struct Place {
    dir: Rc<OpenDir>,
    name: Vec<u8>,
}

impl Place {
    fn inode(&self) -> Inode<'_> {
        Inode::Named(&self.dir.dir, &self.name)
    }
}

impl<'a> Applier<'a> {
    pub(super) fn new(
        root: &'a Root,
        options: &'a ApplyOptions,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let stat = root.dir().stat_self()?;
        let mut dirs = Dirs::new(root, !options.fresh);
        let mut labels = false;
        if options.fresh {
            dirs.touch_dir(root.dir(), b"")?;
            labels = probe::newborns_have_xattrs(root.dir())?;
        }
        Ok(Self {
            root,
            options,
            tree: Tree::new(record(&stat)),
            dirs,
            translator: Translator::new(&options.map_options, progress),
            labels,
            file: None,
            forward_links: Vec::new(),
            size: 0,
            path: Vec::new(),
        })
    }

    /// Ends the work: the record of what was made.
    pub(super) fn into_tree(mut self) -> Result<Tree> {
        // An image without layers has had no end of a layer.
        self.dirs
            .finish_layer(&mut self.tree, &mut self.translator)?;
        Ok(self.tree)
    }

    /// Takes one step; data is within `chunk`.
    pub(super) fn step(&mut self, step: Step, chunk: &[u8]) -> Result<()> {
        match step {
            Step::Entry(entry) => self.entry(entry),
            Step::Data { offset, range } => self.data(offset, &chunk[range]),
            Step::End(digest) => self.end(digest),
        }
    }

    /// Ends the layer: late hard links, then the metadata of directories.
    pub(super) fn finish_layer(&mut self) -> Result<()> {
        for entry in std::mem::take(&mut self.forward_links) {
            let path = self.clean(&entry.path);
            if let Some(place) = self.place(&path)?
                && !self.hard_link(&place, &entry)?
            {
                let message = format!(
                    "hard link to {}: no such file in the layer or below",
                    escape_name(&entry.link)
                );
                return Err(at(&entry, Error::new(ErrorKind::NotFound, message)));
            }
        }
        self.dirs
            .finish_layer(&mut self.tree, &mut self.translator)?;
        self.translator.next_layer();
        self.tree.next_layer();
        Ok(())
    }

    fn entry(&mut self, entry: Box<Entry>) -> Result<()> {
        let path = self.clean(&entry.path);
        let result = self.entry_at(&path, entry);
        self.path = path;
        result
    }

    /// The clean path of an entry, in the buffer that `entry` gives back.
    fn clean(&mut self, path: &[u8]) -> Vec<u8> {
        let mut clean = std::mem::take(&mut self.path);
        relative_path(&mut clean, path);
        clean
    }

    fn entry_at(&mut self, path: &[u8], entry: Box<Entry>) -> Result<()> {
        if path.is_empty() {
            return self.root_entry(&entry).map_err(|error| at(&entry, error));
        }
        let (parent, name) = split(path);
        match whiteout(name).map_err(|error| at(&entry, error))? {
            Some(hidden) => self
                .whiteout(parent, hidden)
                .map_err(|error| at(&entry, error)),
            None => self.create(path, entry),
        }
    }

    fn create(&mut self, path: &[u8], entry: Box<Entry>) -> Result<()> {
        let Some(place) = self.place(path).map_err(|error| at(&entry, error))? else {
            return Ok(());
        };
        if entry.kind == EntryKind::File {
            return self.begin_file(place, entry);
        }
        let made = match entry.kind {
            EntryKind::Directory => self.directory(path, &place, &entry),
            EntryKind::Symlink => self.symlink(&place, &entry),
            EntryKind::HardLink => match self.hard_link(&place, &entry) {
                Ok(false) => {
                    self.forward_links.push(*entry);
                    return Ok(());
                }
                other => other.map(|_| ()),
            },
            EntryKind::Fifo => self.node(&place, &entry, InodeKind::Fifo),
            _ if self.translator.devices_are_files() => {
                self.translator.device_became_file(&entry.path);
                self.begin_file(place, Box::new(Entry { size: 0, ..*entry }))?;
                return Ok(());
            }
            EntryKind::CharDevice => self.node(&place, &entry, InodeKind::CharDevice),
            _ => self.node(&place, &entry, InodeKind::BlockDevice),
        };
        made.map_err(|error| at(&entry, error))
    }

    /// Opens the directory that an entry goes to, making it if need be, and notes its times.
    fn place(&mut self, path: &[u8]) -> Result<Option<Place>> {
        let (parent, name) = split(path);
        let Some(dir) = self
            .dirs
            .get(parent, true, &mut self.tree, &self.translator)?
        else {
            return Ok(None);
        };
        self.dirs.touch(&dir)?;
        Ok(Some(Place {
            dir,
            name: name.to_vec(),
        }))
    }

    /// Makes a name; if it exists, removes what has it and makes it again.
    fn make_new<T>(
        &mut self,
        place: &Place,
        make: impl Fn(&Dir, &[u8]) -> Result<Option<T>>,
    ) -> Result<T> {
        for _ in 0..2 {
            if let Some(made) = make(&place.dir.dir, &place.name)? {
                return Ok(made);
            }
            self.clear(place)?;
        }
        let path = place.dir.dir.path_of(&place.name);
        Err(Error::new(
            ErrorKind::AlreadyExists,
            format!("create {}: somebody else keeps making it", path.display()),
        ))
    }

    /// Removes what has a name, with everything below it.
    fn clear(&mut self, place: &Place) -> Result<()> {
        let stat = place.dir.dir.try_stat(&place.name)?;
        if stat.is_some_and(|stat| matches!(stat.kind, InodeKind::Directory | InodeKind::Symlink)) {
            self.dirs.forget();
        }
        place.dir.dir.remove_all(&place.name)?;
        self.tree.remove(place.dir.node, &place.name);
        Ok(())
    }

    /// Applies metadata to something new and records it.
    fn finish(&mut self, place: &Place, inode: &Inode<'_>, mut new: New<'_>) -> Result<NodeId> {
        let look = self.labels || place.dir.has_default_acl || !self.options.fresh;
        new.metadata.clear_xattrs = look;
        let mut refused = Vec::new();
        inode.apply(&new.metadata, self.translator.rules(), &mut |attribute| {
            refused.push(attribute);
        })?;
        for attribute in &refused {
            self.translator.refused(attribute);
        }
        let owner = match new.metadata.owner {
            Some(owner) => owner,
            None => self.translator.owner(0, 0)?,
        };
        let mut made = tree::Inode {
            kind: new.kind,
            mode: new.mode,
            uid: owner.0,
            gid: owner.1,
            size: new.size,
            nlink: 1,
            mtime: new.metadata.times.mtime,
            link: new.link.into(),
            sha256: new.sha256,
            xattrs: Vec::new(),
        };
        // What was set and what is there are not always the same: the kernel normalises ACLs and capabilities.
        if look || !new.metadata.xattrs.is_empty() {
            made.xattrs = place.dir.dir.xattrs(&place.name)?;
        }
        if !is_common_time(made.mtime) {
            made.mtime = place.dir.dir.stat(&place.name)?.mtime;
        }
        Ok(self.tree.insert(place.dir.node, &place.name, made))
    }

    fn begin_file(&mut self, place: Place, entry: Box<Entry>) -> Result<()> {
        let begin = |this: &mut Self| {
            this.size = this.size.saturating_add(entry.size);
            if let Some(limit) = this.options.max_size.filter(|&limit| this.size > limit) {
                let message = format!(
                    "the files of the image have {} bytes or more; the limit is {limit}",
                    this.size
                );
                return Err(
                    Error::new(ErrorKind::LimitExceeded, message).with_hint("see --max-size")
                );
            }
            let mut metadata = this.translator.metadata(&entry)?;
            // Right from birth where possible; with more than the plain bits, or attributes to set, closed until then.
            let plain = entry.mode & !0o777 == 0
                && metadata.xattrs.is_empty()
                && !place.dir.has_default_acl;
            let birth_mode = if plain { entry.mode } else { 0o600 };
            if plain {
                metadata.mode = None;
            }
            let writer = this.make_new(&place, |dir, name| dir.create_file(name, birth_mode))?;
            Ok((writer, metadata))
        };
        let (writer, metadata) = begin(self).map_err(|error| at(&entry, error))?;
        self.file = Some(OpenFile {
            writer,
            place,
            entry,
            metadata,
        });
        Ok(())
    }

    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        // Content of what became a whiteout or another type has no file, and goes nowhere.
        let Some(OpenFile {
            writer,
            place,
            entry,
            ..
        }) = &mut self.file
        else {
            return Ok(());
        };
        let path = || place.dir.dir.path_of(&place.name);
        let written = if entry.sparse {
            writer.write_at(offset, bytes, path)
        } else {
            writer.append(bytes, path)
        };
        written.map_err(|error| at(entry, error))
    }

    fn end(&mut self, sha256: Option<[u8; 32]>) -> Result<()> {
        let Some(OpenFile {
            mut writer,
            place,
            entry,
            metadata,
        }) = self.file.take()
        else {
            return Ok(());
        };
        // A device that became an empty file was no file to the hasher.
        let is_empty_device = self.options.file_digests && entry.kind != EntryKind::File;
        let sha256 = sha256.or(is_empty_device.then_some(EMPTY_SHA256));
        let mut finish = || {
            writer.finish(entry.size, || place.dir.dir.path_of(&place.name))?;
            let inode = Inode::Open(writer.as_fd(), &place.dir.dir, &place.name);
            let kind = InodeKind::File;
            let new = New {
                kind,
                mode: entry.mode,
                size: entry.size,
                link: b"",
                sha256,
                metadata: metadata.clone(),
            };
            self.finish(&place, &inode, new)
        };
        finish().map(|_| ()).map_err(|error| at(&entry, error))
    }

    fn symlink(&mut self, place: &Place, entry: &Entry) -> Result<()> {
        let metadata = self.translator.metadata(entry)?;
        self.make_new(place, |dir, name| {
            Ok(dir.create_symlink(name, &entry.link)?.then_some(()))
        })?;
        let (kind, size) = (InodeKind::Symlink, entry.link.len() as u64);
        let new = New {
            kind,
            mode: 0o777,
            size,
            link: &entry.link,
            sha256: None,
            metadata,
        };
        self.finish(place, &place.inode(), new).map(|_| ())
    }

    fn node(&mut self, place: &Place, entry: &Entry, kind: InodeKind) -> Result<()> {
        let mut metadata = self.translator.metadata(entry)?;
        let plain = entry.mode & !0o777 == 0 && !place.dir.has_default_acl;
        let birth_mode = if plain { entry.mode } else { 0o600 };
        if plain {
            metadata.mode = None;
        }
        let device = entry.device;
        self.make_new(place, |dir, name| {
            Ok(dir
                .create_node(name, kind, birth_mode, device)?
                .then_some(()))
        })?;
        let new = New {
            kind,
            mode: entry.mode,
            size: 0,
            link: b"",
            sha256: None,
            metadata,
        };
        self.finish(place, &place.inode(), new).map(|_| ())
    }

    /// Makes a hard link. `false` if there is no such target (yet).
    fn hard_link(&mut self, place: &Place, entry: &Entry) -> Result<bool> {
        let mut path = Vec::new();
        relative_path(&mut path, &entry.link);
        let (parent, name) = split(&path);
        let Some(dir) = self
            .dirs
            .get(parent, false, &mut self.tree, &self.translator)?
        else {
            return Ok(false);
        };
        let target = Place {
            dir,
            name: name.to_vec(),
        };
        let found = if name.is_empty() {
            Some(target.dir.dir.stat_self()?)
        } else {
            target.dir.dir.try_stat(name)?
        };
        let Some(stat) = found else { return Ok(false) };
        if stat.is_dir() {
            let message = format!("hard link to {}, which is a directory", escape_name(&path));
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        let node = match self.tree.child(target.dir.node, name) {
            Some(node) => node,
            // There before anything was recorded.
            None => self.tree.adopt(target.dir.node, name, record(&stat)),
        };
        if target.dir.path == place.dir.path && target.name == place.name {
            // Another spelling of its own name: removing it to make it again would lose it.
            self.tree.mark_written(node);
            return Ok(true);
        }
        self.make_new(place, |dir, name| {
            Ok(dir
                .create_link(name, &target.dir.dir, &target.name)?
                .then_some(()))
        })?;
        self.tree.insert_link(place.dir.node, &place.name, node);
        Ok(true)
    }

    fn directory(&mut self, path: &[u8], place: &Place, entry: &Entry) -> Result<()> {
        let mut metadata = self.translator.metadata(entry)?;
        if let Some(existing) = place.dir.dir.create_dir(&place.name, 0o700)? {
            metadata.clear_xattrs = self.labels || place.dir.has_default_acl || !self.options.fresh;
            return self.new_directory(path, place, existing, metadata);
        }
        metadata.clear_xattrs = true;
        if let Some(existing) = place.dir.dir.open_dir_if_any(&place.name)? {
            let resolved = Resolved {
                dir: existing,
                path: join(&place.dir.path, &place.name),
            };
            let id = resolved.dir.stat_self()?.id;
            self.dirs.forget();
            let open = self.dirs.keep(path, resolved, &mut self.tree)?;
            self.tree.mark_written(open.node);
            self.dirs.set(&open, id, metadata);
            return Ok(());
        }
        if self.options.keep_dirlinks && self.is_dirlink(place)? {
            return self.keep_dirlink(place, metadata);
        }
        let dir = self.make_new(place, |dir, name| dir.create_dir(name, 0o700))?;
        self.new_directory(path, place, dir, metadata)
    }

    fn new_directory(
        &mut self,
        path: &[u8],
        place: &Place,
        dir: Dir,
        metadata: Metadata,
    ) -> Result<()> {
        let stat = dir.stat_self()?;
        self.tree.insert(
            place.dir.node,
            &place.name,
            directory_record(&metadata, &stat),
        );
        let resolved = Resolved {
            dir,
            path: join(&place.dir.path, &place.name),
        };
        let open = self.dirs.keep(path, resolved, &mut self.tree)?;
        self.dirs.set(&open, stat.id, metadata);
        Ok(())
    }

    /// Whether a name is a symbolic link that leads, inside the root, to a directory.
    fn is_dirlink(&mut self, place: &Place) -> Result<bool> {
        let path = join(&place.dir.path, &place.name);
        match self.root.resolve(&path, &mut |_| Ok(false)) {
            Ok(found) => Ok(found.is_some()),
            // A loop leads nowhere.
            Err(error) if error.kind() == ErrorKind::InvalidData => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives the metadata of a directory entry to the symbolic link that stays in its place.
    fn keep_dirlink(&mut self, place: &Place, mut metadata: Metadata) -> Result<()> {
        metadata.mode = None;
        metadata.xattrs.clear();
        metadata.clear_xattrs = false;
        let mut refused = |_| {};
        place
            .inode()
            .apply(&metadata, self.translator.rules(), &mut refused)?;
        let node = match self.tree.child(place.dir.node, &place.name) {
            Some(node) => node,
            None => self.tree.adopt(
                place.dir.node,
                &place.name,
                record(&place.dir.dir.stat(&place.name)?),
            ),
        };
        let link = self.tree.inode_mut(node);
        (link.uid, link.gid) = metadata.owner.unwrap_or((link.uid, link.gid));
        link.mtime = metadata.times.mtime;
        self.tree.mark_written(node);
        Ok(())
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryKind::Directory {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "the root must be a directory",
            ));
        }
        let mut metadata = self.translator.metadata(entry)?;
        metadata.clear_xattrs = true;
        let Some(root) = self
            .dirs
            .get(b"", false, &mut self.tree, &self.translator)?
        else {
            return Ok(());
        };
        let id = root.dir.stat_self()?.id;
        self.dirs.set(&root, id, metadata);
        Ok(())
    }

    fn whiteout(&mut self, parent: &[u8], hidden: Whiteout<'_>) -> Result<()> {
        // Nothing is there to hide, and nothing is made for it.
        let Some(dir) = self
            .dirs
            .get(parent, false, &mut self.tree, &self.translator)?
        else {
            return Ok(());
        };
        match hidden {
            Whiteout::Name(name) => {
                if dir.dir.try_stat(name)?.is_some() {
                    self.dirs.touch(&dir)?;
                    self.remove_lower(&dir.dir, &dir.path, dir.node, name)?;
                }
            }
            Whiteout::Opaque => {
                for name in dir.dir.names()? {
                    self.dirs.touch(&dir)?;
                    self.remove_lower(&dir.dir, &dir.path, dir.node, &name)?;
                }
            }
        }
        Ok(())
    }

    /// Removes a name as far as this layer has not written it: all of it, nothing, or the other names below it.
    fn remove_lower(&mut self, dir: &Dir, path: &[u8], node: NodeId, name: &[u8]) -> Result<()> {
        let mut stack = vec![(None::<Dir>, path.to_vec(), node, vec![name.to_vec()])];
        while let Some((opened, path, node, names)) = stack.last_mut() {
            let Some(name) = names.pop() else {
                stack.pop();
                continue;
            };
            let dir = opened.as_ref().unwrap_or(dir);
            let child = self.tree.child(*node, &name);
            match child.filter(|&child| self.tree.is_written(child)) {
                None => {
                    self.dirs.forget();
                    dir.remove_all(&name)?;
                    self.tree.remove(*node, &name);
                }
                Some(child) => {
                    if let Some(below) = dir.open_dir_if_any(&name)? {
                        let names = below.names()?;
                        let path = join(path, &name);
                        self.dirs.touch_dir(&below, &path)?;
                        stack.push((Some(below), path, child, names));
                    }
                }
            }
        }
        Ok(())
    }
}

/// What is made and recorded.
struct New<'a> {
    kind: InodeKind,
    mode: u32,
    size: u64,
    link: &'a [u8],
    sha256: Option<[u8; 32]>,
    metadata: Metadata,
}

/// SHA-256 of nothing.
const EMPTY_SHA256: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// Whether any file system keeps a time as it is. Beyond, the kernel clamps, and what it made of it must be asked for.
fn is_common_time(time: FileTime) -> bool {
    (i64::from(i32::MIN)..=i64::from(i32::MAX)).contains(&time.unix_seconds())
}

/// Says which entry an error is about.
fn at(entry: &Entry, error: Error) -> Error {
    error.context(format!("entry {}", escape_name(&entry.path)))
}
