//! Layers made by hand, and images of them.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Image, descriptor};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The tar stream of a layer under construction. Everything belongs to 0:0, with the time 1600000000 and mode 0644, or
/// 0755 for directories.
#[derive(Clone, Default)]
pub struct Layer(Vec<u8>);

impl Layer {
    pub fn entry(mut self, path: &[u8], kind: tar::EntryType, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, path: &str, content: &str) -> Self {
        let content = content.as_bytes();
        self.entry(path.as_bytes(), tar::EntryType::Regular, "", content)
    }

    /// An empty file whose name does not fit into a header.
    pub fn long_file(mut self, path: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(0);
        let mut builder = tar::Builder::new(Vec::new());
        let appended = builder.append_data(&mut header, path, std::io::empty());
        appended.unwrap();
        let archive = builder.into_inner().unwrap();
        // Without the two blocks at the end.
        self.0.extend_from_slice(&archive[..archive.len() - 1024]);
        self
    }

    pub fn dir(self, path: &str) -> Self {
        self.entry(path.as_bytes(), tar::EntryType::Directory, "", b"")
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path.as_bytes(), tar::EntryType::Symlink, target, b"")
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(path.as_bytes(), tar::EntryType::Link, target, b"")
    }
}

/// Stores an image of these layers, bottom first, with a history entry for each. Returns the manifest's descriptor.
pub fn store_layers(layout: &Path, tag: &str, layers: &[Layer]) -> Value {
    let streams = layers.iter().map(|layer| {
        let mut bytes = layer.0.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    });
    let streams: Vec<Vec<u8>> = streams.collect();
    let diff_ids = streams
        .iter()
        .map(|bytes| format!("sha256:{}", hex::encode(Sha256::digest(bytes))));
    let history = (0..streams.len()).map(|index| json!({"created_by": format!("step {index}")}));
    let mut image = Image::new(json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids.collect::<Vec<_>>()},
        "history": history.collect::<Vec<_>>(),
    }));
    let layers = streams.iter().map(|bytes| descriptor(layout, LAYER, bytes));
    image.layers = layers.collect();
    image.store(layout, tag)
}
