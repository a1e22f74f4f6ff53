//! `files`: the names in an image, without unpacking it.

use super::extract::Found;
use super::view::Layers;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::tree::{Inode, NodeId};
use crate::fs::{InodeKind, escape_name};
use crate::image::Platform;
use crate::layer::view::View;
use crate::layout::ImageSource;
use crate::progress::Progress;

/// How files are listed.
#[derive(Clone, Debug, Default)]
pub struct FilesOptions {
    /// The platform that is wanted of an index of several; `None` is the host's.
    pub platform: Option<Platform>,
    /// Whether everything below is listed too, a directory before what is in it.
    pub recursive: bool,
    /// Whether to compute the digest of each file.
    pub digests: bool,
}

/// One thing in an image.
#[derive(Clone, Copy, Debug)]
pub struct ListedFile<'v> {
    /// The path below the directory that is listed; of a single file, the path that was asked for.
    pub name: &'v [u8],
    /// The path in the image, symbolic links resolved, no leading slash; empty for the root.
    pub path: &'v [u8],
    /// What it is. Link counts and sizes of directories mean nothing.
    pub inode: &'v Inode,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// The layer that has the content of a regular file, counted from 0.
    pub layer: Option<usize>,
}

/// Lists a directory in an image, or one file, sorted by the bytes of the names. A symbolic link to a directory is
/// followed.
///
/// For a directory all layers are read; for a file those from the top down to the one that settles it. What is read is
/// verified before anything is listed.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] if the image or the path in it does not exist, those of reading the image, and what `visit`
/// returns.
pub fn files(
    image: &dyn ImageSource,
    path: &[u8],
    options: &FilesOptions,
    progress: &dyn Progress,
    visit: &mut dyn FnMut(&ListedFile<'_>) -> Result<()>,
) -> Result<()> {
    let found = Found::open(image, options.platform.as_ref())?;
    let layers = Layers::of(&found.image(), progress)?;
    let (view, below_count) = layers.upper_view(options.digests, |view| is_single(view, path))?;
    let node = find(&view, path)?;
    let base = view.path_of(node);
    if view.tree().inode(node).kind != InodeKind::Directory {
        let mut file = listed(&view, node, path, &base);
        file.layer = file.layer.map(|layer| below_count + layer);
        return visit(&file);
    }
    walk(&view, node, base, options.recursive, visit)
}

/// Whether a path is known to mean something else than a directory.
fn is_single(view: &View, path: &[u8]) -> bool {
    let is_known = |node: Result<Option<NodeId>>| {
        let kind = node.ok().flatten().map(|node| view.tree().inode(node).kind);
        kind.is_some_and(|kind| kind != InodeKind::Directory)
    };
    // Of a link, both what it is and that it leads to no directory.
    is_known(view.resolve_parent(path)) && is_known(view.resolve(path))
}

fn find(view: &View, path: &[u8]) -> Result<NodeId> {
    let is_directory = |node: &NodeId| view.tree().inode(*node).kind == InodeKind::Directory;
    // What a link leads to matters only if it is a directory, so a link to nowhere or in circles is shown.
    let followed = view.resolve(path).ok().flatten().filter(is_directory);
    if let Some(node) = followed.or(view.resolve_parent(path)?) {
        return Ok(node);
    }
    let message = format!("{}: no such file in the image", escape_name(path));
    Err(Error::new(ErrorKind::NotFound, message))
}

fn walk(
    view: &View,
    dir: NodeId,
    mut path: Vec<u8>,
    recursive: bool,
    visit: &mut dyn FnMut(&ListedFile<'_>) -> Result<()>,
) -> Result<()> {
    let start = path.len() + usize::from(!path.is_empty());
    // By hand, not by calls: a tree may be deeper than the stack.
    let mut levels = vec![(view.tree().children(dir), path.len())];
    while let Some((children, length)) = levels.last_mut() {
        path.truncate(*length);
        let Some((name, node)) = children.next() else {
            levels.pop();
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        visit(&listed(view, node, &path[start..], &path))?;
        if recursive {
            levels.push((view.tree().children(node), path.len()));
        }
    }
    Ok(())
}

fn listed<'v>(view: &'v View, node: NodeId, name: &'v [u8], path: &'v [u8]) -> ListedFile<'v> {
    ListedFile {
        name,
        path,
        inode: view.tree().inode(node),
        device: view.device(node),
        layer: view.content(node).map(|content| content.layer),
    }
}
