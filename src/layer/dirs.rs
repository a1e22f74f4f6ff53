//! The directories of the root while a layer is applied: kept open, and given their metadata at the end.
//!
//! Adding and removing names changes a directory's times, so these are noted before the first change ([`Dirs::touch`])
//! and put back when the layer is through; a directory that has an entry of its own gets that entry's metadata then.
//! Each directory is hence written to once a layer, deepest first, whatever the order of the archive. What waits is
//! keyed by inode, because one directory may be reached by several spellings of its path.

use std::cell::Cell;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::rc::Rc;

use lru::LruCache;

use super::attributes::Translator;
use crate::error::Result;
use crate::fs::tree::{self, NodeId, Tree};
use crate::fs::{Dir, Inode, InodeId, InodeKind, Metadata, Resolved, Root, Stat, Times};

/// How many directories stay open. Archives come directory by directory, so a few times the depth of a tree will do,
/// and processes with a limit of 128 open files must be able to unpack.
const OPEN_DIRS: NonZeroUsize = NonZeroUsize::new(48).unwrap();

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

/// What a directory gets at the end of the layer.
struct Pending {
    path: Box<[u8]>,
    metadata: Metadata,
}

/// The directories of a root.
pub(super) struct Dirs<'a> {
    root: &'a Root,
    open: LruCache<Box<[u8]>, Rc<OpenDir>>,
    /// The directory that was asked for last: mostly the one that is asked for next.
    last: Option<(Vec<u8>, Rc<OpenDir>)>,
    pending: HashMap<InodeId, Pending>,
    /// Whether a default ACL may exist anywhere in the root.
    pub acls_possible: bool,
}

impl<'a> Dirs<'a> {
    pub(super) fn new(root: &'a Root, acls_possible: bool) -> Self {
        Self {
            root,
            open: LruCache::new(OPEN_DIRS),
            last: None,
            pending: HashMap::new(),
            acls_possible,
        }
    }

    /// Closes all directories: something that a path may lead through is gone.
    pub(super) fn forget(&mut self) {
        self.last = None;
        self.open.clear();
    }

    /// Opens the directory at a path (clean, relative, perhaps with symbolic links). If it is missing it is made, with
    /// everything above it, when `create` says so; what is in the way and no directory is then replaced.
    pub(super) fn get(
        &mut self,
        path: &[u8],
        create: bool,
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
            None => match self.resolve(path, create, tree, translator)? {
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
        create: bool,
        tree: &mut Tree,
        translator: &Translator<'_>,
    ) -> Result<Option<Resolved>> {
        let (root, pending) = (self.root, &mut self.pending);
        root.resolve(path, &mut |obstacle| {
            if !create {
                return Ok(false);
            }
            touch(pending, obstacle.parent, obstacle.parent_path)?;
            let parent = adopt(tree, root, obstacle.parent_path)?;
            if obstacle.existing.is_some() {
                obstacle.parent.remove_all(obstacle.name)?;
            }
            let Some(made) = obstacle.parent.create_dir(obstacle.name, 0o700)? else {
                return Ok(true);
            };
            let metadata = implied(translator)?;
            let stat = made.stat_self()?;
            tree.insert(parent, obstacle.name, directory_record(&metadata, &stat));
            let path = join(obstacle.parent_path, obstacle.name);
            pending.insert(
                stat.id,
                Pending {
                    path: path.into(),
                    metadata,
                },
            );
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
        touch(&mut self.pending, &dir.dir, &dir.path)
    }

    /// Notes the times of a directory that is open for the moment only.
    pub(super) fn touch_dir(&mut self, dir: &Dir, path: &[u8]) -> Result<()> {
        touch(&mut self.pending, dir, path)
    }

    /// Gives a directory metadata at the end of the layer, in place of what it was to get so far.
    pub(super) fn set(&mut self, dir: &OpenDir, id: InodeId, metadata: Metadata) {
        dir.touched.set(true);
        self.acls_possible |= metadata
            .xattrs
            .iter()
            .any(|(name, _)| name == b"system.posix_acl_default");
        self.pending.insert(
            id,
            Pending {
                path: dir.path.clone().into(),
                metadata,
            },
        );
    }

    /// Applies all that waits, deepest first, and notes in the tree what the directories are like then.
    pub(super) fn finish_layer(
        &mut self,
        tree: &mut Tree,
        translator: &mut Translator<'_>,
    ) -> Result<()> {
        self.forget();
        let mut pending: Vec<(InodeId, Pending)> = self.pending.drain().collect();
        let depth = |path: &[u8]| {
            path.split(|&byte| byte == b'/')
                .filter(|name| !name.is_empty())
                .count()
        };
        // Paths as the second key: the same order for the same layer.
        pending.sort_by_cached_key(|(_, pending)| {
            (
                std::cmp::Reverse(depth(&pending.path)),
                pending.path.clone(),
            )
        });
        for (id, Pending { path, metadata }) in pending {
            // A directory that was removed again, or that somebody else has moved away.
            let Some(mut resolved) = self.root.resolve(&path, &mut |_| Ok(false))? else {
                continue;
            };
            if resolved.path != *path || resolved.dir.stat_self()?.id != id {
                continue;
            }
            apply(&mut resolved.dir, &metadata, translator)?;
            if let Some(node) = tree.find(&path) {
                let stat = resolved.dir.stat_self()?;
                let xattrs = match metadata.mode {
                    Some(_) if metadata.clear_xattrs || !metadata.xattrs.is_empty() => {
                        resolved.dir.xattrs_self()?
                    }
                    _ => std::mem::take(&mut tree.inode_mut(node).xattrs),
                };
                *tree.inode_mut(node) = tree::Inode {
                    xattrs,
                    ..record(&stat)
                };
            }
        }
        Ok(())
    }
}

fn apply(dir: &mut Dir, metadata: &Metadata, translator: &mut Translator<'_>) -> Result<()> {
    let mut refused = Vec::new();
    Inode::of(dir).apply(metadata, translator.rules(), &mut |attribute| {
        refused.push(attribute);
    })?;
    if metadata.mode.is_some() {
        dir.keep_mode();
    }
    for attribute in &refused {
        translator.refused(attribute);
    }
    Ok(())
}

fn touch(pending: &mut HashMap<InodeId, Pending>, dir: &Dir, path: &[u8]) -> Result<()> {
    let stat = dir.stat_self()?;
    pending.entry(stat.id).or_insert_with(|| {
        let times = Times {
            atime: stat.atime,
            mtime: stat.mtime,
        };
        let metadata = Metadata {
            owner: None,
            mode: None,
            xattrs: Vec::new(),
            clear_xattrs: false,
            times,
        };
        Pending {
            path: path.into(),
            metadata,
        }
    });
    Ok(())
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
            let found = root.resolve(&path[..end], &mut |_| Ok(false))?;
            let stat = found.map(|found| found.dir.stat_self()).transpose()?;
            let inode = stat.map_or_else(unknown_directory, |stat| record(&stat));
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
    }
}

/// The record of something as it is on disk, without content and attributes.
pub(super) fn record(stat: &Stat) -> tree::Inode {
    tree::Inode {
        kind: stat.kind,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        size: stat.size,
        nlink: stat.nlink,
        mtime: stat.mtime,
        link: Box::default(),
        sha256: None,
        xattrs: Vec::new(),
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
        ..record(stat)
    }
}

/// The path of a name in a directory.
pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    if !dir.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}
