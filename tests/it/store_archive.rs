//! Images through archives: every exporter against every importer, archives made by hand in the formats of the field,
//! and archives that lie.

use std::io::{Read, Write};
use std::path::Path;

use filetime::FileTime;
use flate2::write::GzEncoder;
use oci_bundle::archive::{Entry, EntryKind, Event, Limits, Parser, Writer};
use oci_bundle::cas::{Algorithm, Digest, DirStore, MemoryStore, Store, StoreExt};
use oci_bundle::image::{CONFIG, Descriptor, INDEX, ImageConfig, LAYER, MANIFEST, Manifest, Tag};
use oci_bundle::layout::Layout;
use oci_bundle::store::archive::{
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
                sparse: false,
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

fn sample() -> (Layout, Descriptor) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sample-image");
    let layout = Layout::open(&path).unwrap();
    let path = layout.resolve(&Tag::new("latest").unwrap(), None).unwrap();
    let manifest = path.target();
    let plain = Descriptor::new(
        manifest.media_type(),
        manifest.digest().clone(),
        manifest.size(),
    );
    (layout, plain)
}

#[test]
fn the_sample_image_goes_through_every_exporter_and_importer() {
    let (layout, image) = sample();
    let names = ["example.org/sample:1", "example.org/sample:latest"];
    let original = manifest(layout.store(), &image);
    let table: [(&dyn Exporter, &dyn Importer, bool); 7] = [
        (&Combined, &AnyArchive, true),
        (&Combined, &OciArchive, true),
        // The manifest that is made has nothing that this one lacks.
        (&Combined, &DockerArchive, true),
        (&OciArchive, &AnyArchive, true),
        (&OciArchive, &OciArchive, true),
        (&DockerArchive, &AnyArchive, false),
        (&DockerArchive, &DockerArchive, false),
    ];
    for (index, (exporter, importer, same_manifest)) in table.into_iter().enumerate() {
        let archive = export(exporter, layout.store(), &[named(&image, &names)]);
        let blobs = MemoryStore::new();
        let images = importer.import(&mut archive.as_slice(), &blobs).unwrap();
        assert_eq!(images.len(), 1, "row {index}");
        assert_eq!(images[0].names, names, "row {index}");
        assert_eq!(images[0].manifest == image, same_manifest, "row {index}");
        let read = manifest(&blobs, &images[0].manifest);
        // The image ID stays, and with it the diff IDs.
        assert_eq!(read.config.digest(), original.config.digest());
        for layer in &read.layers {
            assert!(
                blobs.read_verified(layer.digest(), layer.size()).is_ok(),
                "row {index}"
            );
        }
        if !same_manifest {
            assert_eq!(read.config.media_type(), CONFIG);
            let config = image_config(&blobs, &read);
            assert_eq!(read.layers.len(), config.diff_ids().len());
        }
    }
}

#[test]
fn a_docker_archive_has_uncompressed_layers_named_by_their_diff_ids() {
    let (layout, image) = sample();
    let archive = export(&DockerArchive, layout.store(), &[named(&image, &["a:1"])]);
    let (images, blobs) = import(&archive);
    let read = manifest(&blobs, &images.unwrap()[0].manifest);
    let config = image_config(&blobs, &read);
    for (layer, diff_id) in read.layers.iter().zip(config.diff_ids()) {
        assert_eq!((layer.media_type(), layer.digest()), (LAYER, &diff_id.0));
    }
    let expected: Vec<String> = config
        .diff_ids()
        .iter()
        .map(|diff_id| format!("{}.tar", diff_id.0.encoded()))
        .chain([format!("{}.json", read.config.digest().encoded())])
        .chain(["manifest.json".to_owned(), "repositories".to_owned()])
        .collect();
    let names: Vec<String> = members(&archive)
        .into_iter()
        .map(|member| member.0)
        .collect();
    assert_eq!(names, expected);
}

#[test]
fn exports_are_deterministic_and_timeless() {
    let blobs = MemoryStore::new();
    let images =
        ["one", "two"].map(|name| named(&store_image(&blobs, name), &[&format!("{name}:1")]));
    for exporter in [&Combined as &dyn Exporter, &OciArchive, &DockerArchive] {
        let archive = export(exporter, &blobs, &images);
        assert_eq!(archive, export(exporter, &blobs, &images));
        let members = members(&archive);
        assert!(members.iter().all(|member| member.1 == FileTime::zero()));
        let mut names: Vec<_> = members.iter().map(|member| &member.0).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(
            names.len(),
            count,
            "each member once: the images share a layer"
        );
    }
}

