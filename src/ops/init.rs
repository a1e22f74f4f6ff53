//! `init`: makes an empty image layout.

use std::path::Path;

use crate::Result;
use crate::layout::Layout;

/// Makes an image layout without images, and its parent directories where they are missing.
///
/// # Errors
///
/// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when anything has that name, and every failure to write.
pub fn init(layout: &Path) -> Result<()> {
    Layout::create(layout).map(drop)
}
