//! The third stage: one step at a time to the disk, one function for each type of entry.
//!
//! | file | what |
//! |---|---|
//! | `file.rs` | regular files |
//! | `directory.rs` | directories, and the root |
//! | `node.rs` | symbolic links, pipes, devices |
//! | `link.rs` | hard links |
//! | `lower.rs` | whiteouts: removing what lower layers had |
//! | `stacked.rs` | the same when lower layers are not in sight: saying what is hidden and reached below |
//!
//! A new name is made first and asked about later: only when the kernel says that it exists is it looked at, and, unless
//! both it and the entry are directories, removed with everything below it and made afresh. So a hard link's other
//! names keep their content, and nothing is ever written through what was there. Mode bits are right from birth where
//! no others than the plain nine are wanted; that is why the stage runs with an umask of its own, which is 0.

mod directory;
mod file;
mod link;
mod lower;
mod node;
mod stacked;

use std::rc::Rc;

use self::file::OpenFile;
use super::attributes::Translator;
use super::consumer::Consumer;
use super::dirs::{Dirs, Missing, OpenDir};
use super::forward_links::ForwardLinks;
use super::frame::Step;
use super::options::ApplyOptions;
use super::path::relative_path;
use super::whiteout::whiteout;
use crate::archive::{Entry, EntryKind};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::split;
use crate::fs::tree::{self, NodeId, Tree};
use crate::fs::{Dir, Inode, InodeKind, Metadata, Root, escape_name, probe};
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
    forward_links: ForwardLinks,
    /// Bytes of all files so far.
    size: u64,
    path: Vec<u8>,
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

impl Consumer for Applier<'_> {
    fn step(&mut self, step: Step, chunk: &[u8]) -> Result<()> {
        match step {
            Step::Entry(entry) => self.entry(entry),
            Step::Data { offset, range } => self.data(offset, &chunk[range]),
            Step::End(digest) => self.end(digest),
        }
    }

    /// Ends the layer: late hard links, then the metadata of directories.
    fn finish_layer(&mut self) -> Result<()> {
        self.finish_links()?;
        self.make_whiteouts()?;
        self.dirs
            .finish_layer(&mut self.tree, &mut self.translator)?;
        if let Some(stacked) = &mut self.dirs.stacked {
            stacked.finish_layer(&self.tree)?;
        }
        self.translator.next_layer();
        self.tree.next_layer();
        Ok(())
    }
}

impl<'a> Applier<'a> {
    pub(super) fn new(
        root: &'a Root,
        options: &'a ApplyOptions,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let stat = root.dir().stat_self()?;
        let mut dirs = Dirs::new(root, !options.fresh, options.file_digests);
        let mut labels = false;
        if options.fresh {
            dirs.touch_dir(root.dir(), b"")?;
            labels = probe::newborns_have_xattrs(root.dir())?;
        }
        Ok(Self {
            root,
            options,
            tree: Tree::new(tree::Inode::of(&stat)),
            dirs,
            translator: Translator::new(&options.map_options, progress),
            labels,
            file: None,
            forward_links: ForwardLinks::default(),
            size: 0,
            path: Vec::new(),
        })
    }

    /// Ends the work: the record of what was made.
    pub(super) fn into_tree(mut self) -> Result<Tree> {
        // An image without layers has had no end of a layer.
        self.dirs
            .finish_layer(&mut self.tree, &mut self.translator)?;
        if self.options.file_digests {
            self.dirs.witness_links(&mut self.tree, &self.translator)?;
        }
        Ok(self.tree)
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
        let (parent, name) = split(path);
        let hidden = whiteout(name).map_err(|error| at(&entry.path, error))?;
        if hidden.is_none() {
            self.check_device(&entry)
                .map_err(|error| at(&entry.path, error))?;
        }
        if self.is_left_to_below() {
            return Ok(());
        }
        if path.is_empty() {
            return self
                .root_entry(&entry)
                .map_err(|error| at(&entry.path, error));
        }
        let made = match hidden {
            Some(hidden) => self
                .whiteout(parent, hidden)
                .map_err(|error| at(&entry.path, error)),
            None => self.create(path, entry),
        };
        self.or_leave_to_below(made)
    }

    fn create(&mut self, path: &[u8], entry: Box<Entry>) -> Result<()> {
        let Some(place) = self.place(path).map_err(|error| at(&entry.path, error))? else {
            return Ok(());
        };
        if entry.kind == EntryKind::File {
            return self.begin_file(place, entry);
        }
        let made = match entry.kind {
            EntryKind::Directory => self.directory(path, &place, &entry),
            EntryKind::Symlink => self.symlink(&place, &entry),
            EntryKind::HardLink => match self.hard_link(&place, &entry.link) {
                Ok(true) => Ok(()),
                Ok(false) => self.wait_for_target(&place, &entry),
                Err(error) => Err(error),
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
        made.map_err(|error| at(&entry.path, error))
    }

    /// Opens the directory that an entry goes to, making it if need be, and notes its times.
    fn place(&mut self, path: &[u8]) -> Result<Option<Place>> {
        let (parent, name) = split(path);
        let Some(dir) = self
            .dirs
            .get(parent, Missing::Make, &mut self.tree, &self.translator)?
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
            format!(
                "create {}: another process keeps creating it",
                path.display()
            ),
        ))
    }

    /// Removes what has a name, with everything below it.
    fn clear(&mut self, place: &Place) -> Result<()> {
        let stat = place.dir.dir.try_stat(&place.name)?;
        if stat.is_some_and(|stat| matches!(stat.kind, InodeKind::Directory | InodeKind::Symlink)) {
            self.dirs.forget();
        }
        place.dir.dir.remove_all(&place.name)?;
        self.remove_node(place.dir.node, &place.dir.path, &place.name)
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
            stat_stamp: None,
        };
        // What was set and what is there are not always the same: the kernel normalises ACLs and capabilities.
        if self.options.file_digests && (look || !new.metadata.xattrs.is_empty()) {
            made.xattrs = place.dir.dir.xattrs(&place.name)?;
        }
        if self.options.file_digests {
            // What is on disk counts: a file system may clamp times, a directory hand down its group. And last of all,
            // because whatever changes it from now on changes its ctime.
            made = tree::Inode {
                link: made.link,
                sha256: made.sha256,
                xattrs: made.xattrs,
                ..tree::Inode::of(&inode.stat()?)
            };
        }
        Ok(self.tree.insert(place.dir.node, &place.name, made))
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

/// Says which entry an error is about.
fn at(path: &[u8], error: Error) -> Error {
    error.context(format!("entry {}", escape_name(path)))
}
