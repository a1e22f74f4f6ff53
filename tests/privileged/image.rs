//! Images as recipes: tar entries in, an OCI image layout out.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// Time of every entry that does not say otherwise.
const MTIME: u64 = 1_600_000_000;

/// A layer's tar stream in the making. The methods append an entry; owner, mode and xattrs of the next
/// ones are set with [`Layer::owner`] and [`Layer::xattr`].
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
    owner: (u64, u64),
    xattrs: Vec<(String, Vec<u8>)>,
}

impl Layer {
    /// Starts a layer of root's.
    pub fn new() -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
            owner: (0, 0),
            xattrs: Vec::new(),
        }
    }

    /// Sets the owner of the entries that follow.
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// Gives the next entry an extended attribute.
    pub fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        let name = format!("SCHILY.xattr.{name}");
        self.xattrs.push((name, value.to_vec()));
        self
    }

    /// Appends a directory.
    pub fn directory(self, name: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, name, mode, "", &[])
    }

    /// Appends a regular file.
    pub fn file(self, name: &str, mode: u32, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, name, mode, "", content)
    }

    /// Appends a symbolic link.
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, 0o777, target, &[])
    }

    /// Appends a hard link to an earlier entry.
    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, 0o644, target, &[])
    }

    /// Appends a character device with the numbers of `/dev/null`.
    pub fn null_device(self, name: &str) -> Self {
        self.entry(EntryType::Char, name, 0o666, "", &[])
    }

    /// Appends a FIFO.
    pub fn fifo(self, name: &str) -> Self {
        self.entry(EntryType::Fifo, name, 0o600, "", &[])
    }

    fn entry(
        mut self,
        kind: EntryType,
        name: &str,
        mode: u32,
        target: &str,
        content: &[u8],
    ) -> Self {
        let xattrs = std::mem::take(&mut self.xattrs);
        let records = xattrs.iter().map(|(key, value)| (&key[..], &value[..]));
        self.tar.append_pax_extensions(records).unwrap();
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(MTIME);
        header.set_size(content.len() as u64);
        if kind == EntryType::Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        if target.is_empty() {
            self.tar.append_data(&mut header, name, content)
        } else {
            self.tar.append_link(&mut header, name, target)
        }
        .unwrap();
        self
    }

    fn into_bytes(self) -> Vec<u8> {
        self.tar.into_inner().unwrap()
    }
}

/// An image in the making.
pub struct Image {
    layers: Vec<Vec<u8>>,
    claimed: Option<Vec<usize>>,
}

impl Image {
    /// Starts an image without layers.
    pub fn new() -> Self {
        Self {
            layers: Vec::new(),
            claimed: None,
        }
    }

    /// Adds a layer on top.
    pub fn layer(self, layer: Layer) -> Self {
        self.tar_layer(layer.into_bytes())
    }

    /// Adds a layer on top from a finished tar stream.
    pub fn tar_layer(mut self, tar: Vec<u8>) -> Self {
        self.layers.push(tar);
        self
    }

    /// Has each layer claim to be the one at a place.
    pub fn claiming(mut self, places: Vec<usize>) -> Self {
        self.claimed = Some(places);
        self
    }

    /// Writes the layout at `path`, which must not exist, with the image under the tag `latest` and its
    /// layers in gzip.
    pub fn write(self, path: &Path) {
        let blobs = path.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for tar in self.layers {
            diff_ids.push(digest(&tar));
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&tar).unwrap();
            let bytes = gzip.finish().unwrap();
            layers.push(blob(
                &blobs,
                "application/vnd.oci.image.layer.v1.tar+gzip",
                &bytes,
            ));
        }
        if let Some(places) = self.claimed {
            diff_ids = places
                .iter()
                .map(|place| diff_ids[*place].clone())
                .collect();
        }
        let step = |number| json!({"created_by": format!("layer {number}")});
        let history: Vec<_> = (0..layers.len()).map(step).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": document(&blobs, "application/vnd.oci.image.config.v1+json", &config),
            "layers": layers,
        });
        let mut entry = document(
            &blobs,
            "application/vnd.oci.image.manifest.v1+json",
            &manifest,
        );
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        fs::write(path.join("index.json"), index.to_string()).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

/// Returns the layer descriptors of the image that the layout's first index entry with `tag` names.
pub fn layers_of(layout: &Path, tag: &str) -> Vec<Value> {
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let index = read(&layout.join("index.json"));
    let entry = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == tag)
        .unwrap_or_else(|| panic!("no tag {tag} in {}", layout.display()));
    let digest = entry["digest"].as_str().unwrap().replace(':', "/");
    let manifest = read(&layout.join("blobs").join(digest));
    manifest["layers"].as_array().unwrap().clone()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn document(blobs: &Path, media_type: &str, value: &Value) -> Value {
    blob(blobs, media_type, value.to_string().as_bytes())
}

/// Writes a blob and returns its descriptor.
fn blob(blobs: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = digest(bytes);
    fs::write(blobs.join(&digest["sha256:".len()..]), bytes).unwrap();
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}
