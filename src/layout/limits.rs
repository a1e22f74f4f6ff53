//! Bounds on what is read from a layout, which may come from anyone.

/// Limits on documents and on walks through them. Exceeding one is [`crate::ErrorKind::LimitExceeded`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one JSON document: `oci-layout`, index, manifest, config. Checked against the descriptor before a byte
    /// is read. Default 4 MiB, as registries have it.
    pub document_size: u64,
    /// Bytes of `index.json`, which never goes to a registry and has an entry for every tag. Default 64 MiB.
    pub index_size: u64,
    /// JSON values in `index.json`, of which a tag has about six, or ten with a platform. They cost up to half a
    /// kilobyte each once parsed, so this is what bounds the memory. Default 500,000.
    pub index_values: usize,
    /// Documents that may lie between `index.json` and a descriptor. Default 32.
    pub index_depth: usize,
    /// Descriptors that one walk may look at. A document is read once however often it is named, so that this bounds
    /// the time as well. Default 100,000.
    pub descriptor_count: usize,
    /// Layers of one manifest. Default 10,000.
    pub layer_count: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_size: 4 << 20,
            index_size: 64 << 20,
            index_values: 500_000,
            index_depth: 32,
            descriptor_count: 100_000,
            layer_count: 10_000,
        }
    }
}
