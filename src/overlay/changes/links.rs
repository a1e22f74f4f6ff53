//! Hard links: what a flat tree would have as one inode, though its names may lie in the upper directory and below it.
//!
//! A set is an inode of a lower layer with several names, those that are visible. Each inode of the upper directory is
//! one of a set, if one of its names was and it has not changed: then overlayfs copied it up without need, or to give it
//! another name. Not if the kernel notes that it copied it up from a file that had one name only: an equal file was renamed
//! over one of the set.
//! If a set has lost names, each inode that came under new names and is equal to it is one of these, renamed; there are not
//! more of them than lost names, for equal files may have been added too.
//! As the kernel counts names, a set that has become larger or smaller has changed under all of its names, those which are
//! not in the upper directory too.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::compare::Comparer;
use super::{LinkGroups, Told};
use crate::error::Result;
use crate::fs::{ChangeKind, InodeId, InodeKind, Stat};
use crate::overlay::stack::{Found, Stack, has_mark};

/// A name in the upper directory that is no directory.
pub(super) struct Leaf {
    pub(super) new: Found,
    /// What it was, unless it was a directory.
    pub(super) old: Option<Found>,
    /// How it has changed, numbers of links aside.
    pub(super) change: Option<ChangeKind>,
    /// Whether it came from another name, though it is equal to what was here.
    pub(super) is_other: bool,
    /// Whether what was here was packed of an upper directory.
    pub(super) is_packed: bool,
}

impl Leaf {
    /// Whether it may have come from another name: not if it still is what it was under several names, or when it was
    /// packed. If it had one name below the upper directory, the kernel notes where it is from.
    fn can_be_renamed(&self) -> bool {
        let old = self.old.as_ref().filter(|_| self.change.is_none());
        old.is_none_or(|old| old.stat.nlink == 1 && !self.is_packed)
    }
}

/// An inode of a lower layer with several names.
struct Set {
    /// One of its names.
    sample: Found,
    /// How many names it had.
    count: usize,
    /// Whether it was packed of an upper directory.
    is_packed: bool,
    /// The names that are not in the upper directory and still there.
    untouched: Vec<Vec<u8>>,
    /// The inodes of the upper directory that are of it.
    inodes: Vec<usize>,
}

/// An inode of the upper directory.
#[derive(Default)]
struct Inode {
    leaves: Vec<usize>,
    set: Option<usize>,
}

/// What tells a renamed inode from others, before its content is read.
type Likeness = (InodeKind, u64, u32, u32, u32, filetime::FileTime);

pub(super) struct Links<'a> {
    mounted: Option<&'a Stack>,
    lower: &'a Stack,
    link_groups: &'a dyn Fn(usize) -> Result<LinkGroups>,
    comparer: Comparer,
    leaves: Vec<Leaf>,
    inodes: Vec<Inode>,
    sets: Vec<Set>,
    /// The set of an inode of a lower layer.
    set_of: HashMap<(usize, InodeId), usize>,
    /// The groups of the layers that have been asked for, and in which of them a path is.
    groups: HashMap<usize, (LinkGroups, HashMap<Vec<u8>, usize>)>,
}

impl<'a> Links<'a> {
    /// Finds out which names are one inode. `mounted` is what the upper directory was written over, if that is not `lower`.
    pub(super) fn new(
        mounted: Option<&'a Stack>,
        lower: &'a Stack,
        link_groups: &'a dyn Fn(usize) -> Result<LinkGroups>,
        comparer: Comparer,
        mut leaves: Vec<Leaf>,
        lost: Vec<Found>,
    ) -> Result<Self> {
        leaves.sort_unstable_by(|a, b| a.new.path().cmp(b.new.path()));
        let mut links = Self {
            mounted,
            lower,
            link_groups,
            comparer,
            leaves,
            inodes: Vec::new(),
            sets: Vec::new(),
            set_of: HashMap::new(),
            groups: HashMap::new(),
        };
        links.find_sets(lost)?;
        links.find_inodes();
        links.find_renamed()?;
        Ok(links)
    }

