use serde_json::json;

use super::super::test_layout::{TestLayout, tag, with_platform};
use super::*;
use crate::archive::Compression;
use crate::image::REF_NAME;
use crate::progress::Silent;

const PLAIN: EncoderOptions = EncoderOptions {
    compression: Compression::None,
    level: None,
    threads: None,
};

fn entries(layout: &TestLayout) -> Vec<Value> {
    layout.open().read_index().unwrap().entries().to_vec()
}

fn text(layout: &LeasedLayout, descriptor: &Descriptor) -> String {
    String::from_utf8(layout.read_document(descriptor).unwrap()).unwrap()
}

/// Two zero blocks: the shortest tar archive, so that what is made of it is valid.
fn empty_tar(out: &mut dyn Write) -> Result<()> {
    out.write_all(&[0; 1024]).context(|| "write the archive")
}

fn mutate(
    layout: &LeasedLayout,
    name: &str,
    edit: impl FnOnce(&mut Mutator<'_>),
) -> DescriptorPath {
    let path = layout.resolve(tag(name), None).unwrap();
    let mut mutator = Mutator::new(layout, &path).unwrap();
    edit(&mut mutator);
    mutator.commit(&tag(name)).unwrap().path
}

#[test]
fn an_added_layer_has_umocis_documents() {
    let scratch = TestLayout::new();
    let layout = scratch.leased();
    layout.new_image(&tag("a"), "2020-01-01T00:00:00Z").unwrap();
    let history = NewHistory {
        created: Some("2021-01-01T00:00:00.5+02:00".into()),
        created_by: "x <y>".into(),
        empty_layer: true,
        ..NewHistory::default()
    };
    let annotations = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let path = mutate(&layout, "a", |mutator| {
        *mutator.config_mut() = json!({"architecture": "amd64", "os": "linux"});
        mutator
            .add_layer(PLAIN, &annotations, Some(history), &mut empty_tar)
            .unwrap();
    });
    let manifest = layout.manifest(path.target()).unwrap();
    let layer = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    assert_eq!(
        text(&layout, &manifest.config),
        format!(
            "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{}},\"rootfs\":{{\"type\":\"layers\",\
             \"diff_ids\":[\"sha256:{layer}\"]}},\"history\":[{{\"created\":\"2021-01-01T00:00:00.5+02:00\",\
             \"created_by\":\"x \\u003cy\\u003e\"}}]}}\n"
        )
    );
    let config = &manifest.config;
    assert_eq!(
        text(&layout, path.target()),
        format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{{\"mediaType\":\"{CONFIG}\",\"digest\":\"{}\",\
             \"size\":{}}},\"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\
             \"digest\":\"sha256:{layer}\",\"size\":1024,\"annotations\":{{\"k\":\"v\"}}}}]}}\n",
            config.digest(),
            config.size()
        )
    );
    assert!(layout.validate(None, &Silent).unwrap().is_empty());
    assert_eq!(layout.resolve(tag("a"), None).unwrap(), path);
}

#[test]
fn unknown_members_survive_in_their_order() {
    let scratch = TestLayout::new();
    let config = json!({
        "docker_version": "1", "config": {"Healthcheck": {"Test": ["NONE"]}, "Env": null, "OnBuild": ["x"]},
        "container_config": {"Cmd": null}, "os": "linux", "rootfs": {"diff_ids": [], "type": "layers"},
        "variant": "v8", "architecture": "arm64",
    });
    let config_blob = scratch.document(CONFIG, &config);
    let manifest =
        json!({"x": 1, "layers": [], "config": config_blob.to_value(), "schemaVersion": 2});
    let manifest = scratch.document(MANIFEST, &manifest);
    let mut entry = scratch.tagged(&manifest, "a");
    entry["future"] = json!({"y": [1]});
    scratch.set_index(&[entry]);
    let layout = scratch.leased();
    let path = mutate(&layout, "a", |mutator| {
        mutator.add_history(NewHistory::default()).unwrap();
    });
    let manifest = layout.manifest(path.target()).unwrap();
    let written = text(&layout, path.target());
    assert!(
        written.starts_with("{\"x\":1,\"layers\":[],\"config\":{"),
        "{written}"
    );
    let mut expected = config;
    expected["history"] = json!([{}]);
    assert_eq!(text(&layout, &manifest.config), expected.to_string() + "\n");
    assert_eq!(entries(&scratch)[0]["future"], json!({"y": [1]}));
}

#[test]
fn nothing_is_visible_before_commit_and_nothing_remains_without_it() {
    let scratch = TestLayout::new();
    scratch
        .open()
        .new_image(&tag("a"), "2020-01-01T00:00:00Z")
        .unwrap();
    let before = entries(&scratch);
    {
        let layout = scratch.leased();
        let path = layout.resolve(tag("a"), None).unwrap();
        let mut mutator = Mutator::new(&layout, &path).unwrap();
        mutator
            .add_layer(PLAIN, &BTreeMap::new(), None, &mut empty_tar)
            .unwrap();
        let failed = mutator.add_layer(PLAIN, &BTreeMap::new(), None, &mut |out| {
            empty_tar(out)?;
            Err(Error::new(ErrorKind::Io, "the source is gone"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "the source is gone");
        assert_eq!(
            mutator.layers().unwrap().len(),
            1,
            "the failed layer is not there"
        );
        assert_eq!(entries(&scratch), before);
    }
    let garbage = scratch.open().gc(false).unwrap();
    assert_eq!((garbage.blobs.len(), garbage.scratch.len()), (1, 0));
}

#[test]
fn indexes_are_rewritten_up_to_the_entry() {
    let scratch = TestLayout::new();
    let (image, other) = (
        scratch.image("a", "linux/amd64"),
        scratch.image("b", "linux/arm64"),
    );
    let child = with_platform(&image, "linux/amd64");
    let sibling = with_platform(&other, "linux/arm64");
    let mut elsewhere = child.clone();
    elsewhere["platform"]["variant"] = json!("v3");
    let inner = scratch.index(&[sibling.clone(), child, elsewhere.clone()]);
    let embedded = std::fs::read(scratch.blob_path(&inner)).unwrap();
    let mut inner = inner.to_value();
    inner["data"] =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, embedded).into();
    let outer = scratch.index(&[inner]);
    let mut entry = scratch.tagged(&outer, "a");
    entry["annotations"]["keep"] = json!("me");
    let kept = scratch.tagged(&other, "b");
    scratch.set_index(&[entry, kept.clone()]);
    let layout = scratch.leased();
    let wanted = "linux/amd64/v1".parse().unwrap();
    let note = BTreeMap::from([("note".to_owned(), "n".to_owned())]);
    let path = layout
        .edit(tag("a"), Some(&wanted), None, |mutator| {
            mutator.config_mut()["os.version"] = json!("7");
            mutator.annotate_entry(&note);
            mutator.annotate_top_layer(&note)
        })
        .unwrap()
        .path;
    let after = entries(&scratch);
    assert_eq!(after[0], kept);
    assert_eq!(
        after[1]["annotations"],
        json!({"keep": "me", "note": "n", REF_NAME: "a"})
    );
    let outer = Index::parse(
        text(&layout, path.root()).as_bytes(),
        path.root().media_type(),
    )
    .unwrap();
    let inner = &outer.manifests[0];
    assert_eq!(
        text(&layout, inner).into_bytes(),
        inner.data().unwrap(),
        "embedded data is the new document"
    );
    let inner = Index::parse(&inner.data().unwrap(), inner.media_type()).unwrap();
    let mut expected = path.target().to_value();
    expected["platform"]["os.version"] = json!("7");
    let listed: Vec<_> = inner.manifests.iter().map(Descriptor::to_value).collect();
    assert_eq!(listed, [sibling, expected, elsewhere]);
    assert_eq!(layout.resolve(tag("a"), Some(&wanted)).unwrap(), path);
    assert_eq!(
        layout.manifest(path.target()).unwrap().layers[0].annotation("note"),
        Some("n")
    );
}

#[test]
fn artifacts_are_refused_and_called_so() {
    let scratch = TestLayout::new();
    let empty = scratch.document(crate::image::EMPTY, &json!({}));
    let chart = json!({"schemaVersion": 2, "artifactType": "application/vnd.example.chart", "config": empty.to_value(), "layers": []});
    let chart = scratch.document(MANIFEST, &chart);
    let other = scratch.blob("application/vnd.example.config", b"{}");
    let other = scratch.manifest(&other, &[]);
    scratch.set_index(&[
        scratch.tagged(&chart, "chart"),
        scratch.tagged(&other, "config"),
    ]);
    let layout = scratch.leased();
    for name in ["chart", "config"] {
        let path = layout.resolve(tag(name), None).unwrap();
        let error = Mutator::new(&layout, &path).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let words = format!("artifact of the type \"application/vnd.example.{name}\"");
        assert!(error.chain().contains(&words), "{}", error.chain());
    }
}

#[test]
fn an_edited_image_of_dockers_types_is_an_oci_image() {
    const DOCKER: &str = "application/vnd.docker.";
    let scratch = TestLayout::new();
    let layer = format!("{DOCKER}image.rootfs.diff.tar");
    let layer = scratch.blob(&layer, &[0; 1024]);
    let config = scratch.config("linux/amd64", &[layer.digest().clone()]);
    let mut config = config.to_value();
    config["mediaType"] = json!(format!("{DOCKER}container.image.v1+json"));
    let media_type = format!("{DOCKER}distribution.manifest.v2+json");
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer.to_value()]});
    let manifest = scratch.document(&media_type, &manifest);
    let media_type = format!("{DOCKER}distribution.manifest.list.v2+json");
    let sibling = with_platform(&scratch.image("b", "linux/arm64"), "linux/arm64");
    let listed = [with_platform(&manifest, "linux/amd64"), sibling.clone()];
    let list = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": listed});
    let list = scratch.document(&media_type, &list);
    scratch.set_index(&[
        scratch.tagged(&list, "list"),
        scratch.tagged(&manifest, "sole"),
    ]);
    let layout = scratch.leased();
    let platform: Platform = "linux/amd64".parse().unwrap();
    for name in ["list", "sole"] {
        let edited = layout
            .edit(tag(name), Some(&platform), None, |mutator| {
                mutator.config_mut()["author"] = json!("me");
                Ok(())
            })
            .unwrap();
        assert!(edited.was_docker);
        let documents = edited.path.0.iter().map(|step| text(&layout, step));
        for document in documents.chain([entries(&scratch).pop().unwrap().to_string()]) {
            assert!(!document.contains("docker"), "{document}");
        }
        let manifest = layout.manifest(edited.target()).unwrap();
        assert_eq!(layout.image_config(&manifest).unwrap().author(), "me");
    }
    assert!(
        layout
            .validate(None, &Silent)
            .unwrap()
            .iter()
            .all(|it| it.code == super::super::code::MALFORMED_LAYER)
    );
    let again = layout.edit(tag("sole"), None, None, |_| Ok(())).unwrap();
    assert!(!again.was_docker);
}

#[test]
fn an_attestation_goes_when_what_it_describes_is_edited() {
    let scratch = TestLayout::new();
    let (image, other) = (
        with_platform(&scratch.image("a", "linux/amd64"), "linux/amd64"),
        with_platform(&scratch.image("b", "linux/arm64"), "linux/arm64"),
    );
    let about = |image: &Value| {
        let config = scratch.config("linux/amd64", &[]);
        let mut entry = scratch.manifest(&config, &[]).to_value();
        entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image["digest"]});
        entry
    };
    let index = scratch.index(&[image.clone(), other.clone(), about(&image), about(&other)]);
    scratch.set_index(&[scratch.tagged(&index, "a")]);
    let layout = scratch.leased();
    let platform: Platform = "linux/amd64".parse().unwrap();
    let edited = layout
        .edit(tag("a"), Some(&platform), None, |mutator| {
            mutator.config_mut()["author"] = json!("me");
            Ok(())
        })
        .unwrap();
    assert_eq!(edited.attestations, 1);
    let index: Value = serde_json::from_str(&text(&layout, edited.path.root())).unwrap();
    let listed = index["manifests"].as_array().unwrap();
    assert_eq!(listed[1..], [other.clone(), about(&other)]);
}

