//! A root that a runtime can use: with the directories and files that it mounts over.

use filetime::FileTime;

use super::apply::Temporary;
use super::contract::{Mount, SnapshotOptions, Snapshotter};
use super::mounter::Mounter;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::names::unique_name;
use crate::fs::{Access, Dir, Inode, Metadata, Root, Rules, Times};
use crate::store::Reason;

/// What a runtime mounts over, those above others first.
const ENTRIES: [(&str, Entry); 11] = [
    ("dev", Entry::Directory),
    ("dev/pts", Entry::Directory),
    ("dev/shm", Entry::Directory),
    ("proc", Entry::Directory),
    ("sys", Entry::Directory),
    ("etc", Entry::Directory),
    ("dev/console", Entry::File),
    ("etc/hosts", Entry::File),
    ("etc/hostname", Entry::File),
    ("etc/resolv.conf", Entry::File),
    ("etc/mtab", Entry::Link("/proc/mounts")),
];

#[derive(Clone, Copy)]
enum Entry {
    Directory,
    /// An empty one.
    File,
    Link(&'static str),
}

/// Makes a snapshot for a container: to look at, or to change. In the latter case it is laid on one more committed snapshot,
/// named after the parent, which has what a runtime mounts over, where the parent has nothing of these names.
///
/// The mounter opens the snapshot in which these are made; nothing is mounted.
///
/// # Errors
///
/// [`Reason::KeyExists`] if something has the name; those of the snapshotter and of the mounter. The additional snapshot may
/// stay then.
pub fn init_rootfs(
    snapshots: &dyn Snapshotter,
    name: &str,
    parent: Option<&str>,
    readonly: bool,
    mounter: &dyn Mounter,
) -> Result<Vec<Mount>> {
    if is_there(snapshots, name)? {
        let message = format!("cannot initialize root file system {name:?}: it exists");
        return Err(Reason::KeyExists.error(message));
    }
    let options = SnapshotOptions::default();
    if readonly {
        return snapshots.view(name, parent, &options);
    }
    let base = match parent {
        Some(parent) => format!("{parent} linux-init"),
        None => "linux-init".to_owned(),
    };
    if !is_there(snapshots, &base)? {
        make_base(snapshots, &base, parent, mounter)
            .context(|| format!("make the directories of a runtime in {base:?}"))?;
    }
    snapshots.prepare(name, Some(&base), &options)
}

fn is_there(snapshots: &dyn Snapshotter, name: &str) -> Result<bool> {
    match snapshots.stat(name) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn make_base(
    snapshots: &dyn Snapshotter,
    base: &str,
    parent: Option<&str>,
    mounter: &dyn Mounter,
) -> Result<()> {
    let options = SnapshotOptions::default();
    let key = format!("{} {base}", unique_name("init-"));
    let mounts = snapshots.prepare(&key, parent, &options)?;
    let temporary = Temporary::new(snapshots, key);
    let root = Root::from_dir(mounter.open(&mounts)?, Access::Plain)?;
    fill(&root)?;
    drop(root);
    match snapshots.commit(base, temporary.key(), &options) {
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            temporary.keep();
            Ok(())
        }
    }
}

/// Makes what is not there; its owner is that of the root. Symbolic links are followed inside the root.
fn fill(root: &Root) -> Result<()> {
    let stat = root.dir().stat_self()?;
    let mut made = Vec::new();
    for (path, entry) in ENTRIES {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = root.resolve(parent.as_bytes(), &mut |_| Ok(false))?;
        let Some(parent) = parent else {
            let message = format!("make /{path}: its parent is not a directory");
            return Err(Error::new(ErrorKind::InvalidData, message));
        };
        if make(&parent.dir, name.as_bytes(), entry)? {
            made.push((parent.dir, name, entry));
        }
    }
    // From the last one back, so that directories keep their times.
    for (dir, name, entry) in made.iter().rev() {
        let metadata = Metadata {
            owner: Some((stat.uid, stat.gid)),
            mode: entry.mode(),
            xattrs: Vec::new(),
            clear_xattrs: false,
            // Always the same, so that the layer is, too.
            times: Times {
                atime: FileTime::zero(),
                mtime: FileTime::zero(),
            },
        };
        Inode::Named(dir, name.as_bytes()).apply(&metadata, Rules::default(), &mut |_| {})?;
    }
    Ok(())
}

impl Entry {
    fn mode(self) -> Option<u32> {
        match self {
            Self::Directory => Some(0o755),
            Self::File => Some(0o644),
            Self::Link(_) => None,
        }
    }
}

/// Makes an entry, and says whether it was not there.
fn make(dir: &Dir, name: &[u8], entry: Entry) -> Result<bool> {
    if dir.try_stat(name)?.is_some() {
        return Ok(false);
    }
    let made = match entry {
        Entry::Directory => dir.create_dir(name, 0o755)?.is_some(),
        Entry::File => dir.create_file(name, 0o644)?.is_some(),
        Entry::Link(target) => dir.create_symlink(name, target.as_bytes())?,
    };
    if !made {
        let message = format!(
            "make {}: it was created concurrently",
            dir.path_of(name).display()
        );
        return Err(Error::new(ErrorKind::AlreadyExists, message));
    }
    Ok(true)
}