    /// Tells of all that is in the upper directory and no directory, and of the names of sets that have become larger or
    /// smaller. Returns the number of the inode that each path has which is told together with another one of it.
    pub(super) fn tell(self, told: &mut Told<'_>) -> BTreeMap<Vec<u8>, usize> {
        let mut names: Vec<Vec<Vec<u8>>> = Vec::new();
        for set in &self.sets {
            let mut told_names = Vec::new();
            if self.count(set) != set.count {
                for name in &set.untouched {
                    if told.tell(name, ChangeKind::Modified) {
                        told_names.push(name.clone());
                    }
                }
            }
            names.push(told_names);
        }
        for inode in &self.inodes {
            let mut told_names = Vec::new();
            let count = match inode.set {
                Some(set) => self.count(&self.sets[set]),
                None => inode.leaves.len(),
            };
            for leaf in inode.leaves.iter().map(|&leaf| &self.leaves[leaf]) {
                let is_recounted = leaf.old.as_ref().is_some_and(|old| {
                    let set = self.set_of.get(&(old.layer, old.stat.id));
                    set.map_or(1, |&set| self.sets[set].count) != count
                });
                let change = leaf.change.or(is_recounted.then_some(ChangeKind::Modified));
                if let Some(change) = change
                    && told.tell(leaf.new.path(), change)
                {
                    told_names.push(leaf.new.path().to_vec());
                }
            }
            match inode.set {
                Some(set) => names[set].append(&mut told_names),
                None => names.push(told_names),
            }
        }
        let linked = names.into_iter().filter(|names| names.len() > 1);
        let numbered = linked.enumerate();
        numbered
            .flat_map(|(number, names)| names.into_iter().map(move |name| (name, number)))
            .collect()
    }

    /// How many names a set has now.
    fn count(&self, set: &Set) -> usize {
        let inodes = set.inodes.iter().map(|&inode| &self.inodes[inode]);
        set.untouched.len() + inodes.map(|inode| inode.leaves.len()).sum::<usize>()
    }

    /// Finds the sets that have been touched.
    fn find_sets(&mut self, lost: Vec<Found>) -> Result<()> {
        let old = self.leaves.iter().filter_map(|leaf| leaf.old.as_ref());
        let touched: Vec<Found> = old.filter(|old| old.stat.nlink > 1).cloned().collect();
        let touched: Vec<Found> = touched.into_iter().chain(lost).collect();
        let paths: HashSet<&[u8]> = touched.iter().map(Found::path).collect();
        for found in &touched {
            let key = (found.layer, found.stat.id);
            if self.set_of.contains_key(&key) {
                continue;
            }
            let mut untouched = self.visible(found)?;
            let count = untouched.len();
            untouched.retain(|name| !paths.contains(&name[..]));
            self.set_of.insert(key, self.sets.len());
            self.sets.push(Set {
                sample: found.clone(),
                count,
                is_packed: is_packed(self.mounted, found)?,
                untouched,
                inodes: Vec::new(),
            });
        }
        Ok(())
    }

    /// The names of an inode of a lower layer that no layer above hides.
    fn visible(&mut self, found: &Found) -> Result<Vec<Vec<u8>>> {
        if !self.groups.contains_key(&found.layer) {
            let groups = (self.link_groups)(found.layer)?;
            let numbered = groups.iter().enumerate();
            let paths = numbered
                .flat_map(|(number, names)| names.iter().map(move |name| (name.clone(), number)));
            let paths = paths.collect();
            self.groups.insert(found.layer, (groups, paths));
        }
        let mut visible = vec![found.path().to_vec()];
        let Some((groups, paths)) = self.groups.get(&found.layer) else {
            return Ok(visible);
        };
        let names = paths
            .get(found.path())
            .and_then(|&number| groups.get(number));
        for name in names.into_iter().flatten() {
            if name == found.path() {
                continue;
            }
            let there = self.lower.lookup(name)?;
            if there.is_some_and(|it| it.layer == found.layer && it.stat.id == found.stat.id) {
                visible.push(name.clone());
            }
        }
        Ok(visible)
    }

