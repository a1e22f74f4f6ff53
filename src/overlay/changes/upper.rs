//! An upper directory, walked alone: as much work as there are changes, and as was removed.

use std::collections::BTreeMap;

use super::compare::Comparer;
use super::links::{self, Leaf, Links};
use super::{Changes, ChangesOptions, Told};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::join;
use crate::fs::{ChangeKind, Dir, InodeKind};
use crate::overlay::stack::{Found, MAX_PATH, Stack, has_mark, is_opaque};

/// What fuse-overlayfs puts before the name of what is gone.
const WHITEOUT: &[u8] = b".wh.";
/// The two files of fuse-overlayfs that say that their directory hides what is below.
const OPAQUE: [&[u8]; 2] = [b".wh..wh..opq", b".wh..opq"];

/// The names in an upper directory; `None` for what is a whiteout.
type Names = BTreeMap<Vec<u8>, Option<Found>>;

/// Tells what an upper directory changes of the layers below it. It must have been written by an overlay of just these
/// layers, and with the marks of the same namespace, `redirect_dir=off`, `metacopy=off` and `index=off`.
///
/// Nothing is written. Of the lower layers only that is looked at whose path is in the upper directory, what is below a
/// directory that is gone, and the other names of hard links.
///
/// # Errors
///
/// - [`ErrorKind::Unsupported`]: the upper directory, or what it touches, has marks that say that content lies elsewhere.
/// - [`ErrorKind::LimitExceeded`]: a path above 4 KiB.
/// - Those of the file system and of `link_groups`.
pub fn changes(upper: &Dir, lower: &Stack, options: &ChangesOptions<'_>) -> Result<Changes> {
    walk(upper, None, lower, options)
}

/// Tells what an overlay is changed against other layers than those that it lies on: against an image that was packed of
/// it, say. `mounted` is what the upper directory was written over. Where it had nothing, a name that is removed again
/// leaves no whiteout; so each directory that is in the upper one is compared name by name.
///
/// `lower` shows all that is the same in `mounted` and is not in the upper directory: its layers are those of `mounted`,
/// with layers of this very overlay on top.
///
/// # Errors
///
/// As [`changes`].
pub fn changes_since(
    upper: &Dir,
    mounted: &Stack,
    lower: &Stack,
    options: &ChangesOptions<'_>,
) -> Result<Changes> {
    walk(upper, Some(mounted), lower, options)
}

fn walk(
    upper: &Dir,
    mounted: Option<&Stack>,
    lower: &Stack,
    options: &ChangesOptions<'_>,
) -> Result<Changes> {
    let mut walk = Walk {
        upper: Stack::new(vec![upper.open_dir(b".")?], lower.marks()),
        mounted,
        lower,
        fuse: options.fuse,
        comparer: Comparer::new(options.fuse),
        told: Told::new(options.masks),
        leaves: Vec::new(),
        lost: Vec::new(),
        pending: vec![Pending {
            path: Vec::new(),
            is_alone: false,
        }],
    };
    while let Some(pending) = walk.pending.pop() {
        walk.directory(&pending)?;
    }
    let Walk {
        comparer,
        mut told,
        leaves,
        lost,
        ..
    } = walk;
    let found = Links::new(mounted, lower, options.link_groups, comparer, leaves, lost)?;
    let links = found.tell(&mut told);
    Ok(Changes {
        masked_count: told.masked_count,
        changes: told.finish(),
        links,
    })
}

/// A directory of the upper one that is yet to be walked.
struct Pending {
    path: Vec<u8>,
    /// Whether a directory above it hides what is below: then it says so no more itself.
    is_alone: bool,
}

struct Walk<'a> {
    upper: Stack,
    /// What the upper directory was written over, if that is not what it is compared with.
    mounted: Option<&'a Stack>,
    lower: &'a Stack,
    fuse: bool,
    comparer: Comparer,
    told: Told<'a>,
    /// What is in the upper directory and no directory.
    leaves: Vec<Leaf>,
    /// What is gone and had other names.
    lost: Vec<Found>,
    pending: Vec<Pending>,
}

