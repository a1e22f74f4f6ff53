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
        .resolve(tag("latest"), platform)
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
    let path = layout.leased().resolve(tag("latest"), None).unwrap();
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
    assert_eq!(path.root().annotation(REF_NAME), Some("latest"));
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
    let hint = &error.hints()[0];
    assert!(
        hint.starts_with("the image layout has the tags Latest, and"),
        "{hint}"
    );
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
    let error = layout.leased().resolve(tag("doc"), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("application/xml"));
    assert_eq!(
        layout
            .leased()
            .resolve(tag("empty"), None)
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
    for _ in 0..4 {
        top = layout.index(&vec![top.to_value(); 4]);
    }
    layout.set_index(&[layout.tagged(&top, "latest")]);
    // Every way down would be 341 steps.
    let limits = crate::layout::Limits {
        descriptor_count: 17,
        ..Default::default()
    };
    let opened = Layout::open_with(layout.path(), limits).unwrap();
    let opened = opened.lease().unwrap();
    let found = opened.resolve(tag("latest"), None).unwrap();
    assert_eq!(found.target().digest(), manifest.digest());
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

#[test]
fn no_name_means_latest_or_the_only_image() {
    let layout = TestLayout::new();
    let (a, b) = (layout.image("a", foreign()), layout.image("b", &host()));
    let only = || {
        let path = layout.leased().resolve(Name::Default, None)?;
        Ok::<_, Error>(path.target().digest().clone())
    };
    layout.set_index(&[a.to_value()]);
    assert_eq!(only().unwrap(), *a.digest());
    layout.set_index(&[
        layout.tagged(&a, "v1"),
        layout.tagged(&a, "v2"),
        a.to_value(),
    ]);
    assert_eq!(only().unwrap(), *a.digest());
    // Entries of one image for several platforms.
    layout.set_index(&[a.to_value(), with_platform(&b, &host())]);
    assert_eq!(only().unwrap(), *b.digest());
    layout.set_index(&[layout.tagged(&a, "v1"), layout.tagged(&b, "latest")]);
    assert_eq!(only().unwrap(), *b.digest());
    layout.set_index(&[layout.tagged(&a, "v1"), b.to_value()]);
    let error = only().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let hint = error.hints().join("; ");
    assert!(
        hint.contains("the tags v1") && hint.contains("@sha256:"),
        "{hint}"
    );
    layout.set_index(&[]);
    assert_eq!(only().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_digest_means_what_has_it_on_whatever_level() {
    let layout = TestLayout::new();
    let (a, b) = (layout.image("a", foreign()), layout.image("b", &host()));
    let inner = layout.index(&[with_platform(&a, foreign()), with_platform(&b, &host())]);
    let outer = layout.index(&[inner.to_value()]);
    layout.set_index(&[json!({"digest": "odd"}), layout.tagged(&outer, "x")]);
    for (asked, found) in [(&a, &a), (&b, &b), (&inner, &b), (&outer, &b)] {
        let name = Name::Digest(asked.digest().clone());
        let path = layout.leased().resolve(&name, None).unwrap();
        assert_eq!(path.target().digest(), found.digest());
        assert_eq!(path.root().digest(), outer.digest());
    }
    let name = Name::Digest(layout.image("c", &host()).digest().clone());
    let error = layout.leased().resolve(name, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_name_outside_the_grammar_can_be_asked_for() {
    let layout = TestLayout::new();
    let image = layout.image("a", &host());
    for name in ["v1__2", "_x", "-edge", "latest,1.0", "a b", "\u{1b}"] {
        let mut entry = image.to_value();
        entry["annotations"] = json!({REF_NAME: name});
        layout.set_index(&[entry]);
        let name = Name::Tag(name.to_owned());
        let path = layout.leased().resolve(&name, None).unwrap();
        assert_eq!(path.target().digest(), image.digest());
        layout.open().untag(&name).unwrap();
        assert!(layout.open().tags().unwrap().is_empty());
    }
}

#[test]
fn a_platform_that_is_listed_and_absent_is_called_so() {
    let layout = TestLayout::new();
    let (here, gone) = (layout.image("a", &host()), layout.image("b", foreign()));
    let index = layout.index(&[
        with_platform(&here, &host()),
        with_platform(&gone, foreign()),
    ]);
    layout.set_index(&[layout.tagged(&index, "latest")]);
    std::fs::remove_file(layout.blob_path(&gone)).unwrap();
    assert_eq!(resolved(&layout, None).unwrap().digest(), here.digest());
    let error = resolved(&layout, Some(&platform(foreign()))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    for words in ["is listed", foreign(), &gone.digest().to_string()] {
        assert!(error.chain().contains(words), "{}", error.chain());
    }
    assert!(error.hints()[0].contains(&host()), "{:?}", error.hints());
    // An index that is absent disturbs nobody who asks for what is there.
    let nested = layout.index(&[with_platform(&gone, foreign())]);
    let outer = layout.index(&[nested.to_value(), with_platform(&here, &host())]);
    layout.set_index(&[layout.tagged(&outer, "latest")]);
    std::fs::remove_file(layout.blob_path(&nested)).unwrap();
    assert_eq!(resolved(&layout, None).unwrap().digest(), here.digest());
}

#[test]
fn the_hint_says_how_to_choose_among_several() {
    let layout = TestLayout::new();
    let images = ["a", "b"].map(|content| layout.image(content, "windows/amd64"));
    let versions = ["10.0.1", "10.0.2"];
    let entries = [0, 1].map(|number| {
        let mut entry = with_platform(&images[number], "windows/amd64");
        entry["platform"]["os.version"] = json!(versions[number]);
        entry
    });
    layout.set_index(&[layout.tagged(&layout.index(&entries), "latest")]);
    // Not for this machine: the platforms that there are.
    let hint = resolved(&layout, None).unwrap_err();
    assert!(
        hint.hints()[0].contains("--platform: windows/amd64"),
        "{:?}",
        hint.hints()
    );
    // Nothing but the version tells them apart.
    let error = resolved(&layout, Some(&platform("windows/amd64"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ambiguous);
    assert!(
        error.chain().contains("windows/amd64 10.0.2"),
        "{}",
        error.chain()
    );
    let way = format!("@{}", images[0].digest());
    assert!(error.hints()[0].ends_with(&way), "{:?}", error.hints());
    let entries = ["linux/riscv64/a", "linux/riscv64/b"].map(|text| {
        let mut entry = with_platform(&layout.image(text, text), text);
        entry["platform"]["variant"] = json!(platform(text).variant);
        entry
    });
    layout.set_index(&[layout.tagged(&layout.index(&entries), "latest")]);
    let error = resolved(&layout, Some(&platform("linux/riscv64"))).unwrap_err();
    let expected = "--platform: linux/riscv64/a, linux/riscv64/b";
    assert!(error.hints()[0].contains(expected), "{:?}", error.hints());
}

#[test]
fn an_artifact_beside_an_image_does_not_make_it_ambiguous() {
    let layout = TestLayout::new();
    let image = layout.image("a", foreign());
    let mut artifact = layout.image("b", foreign()).to_value();
    artifact["artifactType"] = json!("a/b");
    let index = layout.index(&[artifact, image.to_value()]);
    layout.set_index(&[layout.tagged(&index, "latest")]);
    assert_eq!(resolved(&layout, None).unwrap().digest(), image.digest());
}