#[test]
fn names_come_back_as_far_as_the_format_holds_them() {
    let blobs = MemoryStore::new();
    let image = store_image(&blobs, "one");
    let names = ["host:5000/app:1", "latest", "app:2"];
    for exporter in [&Combined as &dyn Exporter, &OciArchive] {
        let archive = export(exporter, &blobs, &[named(&image, &names)]);
        assert_eq!(import(&archive).0.unwrap()[0].names, names);
    }
    let mut archive = Vec::new();
    let report = DockerArchive.export(&blobs, &[named(&image, &names)], &mut archive);
    assert_eq!(report.unwrap().unnamed, ["latest"]);
    assert_eq!(
        import(&archive).0.unwrap()[0].names,
        ["host:5000/app:1", "app:2"]
    );
    for exporter in [&Combined as &dyn Exporter, &OciArchive, &DockerArchive] {
        let archive = export(exporter, &blobs, &[named(&image, &[])]);
        assert_eq!(import(&archive).0.unwrap()[0].names, [""; 0]);
    }
}

#[test]
fn an_archive_may_be_compressed_and_come_in_small_pieces() {
    struct Dribble<'a>(&'a [u8], bool);
    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let count = buffer.len().min(7);
            self.0.read(&mut buffer[..count])
        }
    }
    let blobs = MemoryStore::new();
    let image = store_image(&blobs, "one");
    let archive = export(&Combined, &blobs, &[named(&image, &["a:1"])]);
    for compressed in [
        archive.clone(),
        gzip(&archive),
        zstd::encode_all(archive.as_slice(), 1).unwrap(),
    ] {
        let read = MemoryStore::new();
        let images = AnyArchive.import(&mut Dribble(&compressed, false), &read);
        assert_eq!(images.unwrap()[0].manifest, image);
    }
    refused(b"BZh91AY&SY", ErrorKind::Unsupported, "bzip2");
    refused(b"\xfd7zXZ\0\0", ErrorKind::Unsupported, "xz");
}

#[test]
fn docker_archives_come_in_any_order_with_links_and_compressed_layers() {
    let (one, two) = (layer("one"), layer("two"));
    let config = config(&[&one, &two, &one, &one]).to_string();
    let image_id = sha256(config.as_bytes());
    let name = format!("{}.json", image_id.encoded());
    let layers = ["a/layer.tar", "b.tar.gz", "c/layer.tar", "./d/layer.tar"];
    let archive = Tar::new()
        .json(
            "manifest.json",
            &docker_list(&name, &json!(["app:1"]), &layers),
        )
        .symlink("c/layer.tar", "../a/layer.tar")
        .file("b.tar.gz", gzip(&two))
        .file("a/VERSION", "1.0")
        .file("a/layer.tar", &one)
        .hard_link("d/layer.tar", "./c/layer.tar")
        .file(&name, &config)
        .file("README", "to be ignored")
        .end();
    let (images, blobs) = import(&archive);
    let images = images.unwrap();
    assert_eq!(images[0].names, ["app:1"]);
    let read = manifest(&blobs, &images[0].manifest);
    assert_eq!(read.config.digest(), &image_id);
    let found: Vec<_> = read
        .layers
        .iter()
        .map(|layer| (layer.digest().clone(), layer.media_type()))
        .collect();
    let zipped = format!("{LAYER}+gzip");
    let plain = (sha256(&one), LAYER);
    let expected = [
        plain.clone(),
        (sha256(&gzip(&two)), &zipped),
        plain.clone(),
        plain,
    ];
    assert_eq!(found, expected);
}

#[test]
fn ids_of_docker_archives_mean_nothing() {
    // The config is named by the chain of the layers, or by anything; nothing there must be a digest.
    let one = layer("one");
    let chain = "ab".repeat(32);
    let archive = Tar::new()
        .file(&format!("{chain}/layer.tar"), &one)
        .file(&format!("{chain}/json"), "{}")
        .json("repositories", &json!({}))
        .json(&format!("{chain}.json"), &config(&[&one]))
        .json(
            "manifest.json",
            &docker_list(
                &format!("{chain}.json"),
                &json!(null),
                &[&format!("{chain}/layer.tar")],
            ),
        )
        .end();
    let (images, blobs) = import(&archive);
    let read = manifest(&blobs, &images.unwrap()[0].manifest);
    assert_eq!(read.layers[0].digest(), &sha256(&one));
}

