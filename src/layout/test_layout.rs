//! Layouts for tests, made of real blobs in a scratch directory.

use std::path::{Path, PathBuf};

use oci_cas::{Algorithm, Digest, StoreExt};
use serde_json::{Value, json};

use super::{Layout, LeasedLayout};
use crate::image::{CONFIG, Descriptor, INDEX, LAYER, MANIFEST, Platform, Tag, to_go_json};

pub(super) struct TestLayout {
    _scratch: tempfile::TempDir,
    path: PathBuf,
}

impl TestLayout {
    pub(super) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("layout");
        Layout::create(&path).unwrap();
        Self {
            _scratch: scratch,
            path,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn open(&self) -> Layout {
        Layout::open(&self.path).unwrap()
    }

    pub(super) fn leased(&self) -> LeasedLayout {
        LeasedLayout::open(&self.path).unwrap()
    }

    /// Stores a blob through a layout object of its own, whose lease on the blob ends at once.
    pub(super) fn blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let digest = self.open().store().put(Algorithm::Sha256, bytes).unwrap();
        Descriptor::new(media_type, digest, bytes.len() as u64)
    }

    pub(super) fn document(&self, media_type: &str, value: &Value) -> Descriptor {
        self.blob(media_type, &to_go_json(value))
    }

    pub(super) fn blob_path(&self, descriptor: &Descriptor) -> PathBuf {
        let digest = descriptor.digest();
        self.path
            .join("blobs")
            .join(digest.algorithm().name())
            .join(digest.encoded())
    }

    pub(super) fn index(&self, entries: &[Value]) -> Descriptor {
        self.document(
            INDEX,
            &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}),
        )
    }

    pub(super) fn manifest(&self, config: &Descriptor, layers: &[Descriptor]) -> Descriptor {
        let layers: Vec<_> = layers.iter().map(Descriptor::to_value).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config.to_value(), "layers": layers});
        self.document(MANIFEST, &manifest)
    }

    pub(super) fn config(&self, platform: &str, diff_ids: &[Digest]) -> Descriptor {
        let platform: Platform = platform.parse().unwrap();
        let diff_ids: Vec<_> = diff_ids.iter().map(Digest::to_string).collect();
        self.document(CONFIG, &json!({
            "architecture": platform.architecture, "os": platform.os, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }))
    }

    /// An image of one uncompressed layer, whose bytes are `content`.
    pub(super) fn image(&self, content: &str, platform: &str) -> Descriptor {
        let layer = self.blob(LAYER, content.as_bytes());
        let config = self.config(platform, &[layer.digest().clone()]);
        self.manifest(&config, &[layer])
    }

    #[allow(
        clippy::unused_self,
        reason = "reads as the layout's entry in the tests"
    )]
    pub(super) fn tagged(&self, descriptor: &Descriptor, name: &str) -> Value {
        descriptor.clone().with_ref_name(&tag(name)).to_value()
    }

    pub(super) fn set_index(&self, entries: &[Value]) {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        std::fs::write(self.path.join("index.json"), to_go_json(&index)).unwrap();
    }
}

pub(super) fn tag(text: &str) -> Tag {
    Tag::new(text).unwrap()
}

pub(super) fn with_platform(descriptor: &Descriptor, platform: &str) -> Value {
    let platform: Platform = platform.parse().unwrap();
    let mut value = descriptor.to_value();
    value["platform"] = json!({"architecture": platform.architecture, "os": platform.os});
    value
}
