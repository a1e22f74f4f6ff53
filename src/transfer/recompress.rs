//! Images whose layers are compressed otherwise: new manifests over the same configurations, so that diff IDs and image IDs
//! stay.

use std::collections::BTreeMap;
use std::io::{self, Read};

use oci_cas::{Digest, StackedStore, Store, StoreExt};
use serde_json::Value;

use super::archive::{check_counts, check_diff_id, read_document};
use super::copy::{CHUNK_SIZE, Recompress};
use crate::archive::{Compression, Decoder, EncoderOptions};
use crate::image::{
    CONFIG, Descriptor, DiffId, INDEX, ImageConfig, Index, LAYER, LayerCompression, MANIFEST,
    Manifest, MediaKind, to_go_json,
};
use crate::layout::{Layout, UNCOMPRESSED_SIZE};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Makes images whose layers are compressed otherwise.
pub(super) struct Recompressor<'a> {
    pub(super) stack: StackedStore<'a>,
    /// Takes what is made.
    pub(super) made: &'a Layout,
    pub(super) wanted: Recompress,
    /// Whether layers that are compressed stay as they are.
    pub(super) only_plain: bool,
    /// New layers, by the digests of the old ones.
    pub(super) done: BTreeMap<Digest, Descriptor>,
}

impl Recompressor<'_> {
    /// A manifest or an index with new layers; the same where there is nothing to do.
    pub(super) fn document(&mut self, old: &Descriptor, depth: usize) -> Result<Descriptor> {
        const DEPTH: usize = 8;
        if depth == DEPTH {
            let message = format!("indexes lie more than {DEPTH} deep in each other");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        match old.kind() {
            MediaKind::Index => self.index(old, depth),
            MediaKind::Manifest => self.manifest(old),
            _ => Ok(old.clone()),
        }
    }

    fn index(&mut self, old: &Descriptor, depth: usize) -> Result<Descriptor> {
        let bytes = read_document(&self.stack, old)?;
        let index = Index::parse(&bytes, old.media_type())?;
        let mut entries = Vec::new();
        for child in &index.manifests {
            let there = self.stack.stat(child.digest())?.is_some();
            let new = if there {
                self.document(child, depth + 1)?
            } else {
                child.clone()
            };
            entries.push(new.to_value());
        }
        let mut value = index.raw().clone();
        if value.get("manifests").and_then(Value::as_array) == Some(&entries) {
            return Ok(old.clone());
        }
        value["manifests"] = entries.into();
        value["mediaType"] = INDEX.into();
        self.put(old, INDEX, &value)
    }

    fn manifest(&mut self, old: &Descriptor) -> Result<Descriptor> {
        let bytes = read_document(&self.stack, old)?;
        let manifest = Manifest::parse(&bytes, old.media_type())?;
        if manifest.config.kind() != MediaKind::Config {
            return Ok(old.clone());
        }
        let config = ImageConfig::parse(&read_document(&self.stack, &manifest.config)?)?;
        check_counts(manifest.layers.len(), config.diff_ids().len())?;
        let mut layers = Vec::new();
        let mut changed = false;
        for (layer, diff_id) in manifest.layers.iter().zip(config.diff_ids()) {
            let new = self
                .layer(layer, diff_id)
                .context(|| format!("layer {}", layer.digest()))?;
            changed |= new.digest() != layer.digest();
            layers.push(new.to_value());
        }
        if !changed {
            return Ok(old.clone());
        }
        let mut value = manifest.raw().clone();
        value["layers"] = layers.into();
        value["mediaType"] = MANIFEST.into();
        value["config"]["mediaType"] = CONFIG.into();
        self.put(old, MANIFEST, &value)
    }

    fn layer(&mut self, old: &Descriptor, diff_id: &DiffId) -> Result<Descriptor> {
        let compression = match old.kind() {
            MediaKind::Layer(LayerCompression::None) => Compression::None,
            MediaKind::Layer(LayerCompression::Gzip) => Compression::Gzip,
            MediaKind::Layer(LayerCompression::Zstd) => Compression::Zstd,
            _ => return Ok(old.clone()),
        };
        let same = compression == self.wanted.compression && self.wanted.level.is_none();
        if same || (self.only_plain && compression != Compression::None) {
            // In a manifest of OCI's, whatever the old one was.
            let mut value = old.to_value();
            value["mediaType"] = media_type(compression).into();
            return Descriptor::from_value(&value);
        }
        if let Some(done) = self.done.get(old.digest()) {
            return Ok(done.clone());
        }
        let encoder = EncoderOptions {
            level: self.wanted.level,
            ..EncoderOptions::new(self.wanted.compression)
        };
        let mut annotations = old.annotations();
        annotations.remove(UNCOMPRESSED_SIZE);
        let (new, found) = self.made.store_layer(encoder, &annotations, &mut |out| {
            let blob = self.stack.open_verified(old.digest(), old.size())?;
            let mut stream = Decoder::new(blob, compression)?;
            let mut buffer = vec![0; CHUNK_SIZE];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(count) => out.write_all(&buffer[..count]).context(|| "compress")?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).context(|| "read"),
                }
            }
        })?;
        check_diff_id(&found.0, diff_id)?;
        self.done.insert(old.digest().clone(), new.clone());
        Ok(new)
    }

    fn put(&self, old: &Descriptor, media_type: &str, value: &Value) -> Result<Descriptor> {
        let new = self.made.put_document(media_type, &to_go_json(value))?;
        let mut raw = old.to_value();
        raw["mediaType"] = media_type.into();
        raw["digest"] = new.digest().to_string().into();
        raw["size"] = new.size().into();
        Descriptor::from_value(&raw)
    }
}

fn media_type(compression: Compression) -> String {
    let suffix = match compression {
        Compression::None => "",
        Compression::Gzip => "+gzip",
        Compression::Zstd => "+zstd",
    };
    format!("{LAYER}{suffix}")
}
