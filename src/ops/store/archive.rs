//! `store export` and `store import`: images of a store as archives.
//!
//! An image that comes from an archive has no layout of the user's: its blobs go to one inside of the store, below `blobs/`.
//! Whoever imports holds a shared lock there and `gc` an exclusive one, so that no blob goes between its arrival and the
//! moment in which the store knows its image.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use oci_cas::Digest;

use super::image::{BringInOptions, unpack_layers};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::lock::{LockFile, LockMode};
use crate::fs::{Access, Dir};
use crate::image::{Reference, Tag};
use crate::layout::{Layout, LeasedLayout};
use crate::ops::extract::Found;
use crate::progress::Progress;
use crate::store::{GcOptions, GcReport, LeasedStore, Store, StoredImage};
use crate::transfer::archive::{
    AnyArchive, ExportReport, ExportedImage, Exporter, ImportedImage, Importer,
};

/// The store's own layout, below the store.
const OWN_LAYOUT: &str = "blobs/images";

/// The lock file of whoever brings blobs in or takes them away, beside it.
const LOCK: &[u8] = b"lock";

/// Writes images of a store as one archive.
///
/// # Errors
///
/// Those of finding the images and of [`Exporter::export`]; [`ErrorKind::InvalidInput`] if they come from several layouts.
pub fn export(
    store: &LeasedStore,
    words: &[String],
    exporter: &dyn Exporter,
    out: &mut dyn Write,
) -> Result<ExportReport> {
    let layout = layout_of(store, words)?;
    let layout = LeasedLayout::open(&layout)?;
    // Only now: an image that was removed since has no blobs any more, perhaps.
    let names = store.names()?;
    let mut images = Vec::new();
    for word in words {
        let image = store.image(word)?;
        // The names that images of layouts get are paths, which mean nothing elsewhere.
        let of_image = names
            .iter()
            .filter(|(name, digest)| digest == image.digest() && !name.starts_with('/'));
        images.push(ExportedImage {
            manifest: image.manifest.clone(),
            names: of_image.map(|(name, _)| name.clone()).collect(),
        });
    }
    exporter.export(layout.store(), &images, out)
}

/// The one layout that has the blobs of all the images.
fn layout_of(store: &LeasedStore, words: &[String]) -> Result<PathBuf> {
    let mut layout: Option<PathBuf> = None;
    for word in words {
        let image = store.image(word)?;
        if layout
            .as_ref()
            .is_some_and(|layout| *layout != image.layout)
        {
            let message = format!("image {word}: its blobs are in another layout");
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("export the images of each layout by themselves"));
        }
        layout = Some(image.layout);
    }
    layout.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "no image to export"))
}

/// An image that was brought in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its manifest.
    pub digest: Digest,
    /// The names that it has got.
    pub names: Vec<String>,
}

/// Brings the images of an archive into a store: their blobs, and their layers unpacked.
///
/// Images that were complete before a failure stay.
///
/// # Errors
///
/// Those of [`Importer::import`], and of unpacking.
pub fn import(
    store: &LeasedStore,
    input: &mut (dyn Read + Send),
    progress: &dyn Progress,
) -> Result<Vec<Imported>> {
    let _in_use = lock(store, LockMode::Shared)?;
    let path = store.path().join(OWN_LAYOUT);
    let layout = match Layout::create(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Layout::open(&path)?,
        other => other?,
    };
    // Naming the first image ends what protects the blobs of the others by itself.
    let layout = layout.lease()?;
    let mut imported = Vec::new();
    for image in AnyArchive.import(input, layout.store())? {
        let digest = image.manifest.digest().clone();
        let brought = bring_in(store, &layout, &path, image, progress);
        imported.push(brought.context(|| format!("image {digest}"))?);
    }
    Ok(imported)
}

fn bring_in(
    store: &LeasedStore,
    layout: &Layout,
    path: &Path,
    image: ImportedImage,
    progress: &dyn Progress,
) -> Result<Imported> {
    // By its digest, which every image has, whatever the archive calls it.
    let tag = Tag::new(&image.manifest.digest().to_string())?;
    layout.add(&tag, &image.manifest)?;
    let reference = Reference {
        layout: path.to_owned(),
        name: tag.into(),
    };
    let found = Found::open(&reference, None)?;
    unpack_layers(store, found.image(), BringInOptions::default(), progress)?;
    let (manifest, config) = (found.image().manifest, found.image().config);
    let stored = StoredImage::new(
        found.path().target().clone(),
        manifest.config.clone(),
        manifest.layers.clone(),
        config.diff_ids().to_vec(),
        path.to_owned(),
    );
    store.add_image(&stored)?;
    for name in &image.names {
        store.tag(name, stored.digest())?;
    }
    Ok(Imported {
        digest: stored.digest().clone(),
        names: image.names,
    })
}

/// Takes away what nothing in a store needs, with the blobs of images that had come from archives and are gone.
///
/// # Errors
///
/// Those of [`Store::gc`], and of the store's own layout.
pub fn gc(store: &Store, options: GcOptions) -> Result<GcReport> {
    let report = store.gc(options)?;
    let path = store.path().join(OWN_LAYOUT);
    let layout = match Layout::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(report),
        other => other?,
    };
    if options.dry_run {
        return Ok(report);
    }
    forget_unknown(store, &layout.lease()?)?;
    // Without the lock: this waits for those who read an image here, and nobody else should.
    Layout::open(&path)?.gc(false)?;
    Ok(report)
}

/// Takes the names off the images of the store's own layout that the store does not know.
fn forget_unknown(store: &Store, layout: &LeasedLayout) -> Result<()> {
    // Images that are on their way in are named before the store knows them.
    let _alone = lock(store, LockMode::Exclusive)?;
    for name in layout.tags()? {
        let tag = Tag::new(&name)?;
        let is_known = match layout.resolve(&tag, None) {
            Ok(found) => store.find_image(found.target().digest())?.is_some(),
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !is_known {
            layout.untag(&tag)?;
        }
    }
    Ok(())
}

fn lock(store: &Store, mode: LockMode) -> Result<LockFile> {
    let dir = Dir::open(&store.path().join("blobs"), Access::Plain)?;
    LockFile::acquire(&dir, LOCK, mode, Some(store.options().lock_timeout))
}
