//! `raw mtree-validate`: compares a directory with an mtree manifest.

use std::path::Path;

use crate::Result;
use crate::mtree::{self, Difference, ValidateOptions};

use super::host;

/// Returns the differences between the record `manifest` and the directory `tree`, sorted by path.
///
/// Names of owners, where they are compared and the options have none, are the host's.
///
/// # Errors
///
/// When the manifest cannot be read or parsed, or the directory cannot be walked.
pub fn mtree_validate(
    manifest: &Path,
    tree: &Path,
    mut options: ValidateOptions,
) -> Result<Vec<Difference>> {
    options.owners.get_or_insert_with(host::owner_names);
    mtree::validate(manifest, tree, &options)
}
