//! Layouts as other programs leave them: images without tags, odd tags, entries given twice, less than is listed.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Layer, Scratch, store_layers};

/// A layout of one image whose entry has no tag; and its digest.
fn untagged(scratch: &Scratch) -> String {
    scratch.layout("x", &[]);
    store_layers(&scratch.path("x"), "a", &[Layer::default().file("f", "x")]);
    let mut index = scratch.read_json("x/index.json");
    let entry = &mut index["manifests"][0];
    entry.as_object_mut().unwrap().remove("annotations");
    let digest = entry["digest"].as_str().unwrap().to_owned();
    scratch.write("x/index.json", index.to_string());
    digest
}

fn rename(scratch: &Scratch, names: &[&str]) {
    let mut index = scratch.read_json("x/index.json");
    let entry = index["manifests"][0].clone();
    let entries = names.iter().map(|name| {
        let mut entry = entry.clone();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        entry
    });
    index["manifests"] = entries.collect();
    scratch.write("x/index.json", index.to_string());
}

fn author(scratch: &Scratch, image: &str) -> String {
    let stat = scratch.ok(&format!("config --get author --image {image}"));
    stat.trim_end().to_owned()
}

#[test]
fn an_image_without_a_tag_is_read_and_edited_by_the_layouts_name_or_its_digest() {
    let scratch = Scratch::new();
    let digest = untagged(&scratch);
    for image in ["x".to_owned(), format!("x@{digest}")] {
        assert_eq!(scratch.ok(&format!("cat --image {image} /f")), "x");
        scratch.ok(&format!("validate --image {image}"));
    }
    let outcome = scratch.run("config --author me --image x");
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(author(&scratch, "x"), "me");
    let new = scratch.ok("ls --layout x --digests");
    let new = new.split_whitespace().nth(1).unwrap().to_owned();
    assert!(outcome.stderr.contains(&new), "{new}: {}", outcome.stderr);
    scratch.ok(&format!("config --author you --image x@{new} --tag latest"));
    assert_eq!(author(&scratch, "x"), "you");
    assert_eq!(author(&scratch, &format!("x@{new}")), "me");
    let error = scratch.fails(&format!("new --image x@{new}"));
    assert!(error.contains("give a tag"), "{error}");
}

#[test]
fn ls_tells_of_images_without_a_tag_gc_keeps_them_and_rm_removes_them() {
    let scratch = Scratch::new();
    let digest = untagged(&scratch);
    let outcome = scratch.run("ls --layout x");
    assert_eq!((outcome.code, &*outcome.stdout), (0, ""));
    assert!(outcome.stderr.contains("--digests"), "{}", outcome.stderr);
    assert_eq!(
        scratch.ok("ls --layout x --digests"),
        format!("<none> {digest}\n")
    );
    assert_eq!(scratch.ok("gc --layout x --dry-run"), "");
    scratch.ok(&format!("rm --image x@{digest}"));
    assert_eq!(scratch.ok("ls --layout x --digests"), "");
    let error = scratch.fails(&format!("rm --image x@{digest}"));
    assert!(error.contains("image not found"), "{error}");
}

#[test]
fn tags_of_others_are_read_and_removed_but_not_made() {
    let scratch = Scratch::new();
    untagged(&scratch);
    let names = ["v1__2", "v1..2", "_x:sha256-00.sig", "latest,1.0", "-edge"];
    rename(&scratch, &names);
    for name in names {
        assert_eq!(scratch.ok(&format!("cat --image x:{name} /f")), "x");
        for line in [
            "new --image x:NAME",
            "tag --image x:-edge -- NAME",
            "config --tag=NAME --image x:-edge",
        ] {
            let error = scratch.fails(&line.replace("NAME", name));
            assert!(error.contains("invalid tag"), "{error}");
        }
    }
    scratch.ok("config --author me --image x:v1__2");
    assert_eq!(author(&scratch, "x:v1__2"), "me");
    for name in names {
        scratch.ok(&format!("rm --image x:{name}"));
    }
    assert_eq!(scratch.ok("ls --layout x"), "");
}