    /// Finds the inodes of the upper directory, and which of them are of a set as they were.
    fn find_inodes(&mut self) {
        let mut number_of = HashMap::new();
        for (number, leaf) in self.leaves.iter().enumerate() {
            let inode = *number_of.entry(leaf.new.stat.id).or_insert_with(|| {
                self.inodes.push(Inode::default());
                self.inodes.len() - 1
            });
            let own = &mut self.inodes[inode];
            own.leaves.push(number);
            if let (None, Some(old), None) = (leaf.change, &leaf.old, own.set)
                && !leaf.is_other
                && let Some(&set) = self.set_of.get(&(old.layer, old.stat.id))
            {
                own.set = Some(set);
                self.sets[set].inodes.push(inode);
            }
        }
    }

    /// Finds what sets have lost under new names.
    fn find_renamed(&mut self) -> Result<()> {
        let mut new = HashMap::<Likeness, Vec<usize>>::new();
        for (number, inode) in self.inodes.iter().enumerate() {
            let mut leaves = inode.leaves.iter().map(|&leaf| &self.leaves[leaf]);
            if let Some(first) = leaves.clone().next()
                && inode.set.is_none()
                && leaves.all(Leaf::can_be_renamed)
            {
                let likeness = likeness(&first.new.stat);
                new.entry(likeness).or_default().push(number);
            }
        }
        for set in 0..self.sets.len() {
            let likeness = likeness(&self.sets[set].sample.stat);
            let mut lost = self.lost(set);
            for &inode in new.get(&likeness).into_iter().flatten() {
                if lost > 0 && self.join_renamed(inode, set)? {
                    lost -= 1;
                }
            }
        }
        Ok(())
    }

    /// How many names of a set have been taken away from it, be it for a moment: where overlayfs copied an inode up it was
    /// under one name, and those that it has besides were linked to it later.
    fn lost(&self, number: usize) -> usize {
        let set = &self.sets[number];
        let is_kept = |leaf: &usize| {
            let old = self.leaves[*leaf].old.as_ref();
            old.is_some_and(|old| self.set_of.get(&(old.layer, old.stat.id)) == Some(&number))
        };
        let most = if set.is_packed { usize::MAX } else { 1 };
        let kept = set.inodes.iter().map(|&inode| {
            let leaves = self.inodes[inode].leaves.iter();
            leaves.filter(|leaf| is_kept(leaf)).count().min(most)
        });
        let kept = set.untouched.len() + kept.sum::<usize>();
        set.count.saturating_sub(kept)
    }

    /// Takes an inode for one that a set has lost, if it is equal.
    fn join_renamed(&mut self, inode: usize, set: usize) -> Result<bool> {
        let own = &self.inodes[inode];
        let (None, Some(&leaf)) = (own.set, own.leaves.first()) else {
            return Ok(false);
        };
        let (sample, new) = (&self.sets[set].sample, &self.leaves[leaf].new);
        // The kernel notes where it copied an inode up from, but not if that had more names.
        let is_other = has_mark(self.lower.marks(), &new.stored_xattrs()?, b"origin");
        if is_other || self.comparer.differ(sample, new)? {
            return Ok(false);
        }
        self.inodes[inode].set = Some(set);
        self.sets[set].inodes.push(inode);
        Ok(true)
    }
}

/// Whether what a lower layer shows was packed of the upper directory that is looked at, which was written over `mounted`.
pub(super) fn is_packed(mounted: Option<&Stack>, found: &Found) -> Result<bool> {
    let Some(mounted) = mounted else {
        return Ok(false);
    };
    let below = mounted.lookup(found.path())?;
    Ok(below.is_none_or(|below| below.stat.id != found.stat.id))
}

fn likeness(stat: &Stat) -> Likeness {
    (
        stat.kind, stat.size, stat.mode, stat.uid, stat.gid, stat.mtime,
    )
}
