//! `list`: what the index of a layout lists.

use std::path::Path;

use crate::Result;
use crate::layout::{Layout, Listed};

/// Lists the entries of the index in its order, with a tag or without; what stands there twice comes twice.
///
/// # Errors
///
/// Those of opening the layout and of reading its index.
pub fn list(layout: &Path) -> Result<Vec<Listed>> {
    Layout::open(layout)?.listed()
}
