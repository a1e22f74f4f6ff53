//! `remove`: takes a name away from an image.

use crate::Result;
use crate::image::Reference;
use crate::layout::Layout;

/// Removes every entry of that name from the index. That there is none is no error; blobs stay.
///
/// # Errors
///
/// Those of opening and changing the layout. The index is as it was after any error.
pub fn remove(image: &Reference) -> Result<()> {
    Layout::open(&image.layout)?.untag(&image.tag)
}
