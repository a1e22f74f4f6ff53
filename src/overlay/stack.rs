//! What overlayfs would show of directories laid over each other, read without mounting them.
//!
//! A name is looked for from the topmost layer down. The first layer that has it decides what it is, and it goes on only
//! from directory to directory: whiteouts, anything but a directory and opaque directories end the search. So a path is
//! a list of the layers that take part in it, which is found component by component from the root, where all do.
//!
//! - A whiteout is a character device 0:0, or an empty regular file with the attribute `overlay.whiteout`.
//! - The roots of the layers are always merged: the kernel does not look at their `overlay.opaque`.
//! - A whiteout with nothing beneath is nothing. The kernel lists it where its directory is not merged, and then finds
//!   nothing of that name.
//! - `overlay.redirect` and `overlay.metacopy` say that content lies elsewhere. It is not looked for: what has them is
//!   refused when it is entered or read.
//!
//! At most 256 directories are open, whatever the depth and the number of layers, beside those that were open before:
//! what is [`Found`] knows its layer and path, and opens its directory anew if it must.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZeroUsize;
use std::rc::Rc;

use lru::LruCache;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::mount::Lowers;
use crate::fs::names::{join, split};
use crate::fs::{Dir, InodeId, InodeKind, Stat, XattrNamespace, escape_name, probe};

mod found;
mod marks;
#[cfg(test)]
pub(crate) mod tests;

pub use found::Found;
use marks::check_marks;
pub(super) use marks::{has_mark, is_opaque};

/// How many directories stay open at most. Of few descriptors, a quarter: there may be two stacks, and others need some.
const OPEN_DIRS: usize = 256;
/// Of how many directories it is remembered which layers take part in them.
const MERGED_DIRS: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// How long a path may be, in bytes, as in every record of a tree.
pub(super) const MAX_PATH: usize = 4096;

/// Directories laid over each other, as overlayfs would.
///
/// Nothing may change in them meanwhile: what has been looked up is remembered.
#[derive(Debug)]
pub struct Stack {
    shared: Rc<Shared>,
}

/// The layers that take part in a directory, topmost first.
type Parts = Rc<[usize]>;

/// A directory of one layer: the number of the layer, and the path in it.
type LayerPath = (usize, Box<[u8]>);

#[derive(Debug)]
struct Shared {
    layers: Layers,
    marks: XattrNamespace,
    open: RefCell<LruCache<LayerPath, Rc<Dir>>>,
    merged: RefCell<LruCache<Box<[u8]>, Parts>>,
}

/// The layers, topmost first.
#[derive(Debug)]
enum Layers {
    /// Open all the time.
    Held(Vec<Rc<Dir>>),
    /// Opened as directories below them are.
    Named(Box<dyn Lowers>),
}

impl Layers {
    fn count(&self) -> usize {
        match self {
            Self::Held(layers) => layers.len(),
            Self::Named(layers) => layers.count(),
        }
    }
}

/// What a layer says of a name.
enum Here {
    Nothing,
    Whiteout,
    Something(Stat),
}

impl Stack {
    /// Lays directories over each other, the topmost first, with the marks of one namespace.
    pub fn new(layers: Vec<Dir>, marks: XattrNamespace) -> Self {
        let layers = layers.into_iter().map(Rc::new).collect();
        Self::with(Layers::Held(layers), marks)
    }

    /// Stacks directories that are opened one at a time.
    pub(crate) fn over(layers: impl Lowers + 'static, marks: XattrNamespace) -> Self {
        Self::with(Layers::Named(Box::new(layers)), marks)
    }

    fn with(layers: Layers, marks: XattrNamespace) -> Self {
        let open_dirs = OPEN_DIRS.min(probe::max_open_files() / 4);
        let open_dirs = NonZeroUsize::new(open_dirs).unwrap_or(NonZeroUsize::MIN);
        let shared = Shared {
            layers,
            marks,
            open: RefCell::new(LruCache::new(open_dirs)),
            merged: RefCell::new(LruCache::new(MERGED_DIRS)),
        };
        Self {
            shared: Rc::new(shared),
        }
    }

