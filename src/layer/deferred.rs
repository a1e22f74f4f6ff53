//! What directories get at the end of their layer, by their paths.

use std::collections::HashMap;

use crate::fs::tree::Tree;
use crate::fs::{InodeId, InodeKind, Metadata};

/// What a directory gets at the end of the layer.
pub(super) struct Pending {
    pub id: InodeId,
    pub metadata: Metadata,
}

/// What waits for the end of the layer, by path.
pub(super) struct DeferredDirMetadata {
    pending: HashMap<Box<[u8]>, Pending>,
    /// Bytes that this takes, with what was replaced since they were last counted.
    size: usize,
    /// At how many bytes to look for what is not needed any more.
    prune_size: usize,
}

/// How many bytes may wait before anything is looked at again.
const PRUNE_SIZE: usize = 16 << 20;

/// What waits for a directory, beside its path and its attributes.
const PENDING_SIZE: usize = 256;

impl DeferredDirMetadata {
    pub(super) fn new() -> Self {
        Self {
            pending: HashMap::new(),
            size: 0,
            prune_size: PRUNE_SIZE,
        }
    }

    pub(super) fn insert(&mut self, path: &[u8], pending: Pending) {
        self.size += pending_size(path, &pending);
        self.pending.insert(path.into(), pending);
    }

    /// Whether something waits for this very directory.
    pub(super) fn is_for(&self, path: &[u8], id: InodeId) -> bool {
        self.pending.get(path).is_some_and(|known| known.id == id)
    }

    /// All that waits, in no order.
    pub(super) fn into_vec(self) -> Vec<(Box<[u8]>, Pending)> {
        Vec::from_iter(self.pending)
    }

    /// Drops what waits for directories that are gone, so that an archive cannot fill the memory with directories that
    /// it replaces again. What is left has directories on disk to show for it.
    pub(super) fn prune(&mut self, tree: &Tree) {
        if self.size < self.prune_size {
            return;
        }
        self.pending.retain(|path, _| {
            tree.find(path)
                .is_some_and(|node| tree.inode(node).kind == InodeKind::Directory)
        });
        let sizes = self.pending.iter().map(|(path, it)| pending_size(path, it));
        self.size = sizes.sum();
        self.prune_size = PRUNE_SIZE.max(self.size.saturating_mul(2));
    }
}

fn pending_size(path: &[u8], pending: &Pending) -> usize {
    let xattrs = pending.metadata.xattrs.iter();
    let attributes: usize = xattrs.map(|(name, value)| name.len() + value.len()).sum();
    PENDING_SIZE + path.len() + attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::tree::Inode;
    use crate::fs::{Root, Times};

    fn pending(id: InodeId) -> Pending {
        let metadata = Metadata {
            owner: None,
            mode: None,
            xattrs: vec![(b"user.a".to_vec(), vec![b'x'; 60_000])],
            clear_xattrs: false,
            times: Times::EPOCH,
        };
        Pending { id, metadata }
    }

    #[test]
    fn what_waits_for_directories_that_are_gone_does_not_pile_up() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path(), crate::fs::Access::Plain).unwrap();
        let stat = root.dir().stat_self().unwrap();
        let mut tree = Tree::new(Inode::of(&stat));
        let mut waiting = DeferredDirMetadata::new();
        tree.insert(Tree::ROOT, b"kept", Inode::of(&stat));
        waiting.insert(b"kept", pending(stat.id));
        for index in 0..1000 {
            let name = format!("d{index}").into_bytes();
            tree.insert(Tree::ROOT, &name, Inode::of(&stat));
            waiting.insert(&name, pending(stat.id));
            tree.remove(Tree::ROOT, &name);
            waiting.prune(&tree);
            assert!(waiting.pending.len() < 300, "{}", waiting.pending.len());
        }
        assert!(waiting.pending.contains_key(&b"kept"[..]));
    }
}
