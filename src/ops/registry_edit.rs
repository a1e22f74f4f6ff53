//! Edits of images of registries: made in the layout that keeps what is fetched, and pushed from there.
//!
//! ```text
//! registry -> fetch: documents, and layers if they are read -> the layout that keeps them -> any edit -> push
//! ```

use std::io;

use oci_cas::StoreExt as _;

use super::copy;
use crate::image::{Index, MediaKind, Name, Platform, Reference, Tag};
use crate::layout::LeasedLayout;
use crate::progress::Progress;
use crate::transfer::registry::{Registry, RegistryName};
use crate::transfer::{CopyOptions, ImageName, Opened, Source, TransferOptions, kept_tag};
use crate::{Error, ErrorKind, Result, ResultExt};

/// An image of a registry, or the place of one, that is written by way of the layout that keeps such images.
#[derive(Clone, Copy, Debug)]
pub struct RegistryImage<'a> {
    /// Its name.
    pub name: &'a RegistryName,
    /// How the registry is asked, and where the layout is.
    pub options: &'a TransferOptions,
}

impl RegistryImage<'_> {
    /// The image's place in the layout, whether it is there or not.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a name with a digest: what is written has another one.
    pub fn kept(&self) -> Result<(Reference, Tag)> {
        if self.name.digest().is_some() {
            let message = format!("{} can't be the name of what is written", self.name);
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("a digest follows from the content: give a tag"));
        }
        let tag = kept_tag(self.name)?;
        let layout = self.options.cache.clone();
        let name = Name::from(&tag);
        Ok((Reference { layout, name }, tag))
    }

    /// Fetches the documents of the image, as far as the layout has them not, and with `layers` the layers of the
    /// platform's image. Returns where they are.
    ///
    /// # Errors
    ///
    /// Those of the registry, of finding the platform's image, and of writing. What was fetched stays.
    pub fn fetch(&self, platform: Option<&Platform>, layers: bool) -> Result<Reference> {
        let name = ImageName::Registry(self.name.clone());
        let opened = Opened::open(&name, self.options)?;
        let image = opened.choose()?.clone();
        let root = image.manifest.digest().clone();
        let tag = Tag::latest();
        let layout = opened.layout(&[image], &tag).lease()?;
        let path = layout.resolve(&tag, platform)?;
        let manifest = layout.manifest(path.target())?;
        layout.image_config(&manifest)?;
        if layers {
            layout.announce(&manifest.layers)?;
            for layer in &manifest.layers {
                let (digest, size) = (layer.digest(), layer.size());
                let mut blob = layout.store().open_verified(digest, size)?;
                io::copy(&mut blob, &mut io::sink()).context(|| format!("fetch layer {digest}"))?;
            }
        }
        opened.finish()?;
        Ok(Reference {
            layout: self.options.cache.clone(),
            name: Name::Digest(root),
        })
    }

    /// Pushes what the layout has under the image's name. An index is pushed if the repository has, or can be given, all
    /// that it names; otherwise the image of the platform alone, with a warning.
    ///
    /// # Errors
    ///
    /// Those of reading the image and of the registry. Blobs that were pushed stay there, without a name.
    pub fn push(&self, platform: Option<&Platform>, progress: &dyn Progress) -> Result<()> {
        let (kept, _) = self.kept()?;
        let all = self.has_all(&kept)?;
        if !all {
            progress.warn(format_args!(
                "the repository of {} has not all images of the index: only the one that was edited is pushed",
                self.name
            ));
        }
        let options = CopyOptions {
            all,
            platforms: platform.into_iter().cloned().collect(),
            ..CopyOptions::default()
        };
        let source = Source {
            name: ImageName::Layout(kept),
            options: std::sync::Arc::new(self.options.clone()),
        };
        let target = ImageName::Registry(self.name.clone());
        copy(&source, &target, &[], &options, &mut io::sink(), progress)?;
        Ok(())
    }

    /// Whether all that an image names is here or there: what an index names, only.
    fn has_all(&self, kept: &Reference) -> Result<bool> {
        let layout = LeasedLayout::open(&kept.layout)?;
        let root = layout.entry(&kept.name)?;
        if root.kind() != MediaKind::Index {
            return Ok(true);
        }
        let bytes = layout.store().read_verified(root.digest(), root.size())?;
        let writer = Registry::new(self.options.registry.clone())?.writer(self.name, &[])?;
        for child in Index::parse(&bytes, root.media_type())?.manifests {
            let digest = child.digest();
            if layout.store().stat(digest)?.is_none() && !writer.has_manifest(digest)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
