//! `remove`: takes a name away from an image.

use crate::Result;
use crate::image::Reference;
use crate::layout::Layout;

/// Removes every entry of that name from the index; of a digest, those that have it and no tag. That there is no such tag
/// is no error; blobs stay.
///
/// # Errors
///
/// Those of opening the layout and of [`Layout::untag`]. The index is as it was after any error.
pub fn remove(image: &Reference) -> Result<()> {
    Layout::open(&image.layout)?.untag(&image.name)
}
