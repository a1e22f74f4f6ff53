//! The directories of the root while a layer is applied: kept open, and given their metadata at the end.
//!
//! Adding and removing names changes a directory's times, so these are noted before the first change ([`Dirs::touch`])
//! and put back when the layer is through; a directory that has an entry of its own gets that entry's metadata then.
//! Each directory is hence written to once a layer, deepest first, whatever the order of the archive. What waits is
//! keyed by the one path of a directory without symbolic links in it, because it may be reached by several spellings;
//! what waits for directories that are gone again is dropped from time to time (`deferred.rs`).

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::rc::Rc;

use lru::LruCache;

use super::attributes::Translator;
use super::deferred::{DeferredDirMetadata, Pending};
use super::notes::IMPLIED;
use super::stacked::Stacked;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::join;
use crate::fs::tree::{self, NodeId, StatStamp, Tree};
use crate::fs::{Dir, Inode, InodeId, InodeKind, Metadata, Resolved, Root, Stat, Times, probe};

/// How many directories stay open. Archives come directory by directory, so a few times the depth of a tree will do.
const OPEN_DIRS: usize = 48;

/// The part of the files that the process may have open which one unpack takes: there may be one for each processor.
const OPEN_FILES_SHARE: usize = 16;

/// The mode of a directory for which no layer has an entry.
const IMPLIED_MODE: u32 = 0o755;

/// An open directory of the root.
pub(super) struct OpenDir {
    pub dir: Dir,
    /// Path below the root, without symbolic links.
    pub path: Vec<u8>,
    pub node: NodeId,
    /// Whether its times have been noted in this layer.
    touched: Cell<bool>,
    /// Whether new entries may be born with an ACL, because the directory has a default one.
    pub has_default_acl: bool,
}

#[cfg(test)]
impl OpenDir {
    /// A root, for tests.
    pub(super) fn of(dir: Dir, node: NodeId) -> Self {
        Self {
            dir,
            path: Vec::new(),
            node,
            touched: Cell::new(false),
            has_default_acl: false,
        }
    }
}

/// What to do about a directory that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nothing: it is not found.
    Leave,
    /// Make it, with everything above it; what is in the way and no directory is replaced.
    Make,
    /// Make it only to hide something in it that lower layers may have: not where they have nothing any more. Nothing is
    /// replaced, and the current layer has not written what is made.
    MakeToHide,
}

/// The directories of a root.
pub(super) struct Dirs<'a> {
    root: &'a Root,
    open: LruCache<Box<[u8]>, Rc<OpenDir>>,
    /// The directory that was asked for last: mostly the one that is asked for next.
    last: Option<(Vec<u8>, Rc<OpenDir>)>,
    waiting: DeferredDirMetadata,
    /// Whether the tree is to say what the directories are like.
    record: bool,
    /// Whether a default ACL may exist anywhere in the root.
    pub acls_possible: bool,
    /// What there is to know about a layer that is unpacked without those below it.
    pub stacked: Option<Stacked>,
}

impl<'a> Dirs<'a> {
    pub(super) fn new(root: &'a Root, acls_possible: bool, record: bool) -> Self {
        Self {
            root,
            open: LruCache::new(open_dirs()),
            last: None,
            waiting: DeferredDirMetadata::new(),
            record,
            acls_possible,
            stacked: None,
        }
    }

    /// Closes all directories: something that a path may lead through is gone.
    pub(super) fn forget(&mut self) {
        self.last = None;
        self.open.clear();
    }

    /// Opens the directory at a path (clean, relative, perhaps with symbolic links).
    pub(super) fn get(
        &mut self,
        path: &[u8],
        missing: Missing,
        tree: &mut Tree,
        translator: &Translator<'_>,
    ) -> Result<Option<Rc<OpenDir>>> {
        if let Some((spelled, dir)) = &self.last
            && spelled == path
        {
            return Ok(Some(Rc::clone(dir)));
        }
        let found = match self.open.get(path) {
            Some(dir) => Rc::clone(dir),
            None => match self.resolve(path, missing, tree, translator)? {
                None => return Ok(None),
                Some(resolved) => self.keep(path, resolved, tree)?,
            },
        };
        self.last = Some((path.to_vec(), Rc::clone(&found)));
        Ok(Some(found))
    }

