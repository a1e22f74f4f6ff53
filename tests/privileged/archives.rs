//! Archives of images: skopeo, podman and buildah read ours and we read theirs. containerd's are in `serve/containerd.rs`.

use std::fs::{self, File};
use std::path::Path;

use oci_bundle::cas::{DirStore, Store, StoreExt};
use oci_bundle::image::{Descriptor, Manifest, Tag};
use oci_bundle::layout::LeasedLayout;
use oci_bundle::transfer::archive::{
    AnyArchive, Combined, DockerArchive, ExportedImage, Exporter, Importer, OciArchive,
};

use crate::machine::{Bounded, Scratch};
use crate::tree::Tree;

const NAME: &str = "example.org/sample:1";

/// The sample image in the scratch directory: its layout and manifest.
fn sample(scratch: &Scratch) -> (LeasedLayout, Descriptor) {
    scratch.sample_image("sample");
    let layout = LeasedLayout::open(&scratch.path("sample")).unwrap();
    let path = layout.resolve(Tag::new("latest").unwrap(), None).unwrap();
    let manifest = path.target().clone();
    (layout, manifest)
}

fn manifest(blobs: &dyn Store, descriptor: &Descriptor) -> Manifest {
    let bytes = blobs
        .read_verified(descriptor.digest(), descriptor.size())
        .unwrap();
    Manifest::parse(&bytes, descriptor.media_type()).unwrap()
}

fn skopeo(from: &str, to: &str) {
    Bounded::new("skopeo", 60)
        .args(&["--insecure-policy", "copy", "--quiet", from, to])
        .succeed();
}

fn export(exporter: &dyn Exporter, layout: &LeasedLayout, image: &Descriptor, path: &Path) {
    let image = ExportedImage {
        manifest: image.clone(),
        names: vec![NAME.to_owned()],
    };
    let mut file = File::create(path).unwrap();
    exporter
        .export(layout.store(), &[image], &mut file)
        .unwrap();
}

