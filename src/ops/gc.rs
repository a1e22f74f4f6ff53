//! `gc`: removes what nothing refers to.

use std::path::Path;

use crate::Result;
use crate::layout::{GcReport, Layout};

/// Removes the blobs that the index does not lead to, and what killed processes left; with `dry_run`, only says so.
///
/// # Errors
///
/// Those of opening the layout, and those of reading a document that the index leads to: nothing has been removed then.
/// After a failure to remove, the layout is still whole, but some of the garbage may be gone.
pub fn gc(layout: &Path, dry_run: bool) -> Result<GcReport> {
    Layout::open(layout)?.gc(dry_run)
}
