//! What leads to an image: a reference to a layout, and whatever else can be opened as one.

use std::path::Path;

use super::{DescriptorPath, LeasedLayout};
use crate::Result;
use crate::image::{Platform, Reference};

/// Something that leads to an image. The layout need not be a directory.
pub trait ImageSource: std::fmt::Debug + Sync {
    /// Opens the layout and finds the manifest. Without `platform` the host's is meant.
    ///
    /// # Errors
    ///
    /// As [`LeasedLayout::open`] and [`LeasedLayout::resolve`].
    fn open(&self, platform: Option<&Platform>) -> Result<(LeasedLayout, DescriptorPath)>;

    /// Where the image is, for a store that brings it in.
    fn origin(&self) -> Origin<'_>;
}

/// Where an image is.
#[derive(Clone, Debug)]
pub enum Origin<'a> {
    /// In a layout of the user's.
    Layout(&'a Reference),
    /// Anywhere else.
    Other {
        /// The name by which users know it.
        name: String,
        /// The archive, or the layout that keeps what is fetched.
        place: &'a Path,
    },
}

impl ImageSource for Reference {
    fn open(&self, platform: Option<&Platform>) -> Result<(LeasedLayout, DescriptorPath)> {
        let layout = LeasedLayout::open(&self.layout)?;
        let path = layout.resolve(&self.name, platform)?;
        Ok((layout, path))
    }

    fn origin(&self) -> Origin<'_> {
        Origin::Layout(self)
    }
}
