//! Every way to break a layout, and the finding that it gives.

use std::fs;
use std::io::Write;

use oci_cas::Algorithm;
use serde_json::json;

use super::super::test_layout::{TestLayout, tag, with_platform};
use super::*;
use crate::image::{CONFIG, LAYER, MANIFEST};
use crate::progress::Silent;

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn codes(layout: &TestLayout) -> Vec<&'static str> {
    let findings = layout.open().validate(None, &Silent).unwrap();
    findings.iter().map(|finding| finding.code).collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A layout of one image with one compressed layer, and the descriptors of its manifest, config and layer.
fn layout() -> (TestLayout, [Descriptor; 3]) {
    let layout = TestLayout::new();
    let layer = layout.blob(GZIP, &gzip(b"content"));
    let config = layout.config("linux/amd64", &[Digest::of(Algorithm::Sha256, b"content")]);
    let manifest = layout.manifest(&config, std::slice::from_ref(&layer));
    layout.set_index(&[layout.tagged(&manifest, "latest")]);
    (layout, [manifest, config, layer])
}

#[test]
fn a_sound_layout_has_no_findings() {
    let (layout, _) = layout();
    assert_eq!(codes(&layout), [""; 0]);
    assert!(
        layout
            .open()
            .validate(Some(&tag("latest").into()), &Silent)
            .unwrap()
            .is_empty()
    );
    let error = layout
        .open()
        .validate(Some(&tag("other").into()), &Silent)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn each_blob_that_is_missing_or_changed_is_found_with_its_place() {
    for which in 0..3 {
        let (layout, blobs) = layout();
        let path = layout.blob_path(&blobs[which]);
        let content = fs::read(&path).unwrap();
        let mut changed = content.clone();
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&path, &changed).unwrap();
        assert_eq!(codes(&layout), [code::DIGEST_MISMATCH], "blob {which}");
        fs::write(&path, [&content[..], b"x"].concat()).unwrap();
        let findings = layout
            .open()
            .validate(Some(&tag("latest").into()), &Silent)
            .unwrap();
        assert_eq!(
            findings
                .iter()
                .map(|finding| finding.code)
                .collect::<Vec<_>>(),
            [code::SIZE_MISMATCH]
        );
        assert!(
            findings[0]
                .place
                .starts_with(&format!("latest > {}", blobs[0].digest()))
        );
        assert!(
            findings[0]
                .place
                .ends_with(&blobs[which].digest().to_string())
        );
        fs::remove_file(&path).unwrap();
        assert_eq!(codes(&layout)[0], code::MISSING_BLOB);
        fs::create_dir(&path).unwrap();
        assert_eq!(codes(&layout)[0], code::UNREADABLE_BLOB);
    }
}

#[test]
fn validation_goes_on_after_a_finding() {
    let layout = TestLayout::new();
    let layers: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|text| layout.blob(LAYER, text.as_bytes()))
        .collect();
    let config = layout.document(
        CONFIG,
        &json!({"rootfs": {"type": "blocks", "diff_ids": []}, "history": [{}]}),
    );
    layout.set_index(&[
        json!({"digest": "x"}),
        layout.tagged(&layout.manifest(&config, &layers), "latest"),
    ]);
    fs::remove_file(layout.blob_path(&layers[1])).unwrap();
    assert_eq!(
        codes(&layout),
        [
            code::MALFORMED_DESCRIPTOR,
            code::MISSING_BLOB,
            code::ROOTFS_TYPE,
            code::PLATFORM_MISSING,
            code::PLATFORM_MISSING,
            code::DIFF_ID_COUNT,
            code::HISTORY_COUNT,
        ]
    );
}

#[test]
fn layers_are_compared_with_their_diff_ids() {
    let layout = TestLayout::new();
    let layer = layout.blob(GZIP, &gzip(b"content"));
    let config = layout.config("linux/amd64", &[Digest::of(Algorithm::Sha256, b"other")]);
    layout.set_index(&[layout
        .manifest(&config, std::slice::from_ref(&layer))
        .to_value()]);
    assert_eq!(codes(&layout), [code::DIFF_ID_MISMATCH]);
    let wrong_type = Descriptor::new(LAYER, layer.digest().clone(), layer.size());
    let truncated = layout.blob(GZIP, &gzip(b"content")[..12]);
    for (layer, diff_id) in [(wrong_type, b"content"), (truncated, b"content")] {
        let config = layout.config("linux/amd64", &[Digest::of(Algorithm::Sha256, diff_id)]);
        layout.set_index(&[layout.manifest(&config, &[layer]).to_value()]);
        assert_eq!(codes(&layout), [code::MALFORMED_LAYER]);
    }
}

