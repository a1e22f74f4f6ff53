//! The layer of what has changed in a root.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::num::NonZeroUsize;
use std::rc::Rc;

use lru::LruCache;

use super::pack::{Packer, Place};
use super::{GenerateOptions, Packed};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::names::{self, split};
use crate::fs::{Change, ChangeKind, Dir, InodeKind, Root, escape_name};
use crate::progress::Progress;

/// How many directories stay open: changes come nearly directory by directory.
const OPEN_DIRS: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// Writes the layer of the changes below a root as an uncompressed tar stream: entries and whiteouts in the order of the
/// paths' bytes, whatever the order of the changes. Only what has changed is looked at, and every file is read once;
/// `packed` hears of each path that is there, whiteouts not included, when it has been written.
///
/// A path is reached through real directories only: if a component has become a symbolic link since the change was seen,
/// that is an error. Sockets, names that would be whiteouts, and files that change while they are read are errors, too.
/// Owners, attributes and times are umoci's; so is the form (see [`Writer`](crate::archive::Writer)).
///
/// # Errors
///
/// Nothing on disk is changed but, with `rootless`, the modes of what keeps its own owner out, for as long as it takes. What
/// has been written to `out` is no whole archive then.
///
/// - [`ErrorKind::InvalidInput`]: a change has a path that is not clean and relative, or removes the root; an owner is in
///   no range of the map; a name would be a whiteout; the name of an attribute has a `=`.
/// - [`ErrorKind::Unsupported`]: a socket, or an attribute that no archive can hold.
/// - [`ErrorKind::Io`] and its like: something is missing, cannot be read, or has changed meanwhile.
/// - The error of `out`, wrapped.
///
/// ```
/// use oci_bundle::fs::{Access, Change, ChangeKind, Root};
/// use oci_bundle::layer::{GenerateOptions, generate_layer};
/// use oci_bundle::progress::Silent;
///
/// # let scratch = tempfile::tempdir()?;
/// # let rootfs = scratch.path();
/// std::fs::write(rootfs.join("new"), "content")?;
/// let root = Root::open(rootfs, Access::Plain)?;
/// let change = |path: &str, kind| Change { path: path.into(), kind };
/// let changes = [change("gone", ChangeKind::Deleted), change("new", ChangeKind::Added)];
///
/// let options = GenerateOptions::default();
/// let mut layer = Vec::new();
/// let mut hashed = Vec::new();
/// generate_layer(&mut layer, &root, &changes, &options, &Silent, &mut |packed| {
///     hashed.push((packed.path, packed.sha256.is_some()));
/// })?;
/// assert_eq!(hashed, [(b"new".to_vec(), true)]);
/// assert!(layer.starts_with(b".wh.gone\0"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn generate_layer(
    out: impl Write,
    root: &Root,
    changes: &[Change],
    options: &GenerateOptions,
    progress: &dyn Progress,
    packed: &mut dyn FnMut(Packed),
) -> Result<()> {
    generate_linked_layer(
        out,
        root,
        changes,
        &BTreeMap::new(),
        options,
        progress,
        packed,
    )
}

/// The same, where the file system does not say which names are hard links of one inode: the paths with equal numbers in
/// `links` are, each the same file as the others. The other paths are as the file system says.
///
/// An overlay breaks the links of a lower layer when it copies one of the names up; whoever finds the changes of one knows
/// which names are meant to be one.
///
/// # Errors
///
/// As [`generate_layer`].
pub fn generate_linked_layer(
    out: impl Write,
    root: &Root,
    changes: &[Change],
    links: &BTreeMap<Vec<u8>, usize>,
    options: &GenerateOptions,
    progress: &dyn Progress,
    packed: &mut dyn FnMut(Packed),
) -> Result<()> {
    let mut changes: Vec<&Change> = changes.iter().collect();
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    let mut writer = Packer::new(out, options, progress)
        .with_file_digests()
        .with_links(links);
    let mut parents = Parents::new(root);
    let mut new_links = HashSet::new();
    for change in changes {
        check(change)?;
        let path = &change.path;
        if change.kind == ChangeKind::Deleted {
            // umoci writes such whiteouts, too, which take files from where the link leads.
            if !names::parents(path).any(|dir| new_links.contains(dir)) {
                writer.add_whiteout(path)?;
            }
            continue;
        }
        let (stat, sha256) = if path == b"." {
            writer.add(Place::Itself(root.dir()), path)?
        } else {
            let (parent, name) = split(path);
            let dir = parents.get(parent)?;
            writer.add(Place::Name(&dir, name), path)?
        };
        if stat.kind == InodeKind::Symlink && leads_to_directory(root, path) {
            new_links.insert(&path[..]);
        }
        packed(Packed {
            path: path.clone(),
            stat,
            sha256,
        });
    }
    writer.finish().map(drop)
}

/// Whether a symbolic link leads to a directory in the root, or in a circle.
fn leads_to_directory(root: &Root, path: &[u8]) -> bool {
    !matches!(root.resolve(path, &mut |_| Ok(false)), Ok(None))
}

fn check(change: &Change) -> Result<()> {
    let path = &change.path;
    let fail = |why: &str| {
        let message = format!("pack {}: {why}", escape_name(path));
        Err(Error::new(ErrorKind::InvalidInput, message))
    };
    if path == b"." {
        return match change.kind {
            ChangeKind::Deleted => fail("the root cannot be removed"),
            _ => Ok(()),
        };
    }
    let mut components = path.split(|&byte| byte == b'/');
    if components.any(|component| matches!(component, b"" | b"." | b"..")) {
        return fail("not a clean relative path");
    }
    Ok(())
}

/// The directories that changes are in, kept open.
struct Parents<'a> {
    root: &'a Root,
    open: LruCache<Box<[u8]>, Rc<Dir>>,
}

impl<'a> Parents<'a> {
    fn new(root: &'a Root) -> Self {
        Self {
            root,
            open: LruCache::new(OPEN_DIRS),
        }
    }

    /// Opens the directory at a clean path; empty is the root.
    fn get(&mut self, path: &[u8]) -> Result<Rc<Dir>> {
        if let Some(dir) = self.open.get(path) {
            return Ok(Rc::clone(dir));
        }
        let found = self.root.find(path)?;
        // A symbolic link on the way leads to another path.
        let Some(found) = found.filter(|found| found.path == path) else {
            let message = format!(
                "open directory {}: it is no longer there, or was replaced",
                self.root.dir().path_of(path).display()
            );
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        let dir = Rc::new(found.dir);
        self.open.put(path.into(), Rc::clone(&dir));
        Ok(dir)
    }
}
