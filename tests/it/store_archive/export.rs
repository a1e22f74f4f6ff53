//! Images out, and in again.

use super::*;

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
    let same_name = images.map(|image| named(&image, &["a:1"]));
    for images in [&[][..], &same_name] {
        for exporter in [&Combined as &dyn Exporter, &OciArchive, &DockerArchive] {
            let error = exporter.export(&blobs, images, &mut Vec::new());
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
}

#[test]
fn sha512_goes_through_as_well() {
    let blobs = MemoryStore::new();
    let content = layer("one");
    let diff_id = Digest::of(Algorithm::Sha512, &content);
    let config = put(
        &blobs,
        CONFIG,
        &json!({"rootfs": {"type": "layers", "diff_ids": [diff_id.to_string()]}}),
    );
    for bytes in [content.clone(), gzip(&content)] {
        let suffix = if bytes == content { "" } else { "+gzip" };
        let digest = blobs.put(Algorithm::Sha512, &bytes).unwrap();
        let layer = Descriptor::new(&format!("{LAYER}{suffix}"), digest, bytes.len() as u64);
        let manifest =
            json!({"schemaVersion": 2, "config": config.to_value(), "layers": [layer.to_value()]});
        let image = put(&blobs, MANIFEST, &manifest);
        for exporter in [&Combined as &dyn Exporter, &OciArchive] {
            let (images, read) = import(&export(exporter, &blobs, &[named(&image, &[])]));
            assert_eq!(images.unwrap()[0].manifest, image);
            assert!(read.stat(layer.digest()).unwrap().is_some());
        }
        let (images, read) = import(&export(&DockerArchive, &blobs, &[named(&image, &[])]));
        let read = super::manifest(&read, &images.unwrap()[0].manifest);
        assert_eq!(read.config.digest(), config.digest());
        assert_eq!(read.layers[0].digest(), &sha256(&content));
    }
}

#[test]
fn layers_that_must_not_be_distributed_may_be_missing() {
    let blobs = MemoryStore::new();
    let config = put(&blobs, CONFIG, &config(&[b"elsewhere"]));
    let layer = Descriptor::new(
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        sha256(b"elsewhere"),
        9,
    );
    let manifest =
        json!({"schemaVersion": 2, "config": config.to_value(), "layers": [layer.to_value()]});
    let image = put(&blobs, MANIFEST, &manifest);
    for exporter in [&Combined as &dyn Exporter, &OciArchive] {
        let archive = export(exporter, &blobs, &[named(&image, &["a:1"])]);
        let names: Vec<_> = members(&archive).into_iter().map(|it| it.0).collect();
        assert!(
            !names.contains(&"manifest.json".to_owned()),
            "Docker could not load it"
        );
        assert_eq!(import(&archive).0.unwrap()[0].manifest, image);
    }
    let error = DockerArchive.export(&blobs, &[named(&image, &[])], &mut Vec::new());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_name_that_an_image_had_in_its_layout_is_not_exported() {
    let blobs = MemoryStore::new();
    let image = store_image(&blobs, "one");
    let mut entry = image.to_value();
    entry["annotations"] = json!({
        "io.containerd.image.name": "old:1", "org.opencontainers.image.ref.name": "1", "kept": "yes",
    });
    let entry = Descriptor::from_value(&entry).unwrap();
    for (names, expected) in [(&[][..], &[][..]), (&["new"], &["new"])] {
        let archive = export(&OciArchive, &blobs, &[named(&entry, names)]);
        let images = import(&archive).0.unwrap();
        assert_eq!(images[0].names, expected);
        let annotations = images[0].manifest.annotations();
        assert_eq!(annotations.keys().collect::<Vec<_>>(), ["kept"]);
    }
}