    fn resolve(
        &mut self,
        path: &[u8],
        missing: Missing,
        tree: &mut Tree,
        translator: &Translator<'_>,
    ) -> Result<Option<Resolved>> {
        let (root, waiting, stacked) = (self.root, &mut self.waiting, &self.stacked);
        root.resolve(path, &mut |obstacle| {
            if missing == Missing::Leave {
                return Ok(false);
            }
            let parent = adopt(tree, root, obstacle.parent_path)?;
            let path = join(obstacle.parent_path, obstacle.name);
            let written = missing == Missing::Make;
            if !written {
                let reaches = |stacked: &Stacked| stacked.reaches_below(tree, parent, &path);
                if obstacle.existing.is_some() || !stacked.as_ref().is_some_and(reaches) {
                    return Ok(false);
                }
            }
            touch(waiting, obstacle.parent, obstacle.parent_path)?;
            if obstacle.existing.is_some() {
                obstacle.parent.remove_all(obstacle.name)?;
            }
            let Some(made) = obstacle.parent.create_dir(obstacle.name, 0o700)? else {
                return Ok(true);
            };
            let metadata = implied(translator)?;
            let stat = made.stat_self()?;
            let record = directory_record(&metadata, &stat);
            let node = if written {
                tree.insert(parent, obstacle.name, record)
            } else {
                tree.adopt(parent, obstacle.name, record)
            };
            if let Some(stacked) = stacked {
                tree.set_notes(node, IMPLIED);
                stacked.made_dir(tree, node, &path, obstacle.existing.is_some());
            }
            let id = stat.id;
            waiting.insert(&path, Pending { id, metadata });
            Ok(true)
        })
    }

    /// Keeps a directory open under the path that it was asked for by.
    pub(super) fn keep(
        &mut self,
        spelled: &[u8],
        resolved: Resolved,
        tree: &mut Tree,
    ) -> Result<Rc<OpenDir>> {
        let node = adopt(tree, self.root, &resolved.path)?;
        self.waiting.prune(tree);
        let has_default_acl = self.acls_possible
            && resolved
                .dir
                .xattrs_self()?
                .iter()
                .any(|(name, _)| name == b"system.posix_acl_default");
        let Resolved { dir, path } = resolved;
        let dir = Rc::new(OpenDir {
            dir,
            path,
            node,
            touched: Cell::new(false),
            has_default_acl,
        });
        self.open.put(spelled.into(), Rc::clone(&dir));
        Ok(dir)
    }

    /// Notes the times of a directory, which is about to change.
    pub(super) fn touch(&mut self, dir: &OpenDir) -> Result<()> {
        if dir.touched.replace(true) {
            return Ok(());
        }
        touch(&mut self.waiting, &dir.dir, &dir.path)
    }

    /// Notes the times of a directory that is open for the moment only.
    pub(super) fn touch_dir(&mut self, dir: &Dir, path: &[u8]) -> Result<()> {
        touch(&mut self.waiting, dir, path)
    }

    /// Gives a directory metadata at the end of the layer, in place of what it was to get so far.
    pub(super) fn set(&mut self, dir: &OpenDir, id: InodeId, metadata: Metadata) {
        dir.touched.set(true);
        self.acls_possible |= metadata
            .xattrs
            .iter()
            .any(|(name, _)| name == b"system.posix_acl_default");
        self.waiting.insert(&dir.path, Pending { id, metadata });
    }

    /// Applies all that waits, deepest first, and notes in the tree what the directories are like then.
    pub(super) fn finish_layer(
        &mut self,
        tree: &mut Tree,
        translator: &mut Translator<'_>,
    ) -> Result<()> {
        self.forget();
        let waiting = std::mem::replace(&mut self.waiting, DeferredDirMetadata::new());
        let mut pending = waiting.into_vec();
        let depth = |path: &[u8]| {
            path.split(|&byte| byte == b'/')
                .filter(|name| !name.is_empty())
                .count()
        };
        // Paths as the second key: the same order for the same layer.
        pending.sort_by_cached_key(|(path, _)| (std::cmp::Reverse(depth(path)), path.clone()));
        for (path, Pending { id, mut metadata }) in pending {
            // A directory that was removed again, or that somebody else has moved away.
            let Some(mut resolved) = self.root.find(&path)? else {
                continue;
            };
            if resolved.path != *path || resolved.dir.stat_self()?.id != id {
                continue;
            }
            let mark = self.stacked.as_ref().and_then(|it| it.mark(tree, &path));
            metadata.xattrs.extend(mark);
            apply(
                &mut resolved.dir,
                &metadata,
                translator,
                self.stacked.as_ref(),
            )?;
            if self.record
                && let Some(node) = tree.find(&path)
            {
                let stat = resolved.dir.stat_self()?;
                let xattrs = match metadata.mode {
                    Some(_) if metadata.clear_xattrs || !metadata.xattrs.is_empty() => {
                        resolved.dir.xattrs_self()?
                    }
                    _ => std::mem::take(&mut tree.inode_mut(node).xattrs),
                };
                *tree.inode_mut(node) = tree::Inode {
                    xattrs,
                    ..tree::Inode::of(&stat)
                };
            }
        }
        Ok(())
    }