/// A legacy archive of two layers.
fn legacy(repositories: &Value, parent_of_bottom: &str) -> Tar {
    let (bottom, top) = ("aa".repeat(32), "bb".repeat(32));
    Tar::new()
        .json("repositories", repositories)
        .file(&format!("{top}/VERSION"), "1.0")
        .json(
            &format!("{top}/json"),
            &json!({"id": top, "parent": bottom, "created": "2015-01-01T00:00:00Z", "os": "linux", "architecture": "arm",
                "config": {"Cmd": ["sh"]}, "container_config": {"Cmd": ["/bin/sh", "-c", "true"]}, "Size": 3,
                "docker_version": "1.9"}),
        )
        .file(&format!("{top}/layer.tar"), layer("two"))
        .file(&format!("{bottom}/VERSION"), "1.0")
        .json(
            &format!("{bottom}/json"),
            &json!({"id": bottom, "parent": parent_of_bottom, "comment": "first"}),
        )
        .file(&format!("{bottom}/layer.tar"), layer("one"))
}

#[test]
fn a_legacy_archive_becomes_an_image_of_today() {
    let top = "bb".repeat(32);
    for (repositories, names) in [
        (
            json!({"app": {"1": top, "2": top}}),
            &["app:1", "app:2"][..],
        ),
        (json!({}), &[]),
    ] {
        let (images, blobs) = import(&legacy(&repositories, "").end());
        let images = images.unwrap();
        assert_eq!(
            (images.len(), &images[0].names[..]),
            (
                1,
                &names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..]
            )
        );
        let read = manifest(&blobs, &images[0].manifest);
        let config = image_config(&blobs, &read);
        let layers = [layer("one"), layer("two")].map(|layer| sha256(&layer));
        assert_eq!(
            read.layers
                .iter()
                .map(Descriptor::digest)
                .collect::<Vec<_>>(),
            layers.iter().collect::<Vec<_>>()
        );
        assert_eq!(
            config.diff_ids().iter().map(|it| &it.0).collect::<Vec<_>>(),
            layers.iter().collect::<Vec<_>>()
        );
        assert_eq!(
            (config.architecture(), config.cmd()),
            ("arm", &["sh".to_owned()][..])
        );
        assert_eq!(config.history()[0].comment, "first");
        assert_eq!(config.history()[1].created_by, "/bin/sh -c true");
        for gone in ["id", "parent", "Size", "container_config", "docker_version"] {
            assert!(config.raw().get(gone).is_none(), "{gone}");
        }
    }
}

#[test]
fn legacy_archives_that_contradict_themselves_are_refused() {
    let repositories = |top: &str| json!({"app": {"1": top}});
    let top = "bb".repeat(32);
    refused(
        &legacy(&repositories(&top), &top).end(),
        ErrorKind::InvalidData,
        "its own ancestor",
    );
    refused(
        &legacy(&json!({}), &top).end(),
        ErrorKind::InvalidData,
        "the parent of another",
    );
    refused(
        &legacy(&repositories("cc"), "").end(),
        ErrorKind::NotFound,
        "lacks the layer cc",
    );
    let bottom = Tar::new().json("aa/json", &json!({"id": "aa"})).end();
    refused(&bottom, ErrorKind::NotFound, "aa/layer.tar");
}

#[test]
fn a_layout_of_before_the_index_is_read_by_its_references() {
    let blobs = MemoryStore::new();
    let image = store_image(&blobs, "one");
    let mut tar = Tar::new().json("refs/v1", &image.to_value());
    for digest in blobs.list().unwrap() {
        let size = blobs.stat(&digest).unwrap().unwrap();
        let content = blobs.read_verified(&digest, size).unwrap();
        tar = tar.file(&format!("blobs/sha256/{}", digest.encoded()), content);
    }
    let images = import(&tar.end()).0.unwrap();
    assert_eq!(
        (&images[0].names[..], &images[0].manifest),
        (&["v1".to_owned()][..], &image)
    );
}

/// A Docker archive, changed by a row of a table before it is ended.
fn docker(config: &Value, layers: &[&str]) -> Tar {
    Tar::new()
        .json("c.json", config)
        .file("one.tar", layer("one"))
        .json(
            "manifest.json",
            &docker_list("c.json", &json!(["a:1"]), layers),
        )
}

