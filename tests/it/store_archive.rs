//! Images through archives: every exporter against every importer, archives made by hand in the formats of the field,
//! and archives that lie.

mod export;
mod formats;
mod hostile;

use std::io::{Read, Write};
use std::path::Path;

use filetime::FileTime;
use flate2::write::GzEncoder;
use oci_bundle::archive::{Entry, EntryKind, Event, Limits, Parser, Writer};
use oci_bundle::cas::{Algorithm, Digest, DirStore, MemoryStore, Store, StoreExt};
use oci_bundle::image::{CONFIG, Descriptor, INDEX, ImageConfig, LAYER, MANIFEST, Manifest, Tag};
use oci_bundle::layout::LeasedLayout;
use oci_bundle::transfer::archive::{
    AnyArchive, Combined, DockerArchive, ExportedImage, Exporter, ImportedImage, Importer,
    OciArchive,
};
use oci_bundle::{ErrorKind, Result};
use proptest::prelude::*;
use serde_json::{Value, json};

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

/// An archive under construction.
struct Tar(Writer<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Writer::new(Vec::new()))
    }

    fn entry(mut self, kind: EntryKind, path: &str, link: &str, content: &[u8]) -> Self {
        self.0
            .entry(&Entry {
                path: path.into(),
                kind,
                mode: 0o644,
                uid: 0,
                gid: 0,
                size: content.len() as u64,
                mtime: FileTime::zero(),
                atime: None,
                link: link.into(),
                device: (0, 0),
                xattrs: Vec::new(),
                pieces: None,
            })
            .unwrap();
        self.0.data(content).unwrap();
        self
    }

    fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(EntryKind::File, path, "", content.as_ref())
    }

    fn json(self, path: &str, content: &Value) -> Self {
        self.file(path, content.to_string())
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryKind::Symlink, path, target, b"")
    }

    fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryKind::HardLink, path, target, b"")
    }

    fn end(self) -> Vec<u8> {
        self.0.finish().unwrap()
    }
}

/// The members of an archive: names and times.
fn members(archive: &[u8]) -> Vec<(String, FileTime)> {
    let (mut parser, mut events) = (Parser::new(Limits::default()), Vec::new());
    parser.feed(archive, &mut events).unwrap();
    parser.finish().unwrap();
    let entries = events.into_iter().filter_map(|event| match event {
        Event::Entry(entry) => Some((String::from_utf8(entry.path).unwrap(), entry.mtime)),
        _ => None,
    });
    entries.collect()
}

/// A layer with one file.
fn layer(name: &str) -> Vec<u8> {
    Tar::new().file(name, format!("content of {name}")).end()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn config(layers: &[&[u8]]) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|it| sha256(it).to_string()).collect();
    json!({"os": "linux", "architecture": "amd64", "x": [1], "rootfs": {"type": "layers", "diff_ids": diff_ids}})
}

/// A Docker archive of one image, whose layers have these names.
fn docker_list(config: &str, tags: &Value, layers: &[&str]) -> Value {
    json!([{"Config": config, "RepoTags": tags, "Layers": layers}])
}

fn import(archive: &[u8]) -> (Result<Vec<ImportedImage>>, MemoryStore) {
    let blobs = MemoryStore::new();
    (AnyArchive.import(&mut &*archive, &blobs), blobs)
}

#[track_caller]
fn refused(archive: &[u8], kind: ErrorKind, words: &str) {
    let error = import(archive).0.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.chain().contains(words), "{}", error.chain());
}

fn manifest(blobs: &dyn Store, descriptor: &Descriptor) -> Manifest {
    let bytes = blobs
        .read_verified(descriptor.digest(), descriptor.size())
        .unwrap();
    Manifest::parse(&bytes, descriptor.media_type()).unwrap()
}

fn image_config(blobs: &dyn Store, manifest: &Manifest) -> ImageConfig {
    let config = &manifest.config;
    let bytes = blobs.read_verified(config.digest(), config.size()).unwrap();
    ImageConfig::parse(&bytes).unwrap()
}

/// Stores a JSON document.
fn put(blobs: &dyn Store, media_type: &str, value: &Value) -> Descriptor {
    let bytes = value.to_string().into_bytes();
    let digest = blobs.put(Algorithm::Sha256, &bytes).unwrap();
    Descriptor::new(media_type, digest, bytes.len() as u64)
}

/// Stores an image of one gzipped and one plain layer.
fn store_image(blobs: &dyn Store, name: &str) -> Descriptor {
    let layers = [layer("shared"), layer(name)];
    let config = put(blobs, CONFIG, &config(&[&layers[0], &layers[1]]));
    let zipped = gzip(&layers[0]);
    let stored = [(&zipped, "+gzip"), (&layers[1], "")].map(|(bytes, suffix)| {
        let digest = blobs.put(Algorithm::Sha256, bytes).unwrap();
        Descriptor::new(&format!("{LAYER}{suffix}"), digest, bytes.len() as u64).to_value()
    });
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config.to_value(), "layers": stored});
    put(blobs, MANIFEST, &manifest)
}

fn named(manifest: &Descriptor, names: &[&str]) -> ExportedImage {
    ExportedImage {
        manifest: manifest.clone(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn export(exporter: &dyn Exporter, blobs: &dyn Store, images: &[ExportedImage]) -> Vec<u8> {
    let mut archive = Vec::new();
    let report = exporter.export(blobs, images, &mut archive).unwrap();
    assert_eq!(report.size, archive.len() as u64);
    assert_eq!(report.member_count, members(&archive).len());
    archive
}

fn sample() -> (LeasedLayout, Descriptor) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sample-image");
    let layout = LeasedLayout::open(&path).unwrap();
    let path = layout.resolve(Tag::new("latest").unwrap(), None).unwrap();
    let manifest = path.target();
    let plain = Descriptor::new(
        manifest.media_type(),
        manifest.digest().clone(),
        manifest.size(),
    );
    (layout, plain)
}