    /// Looks again at what has changed since it was made without being touched itself: inodes that got or lost a name.
    pub(super) fn witness_links(
        &mut self,
        tree: &mut Tree,
        translator: &Translator<'_>,
    ) -> Result<()> {
        for (path, name) in tree.unstamped() {
            let Some(dir) = self.get(&path, Missing::Leave, tree, translator)? else {
                continue;
            };
            let Some(node) = tree.child(dir.node, &name) else {
                continue;
            };
            // Another name of the same inode may have been first.
            if tree.inode(node).stat_stamp.is_none()
                && let Some(stat) = dir.dir.try_stat(&name)?
            {
                let inode = tree.inode_mut(node);
                inode.nlink = stat.nlink;
                inode.stat_stamp = Some(StatStamp::of(&stat));
            }
        }
        self.forget();
        Ok(())
    }
}

fn apply(
    dir: &mut Dir,
    metadata: &Metadata,
    translator: &mut Translator<'_>,
    stacked: Option<&Stacked>,
) -> Result<()> {
    let mut refused = Vec::new();
    Inode::of(dir).apply(metadata, translator.rules(), &mut |attribute| {
        refused.push(attribute);
    })?;
    if metadata.mode.is_some() {
        dir.keep_mode();
    }
    for attribute in &refused {
        // Without its mark, the directory would show what it hides.
        if let Some(stacked) = stacked
            && stacked.is_mark(&attribute.name)
        {
            let path = dir.path().display();
            let message = format!("make {path} opaque: extended attributes are refused");
            let error = Error::new(ErrorKind::Unsupported, message);
            return Err(error
                .with_hint("overlayfs needs a file system with trusted.* or user.* attributes"));
        }
        translator.refused(attribute);
    }
    Ok(())
}

fn touch(waiting: &mut DeferredDirMetadata, dir: &Dir, path: &[u8]) -> Result<()> {
    let stat = dir.stat_self()?;
    if waiting.is_for(path, stat.id) {
        return Ok(());
    }
    let metadata = Metadata {
        owner: None,
        mode: None,
        xattrs: Vec::new(),
        clear_xattrs: false,
        times: Times {
            atime: stat.atime,
            mtime: stat.mtime,
        },
    };
    let id = stat.id;
    waiting.insert(path, Pending { id, metadata });
    Ok(())
}

fn open_dirs() -> NonZeroUsize {
    let share = probe::max_open_files() / OPEN_FILES_SHARE;
    NonZeroUsize::new(share.min(OPEN_DIRS)).unwrap_or(NonZeroUsize::MIN)
}

/// What a directory without an entry of its own has: the same wherever and whenever it is made.
fn implied(translator: &Translator<'_>) -> Result<Metadata> {
    Ok(Metadata {
        owner: translator
            .sets_owner()
            .then(|| translator.owner(0, 0))
            .transpose()?,
        mode: Some(IMPLIED_MODE),
        xattrs: Vec::new(),
        clear_xattrs: true,
        times: Times::EPOCH,
    })
}

/// The name of a directory in the tree, which may have been there before anything was recorded.
fn adopt(tree: &mut Tree, root: &Root, path: &[u8]) -> Result<NodeId> {
    if let Some(node) = tree.find(path) {
        return Ok(node);
    }
    let mut node = Tree::ROOT;
    let mut end = 0;
    for name in path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
    {
        end += name.len() + usize::from(end > 0);
        node = if let Some(child) = tree.child(node, name) {
            child
        } else {
            let found = root.find(&path[..end])?;
            let stat = found.map(|found| found.dir.stat_self()).transpose()?;
            let inode = stat.map_or_else(unknown_directory, |stat| tree::Inode::of(&stat));
            tree.adopt(node, name, inode)
        };
    }
    Ok(node)
}

/// A directory that is gone again before it could be looked at.
fn unknown_directory() -> tree::Inode {
    tree::Inode {
        kind: InodeKind::Directory,
        mode: IMPLIED_MODE,
        uid: 0,
        gid: 0,
        size: 0,
        nlink: 2,
        mtime: filetime::FileTime::zero(),
        link: Box::default(),
        sha256: None,
        xattrs: Vec::new(),
        stat_stamp: None,
    }
}

/// The record of a directory that is going to have metadata.
pub(super) fn directory_record(metadata: &Metadata, stat: &Stat) -> tree::Inode {
    let (uid, gid) = metadata.owner.unwrap_or((stat.uid, stat.gid));
    let mode = metadata.mode.unwrap_or(stat.mode);
    tree::Inode {
        uid,
        gid,
        mode,
        mtime: metadata.times.mtime,
        stat_stamp: None,
        ..tree::Inode::of(stat)
    }
}