#[test]
fn an_entry_given_twice_is_shown_once_with_a_word() {
    let scratch = Scratch::new();
    untagged(&scratch);
    rename(&scratch, &["a", "b", "a"]);
    let outcome = scratch.run("ls --layout x");
    assert_eq!((outcome.code, &*outcome.stdout), (0, "a\nb\n"));
    assert!(
        outcome.stderr.contains("a stands 2 times"),
        "{}",
        outcome.stderr
    );
}

/// A layer with a file whose name no file system takes, by a PAX record.
fn long_name(name: &str) -> Layer {
    let record = format!("{} path={name}\n", name.len() + 10);
    Layer::default()
        .entry(b"pax", tar::EntryType::XHeader, "", record.as_bytes())
        .file("f", "x")
}

#[test]
fn what_unpack_would_refuse_is_a_finding() {
    let long = "n".repeat(256);
    for (layer, words) in [
        (
            Layer::default().file("f", "x").link("l", "nowhere"),
            "nowhere",
        ),
        (long_name(&long), "256 bytes"),
    ] {
        let scratch = Scratch::new();
        scratch.layout("x", &[]);
        store_layers(&scratch.path("x"), "a", &[layer]);
        let outcome = scratch.run("validate --layout x");
        assert_eq!(outcome.code, 1);
        assert!(
            outcome.stdout.contains("not-unpackable"),
            "{}",
            outcome.stdout
        );
        assert!(outcome.stdout.contains(words), "{}", outcome.stdout);
        scratch.fails("raw unpack --rootless --image x:a y");
    }
}

#[test]
fn a_layer_that_is_not_here_is_said_to_be_where_its_url_is() {
    let scratch = Scratch::new();
    untagged(&scratch);
    let blob = |digest: &Value| {
        let encoded = digest.as_str().unwrap().trim_start_matches("sha256:");
        scratch.path(format!("x/blobs/sha256/{encoded}"))
    };
    let mut index = scratch.read_json("x/index.json");
    let bytes = fs::read(blob(&index["manifests"][0]["digest"])).unwrap();
    let mut manifest: Value = serde_json::from_slice(&bytes).unwrap();
    fs::remove_file(blob(&manifest["layers"][0]["digest"])).unwrap();
    let error = scratch.fails("cat --image x /f");
    assert!(error.contains("but does not have it"), "{error}");
    manifest["layers"][0]["urls"] = json!(["https://example.com/layer"]);
    let bytes = manifest.to_string();
    let digest = crate::support::put(&scratch.path("x"), bytes.as_bytes());
    index["manifests"][0]["digest"] = json!(digest);
    index["manifests"][0]["size"] = json!(bytes.len());
    scratch.write("x/index.json", index.to_string());
    let error = scratch.fails("cat --image x /f");
    assert!(
        error.contains("lies at https://example.com/layer"),
        "{error}"
    );
}

#[test]
fn an_image_in_an_archive_is_validated_and_compared_like_one_in_a_layout() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let layer = Layer::default().file("one", "1");
    store_layers(&scratch.path("x"), "a", std::slice::from_ref(&layer));
    let two = Layer::default().file("two", "2");
    store_layers(&scratch.path("x"), "b", &[layer, two]);
    scratch.ok("copy x:b docker-archive:b.tar:b:1");
    scratch.ok("copy x:b oci-archive:c.tar:1");
    for archive in ["docker-archive:b.tar", "oci-archive:c.tar:1", "b.tar"] {
        scratch.ok(&format!("validate --image {archive}"));
        let found = scratch.ok(&format!("diff --image x:a {archive}"));
        assert_eq!(found, "A /two\n", "{archive}");
        let value = scratch.ok(&format!("config --get architecture --image {archive}"));
        assert_eq!(value, "amd64\n");
    }
    // A layer that is not what its name says.
    let mut bytes = fs::read(scratch.path("b.tar")).unwrap();
    let at = bytes
        .windows(7)
        .position(|it| it == b"two\0\0\0\0")
        .unwrap();
    bytes[at] = b'T';
    scratch.write("wrong.tar", bytes);
    let outcome = scratch.run("validate --image docker-archive:wrong.tar");
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stdout.contains("digest-mismatch"),
        "{}",
        outcome.stdout
    );
}
