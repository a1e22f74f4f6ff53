//! What is in a directory that overlayfs or a copy has made: its record, and what it says of others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::error::Result;
use crate::fs::descent::Descent;
use crate::fs::tree::{Inode, NodeId, Tree};
use crate::fs::{Dir, InodeId, InodeKind, Stat, XattrNamespace, hash_file};
use crate::layer::LowerDependencies;

/// What a layer consists of that was not made of a stream.
pub(super) struct Scanned {
    /// Without the whiteouts.
    pub tree: Tree,
    /// Every directory in it describes itself; the root too.
    pub changeset: LowerDependencies,
}

/// A directory whose names are being gone through.
struct Level {
    node: NodeId,
    path_length: usize,
    names: Vec<Vec<u8>>,
}

/// An inode with several names: its node, and the names so far.
struct Linked {
    node: NodeId,
    names: Vec<Vec<u8>>,
}

struct Scan {
    marks: XattrNamespace,
    tree: Tree,
    changes: LowerDependencies,
    linked: HashMap<InodeId, Linked>,
    uids: BTreeSet<u32>,
    gids: BTreeSet<u32>,
    path: Vec<u8>,
    buffer: Vec<u8>,
}

/// Reads all of a directory, and takes away the marks by which overlayfs recognises its own copies.
pub(super) fn scan(root: &Dir, marks: XattrNamespace) -> Result<Scanned> {
    root.remove_other_marks(b"", marks)?;
    let mut scan = Scan {
        marks,
        tree: Tree::new(Inode {
            xattrs: root.xattrs_self()?,
            ..Inode::of(&root.stat_self()?)
        }),
        changes: LowerDependencies {
            root: true,
            root_opaque: false,
            ..LowerDependencies::default()
        },
        linked: HashMap::new(),
        uids: BTreeSet::new(),
        gids: BTreeSet::new(),
        path: Vec::new(),
        buffer: Vec::new(),
    };
    let mut descent = Descent::new(root)?;
    scan.count(&root.stat_self()?);
    let mut levels = vec![Level {
        node: Tree::ROOT,
        path_length: 0,
        names: descent.dir().names()?,
    }];
    while let Some(level) = levels.last_mut() {
        scan.path.truncate(level.path_length);
        let Some(name) = level.names.pop() else {
            levels.pop();
            descent.leave()?;
            continue;
        };
        if !scan.path.is_empty() {
            scan.path.push(b'/');
        }
        scan.path.extend_from_slice(&name);
        let Some(node) = scan.name(descent.dir(), level.node, &name)? else {
            continue;
        };
        descent.enter(&name)?;
        levels.push(Level {
            node,
            path_length: scan.path.len(),
            names: descent.dir().names()?,
        });
    }
    Ok(scan.finish())
}

impl Scan {
    /// Takes in one name; its node if it is a directory.
    fn name(&mut self, dir: &Dir, parent: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let stat = dir.stat(name)?;
        if stat.is_whiteout() {
            self.changes.whiteouts.push(self.path.clone());
            return Ok(None);
        }
        if !stat.is_dir()
            && let Some(linked) = self.linked.get_mut(&stat.id)
        {
            self.tree.insert_link(parent, name, linked.node);
            linked.names.push(self.path.clone());
            return Ok(None);
        }
        dir.remove_other_marks(name, self.marks)?;
        let mut xattrs = dir.xattrs(name)?;
        let count = xattrs.len();
        xattrs.retain(|(name, _)| self.marks.mark(name).is_none());
        if stat.is_dir() && xattrs.len() < count {
            self.changes.fresh.push(self.path.clone());
        }
        // The marks that were taken away have changed it.
        let mut made = Inode {
            xattrs,
            ..Inode::of(&dir.stat(name)?)
        };
        match stat.kind {
            InodeKind::Symlink => made.link = dir.read_link(name)?.into(),
            InodeKind::File => made.sha256 = Some(hash_file(dir, name, &mut self.buffer)?),
            _ => {}
        }
        self.count(&stat);
        let node = self.tree.insert(parent, name, made);
        if stat.nlink > 1 && !stat.is_dir() {
            let names = vec![self.path.clone()];
            self.linked.insert(stat.id, Linked { node, names });
        }
        Ok(stat.is_dir().then_some(node))
    }

    fn count(&mut self, stat: &Stat) {
        self.changes.files += 1;
        if stat.kind == InodeKind::File {
            self.changes.size += stat.size;
        }
        self.uids.insert(stat.uid);
        self.gids.insert(stat.gid);
    }

    fn finish(mut self) -> Scanned {
        let mut groups = BTreeMap::new();
        for linked in self
            .linked
            .into_values()
            .filter(|linked| linked.names.len() > 1)
        {
            let mut names = linked.names;
            names.sort_unstable();
            groups.insert(names[0].clone(), names);
        }
        self.changes.link_groups = groups.into_values().collect();
        self.changes.whiteouts.sort_unstable();
        self.changes.fresh.sort_unstable();
        self.changes.uids = self.uids.into_iter().collect();
        self.changes.gids = self.gids.into_iter().collect();
        Scanned {
            tree: self.tree,
            changeset: self.changes,
        }
    }
}