    /// The namespace of the marks in the layers.
    pub fn marks(&self) -> XattrNamespace {
        self.shared.marks
    }

    /// Looks up a path: clean and relative, empty for the root. Symbolic links are not followed; `None` if there is no such
    /// path, also because something above it is no directory.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: the path is not clean.
    /// - [`ErrorKind::Unsupported`]: a directory on the way, or what is found, has a mark that says that its content lies
    ///   elsewhere.
    /// - Those of the file system.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Found>> {
        if path.is_empty() {
            if self.shared.layers.count() == 0 {
                return Ok(None);
            }
            let top = self.shared.dir(0, b"")?;
            return Ok(Some(self.found(0, top.stat_self()?, path)));
        }
        check(path)?;
        let (parent, name) = split(path);
        let Some(parts) = self.shared.merged(parent)? else {
            return Ok(None);
        };
        for &layer in parts.iter() {
            match self.shared.here(layer, parent, name)? {
                Here::Nothing => {}
                Here::Whiteout => return Ok(None),
                Here::Something(stat) => {
                    let found = self.found(layer, stat, path);
                    if matches!(found.stat.kind, InodeKind::File | InodeKind::Directory) {
                        found.xattrs()?;
                    }
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// The names in the directory at a path, whiteouts gone; `None` if there is no such directory. What says that its
    /// content lies elsewhere is refused only when it is looked into.
    ///
    /// # Errors
    ///
    /// As [`lookup`](Self::lookup).
    pub fn read_dir(&self, path: &[u8]) -> Result<Option<BTreeMap<Vec<u8>, Found>>> {
        check(path)?;
        let Some(parts) = self.shared.merged(path)? else {
            return Ok(None);
        };
        let mut names = BTreeMap::new();
        for &layer in parts.iter() {
            self.read_layer(layer, path, &mut names)?;
        }
        let there = |(name, found): (_, Option<Found>)| found.map(|found| (name, found));
        Ok(Some(names.into_iter().filter_map(there).collect()))
    }

    /// Adds the names in a directory of one layer to those of layers above, which have the last word on a name, be it that
    /// it is none: a whiteout.
    pub(super) fn read_layer(
        &self,
        layer: usize,
        path: &[u8],
        names: &mut BTreeMap<Vec<u8>, Option<Found>>,
    ) -> Result<()> {
        for name in self.shared.dir(layer, path)?.names()? {
            if let Entry::Vacant(entry) = names.entry(name) {
                match self.shared.here(layer, path, entry.key())? {
                    Here::Nothing => {}
                    Here::Whiteout => drop(entry.insert(None)),
                    Here::Something(stat) => {
                        let found = self.found(layer, stat, &join(path, entry.key()));
                        entry.insert(Some(found));
                    }
                }
            }
        }
        Ok(())
    }

    /// The directories of the layers that make up the directory at a path, topmost first. Two paths with the same ones show
    /// the same, at every depth.
    pub(super) fn inodes(&self, path: &[u8]) -> Result<Option<Vec<InodeId>>> {
        let Some(parts) = self.shared.merged(path)? else {
            return Ok(None);
        };
        let ids = parts.iter().map(|&layer| {
            let dir = self.shared.dir(layer, path)?;
            Ok(dir.stat_self()?.id)
        });
        ids.collect::<Result<_>>().map(Some)
    }

    fn found(&self, layer: usize, stat: Stat, path: &[u8]) -> Found {
        Found {
            shared: Rc::clone(&self.shared),
            layer,
            stat,
            path: path.into(),
        }
    }
}

impl Shared {
    /// The layers that take part in the directory at a path; `None` if there is no such directory.
    fn merged(&self, path: &[u8]) -> Result<Option<Parts>> {
        if self.layers.count() == 0 {
            return Ok(None);
        }
        // Up to the nearest directory that is known, and down again.
        let mut length = path.len();
        let mut parts = loop {
            if length == 0 {
                break (0..self.layers.count()).collect();
            }
            if let Some(parts) = self.merged.borrow_mut().get(&path[..length]) {
                break Rc::clone(parts);
            }
            length = split(&path[..length]).0.len();
        };
        while length < path.len() {
            let parent = &path[..length];
            let start = length + usize::from(length > 0);
            let slash = path[start..].iter().position(|&byte| byte == b'/');
            length = slash.map_or(path.len(), |slash| start + slash);
            parts = self.step(parent, &parts, &path[start..length])?;
            if parts.is_empty() {
                return Ok(None);
            }
            let key = path[..length].into();
            self.merged.borrow_mut().put(key, Rc::clone(&parts));
        }
        Ok(Some(parts))
    }

    /// The layers that take part in a directory in a directory: none if the name is no directory.
    fn step(&self, parent: &[u8], parts: &[usize], name: &[u8]) -> Result<Parts> {
        let mut taking_part = Vec::new();
        for &layer in parts {
            match self.here(layer, parent, name)? {
                Here::Nothing => {}
                Here::Something(stat) if stat.is_dir() => {
                    taking_part.push(layer);
                    let dir = self.dir(layer, &join(parent, name))?;
                    let xattrs = dir.xattrs_self()?;
                    check_marks(self.marks, &xattrs)
                        .context(|| format!("look into {}", dir.path().display()))?;
                    if is_opaque(self.marks, &xattrs) {
                        break;
                    }
                }
                _ => break,
            }
        }
        Ok(taking_part.into())
    }

    /// What a layer that takes part in a directory says of a name in it.
    fn here(&self, layer: usize, parent: &[u8], name: &[u8]) -> Result<Here> {
        let dir = self.dir(layer, parent)?;
        let Some(stat) = dir.try_stat(name)? else {
            return Ok(Here::Nothing);
        };
        let is_whiteout = stat.is_whiteout()
            || stat.kind == InodeKind::File
                && stat.size == 0
                && has_mark(self.marks, &dir.xattrs(name)?, b"whiteout");
        Ok(if is_whiteout {
            Here::Whiteout
        } else {
            Here::Something(stat)
        })
    }

    /// Opens a directory of a layer.
    fn dir(&self, layer: usize, path: &[u8]) -> Result<Rc<Dir>> {
        let mut length = path.len();
        let mut dir = loop {
            if length == 0
                && let Layers::Held(layers) = &self.layers
            {
                let root = layers.get(layer).map(Rc::clone);
                break root.ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, format!("there is no layer {layer}"))
                })?;
            }
            let key = (layer, path[..length].into());
            if let Some(dir) = self.open.borrow_mut().get(&key) {
                break Rc::clone(dir);
            }
            if length == 0
                && let Layers::Named(layers) = &self.layers
            {
                let root = Rc::new(layers.open(layer)?.into_dir()?);
                self.open.borrow_mut().put(key, Rc::clone(&root));
                break root;
            }
            length = split(&path[..length]).0.len();
        };
        while length < path.len() {
            let start = length + usize::from(length > 0);
            let slash = path[start..].iter().position(|&byte| byte == b'/');
            length = slash.map_or(path.len(), |slash| start + slash);
            dir = Rc::new(dir.open_dir(&path[start..length])?);
            let key = (layer, path[..length].into());
            self.open.borrow_mut().put(key, Rc::clone(&dir));
        }
        Ok(dir)
    }
}

fn check(path: &[u8]) -> Result<()> {
    let mut components = path.split(|&byte| byte == b'/');
    let is_clean = components.all(|name| !matches!(name, b"" | b"." | b".."));
    if path.is_empty() || is_clean {
        return Ok(());
    }
    let message = format!("look up {}: not a clean relative path", escape_name(path));
    Err(Error::new(ErrorKind::InvalidInput, message))
}
