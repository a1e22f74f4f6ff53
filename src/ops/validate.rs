//! `validate`: checks a layout against the image specification.

use std::path::Path;

use crate::Result;
use crate::image::Tag;
use crate::layout::{Finding, Layout};
use crate::progress::Progress;

/// Checks everything that the index leads to, or with `tag` only what that tag leads to, and returns all findings.
///
/// # Errors
///
/// When the layout cannot be opened or read at all. What is wrong inside it is a finding, not an error.
pub fn validate(layout: &Path, tag: Option<&Tag>, progress: &dyn Progress) -> Result<Vec<Finding>> {
    Layout::open(layout)?.validate(tag, progress)
}
