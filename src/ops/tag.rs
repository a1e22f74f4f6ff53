//! `tag`: gives an image a further name.

use crate::Result;
use crate::image::{Platform, Reference, Tag};
use crate::layout::Layout;

/// Points `new` at the image that `image` means, replacing a tag of that name.
///
/// `platform` chooses among the images of an index; `None` means this machine's.
///
/// # Errors
///
/// [`NotFound`](crate::ErrorKind::NotFound) and [`Ambiguous`](crate::ErrorKind::Ambiguous) when the tag does not mean
/// exactly one image, and those of opening and changing the layout. The index is as it was after any error.
pub fn tag(image: &Reference, platform: Option<&Platform>, new: &Tag) -> Result<()> {
    Layout::open(&image.layout)?.tag(&image.name, platform, new)
}
