//! What it is to import images.

use std::fs::File;
use std::io::Read;

use oci_cas::{StackedStore, Store};

use super::in_place::{self, ArchiveBlobs};
use super::join::{docker, legacy, oci};
use super::members::Members;
use super::{DockerArchive, OciArchive};
use crate::image::Descriptor;
use crate::{Error, ErrorKind, Result, ResultExt};

/// Reads images out of an archive.
pub trait Importer {
    /// Reads an archive to its end, in one pass, and puts everything that its images need into the store. The archive may
    /// be compressed with gzip or zstd; nothing of it is kept anywhere else.
    ///
    /// The blobs are safe from garbage collection until the store object next changes its index, which is where the
    /// caller names the images. On failure, blobs that were read before stay in the store, where nothing refers to them.
    ///
    /// ```
    /// use oci_bundle::cas::MemoryStore;
    /// use oci_bundle::transfer::archive::{AnyArchive, Importer};
    ///
    /// # fn archive() -> oci_bundle::Result<Vec<u8>> {
    /// #     use oci_bundle::transfer::archive::{Combined, ExportedImage, Exporter};
    /// #     let layout = oci_bundle::layout::LeasedLayout::open("examples/sample-image".as_ref())?;
    /// #     let path = layout.resolve(&oci_bundle::image::Tag::new("latest")?, None)?;
    /// #     let image = ExportedImage { manifest: path.target().clone(), names: vec!["sample:1".to_owned()] };
    /// #     let mut archive = Vec::new();
    /// #     Combined.export(layout.store(), &[image], &mut archive)?;
    /// #     Ok(archive)
    /// # }
    /// # fn main() -> oci_bundle::Result<()> {
    /// let archive: Vec<u8> = archive()?;
    /// let blobs = MemoryStore::new();
    /// let images = AnyArchive.import(&mut archive.as_slice(), &blobs)?;
    /// assert_eq!(images[0].names, ["sample:1"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidData`]: the input is no archive, holds no image in a format that this importer reads, or a
    ///   document in it is malformed.
    /// - [`ErrorKind::Verification`]: a blob has another digest or size than its name or a document says, a layer another
    ///   diff ID than the config says.
    /// - [`ErrorKind::NotFound`]: something that a document names is not in the archive. (Blobs that the store has already
    ///   need not be, where they are named by digest.)
    /// - [`ErrorKind::Ambiguous`]: two members of one name and different content, one name for two images, an index and a
    ///   `manifest.json` of different images.
    /// - [`ErrorKind::Unsupported`]: bzip2, xz, sparse members, a layout of another version.
    /// - [`ErrorKind::LimitExceeded`]: names and documents of more than 64 MiB, a document of more than 20 MiB.
    /// - The error of the input or the store, wrapped.
    fn import(
        &self,
        input: &mut (dyn Read + Send),
        blobs: &dyn Store,
    ) -> Result<Vec<ImportedImage>>;
}

/// An image that was imported.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedImage {
    /// Its names as the archive has them, perhaps none, not validated.
    pub names: Vec<String>,
    /// Its manifest; from a layout perhaps an index, of which some images may be missing. It has no name in its
    /// annotations.
    pub manifest: Descriptor,
    /// Whether the archive is one that Docker loads: with a `manifest.json`, or legacy. Docker's have plain layers.
    pub for_docker: bool,
}

/// Any format that is known: an image layout (also with a `manifest.json`, as `docker save` and
/// [`Combined`](super::Combined) write it), a Docker archive, or a legacy one of before version 1.2.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyArchive;

/// The kinds of an archive, the richest first.
#[derive(Clone, Copy)]
enum Kind {
    Layout,
    Docker,
    /// A layout of before 1.0, with files in `refs` instead of an index.
    References,
    Legacy,
}

const KINDS: [Kind; 4] = [Kind::Layout, Kind::Docker, Kind::References, Kind::Legacy];

impl Importer for AnyArchive {
    fn import(
        &self,
        input: &mut (dyn Read + Send),
        blobs: &dyn Store,
    ) -> Result<Vec<ImportedImage>> {
        import(input, blobs, &KINDS)
    }
}

impl Importer for OciArchive {
    fn import(
        &self,
        input: &mut (dyn Read + Send),
        blobs: &dyn Store,
    ) -> Result<Vec<ImportedImage>> {
        import(input, blobs, &[Kind::Layout, Kind::References])
    }
}

impl Importer for DockerArchive {
    fn import(
        &self,
        input: &mut (dyn Read + Send),
        blobs: &dyn Store,
    ) -> Result<Vec<ImportedImage>> {
        import(input, blobs, &[Kind::Docker, Kind::Legacy])
    }
}

/// The formats of archives that a name of an image may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// Whatever it is.
    Any,
    /// `oci-archive:`: an image layout in a tar.
    Oci,
    /// `docker-archive:`: what `docker save` writes.
    Docker,
}

/// Looks at the images of an archive in place, whose blobs are then read where they lie. Those that it lacks may be in another
/// store. `None` for a file that must be imported: compressed, or a pipe.
pub(crate) fn open_in_place(
    file: File,
    format: ArchiveFormat,
    elsewhere: &dyn Store,
) -> Result<Option<(Vec<ImportedImage>, ArchiveBlobs)>> {
    let kinds: &[Kind] = match format {
        ArchiveFormat::Any => &KINDS,
        ArchiveFormat::Oci => &[Kind::Layout, Kind::References],
        ArchiveFormat::Docker => &[Kind::Docker, Kind::Legacy],
    };
    let Some((members, blobs)) = in_place::open(file)? else {
        return Ok(None);
    };
    let images = join(&members, &StackedStore::new(&blobs, elsewhere), kinds)?;
    Ok(Some((images, blobs)))
}

fn import(
    input: &mut (dyn Read + Send),
    blobs: &dyn Store,
    kinds: &[Kind],
) -> Result<Vec<ImportedImage>> {
    let imported = || "import image archive";
    let members = Members::read(input, blobs).context(imported)?;
    join(&members, blobs, kinds).context(imported)
}

fn join(members: &Members, blobs: &dyn Store, kinds: &[Kind]) -> Result<Vec<ImportedImage>> {
    for kind in kinds {
        let images = match kind {
            Kind::Layout => oci::layout(members, blobs)?,
            Kind::Docker => docker::images(members, blobs)?,
            Kind::References => oci::references(members, blobs)?,
            Kind::Legacy => legacy::images(members, blobs)?,
        };
        if let Some(mut images) = images {
            let for_docker = match kind {
                Kind::Layout => !docker::configs(members)?.is_empty(),
                Kind::Docker | Kind::Legacy => true,
                Kind::References => false,
            };
            for image in &mut images {
                image.for_docker = for_docker;
            }
            return Ok(images);
        }
    }
    let message = "it holds no image: neither oci-layout with index.json, nor manifest.json, nor layers with a json file each";
    Err(Error::new(ErrorKind::InvalidData, message)
        .with_hint("an archive of an image is what docker save or skopeo copy writes"))
}
