//! Images made by hand, byte for byte, so that the tests don't rest on the code that they test.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Stores a blob in a layout and returns its digest.
pub fn put(layout: &Path, bytes: &[u8]) -> String {
    let encoded = hex::encode(Sha256::digest(bytes));
    fs::write(layout.join("blobs/sha256").join(&encoded), bytes).unwrap();
    format!("sha256:{encoded}")
}

/// Stores a blob and returns a descriptor of it.
pub fn descriptor(layout: &Path, media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": put(layout, bytes), "size": bytes.len()})
}

/// An image under construction.
pub struct Image {
    pub config: Value,
    pub config_type: &'static str,
    pub layers: Vec<Value>,
    /// Further members of the manifest.
    pub members: Vec<(&'static str, Value)>,
}

impl Image {
    /// An image of this configuration without layers.
    pub fn new(config: Value) -> Self {
        Self {
            config,
            config_type: CONFIG,
            layers: Vec::new(),
            members: Vec::new(),
        }
    }

    /// Stores the image and adds it to the index under a tag. Returns the manifest's descriptor.
    pub fn store(&self, layout: &Path, tag: &str) -> Value {
        let config = serde_json::to_vec_pretty(&self.config).unwrap();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(layout, self.config_type, &config),
            "layers": self.layers,
        });
        for (key, value) in &self.members {
            manifest[*key] = value.clone();
        }
        let manifest = serde_json::to_vec_pretty(&manifest).unwrap();
        let mut entry = descriptor(layout, MANIFEST, &manifest);
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let path = layout.join("index.json");
        let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        index["manifests"]
            .as_array_mut()
            .unwrap()
            .push(entry.clone());
        fs::write(&path, index.to_string()).unwrap();
        entry
    }
}
