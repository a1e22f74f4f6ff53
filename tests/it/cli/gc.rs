//! Garbage collection.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Image, Scratch, put};

fn blobs(scratch: &Scratch, layout: &str) -> Vec<String> {
    let directory = scratch.path(layout).join("blobs/sha256");
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn gc_removes_what_no_tag_leads_to_and_says_nothing() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let kept = blobs(&scratch, "x");
    put(&scratch.path("x"), b"garbage");
    scratch.write("x/unrelated", "not ours");
    assert_eq!(scratch.ok("gc --layout x"), "");
    assert_eq!(blobs(&scratch, "x"), kept);
    assert_eq!(scratch.ok("gc --layout x"), "");
    assert_eq!(blobs(&scratch, "x"), kept);
    assert_eq!(scratch.read("x/unrelated"), "not ours");
    scratch.ok("rm --image x:a");
    scratch.ok("gc --layout x");
    assert!(blobs(&scratch, "x").is_empty());
    scratch.ok("gc --layout x");
}

#[test]
fn a_dry_run_lists_digests_and_sizes_and_removes_nothing() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let digest = put(&scratch.path("x"), b"garbage");
    let before = blobs(&scratch, "x");
    assert_eq!(
        scratch.ok("gc --layout x --dry-run"),
        format!("{digest} 7\n")
    );
    let report: Value =
        serde_json::from_str(&scratch.ok("gc --layout x --dry-run --json")).unwrap();
    assert_eq!(
        report,
        json!({"schema_version": 1, "blobs": [{"digest": digest, "size": 7}], "scratch": [], "missing": [], "foreign": []})
    );
    assert_eq!(blobs(&scratch, "x"), before);
    let done: Value = serde_json::from_str(&scratch.ok("gc --layout x --json")).unwrap();
    assert_eq!(done, report);
    assert_eq!(blobs(&scratch, "x").len(), before.len() - 1);
    assert_eq!(scratch.ok("gc --layout x --dry-run"), "");
}

/// umoci takes manifests of other types for opaque blobs, and deletes what they refer to.
#[test]
fn images_of_docker_types_keep_their_layers() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let layout = scratch.path("x");
    let mut image = Image::new(json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}
    }));
    image.config_type = "application/vnd.docker.container.image.v1+json";
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    image.members.push(("mediaType", json!(docker)));
    image.store(&layout, "a");
    let mut index = scratch.read_json("x/index.json");
    index["manifests"][0]["mediaType"] = json!(docker);
    scratch.write("x/index.json", index.to_string());
    let before = blobs(&scratch, "x");
    // Understanding the type or refusing to work are both right.
    scratch.run("gc --layout x");
    assert_eq!(blobs(&scratch, "x"), before);
}

#[test]
fn what_is_missing_or_foreign_is_told_and_the_rest_is_done() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let manifest = scratch.read_json("x/index.json")["manifests"][0]["digest"].clone();
    let manifest = manifest.as_str().unwrap();
    let blob = manifest.trim_start_matches("sha256:");
    fs::remove_file(scratch.path("x/blobs/sha256").join(blob)).unwrap();
    scratch.write("x/blobs/sha256/.DS_Store", "");
    put(&scratch.path("x"), b"garbage");
    let outcome = scratch.run("gc --layout x");
    let talk = outcome.stderr;
    assert_eq!(outcome.code, 0, "{talk}");
    for words in [manifest, "blobs/sha256/.DS_Store"] {
        assert!(talk.contains(words), "{talk}");
    }
    assert_eq!(blobs(&scratch, "x").len(), 1, "the file that is no blob");
}
