//! `list`: the tags of a layout.

use std::path::Path;

use crate::Result;
use crate::layout::Layout;

/// Lists the tags in the order of the index; a name that stands there twice comes twice.
///
/// # Errors
///
/// Those of opening the layout and of reading its index.
pub fn list(layout: &Path) -> Result<Vec<String>> {
    Layout::open(layout)?.tags()
}
