//! Which manifest a tag means, in layouts plain and hostile.

use serde_json::json;

use super::*;
use crate::image::INDEX;
use crate::layout::test_layout::{TestLayout, tag, with_platform};

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

/// Another architecture than this machine's.
fn foreign() -> &'static str {
    if Platform::host().architecture == "s390x" {
        "linux/riscv64"
    } else {
        "linux/s390x"
    }
}

fn host() -> String {
    let host = Platform::host();
    format!("{}/{}", host.os, host.architecture)
}

fn resolved(layout: &TestLayout, platform: Option<&Platform>) -> Result<Descriptor> {
    layout
        .leased()
        .resolve(&tag("latest"), platform)
        .map(|path| path.target().clone())
}

#[test]
fn a_sole_manifest_is_taken_whatever_its_platform() {
    let layout = TestLayout::new();
    let manifest = layout.image("a", foreign());
    layout.set_index(&[layout.tagged(&manifest, "latest")]);
    assert_eq!(resolved(&layout, None).unwrap().digest(), manifest.digest());
    assert_eq!(
        resolved(&layout, Some(&platform("windows/386")))
            .unwrap_err()
            .kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        resolved(&layout, Some(&platform(foreign())))
            .unwrap()
            .digest(),
        manifest.digest(),
        "from its config"
    );
}

#[test]
fn the_path_runs_from_the_entry_to_the_manifest() {
    let layout = TestLayout::new();
    let manifest = layout.image("a", &host());
    let inner = layout.index(&[manifest.to_value()]);
    let outer = layout.index(&[inner.to_value()]);
    layout.set_index(&[layout.tagged(&outer, "latest")]);
    let path = layout.leased().resolve(&tag("latest"), None).unwrap();
    assert_eq!(
        path.0
            .iter()
            .map(|step| step.digest().clone())
            .collect::<Vec<_>>(),
        [
            outer.digest().clone(),
            inner.digest().clone(),
            manifest.digest().clone(),
        ]
    );
    assert_eq!(
        path.root().annotation(crate::image::REF_NAME),
        Some("latest")
    );
}

#[test]
fn the_hosts_manifest_is_chosen_or_the_one_asked_for() {
    let layout = TestLayout::new();
    let mut listed = Vec::new();
    for text in [foreign(), "windows/amd64", &host(), "unknown/unknown"] {
        listed.push(with_platform(&layout.image(text, text), text));
    }
    layout.set_index(&[layout.tagged(&layout.index(&listed), "latest")]);
    assert_eq!(resolved(&layout, None).unwrap().to_value(), listed[2]);
    assert_eq!(
        resolved(&layout, Some(&platform(foreign())))
            .unwrap()
            .to_value(),
        listed[0]
    );
    let error = resolved(&layout, Some(&platform("linux/wasm"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.hints()[0].contains("windows/amd64"),
        "{error:?} {:?}",
        error.hints()
    );
}

#[test]
fn an_attestation_does_not_make_a_sole_image_ambiguous() {
    let layout = TestLayout::new();
    let image = layout.image("a", foreign());
    let attestation = layout.image("b", "unknown/unknown");
    let listed = [
        with_platform(&attestation, "unknown/unknown"),
        with_platform(&image, foreign()),
    ];
    layout.set_index(&[layout.tagged(&layout.index(&listed), "latest")]);
    assert_eq!(resolved(&layout, None).unwrap().digest(), image.digest());
}

#[test]
fn a_platform_that_the_index_lacks_is_read_from_the_config() {
    let layout = TestLayout::new();
    let (ours, other) = (layout.image("a", &host()), layout.image("b", foreign()));
    layout.set_index(&[layout.tagged(
        &layout.index(&[other.to_value(), ours.to_value()]),
        "latest",
    )]);
    assert_eq!(resolved(&layout, None).unwrap().digest(), ours.digest());
}

#[test]
fn two_images_of_one_name_are_ambiguous_and_equal_ones_are_not() {
    let layout = TestLayout::new();
    let (one, two) = (layout.image("a", &host()), layout.image("b", &host()));
    layout.set_index(&[layout.tagged(&one, "latest"), layout.tagged(&two, "latest")]);
    let error = resolved(&layout, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ambiguous);
    assert!(error.to_string().starts_with("tag is ambiguous: latest"));
    assert!(error.to_string().contains(&one.digest().to_string()));
    layout.set_index(&[
        layout.tagged(&one, "latest"),
        layout.tagged(&layout.index(&[one.to_value()]), "latest"),
    ]);
    assert_eq!(resolved(&layout, None).unwrap().digest(), one.digest());
}

#[test]
fn a_tag_counts_in_index_json_only_and_in_its_case() {
    let layout = TestLayout::new();
    let manifest = layout.image("a", &host());
    let inner = layout.index(&[layout.tagged(&manifest, "latest")]);
    layout.set_index(&[inner.to_value(), layout.tagged(&manifest, "Latest")]);
    let error = resolved(&layout, None).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::NotFound, "tag not found: latest")
    );
    assert_eq!(error.hints(), ["the image layout has the tags Latest"]);
}

#[test]
fn foreign_entries_disturb_nobody_but_who_asks_for_them() {
    let layout = TestLayout::new();
    let manifest = layout.image("a", &host());
    let xml = layout.blob("application/xml", b"<xml/>");
    layout.set_index(&[
        xml.to_value(),
        json!({"digest": "nonsense"}),
        json!(null),
        layout.tagged(
            &layout.index(&[xml.to_value(), manifest.to_value()]),
            "latest",
        ),
        layout.tagged(&xml, "doc"),
        layout.tagged(&layout.index(&[]), "empty"),
    ]);
    assert_eq!(resolved(&layout, None).unwrap().digest(), manifest.digest());
    let error = layout.leased().resolve(&tag("doc"), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("application/xml"));
    assert_eq!(
        layout
            .leased()
            .resolve(&tag("empty"), None)
            .unwrap_err()
            .kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_fan_out_of_indexes_is_walked_once() {
    let layout = TestLayout::new();
    let manifest = layout.image("a", &host());
    let mut top = manifest.clone();
    for _ in 0..12 {
        top = layout.index(&vec![top.to_value(); 10]);
    }
    layout.set_index(&[layout.tagged(&top, "latest")]);
    assert_eq!(resolved(&layout, None).unwrap().digest(), manifest.digest());
}

#[test]
fn too_deep_nesting_is_refused() {
    let layout = TestLayout::new();
    let mut top = layout.image("a", &host());
    for _ in 0..40 {
        top = layout.index(&[top.to_value()]);
    }
    layout.set_index(&[layout.tagged(&top, "latest")]);
    assert_eq!(
        resolved(&layout, None).unwrap_err().kind(),
        ErrorKind::LimitExceeded
    );
}

#[test]
fn a_manifest_that_says_it_is_an_index_is_refused() {
    let layout = TestLayout::new();
    let manifest = layout.document(
        INDEX,
        &json!({"schemaVersion": 2, "mediaType": crate::image::MANIFEST}),
    );
    layout.set_index(&[layout.tagged(&manifest, "latest")]);
    assert_eq!(
        resolved(&layout, None).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}
