//! Images in and out.

use std::io::{Read, Write};

use super::blobs::{BlobLayers, read_document};
use super::create::Repository;
use super::image::Image;
use crate::error::Result;
use crate::image::{Descriptor, ImageConfig, Manifest, MediaKind};
use crate::progress::Silent;
use crate::store::{Reason, StoredImage, UnpackLimits};
use crate::transfer::archive::{ExportReport, ExportedImage, Exporter, Importer};

impl<'s> Repository<'s> {
    /// Writes images as an archive, each with the names that the store has for it.
    ///
    /// # Errors
    ///
    /// [`Reason::ImageCompose`] for layers without a configuration; those of [`Exporter::export`].
    pub fn export(
        &self,
        exporter: &dyn Exporter,
        images: &[Image<'_>],
        out: &mut dyn Write,
    ) -> Result<ExportReport> {
        let all_names = self.store().names()?;
        let mut carried = Vec::new();
        for image in images {
            let Some(stored) = image.stored() else {
                let message = format!(
                    "layer {}: no configuration makes it an image",
                    image.layer().chain_id()
                );
                return Err(Reason::ImageCompose
                    .error(message)
                    .with_hint("save_config makes one"));
            };
            let names = all_names.iter().filter(|(_, of)| of == stored.digest());
            carried.push(ExportedImage {
                manifest: stored.manifest.clone(),
                names: names.map(|(name, _)| name.clone()).collect(),
            });
        }
        exporter.export(self.blobs(), &carried, out)
    }

    /// Reads images out of an archive: blobs into the content store, layers into the store, and each image under the names
    /// that the archive has for it.
    ///
    /// # Errors
    ///
    /// Those of [`Importer::import`], and of [`Store::unpack`](crate::store::Store::unpack);
    /// [`Reason::ImageCompose`] if an image lacks a part or has no layers, or if the archive has an index for several
    /// platforms. Images that were read before stay.
    pub fn import(
        &self,
        importer: &dyn Importer,
        input: &mut (dyn Read + Send),
    ) -> Result<Vec<Image<'s>>> {
        let mut images = Vec::new();
        for imported in importer.import(input, self.blobs())? {
            let image = self.take_in(imported.manifest)?;
            if let Some(stored) = image.stored() {
                for name in &imported.names {
                    self.store().tag(name, stored.digest())?;
                }
            }
            images.push(image);
        }
        Ok(images)
    }

    /// Unpacks an image of the content store.
    fn take_in(&self, descriptor: Descriptor) -> Result<Image<'s>> {
        let compose = |error| Reason::ImageCompose.of_error(error);
        if descriptor.kind() != MediaKind::Manifest {
            let message = format!("{}: it is not one image", descriptor.digest());
            return Err(Reason::ImageCompose.error(message));
        }
        let bytes = read_document(self.blobs(), &descriptor)?;
        let manifest = Manifest::parse(&bytes, descriptor.media_type()).map_err(compose)?;
        let bytes = read_document(self.blobs(), &manifest.config)?;
        let config = ImageConfig::parse(&bytes).map_err(compose)?;
        let diff_ids = config.diff_ids();
        if diff_ids.len() != manifest.layers.len() || diff_ids.is_empty() {
            let message = format!(
                "image {}: {} layers, and {} diff IDs",
                descriptor.digest(),
                manifest.layers.len(),
                diff_ids.len()
            );
            return Err(Reason::ImageCompose.error(message));
        }
        let provider = BlobLayers {
            blobs: self.blobs(),
            layers: manifest.layers.iter().cloned().map(Some).collect(),
        };
        let limits = UnpackLimits::default();
        let chain = self.store().unpack(diff_ids, &provider, &limits, &Silent)?;
        let stored = StoredImage::new(
            descriptor,
            manifest.config,
            manifest.layers,
            diff_ids.to_vec(),
            self.layout().to_owned(),
        );
        self.store().add_image(&stored)?;
        let layer = super::RepositoryLayer::new(self.clone(), chain);
        Ok(Image::new(layer, Some(stored)))
    }
}
