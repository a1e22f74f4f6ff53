//! How layers are applied.

use crate::archive::Limits;
use crate::fs::MapOptions;

/// How layers are applied to a root.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ApplyOptions {
    /// How owners in the layer become owners on disk.
    pub map_options: MapOptions,
    /// Whether a directory entry leaves a symbolic link to a directory (inside the root) where it is.
    pub keep_dirlinks: bool,
    /// Limits of the archive reader.
    pub limits: Limits,
    /// How many bytes the files of all layers may have together, holes counted. No limit by default.
    pub max_size: Option<u64>,
    /// Whether a record of the tree is wanted: then the content of each file is hashed, and everything is looked at once
    /// more when it is complete. Without it, the tree that comes back is right about names and types only.
    pub file_digests: bool,
    /// Whether the root is empty and nobody else's: then the record of the tree is complete.
    pub fresh: bool,
}

impl ApplyOptions {
    /// Options with these owners, and the defaults for the rest.
    pub fn new(map_options: MapOptions) -> Self {
        Self {
            map_options,
            ..Self::default()
        }
    }
}
