//! `diff`: what was added, changed and deleted between an image and another image, or a bundle.
//!
//! Two images are compared as views (`layer::view`); the layers that they have in common are read once. A bundle that was
//! unpacked from the very image is compared with its record, without reading a layer (`record.rs`), and what nobody has
//! touched in it is not read either; any other bundle is
//! read into a view too (`bundle.rs`).

mod bundle;
mod record;

use std::path::Path;

use super::extract::Found;
use super::unpack::record_name;
use super::view::Layers;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::tree::Inode;
use crate::fs::{Access, Dir, InodeKind};
use crate::image::Platform;
pub use crate::layer::view::Aspect;
use crate::layer::view::{Difference, View, compare};
use crate::layout::ImageSource;
use crate::progress::Progress;

/// What an image is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Another image.
    Image(&'a dyn ImageSource),
    /// The root file system of a bundle.
    Bundle(&'a Path),
}

/// How a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It is new.
    Added,
    /// It is there in both, but not the same.
    Changed,
    /// It is gone.
    Deleted,
}

/// What a path is on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Its type.
    pub kind: InodeKind,
    /// Bytes of content; 0 for all but regular files.
    pub size: u64,
}

/// A path that differs.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// How it differs.
    pub status: Status,
    /// The path: no leading slash, empty for the root.
    pub path: &'a [u8],
    /// What it was; `None` if it is new.
    pub old: Option<Side>,
    /// What it is; `None` if it is gone.
    pub new: Option<Side>,
    /// In what it differs, if it was changed; else empty.
    pub aspects: &'a [Aspect],
}

/// Compares an image with another image or a bundle, and tells of every path that differs, a directory before what is in
/// it, names sorted by bytes. Of what was added or deleted, every path is told.
///
/// With a bundle, times are compared to the second, as its record and the layers of repack have them.
///
/// # Errors
///
/// Those of reading the images or the bundle, and what `found` returns.
pub fn diff(
    from: &dyn ImageSource,
    to: Target<'_>,
    platform: Option<&Platform>,
    progress: &dyn Progress,
    found: &mut dyn FnMut(&Change<'_>) -> Result<()>,
) -> Result<()> {
    let image = Found::open(from, platform)?;
    match to {
        Target::Image(to) => {
            let other = Found::open(to, platform).map_err(|error| {
                let hint = "another image is named in full, path[:tag], and a bundle with --bundle";
                error.context("find the other image").with_hint(hint)
            })?;
            let (old, new) = views(
                &Layers::of(&image.image(), progress)?,
                &Layers::of(&other.image(), progress)?,
            )?;
            compare_views(&old, &new, found)
        }
        Target::Bundle(path) => diff_bundle(&image, path, progress, found)
            .context(|| format!("compare with bundle {}", path.display())),
    }
}

/// The views of two images. What they have in common at the bottom is read once.
fn views(old: &Layers<'_>, new: &Layers<'_>) -> Result<(View, View)> {
    let pairs = old.diff_ids().zip(new.diff_ids());
    let shared = pairs.take_while(|(old, new)| old == new).count();
    let mut old_view = View::new();
    // By either image: what is promised of the streams is the same.
    old.add_to(&mut old_view, 0..shared, true)?;
    let mut new_view = old_view.clone();
    old.add_to(&mut old_view, shared..old.len(), true)?;
    new.add_to(&mut new_view, shared..new.len(), true)?;
    Ok((old_view, new_view))
}

fn diff_bundle(
    image: &Found,
    path: &Path,
    progress: &dyn Progress,
    found: &mut dyn FnMut(&Change<'_>) -> Result<()>,
) -> Result<()> {
    let bundle = bundle::Bundle::open(path)?;
    bundle.warn_of_mounts(progress);
    if let Some(target) = image.image().path.last()
        && bundle.is_of(target.digest())
    {
        let name = record_name(target.digest());
        if bundle.dir.try_stat(name.as_bytes())?.is_some() {
            return record::diff(&bundle, &name, progress, found);
        }
    }
    let old = Layers::of(&image.image(), progress)?.view(true)?;
    let new = bundle.view(&old)?;
    compare_views(&old, &new, found)
}

fn compare_views(
    old: &View,
    new: &View,
    found: &mut dyn FnMut(&Change<'_>) -> Result<()>,
) -> Result<()> {
    compare(old, new, &mut |difference: Difference<'_>| {
        found(&Change {
            status: match (difference.old, difference.new) {
                (None, _) => Status::Added,
                (_, None) => Status::Deleted,
                _ => Status::Changed,
            },
            path: difference.path,
            old: difference.old.map(side),
            new: difference.new.map(side),
            aspects: difference.aspects,
        })
    })
}

fn side(inode: &Inode) -> Side {
    Side {
        kind: inode.kind,
        size: file_size(inode.kind, inode.size),
    }
}

fn file_size(kind: InodeKind, size: u64) -> u64 {
    if kind == InodeKind::File { size } else { 0 }
}