#[test]
fn diff_ids_of_another_algorithm_are_compared_too() {
    let layout = TestLayout::new();
    let layer = layout.blob(LAYER, b"content");
    for (content, found) in [("content", vec![]), ("other", vec![code::DIFF_ID_MISMATCH])] {
        let config = layout.config(
            "linux/amd64",
            &[Digest::of(Algorithm::Sha512, content.as_bytes())],
        );
        layout.set_index(&[layout
            .manifest(&config, std::slice::from_ref(&layer))
            .to_value()]);
        assert_eq!(codes(&layout), found);
    }
}

#[test]
fn documents_must_keep_their_schema() {
    let table = [
        (
            json!({"schemaVersion": 2, "config": null, "layers": []}),
            code::MALFORMED_DOCUMENT,
        ),
        (
            json!({"schemaVersion": 2, "manifests": []}),
            code::MALFORMED_DOCUMENT,
        ),
        (json!([]), code::MALFORMED_DOCUMENT),
        (
            json!({"schemaVersion": 2, "mediaType": INDEX}),
            code::MALFORMED_DOCUMENT,
        ),
    ];
    for (document, expected) in table {
        let layout = TestLayout::new();
        layout.set_index(&[layout.document(MANIFEST, &document).to_value()]);
        assert_eq!(codes(&layout), [expected], "{document}");
    }
    let layout = TestLayout::new();
    let config = layout.config("linux/amd64", &[]);
    layout.set_index(&[layout
        .document(MANIFEST, &json!({"config": config.to_value()}))
        .to_value()]);
    assert_eq!(
        codes(&layout),
        [code::MALFORMED_DOCUMENT; 2],
        "neither schemaVersion nor layers"
    );
}

#[test]
fn a_document_above_the_limit_is_found_and_not_read() {
    let layout = TestLayout::new();
    layout.set_index(&[layout.blob(MANIFEST, &vec![b' '; 5 << 20]).to_value()]);
    assert_eq!(codes(&layout), [code::LIMIT_EXCEEDED]);
}

#[test]
fn index_json_must_keep_its_schema() {
    for (text, found) in [
        ("{\"schemaVersion\":2,\"manifests\":[]}", 0),
        ("{\"manifests\":null}", 2),
        (
            "{\"schemaVersion\":1,\"mediaType\":\"x\",\"manifests\":[]}",
            2,
        ),
        ("{} trailing", 1),
    ] {
        let layout = TestLayout::new();
        fs::write(layout.path().join("index.json"), text).unwrap();
        assert_eq!(
            codes(&layout),
            vec![code::MALFORMED_LAYOUT; found],
            "{text}"
        );
    }
}

#[test]
fn a_tag_for_two_images_is_found_unless_platforms_tell_them_apart() {
    let layout = TestLayout::new();
    let (a, b) = (
        layout.image("a", "linux/amd64"),
        layout.image("b", "linux/arm64"),
    );
    layout.set_index(&[
        layout.tagged(&a, "x"),
        layout.tagged(&a, "x"),
        layout.tagged(&b, "x"),
    ]);
    assert_eq!(codes(&layout), [code::DUPLICATE_TAG]);
    let entries = [(&a, "linux/amd64"), (&b, "linux/arm64")].map(|(image, platform)| {
        let entry = Descriptor::from_value(&with_platform(image, platform)).unwrap();
        layout.tagged(&entry, "x")
    });
    layout.set_index(&entries);
    assert_eq!(codes(&layout), [""; 0]);
}

#[test]
fn a_blob_that_nothing_names_must_have_its_digest() {
    let (layout, _) = layout();
    let stray = layout.blob("a/b", b"stray");
    assert_eq!(codes(&layout), [""; 0]);
    fs::write(layout.blob_path(&stray), b"other").unwrap();
    assert_eq!(codes(&layout), [code::DIGEST_MISMATCH]);
    assert!(
        layout
            .open()
            .validate(Some(&tag("latest").into()), &Silent)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_fan_out_of_indexes_is_validated_once() {
    let layout = TestLayout::new();
    let mut top = layout.image("a", "linux/amd64");
    for _ in 0..4 {
        top = layout.index(&vec![top.to_value(); 4]);
    }
    layout.set_index(&[top.to_value()]);
    // Every way down would be 341 steps.
    let limits = crate::layout::Limits {
        descriptor_count: 17,
        ..Default::default()
    };
    let opened = Layout::open_with(layout.path(), limits).unwrap();
    assert_eq!(opened.validate(None, &Silent).unwrap(), []);
}

#[test]
fn media_types_follow_their_grammar() {
    for text in [
        "a/b",
        "application/vnd.oci.image.index.v1+json",
        "x-y/z!#$&-^_.+",
    ] {
        assert!(is_media_type(text), "{text}");
    }
    for text in [
        "", "a", "/", "a/", "/b", "a/b/c", "a/b; c=d", "a /b", "+a/b",
    ] {
        assert!(!is_media_type(text), "{text}");
    }
    assert!(!is_media_type(&format!("a/{}", "b".repeat(128))));
}
