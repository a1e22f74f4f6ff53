//! Limits on what an archive can make its reader hold or do.

/// Bounds of what is accepted. Going over one is [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded), with the
/// value and the limit in the message.
///
/// The content of files is not bounded here: it is passed through, never held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all the extension bodies before one entry (PAX headers, GNU long names), and of one global PAX header.
    ///
    /// Default: 1 MiB, what GNU tar and Go's reader take too. No file can have that much in names and attributes.
    pub header_size: u64,
    /// Bytes of a path or of a link target.
    ///
    /// Default: 4095, the longest path that one system call takes (`PATH_MAX` without the NUL), and the longest target
    /// that a symlink can have. Parents are resolved in one call, so a longer path could not be applied.
    pub path_size: usize,
    /// Components of a path.
    ///
    /// Default: 2048, the most that fit into a path of 4095 bytes.
    pub path_depth: usize,
    /// Pieces in the map of a sparse file.
    ///
    /// Default: 1,048,576, which are 16 MiB of memory.
    pub sparse_count: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_size: 1 << 20,
            path_size: 4095,
            path_depth: 2048,
            sparse_count: 1 << 20,
        }
    }
}
