//! Archives made by hand in the formats of the field.

use super::*;

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
        bzip2(&archive),
        xz(&archive),
        // Several streams after each other are one, as xz and bzip2 have it.
        [bzip2(&archive[..1000]), bzip2(&archive[1000..])].concat(),
        [xz(&archive[..1000]), xz(&archive[1000..])].concat(),
    ] {
        let read = MemoryStore::new();
        let images = AnyArchive.import(&mut Dribble(&compressed, false), &read);
        assert_eq!(images.unwrap()[0].manifest, image);
    }
    for cut in [bzip2(&archive), xz(&archive)] {
        refused(&cut[..cut.len() / 2], ErrorKind::InvalidData, "truncated");
    }
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = bzip2::read::BzEncoder::new(bytes, bzip2::Compression::fast());
    encoder.read_to_end(&mut out).unwrap();
    out
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = liblzma::read::XzEncoder::new(bytes, 1);
    encoder.read_to_end(&mut out).unwrap();
    out
}

#[test]
fn names_in_manifest_json_may_have_small_letters() {
    // As Jib before 2.3 wrote them; readers in Go do not tell them apart.
    let one = layer("one");
    let archive = |list: &Value| {
        Tar::new()
            .file("one.tar.gz", gzip(&one))
            .json("config.json", &config(&[&one]))
            .json("manifest.json", list)
            .end()
    };
    let small = json!([{"config": "config.json", "repoTags": ["app:2"], "layers": ["one.tar.gz"]}]);
    let (images, blobs) = import(&archive(&small));
    let images = images.unwrap();
    assert_eq!(images[0].names, ["app:2"]);
    assert_eq!(manifest(&blobs, &images[0].manifest).layers.len(), 1);
    let both = json!([{"config": "other.json", "Config": "config.json", "Layers": ["one.tar.gz"]}]);
    refused(&archive(&both), ErrorKind::Ambiguous, "two spellings");
}

#[test]
fn where_index_json_names_nothing_manifest_json_counts() {
    // Docker 25 wrote this for an image that was saved by its ID.
    let one = layer("one");
    for manifests in [json!(null), json!([])] {
        let config = config(&[&one]).to_string();
        let names = [config.as_bytes(), &one]
            .map(|content| format!("blobs/sha256/{}", sha256(content).encoded()));
        let archive = Tar::new()
            .file(&names[0], &config)
            .file(&names[1], &one)
            .json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))
            .json(
                "index.json",
                &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}),
            )
            .json(
                "manifest.json",
                &docker_list(&names[0], &json!(null), &[&names[1]]),
            )
            .end();
        let (images, blobs) = import(&archive);
        let images = images.unwrap();
        assert!(images[0].names.is_empty());
        let read = manifest(&blobs, &images[0].manifest);
        assert_eq!(read.config.digest(), &sha256(config.as_bytes()));
    }
}

#[test]
fn platforms_of_an_index_that_are_not_all_there_are_left_out() {
    // What some programs save: the index of all platforms, the manifests of some, and the layers of one.
    let blobs = MemoryStore::new();
    let (here, there) = (store_image(&blobs, "one"), store_image(&blobs, "two"));
    let layers = manifest(&blobs, &there).layers;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [there.to_value(), here.to_value()]});
    let index = put(&blobs, INDEX, &index);
    let kept = manifest(&blobs, &here).layers;
    for layer in layers.iter().filter(|layer| !kept.contains(layer)) {
        blobs.remove(layer.digest()).unwrap();
    }
    let read = MemoryStore::new();
    let archive = export(&OciArchive, &blobs, &[named(&index, &["a:1"])]);
    let images = AnyArchive.import(&mut archive.as_slice(), &read).unwrap();
    assert_eq!(images[0].manifest, index);
    assert!(read.stat(here.digest()).unwrap().is_some());
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
fn a_blob_that_the_store_has_may_be_missing_in_a_layout() {
    let blobs = MemoryStore::new();
    let image = store_image(&blobs, "one");
    let thin = Tar::new()
        .json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))
        .json(
            "index.json",
            &json!({"schemaVersion": 2, "manifests": [image.to_value()]}),
        )
        .end();
    let images = AnyArchive.import(&mut thin.as_slice(), &blobs).unwrap();
    assert_eq!(images[0].manifest, image);
    refused(&thin, ErrorKind::NotFound, "is missing");
}
