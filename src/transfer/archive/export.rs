//! What it is to export images.

use std::collections::BTreeMap;
use std::io::Write;

use oci_cas::Store;

use crate::image::Descriptor;
use crate::{Error, ErrorKind, Result};

/// Writes images as an archive of some format.
pub trait Exporter {
    /// Writes these images, in this order, as one archive, uncompressed; every blob is verified while it is copied.
    ///
    /// On failure `out` has the beginning of an archive, which no reader takes for a whole one.
    ///
    /// ```
    /// use oci_bundle::image::Tag;
    /// use oci_bundle::layout::LeasedLayout;
    /// use oci_bundle::transfer::archive::{Combined, ExportedImage, Exporter};
    ///
    /// # fn main() -> oci_bundle::Result<()> {
    /// let layout = LeasedLayout::open("examples/sample-image".as_ref())?;
    /// let path = layout.resolve(&Tag::new("latest")?, None)?;
    /// let image = ExportedImage {
    ///     manifest: path.target().clone(),
    ///     names: vec!["example.org/sample:1".to_owned()],
    /// };
    /// let mut archive = Vec::new();
    /// let report = Combined.export(layout.store(), &[image], &mut archive)?;
    /// assert_eq!(report.size, archive.len() as u64);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: no image, one that the format cannot hold, or one name for two images.
    /// - [`ErrorKind::NotFound`]: a blob of an image is missing. Missing are no layers that must not be distributed, and,
    ///   in an index, no images whose manifest is not there, unless none is.
    /// - [`ErrorKind::Verification`]: a blob has another digest or size, a layer another diff ID than promised.
    /// - [`ErrorKind::InvalidData`], [`ErrorKind::Unsupported`], [`ErrorKind::LimitExceeded`]: what is wrong with a
    ///   document.
    /// - The error of `out`, wrapped.
    fn export(
        &self,
        blobs: &dyn Store,
        images: &[ExportedImage],
        out: &mut dyn Write,
    ) -> Result<ExportReport>;
}

/// An image to be exported.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedImage {
    /// Its manifest, or an index where the format takes one.
    pub manifest: Descriptor,
    /// Its names, best each a `repository:tag`.
    pub names: Vec<String>,
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportReport {
    /// Members of the archive, directories too.
    pub member_count: usize,
    /// Bytes of the archive.
    pub size: u64,
    /// Names that the format cannot hold, and that are not in the archive therefore.
    pub unnamed: Vec<String>,
}

/// Refuses to export nothing, which no reader would take for an archive of images, and one name for two images.
pub(super) fn check(images: &[ExportedImage]) -> Result<()> {
    let fail = |message: String| Err(Error::new(ErrorKind::InvalidInput, message));
    if images.is_empty() {
        return fail("no image to export".to_owned());
    }
    let mut named = BTreeMap::new();
    for image in images {
        let digest = image.manifest.digest();
        for name in &image.names {
            if named.insert(name, digest).is_some_and(|it| it != digest) {
                return fail(format!("export two images as {name:?}"));
            }
        }
    }
    Ok(())
}