#[test]
fn archives_that_lie_are_refused() {
    let one = layer("one");
    let good = config(&[&one]);
    assert!(import(&docker(&good, &["one.tar"]).end()).0.is_ok());
    let wrong = config(&[b"something else"]);
    refused(
        &docker(&wrong, &["one.tar"]).end(),
        ErrorKind::Verification,
        "diff ID",
    );
    let zipped = docker(&wrong, &["two.tar"]).file("two.tar", gzip(&one));
    refused(&zipped.end(), ErrorKind::Verification, "diff ID");
    let xz = docker(&good, &["two.tar"]).file("two.tar", b"\xfd7zXZ\0");
    refused(&xz.end(), ErrorKind::Unsupported, "xz");
    refused(
        &docker(&good, &["one.tar", "one.tar"]).end(),
        ErrorKind::InvalidData,
        "2 layers, but 1 diff IDs",
    );
    refused(
        &docker(&good, &["two.tar"]).end(),
        ErrorKind::NotFound,
        "lacks the layer two.tar",
    );
    let twice = docker(&good, &["one.tar"]).file("./one.tar", layer("two"));
    refused(&twice.end(), ErrorKind::Ambiguous, "one.tar");
    let again = docker(&good, &["one.tar"]).json("manifest.json", &json!([]));
    refused(&again.end(), ErrorKind::Ambiguous, "manifest.json");
    let both = docker(&good, &["one.tar"]).symlink("one.tar", "c.json");
    refused(&both.end(), ErrorKind::Ambiguous, "one.tar");
    // The same once more is no contradiction.
    let same = docker(&good, &["one.tar"]).file("one.tar", &one);
    assert!(import(&same.end()).0.is_ok());
    let circle = docker(&good, &["two.tar"])
        .symlink("two.tar", "three.tar")
        .hard_link("three.tar", "two.tar");
    refused(&circle.end(), ErrorKind::InvalidData, "too many links");
    let blob = format!("blobs/sha256/{}", sha256(b"x").encoded());
    refused(
        &Tar::new().file(&blob, b"y").end(),
        ErrorKind::Verification,
        "has the digest",
    );
    let two = json!([
        {"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["one.tar"]},
        {"Config": "d.json", "RepoTags": ["a:1"], "Layers": ["one.tar"]},
    ]);
    let mut other = good.clone();
    other["author"] = json!("somebody");
    let two = Tar::new()
        .json("c.json", &good)
        .json("d.json", &other)
        .file("one.tar", &one)
        .json("manifest.json", &two);
    refused(&two.end(), ErrorKind::Ambiguous, "a:1");
}

#[test]
fn what_is_no_image_is_told_from_a_bad_one() {
    refused(b"", ErrorKind::InvalidData, "no image");
    refused(&layer("etc/passwd"), ErrorKind::InvalidData, "no image");
    refused(&[b'x'; 2000], ErrorKind::InvalidData, "tar archive");
    let layout = |version: &str, index: &Value| {
        Tar::new()
            .json("oci-layout", &json!({"imageLayoutVersion": version}))
            .json("index.json", index)
            .end()
    };
    let empty = json!({"schemaVersion": 2, "manifests": []});
    refused(
        &layout("1.0.0", &empty),
        ErrorKind::InvalidData,
        "names no image",
    );
    let foreign = json!({"schemaVersion": 2, "manifests": [Descriptor::new("text/plain", sha256(b""), 0).to_value()]});
    refused(
        &layout("1.0.0", &foreign),
        ErrorKind::InvalidData,
        "names no image",
    );
    refused(&layout("2.0.0", &empty), ErrorKind::Unsupported, "2.0.0");
    for document in ["{", "7", "[]", "[7]", "[{}]", r#"[{"Config": 1}]"#] {
        let archive = Tar::new().file("manifest.json", document).end();
        refused(&archive, ErrorKind::InvalidData, "manifest.json");
    }
    let huge = Tar::new().file("manifest.json", vec![b' '; (20 << 20) + 1]);
    refused(&huge.end(), ErrorKind::LimitExceeded, "limit");
    // An importer of one format doesn't take another.
    let docker = docker(&config(&[&layer("one")]), &["one.tar"]).end();
    let blobs = MemoryStore::new();
    let error = OciArchive.import(&mut docker.as_slice(), &blobs);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn what_is_held_of_an_archive_is_bounded() {
    let mut tar = Tar::new();
    for index in 0..5 {
        tar = tar.file(&format!("{index}/json"), vec![b' '; 15 << 20]);
    }
    refused(&tar.end(), ErrorKind::LimitExceeded, "bytes");
}

#[test]
fn names_that_climb_are_names_like_others() {
    let one = layer("one");
    let archive = Tar::new()
        .file("../../../../tmp/x/../../one.tar", &one)
        .json("/c.json", &config(&[&one]))
        .json(
            "./manifest.json",
            &docker_list("../c.json", &json!([]), &["../../one.tar"]),
        )
        .end();
    let (images, blobs) = import(&archive);
    assert_eq!(images.unwrap().len(), 1);
    assert!(blobs.stat(&sha256(&one)).unwrap().is_some());
}

#[test]
fn a_blob_that_is_not_what_it_should_be_ends_the_export() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = DirStore::create(std::fs::File::open(directory.path()).unwrap().into()).unwrap();
    let image = store_image(&blobs, "one");
    let layer = manifest(&blobs, &image).layers[0].clone();
    let path = directory
        .path()
        .join("blobs/sha256")
        .join(layer.digest().encoded());
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (content, kind) in [
        (Some(&flipped[..]), ErrorKind::Verification),
        (Some(&good[1..]), ErrorKind::Verification),
        (None, ErrorKind::NotFound),
    ] {
        match content {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        for exporter in [&Combined as &dyn Exporter, &OciArchive, &DockerArchive] {
            let mut archive = Vec::new();
            let error = exporter
                .export(&blobs, &[named(&image, &["a:1"])], &mut archive)
                .unwrap_err();
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(import(&archive).0.is_err(), "what was written is no image");
        }
    }
}

#[test]
fn an_index_of_platforms_goes_whole_or_with_what_is_there() {
    let blobs = MemoryStore::new();
    let images = ["one", "two"].map(|name| store_image(&blobs, name));
    let absent = Descriptor::new(MANIFEST, sha256(b"elsewhere"), 9);
    let list = |manifests: &[&Descriptor]| {
        let manifests: Vec<Value> = manifests.iter().map(|it| it.to_value()).collect();
        put(
            &blobs,
            INDEX,
            &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}),
        )
    };
    for index in [
        list(&[&images[0], &images[1]]),
        list(&[&images[0], &absent]),
    ] {
        for exporter in [&Combined as &dyn Exporter, &OciArchive] {
            let archive = export(exporter, &blobs, &[named(&index, &["a:1"])]);
            let names: Vec<_> = members(&archive).into_iter().map(|it| it.0).collect();
            assert!(
                !names.contains(&"manifest.json".to_owned()),
                "Docker has no indexes"
            );
            assert_eq!(import(&archive).0.unwrap()[0].manifest, index);
        }
        let error = DockerArchive.export(&blobs, &[named(&index, &[])], &mut Vec::new());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let nothing = [named(&list(&[&absent]), &[])];
    let error = OciArchive.export(&blobs, &nothing, &mut Vec::new());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    let error = OciArchive.export(&blobs, &[], &mut Vec::new());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_damaged_archive_gives_the_same_image_or_none(docker: bool, at in 0.0..1.0f64, flip in 1..=255u8, cut: bool) {
        let blobs = MemoryStore::new();
        let image = store_image(&blobs, "one");
        let exporter: &dyn Exporter = if docker { &DockerArchive } else { &OciArchive };
        let mut archive = export(exporter, &blobs, &[named(&image, &["a:1"])]);
        let (whole, intact) = import(&archive);
        let whole = whole.unwrap();
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A place, roughly.
        let place = (at * archive.len() as f64) as usize;
        if cut {
            archive.truncate(place);
        } else {
            archive[place] ^= flip;
        }
        let (images, read) = import(&archive);
        if let Ok(images) = images {
            // No digest protects names and annotations, and in a Docker archive none the config either.
            let layers = |blobs: &dyn Store, image: &ImportedImage| {
                let layers = manifest(blobs, &image.manifest).layers;
                layers.iter().map(|layer| layer.digest().clone()).collect::<Vec<_>>()
            };
            prop_assert_eq!(images.len(), 1);
            prop_assert_eq!(layers(&read, &images[0]), layers(&intact, &whole[0]));
            prop_assert!(docker || images[0].manifest.digest() == whole[0].manifest.digest());
        }
    }
}
