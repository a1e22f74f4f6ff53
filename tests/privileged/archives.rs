//! Archives of images: skopeo reads ours and we read skopeo's.

use std::fs::{self, File};
use std::path::Path;

use oci_bundle::cas::{DirStore, Store, StoreExt};
use oci_bundle::image::{Descriptor, Manifest, Tag};
use oci_bundle::layout::LeasedLayout;
use oci_bundle::transfer::archive::{
    AnyArchive, Combined, DockerArchive, ExportedImage, Exporter, Importer, OciArchive,
};

use crate::machine::{Bounded, Scratch};

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
