//! Real output of every `--json` that needs no privilege, and the schemas in `docs/json`.

use serde_json::{Value, json};

use crate::support::{Layer, Scratch, descriptor, schema, store_layers};

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn lines(text: &str) -> Vec<Value> {
    let lines: Vec<Value> = text.lines().map(value).collect();
    assert!(!lines.is_empty());
    lines
}

/// A layout `x` with an image `a`, and an image `b` that differs from it.
fn filled() -> Scratch {
    let scratch = Scratch::new();
    scratch.ok("init --layout x");
    let layout = scratch.path("x");
    let base = Layer::default()
        .dir("d")
        .file("d/file", "content")
        .symlink("d/link", "file")
        .link("d/hard", "d/file")
        .entry(b"d/\xff", tar::EntryType::Regular, "", b"odd")
        .entry(b"d/device", tar::EntryType::Char, "", b"");
    let top = Layer::default()
        .file("d/file", "other")
        .file("d/.wh.link", "");
    store_layers(&layout, "a", std::slice::from_ref(&base));
    store_layers(&layout, "b", &[base, top]);
    scratch
}

#[test]
fn documents_of_images_are_as_the_schemas_say() {
    let scratch = filled();
    scratch.ok("new --image x:empty");
    scratch.ok(
        "config --image x:a --tag c --author me --history.comment why --config.cmd sh --config.label a=b",
    );
    for tag in ["a", "b", "c", "empty"] {
        schema::check(
            "stat",
            &value(&scratch.ok(&format!("stat --json --image x:{tag}"))),
        );
        schema::check(
            "layers",
            &value(&scratch.ok(&format!("layers --json --image x:{tag}"))),
        );
    }
    for key in ["config.cmd", "config.labels", "author"] {
        let said = scratch.ok(&format!("config --get {key} --json --image x:c"));
        schema::check("config", &value(&said));
    }
    for line in lines(&scratch.ok("files --json --image x:b")) {
        schema::check("files", &line);
    }
    for options in ["", "--summary"] {
        for line in lines(&scratch.ok(&format!("diff --json {options} --image x:a x:b"))) {
            schema::check("diff", &line);
        }
    }
}

#[test]
fn findings_are_as_the_schema_says() {
    let scratch = filled();
    schema::check(
        "validate",
        &value(&scratch.ok("validate --json --layout x")),
    );
    let missing = descriptor(
        &scratch.path("x"),
        "application/vnd.oci.image.manifest.v1+json",
        b"{}",
    );
    let mut index = scratch.read_json("x/index.json");
    index["manifests"].as_array_mut().unwrap().push(missing);
    scratch.write("x/index.json", index.to_string());
    let outcome = scratch.run("validate --json --layout x");
    let found = value(&outcome.stdout);
    schema::check("validate", &found);
    assert!(!found["findings"].as_array().unwrap().is_empty());
    assert_eq!(outcome.code, 1);
}

#[test]
fn what_gc_removes_is_as_the_schema_says() {
    let scratch = filled();
    scratch.ok("rm --image x:b");
    for options in ["--dry-run", ""] {
        let removed = value(&scratch.ok(&format!("gc --json {options} --layout x")));
        schema::check("gc", &removed);
        assert!(!removed["blobs"].as_array().unwrap().is_empty());
    }
}

#[test]
fn what_is_copied_and_what_an_index_has_is_as_the_schemas_say() {
    let scratch = filled();
    let copied = value(&scratch.ok("copy --json x:a y:a"));
    schema::check("copy", &copied);
    assert!(copied["copied"].as_u64() > Some(0));
    scratch.ok("index create --image x:all a");
    let listed = value(&scratch.ok("index ls --json --image x:all"));
    schema::check("index-ls", &listed);
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[test]
fn a_failure_of_the_store_is_as_the_schema_says() {
    let scratch = Scratch::new();
    let outcome = scratch.run("store ls --json --store none");
    schema::check("store-error", &value(&outcome.stdout));
}

#[test]
fn what_is_not_in_a_schema_is_found() {
    for (name, wrong) in [
        ("validate", json!({"schema_version": 1})),
        ("validate", json!({"schema_version": 2, "findings": []})),
        (
            "validate",
            json!({"schema_version": 1, "findings": [], "more": 1}),
        ),
        (
            "validate",
            json!({"schema_version": 1, "findings": [{"place": 1}]}),
        ),
        ("store-ls", json!([{"names": []}])),
        ("progress", json!({"event": "unheard of"})),
    ] {
        let refused = std::panic::catch_unwind(|| schema::check(name, &wrong));
        assert!(refused.is_err(), "{name}: {wrong}");
    }
}
