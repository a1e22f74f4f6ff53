//! What leads to an image: a reference to a layout, and whatever else can be opened as one.

use super::{DescriptorPath, LeasedLayout};
use crate::Result;
use crate::image::{Platform, Reference};

/// Something that leads to an image. The layout need not be a directory.
pub trait ImageSource: Sync {
    /// Opens the layout and finds the manifest. Without `platform` the host's is meant.
    ///
    /// # Errors
    ///
    /// As [`LeasedLayout::open`] and [`LeasedLayout::resolve`].
    fn open(&self, platform: Option<&Platform>) -> Result<(LeasedLayout, DescriptorPath)>;
}

impl ImageSource for Reference {
    fn open(&self, platform: Option<&Platform>) -> Result<(LeasedLayout, DescriptorPath)> {
        let layout = LeasedLayout::open(&self.layout)?;
        let path = layout.resolve(&self.name, platform)?;
        Ok((layout, path))
    }
}