#[test]
fn an_image_without_a_tag_is_edited_in_its_place() {
    let scratch = TestLayout::new();
    let image = scratch.image("a", "linux/amd64");
    scratch.set_index(&[image.to_value()]);
    let layout = scratch.leased();
    let author = |mutator: &mut Mutator<'_>, name: &str| {
        mutator.config_mut()["author"] = json!(name);
        Ok(())
    };
    let edited = layout
        .edit(Name::Default, None, None, |mutator| author(mutator, "x"))
        .unwrap();
    assert_eq!(entries(&scratch), [edited.target().to_value()]);
    let digest = Name::Digest(edited.target().digest().clone());
    let again = layout
        .edit(&digest, None, None, |mutator| author(mutator, "y"))
        .unwrap();
    assert_eq!(entries(&scratch), [again.target().to_value()]);
    let digest = Name::Digest(again.target().digest().clone());
    layout
        .edit(&digest, None, Some(&tag("t")), |mutator| {
            author(mutator, "z")
        })
        .unwrap();
    assert_eq!(layout.tags().unwrap(), ["t"]);
    assert_eq!(entries(&scratch).len(), 2);
}

#[test]
fn a_layer_is_not_put_behind_a_gap() {
    let scratch = TestLayout::new();
    let layer = scratch.blob(crate::image::LAYER, &[0; 1024]);
    let config = scratch.config("linux/amd64", &[]);
    let manifest = scratch.manifest(&config, &[layer]);
    scratch.set_index(&[scratch.tagged(&manifest, "a")]);
    let layout = scratch.leased();
    mutate(&layout, "a", |mutator| {
        let mut called = false;
        let error = mutator
            .add_layer(PLAIN, &BTreeMap::new(), None, &mut |_| {
                called = true;
                Ok(())
            })
            .unwrap_err();
        assert_eq!((error.kind(), called), (ErrorKind::InvalidData, false));
        let fixed = (
            layout.manifest(mutator.entry()).unwrap().layers[0].clone(),
            "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
                .parse()
                .unwrap(),
        );
        mutator.set_layers(vec![fixed]).unwrap();
    });
    assert!(layout.validate(None, &Silent).unwrap().is_empty());
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let scratch = TestLayout::new();
    let layout = scratch.leased();
    layout.new_image(&tag("a"), "2020-01-01T00:00:00Z").unwrap();
    let before = entries(&scratch);
    let edits: [fn(&mut Mutator<'_>); 5] = [
        |mutator| *mutator.config_mut() = json!([]),
        |mutator| mutator.config_mut()["os"] = json!(1),
        |mutator| mutator.manifest_mut()["layers"] = json!({}),
        |mutator| mutator.manifest_mut()["manifests"] = json!([]),
        |mutator| mutator.config_mut()["author"] = "x".repeat(5 << 20).into(),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let path = layout.resolve(tag("a"), None).unwrap();
        let mut mutator = Mutator::new(&layout, &path).unwrap();
        edit(&mut mutator);
        assert!(mutator.commit(&tag("a")).is_err(), "edit {number}");
        assert_eq!(entries(&scratch), before);
    }
}

#[test]
fn gc_spares_what_an_image_under_edit_shares() {
    let scratch = TestLayout::new();
    let image = scratch.image("a", "linux/amd64");
    scratch.set_index(&[scratch.tagged(&image, "a")]);
    let layout = scratch.leased();
    let path = layout.resolve(tag("a"), None).unwrap();
    let mutator = Mutator::new(&layout, &path).unwrap();
    assert_eq!(
        layout.gc(false).unwrap_err().kind(),
        ErrorKind::Busy,
        "through the same layout it would wait for itself"
    );
    drop(mutator);
    drop(layout);
    scratch.open().gc(false).unwrap();
}

#[test]
fn the_compression_is_that_of_the_topmost_compressed_layer() {
    let scratch = TestLayout::new();
    let layout = scratch.leased();
    let layer = "application/vnd.oci.image.layer.v1.tar";
    for (suffixes, expected) in [
        (&[][..], Compression::Gzip),
        (&[""], Compression::Gzip),
        (&["+zstd", ""], Compression::Zstd),
        (&["+zstd", "+gzip", ""], Compression::Gzip),
        (&["+gzip", "+zstd", "+xz"], Compression::Zstd),
    ] {
        let config = scratch.config("linux/amd64", &[]);
        let layers: Vec<_> = suffixes
            .iter()
            .map(|suffix| Descriptor::new(&format!("{layer}{suffix}"), config.digest().clone(), 1))
            .collect();
        let manifest = layout
            .manifest(&scratch.manifest(&config, &layers))
            .unwrap();
        assert_eq!(layout.auto_compression(&manifest), expected, "{suffixes:?}");
    }
}
