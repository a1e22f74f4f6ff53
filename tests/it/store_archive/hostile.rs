//! Archives that lie, or are none.

use super::*;

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
    let many = json!(vec![json!({}); 10_001]);
    let many = Tar::new().json("manifest.json", &many).end();
    refused(&many, ErrorKind::LimitExceeded, "10001 images");
    // What all images have in common is written for each.
    let mut tar = Tar::new()
        .json("aa/json", &json!({"comment": "x".repeat(8 << 20)}))
        .file("aa/layer.tar", layer("one"));
    for top in 0..10 {
        tar = tar
            .json(&format!("{top}/json"), &json!({"parent": "aa"}))
            .file(&format!("{top}/layer.tar"), layer("two"));
    }
    refused(&tar.end(), ErrorKind::LimitExceeded, "configs");
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

#[test]
fn sparse_members_are_refused() {
    let mut header = tar::Header::new_gnu();
    header.set_path("one.tar").unwrap();
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.realsize.copy_from_slice(b"000000010000");
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.extend_from_slice(&[0; 1024]);
    refused(&archive, ErrorKind::Unsupported, "sparse");
}

#[test]
fn index_and_manifest_json_must_mean_the_same_images() {
    let blobs = MemoryStore::new();
    let image = store_image(&blobs, "one");
    let one = layer("one");
    let layout = |docker: Tar| {
        let mut tar = docker
            .json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))
            .json(
                "index.json",
                &json!({"schemaVersion": 2, "manifests": [image.to_value()]}),
            );
        for digest in blobs.list().unwrap() {
            let size = blobs.stat(&digest).unwrap().unwrap();
            let content = blobs.read_verified(&digest, size).unwrap();
            tar = tar.file(&format!("blobs/sha256/{}", digest.encoded()), content);
        }
        tar.end()
    };
    assert!(import(&layout(Tar::new())).0.is_ok());
    let other = layout(docker(&config(&[&one]), &["one.tar"]));
    refused(&other, ErrorKind::Ambiguous, "index.json does not");
    let read = MemoryStore::new();
    // Who says which of them is meant gets it.
    let images = DockerArchive.import(&mut other.as_slice(), &read).unwrap();
    assert_eq!(
        manifest(&read, &images[0].manifest).layers[0].digest(),
        &sha256(&one)
    );
}