impl Walk<'_> {
    fn directory(&mut self, pending: &Pending) -> Result<()> {
        let path = &pending.path[..];
        if path.len() > MAX_PATH {
            let message = format!("compare layers: path longer than {MAX_PATH} bytes");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let Some(new) = self.upper.lookup(path)? else {
            let message = "read upper directory: something has changed in it meanwhile";
            return Err(Error::new(ErrorKind::Io, message));
        };
        let old = self.lower.lookup(path)?;
        // Marks of an upper directory are refused wherever they are, not only where they would be read.
        new.xattrs()?;
        let (names, is_opaque) = self.names(&new)?;
        let is_alone = pending.is_alone || is_opaque || !self.is_mounted_dir(path)?;
        let mut balance = self.gone(path, &names, is_alone)?;
        for new in names.into_values().flatten() {
            balance += self.child(new, is_alone)?;
        }
        match old {
            None => {
                self.told.tell(path, ChangeKind::Added);
            }
            Some(old) => {
                // Some file systems count the subdirectories of a directory among its links.
                let is_recounted = old.stat.is_dir() && old.stat.nlink > 1 && balance != 0;
                if is_recounted || self.comparer.differ(&old, &new)? {
                    self.told.tell(path, ChangeKind::Modified);
                }
                self.lose(old);
            }
        }
        Ok(())
    }

    /// The names in an upper directory, and whether it hides what is below.
    fn names(&self, dir: &Found) -> Result<(Names, bool)> {
        let mut names = Names::new();
        self.upper.read_layer(0, dir.path(), &mut names)?;
        let mut is_opaque = is_opaque(self.lower.marks(), &dir.stored_xattrs()?);
        if self.fuse {
            for name in OPAQUE {
                is_opaque |= names.remove(name).is_some();
            }
            let is_whiteout = |name: &Vec<u8>| name.starts_with(WHITEOUT);
            let whiteouts: Vec<_> = names.keys().filter(|it| is_whiteout(it)).cloned().collect();
            for name in whiteouts {
                names.remove(&name);
                names.entry(name[WHITEOUT.len()..].to_vec()).or_insert(None);
            }
        }
        Ok((names, is_opaque))
    }

    /// Whether the layers that the upper directory was written over have a directory there, if they are not those that it
    /// is compared with.
    fn is_mounted_dir(&self, path: &[u8]) -> Result<bool> {
        let Some(mounted) = self.mounted else {
            return Ok(true);
        };
        let found = mounted.lookup(path)?;
        Ok(found.is_some_and(|found| found.stat.is_dir()))
    }

    /// Tells what an upper directory hides, which is all if it is alone. Returns by how much the subdirectories have become
    /// more.
    fn gone(&mut self, path: &[u8], names: &Names, is_alone: bool) -> Result<i64> {
        let gone: Vec<Found> = if is_alone {
            let below = self.lower.read_dir(path)?.unwrap_or_default();
            let is_there = |name: &Vec<u8>| names.get(name).is_some_and(Option::is_some);
            let gone = below.into_iter().filter(|(name, _)| !is_there(name));
            gone.map(|(_, found)| found).collect()
        } else if let Some(mounted) = self.mounted {
            let mut gone = Vec::new();
            for (name, found) in self.lower.read_dir(path)?.unwrap_or_default() {
                let is_there = match names.get(&name) {
                    Some(new) => new.is_some(),
                    None => mounted.lookup(found.path())?.is_some(),
                };
                if !is_there {
                    gone.push(found);
                }
            }
            gone
        } else {
            let whiteouts = names.iter().filter(|(_, found)| found.is_none());
            let below = whiteouts.map(|(name, _)| self.lower.lookup(&join(path, name)));
            below.filter_map(Result::transpose).collect::<Result<_>>()?
        };
        let mut balance = 0;
        for old in gone {
            balance -= i64::from(old.stat.is_dir());
            self.told.tell(old.path(), ChangeKind::Deleted);
            self.lose_all(old)?;
        }
        Ok(balance)
    }

    /// Looks at what is in an upper directory. Returns by how much the subdirectories have become more.
    fn child(&mut self, new: Found, is_alone: bool) -> Result<i64> {
        let old = self.lower.lookup(new.path())?;
        let was_directory = old.as_ref().is_some_and(|old| old.stat.is_dir());
        let balance = i64::from(new.stat.is_dir()) - i64::from(was_directory);
        if new.stat.is_dir() {
            self.pending.push(Pending {
                path: new.path().to_vec(),
                is_alone,
            });
            return Ok(balance);
        }
        if new.stat.kind == InodeKind::File {
            new.xattrs()?;
        }
        let (change, old) = match old {
            None => (Some(ChangeKind::Added), None),
            Some(old) if was_directory => {
                for (_, child) in self.lower.read_dir(old.path())?.unwrap_or_default() {
                    self.told.tell(child.path(), ChangeKind::Deleted);
                    self.lose_all(child)?;
                }
                (Some(ChangeKind::Modified), None)
            }
            Some(old) => {
                let is_modified = self.comparer.differ(&old, &new)?;
                (is_modified.then_some(ChangeKind::Modified), Some(old))
            }
        };
        let (mut is_other, mut is_packed) = (false, false);
        if let (Some(old), None) = (&old, change) {
            is_packed = links::is_packed(self.mounted, old)?;
            is_other = !is_packed && self.is_other(old, &new)?;
        }
        self.leaves.push(Leaf {
            new,
            old,
            change,
            is_other,
            is_packed,
        });
        Ok(balance)
    }

    /// Whether what is in the upper directory came from another name than its own, where something with several names was.
    /// Of those, the kernel does not note where it copied them up from; fuse-overlayfs does.
    fn is_other(&self, old: &Found, new: &Found) -> Result<bool> {
        Ok(!self.fuse
            && old.stat.nlink > 1
            && has_mark(self.lower.marks(), &new.stored_xattrs()?, b"origin"))
    }

    /// Notes what is gone, with all below it.
    fn lose_all(&mut self, old: Found) -> Result<()> {
        let mut pending = vec![old];
        while let Some(old) = pending.pop() {
            if old.stat.is_dir() {
                let below = self.lower.read_dir(old.path())?.unwrap_or_default();
                pending.extend(below.into_values());
            }
            self.lose(old);
        }
        Ok(())
    }

    /// Notes one name that is gone, if its inode had others.
    fn lose(&mut self, old: Found) {
        if !old.stat.is_dir() && old.stat.nlink > 1 {
            self.lost.push(old);
        }
    }
}