/// Imports an archive into a new store and returns its one image.
#[track_caller]
fn import(scratch: &Scratch, archive: &Path, store: &str) -> (Vec<String>, Manifest) {
    let directory = scratch.path(store);
    fs::create_dir(&directory).unwrap();
    let blobs = DirStore::create(File::open(&directory).unwrap().into()).unwrap();
    let mut images = AnyArchive
        .import(&mut File::open(archive).unwrap(), &blobs)
        .unwrap();
    assert_eq!(images.len(), 1);
    let image = images.remove(0);
    let read = manifest(&blobs, &image.manifest);
    for blob in read.layers.iter().chain([&read.config]) {
        blobs.read_verified(blob.digest(), blob.size()).unwrap();
    }
    (image.names, read)
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn skopeo_reads_the_archives_that_we_write() {
    let scratch = Scratch::new(&["skopeo"]);
    let (layout, image) = sample(&scratch);
    let config = manifest(layout.store(), &image).config;
    let table: [(&str, &dyn Exporter, &[&str]); 3] = [
        (
            "combined.tar",
            &Combined,
            &["oci-archive", "docker-archive"],
        ),
        ("oci.tar", &OciArchive, &["oci-archive"]),
        ("docker.tar", &DockerArchive, &["docker-archive"]),
    ];
    for (name, exporter, transports) in table {
        let archive = scratch.path(name);
        export(exporter, &layout, &image, &archive);
        for transport in transports {
            let reference = match *transport {
                "oci-archive" => "1",
                _ => NAME,
            };
            let from = format!("{transport}:{}:{reference}", archive.display());
            let directory = scratch.path(&format!("{name}-{transport}"));
            skopeo(&from, &format!("dir:{}", directory.display()));
            // A `dir:` keeps blobs under their encoded digests: the image ID is what it was.
            assert!(
                directory.join(config.digest().encoded()).is_file(),
                "{from}"
            );
        }
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn we_read_the_archives_that_skopeo_writes() {
    let scratch = Scratch::new(&["skopeo"]);
    let (layout, image) = sample(&scratch);
    let original = manifest(layout.store(), &image);
    let from = format!("oci:{}:latest", scratch.path("sample").display());
    for (transport, reference) in [("oci-archive", "1"), ("docker-archive", NAME)] {
        let archive = scratch.path(&format!("{transport}.tar"));
        skopeo(
            &from,
            &format!("{transport}:{}:{reference}", archive.display()),
        );
        let (names, read) = import(&scratch, &archive, &format!("{transport}.store"));
        assert_eq!(names, [reference]);
        assert_eq!(read.config.digest(), original.config.digest());
        assert_eq!(read.layers.len(), original.layers.len());
    }
}

/// The digest of the configuration of an image that `copy` brings into a layout of its own, which the unpack verifies.
#[track_caller]
fn copied_config(scratch: &Scratch, from: &str, layout: &str) -> String {
    let image = format!("{}:latest", scratch.path(layout).display());
    scratch.tool(&["copy", from, &image]).succeed();
    let tree = Tree::read(
        &scratch
            .unpack(layout, &format!("{layout}-unpacked"))
            .join("rootfs"),
    );
    let sample = scratch.path("sample-unpacked");
    if !sample.exists() {
        scratch.unpack("sample", "sample-unpacked");
    }
    tree.assert_same(&Tree::read(&sample.join("rootfs")), from);
    let layout = LeasedLayout::open(&scratch.path(layout)).unwrap();
    let path = layout.resolve(Tag::new("latest").unwrap(), None).unwrap();
    let manifest = manifest(layout.store(), path.target());
    manifest.config.digest().to_string()
}

/// podman's and buildah's store of the test's own.
fn storage(scratch: &Scratch) -> [String; 6] {
    let [root, run] = ["storage", "run"].map(|name| scratch.path(name).display().to_string());
    let words = [
        "--root",
        &root,
        "--runroot",
        &run,
        "--storage-driver",
        "vfs",
    ];
    words.map(str::to_owned)
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn podman_loads_what_copy_writes_and_we_read_what_it_saves() {
    let scratch = Scratch::new(&["podman"]);
    let (layout, image) = sample(&scratch);
    let config = manifest(layout.store(), &image).config.digest().to_string();
    let from = format!("{}:latest", scratch.path("sample").display());
    let storage = storage(&scratch);
    let podman = |arguments: &[&str]| {
        let mut words: Vec<&str> = storage.iter().map(String::as_str).collect();
        words.extend(arguments);
        Bounded::new("podman", 120).args(&words).succeed()
    };
    for (format, saved) in [
        ("docker-archive", "docker-archive"),
        ("oci-archive", "oci-archive"),
    ] {
        let archive = scratch.path(&format!("{format}.tar")).display().to_string();
        let target = format!("{format}:{archive}:{NAME}");
        scratch.tool(&["copy", &from, &target]).succeed();
        podman(&["load", "--quiet", "--input", &archive]);
        let id = podman(&["image", "inspect", "--format", "{{.Id}}", NAME]);
        assert_eq!(format!("sha256:{}", id.trim()), config, "{format}");
        let back = scratch
            .path(&format!("{saved}-saved.tar"))
            .display()
            .to_string();
        podman(&[
            "save", "--quiet", "--format", saved, "--output", &back, NAME,
        ]);
        let layout = format!("{saved}-layout");
        let ours = copied_config(&scratch, &format!("{saved}:{back}"), &layout);
        assert_eq!(ours, config, "{saved}");
        podman(&["image", "rm", NAME]);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn buildah_pulls_what_copy_writes_and_we_read_what_it_pushes() {
    let scratch = Scratch::new(&["buildah"]);
    let (layout, image) = sample(&scratch);
    let config = manifest(layout.store(), &image).config.digest().to_string();
    let from = format!("{}:latest", scratch.path("sample").display());
    let storage = storage(&scratch);
    let buildah = |arguments: &[&str]| {
        let mut words: Vec<&str> = storage.iter().map(String::as_str).collect();
        words.extend(arguments);
        Bounded::new("buildah", 120).args(&words).succeed()
    };
    for transport in ["oci-archive", "docker-archive"] {
        let archive = scratch
            .path(&format!("{transport}.tar"))
            .display()
            .to_string();
        scratch
            .tool(&["copy", &from, &format!("{transport}:{archive}:{NAME}")])
            .succeed();
        let id = buildah(&["pull", "--quiet", &format!("{transport}:{archive}")]);
        assert_eq!(format!("sha256:{}", id.trim()), config, "{transport}");
        let back = scratch
            .path(&format!("{transport}-pushed.tar"))
            .display()
            .to_string();
        let target = format!("{transport}:{back}:{NAME}");
        buildah(&["push", "--quiet", id.trim(), &target]);
        let layout = format!("{transport}-layout");
        let ours = copied_config(&scratch, &format!("{transport}:{back}"), &layout);
        assert_eq!(ours, config, "{transport}");
        buildah(&["rmi", id.trim()]);
    }
}
