//! init, new, tag, list and remove on real layouts.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Image, Outcome, Scratch};

#[test]
fn init_writes_these_bytes() {
    let scratch = Scratch::new();
    // Through a shell for a known umask.
    let binary = env!("CARGO_BIN_EXE_bundle");
    let status = std::process::Command::new("/bin/sh")
        .args(["-c", "umask 022; exec \"$0\" init --layout a/b/c", binary])
        .current_dir(scratch.path(""))
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(
        scratch.read("a/b/c/oci-layout"),
        "{\"imageLayoutVersion\":\"1.0.0\"}\n"
    );
    assert_eq!(
        scratch.read("a/b/c/index.json"),
        "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}\n"
    );
    let mode = |name: &str| {
        fs::metadata(scratch.path(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(mode("a/b/c"), 0o755);
    assert_eq!(mode("a/b/c/blobs/sha256"), 0o755);
    assert_eq!(mode("a/b/c/oci-layout"), 0o644);
    assert_eq!(mode("a/b/c/index.json"), 0o644);
    let mut names: Vec<_> = fs::read_dir(scratch.path("a/b/c"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn init_refuses_whatever_is_in_the_way() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("directory")).unwrap();
    scratch.write("file", "x");
    std::os::unix::fs::symlink("nowhere", scratch.path("link")).unwrap();
    for name in ["directory", "file", "link"] {
        scratch.fails(&format!("init --layout {name}"));
    }
    assert!(!scratch.path("nowhere").exists());
    assert_eq!(scratch.read("file"), "x");
    assert_eq!(fs::read_dir(scratch.path("directory")).unwrap().count(), 0);
}

#[test]
fn new_needs_a_layout_and_replaces_a_tag() {
    let scratch = Scratch::new();
    scratch.fails("new --image x:a");
    assert!(!scratch.path("x").exists());
    scratch.layout("x", &["a", "b", "a"]);
    assert_eq!(scratch.ok("ls --layout x"), "b\na\n");
    scratch.ok("validate --layout x");
}

#[test]
fn new_takes_its_time_from_the_environment() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let new = |epoch: &str| {
        Outcome::of(
            scratch
                .command(["new", "--image", "x:a"])
                .env("SOURCE_DATE_EPOCH", epoch),
        )
    };
    let created = || {
        let stat: Value = serde_json::from_str(&scratch.ok("stat --json --image x:a")).unwrap();
        stat["config"]["blob"]["created"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(new("1234567890").code, 0);
    assert_eq!(created(), "2009-02-13T23:31:30Z");
    let index = scratch.read("x/index.json");
    // The same again is the same bytes, whenever it is done.
    assert_eq!(new("1234567890").code, 0);
    assert_eq!(scratch.read("x/index.json"), index);
    for bad in [
        "yesterday",
        "1.5",
        "9223372036854775807",
        // The year before the year 0.
        "-62167219201",
    ] {
        let outcome = new(bad);
        assert_eq!((outcome.code, &*outcome.stdout), (1, ""), "{bad}");
        assert!(
            outcome.stderr.contains("SOURCE_DATE_EPOCH"),
            "{}",
            outcome.stderr
        );
        assert_eq!(scratch.read("x/index.json"), index);
    }
    assert_eq!(new("").code, 0);
    assert_ne!(created(), "2009-02-13T23:31:30Z");
}

#[test]
fn tag_copies_a_reference_to_the_end_of_the_index() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a", "b"]);
    scratch.ok("tag --image x:a c");
    assert_eq!(scratch.ok("ls --layout x"), "a\nb\nc\n");
    scratch.ok("tag --image x:b a");
    assert_eq!(scratch.ok("list --layout x"), "b\nc\na\n");
    let index = scratch.read_json("x/index.json");
    let digest = |at: usize| index["manifests"][at]["digest"].clone();
    assert_eq!(digest(0), digest(2));
    assert_eq!(
        index["manifests"][2]["annotations"],
        json!({"org.opencontainers.image.ref.name": "a"})
    );
    scratch.ok("validate --layout x");
}

#[test]
fn tag_needs_an_existing_tag_and_says_which() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let before = scratch.read("x/index.json");
    let said = scratch.fails("tag --image x:missing b");
    assert!(said.contains("tag not found: missing"), "{said}");
    assert_eq!(scratch.read("x/index.json"), before);
    // The layout alone names the only image.
    scratch.ok("tag --image x b");
    assert_eq!(scratch.ok("ls --layout x"), "a\nb\n");
}

#[test]
fn remove_takes_every_entry_of_that_name_and_minds_none() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a", "b"]);
    let mut index = scratch.read_json("x/index.json");
    let first = index["manifests"][0].clone();
    index["manifests"].as_array_mut().unwrap().push(first);
    scratch.write("x/index.json", index.to_string());
    let listed = scratch.run("ls --layout x");
    assert_eq!(listed.stdout, "a\nb\n");
    assert!(
        listed.stderr.contains("a stands 2 times"),
        "{}",
        listed.stderr
    );
    scratch.ok("rm --image x:a");
    assert_eq!(scratch.ok("ls --layout x"), "b\n");
    scratch.ok("remove --image x:a");
    scratch.ok("rm --image x:never-there");
    assert_eq!(scratch.ok("ls --layout x"), "b\n");
}

#[test]
fn list_skips_entries_without_a_name() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    assert_eq!(scratch.ok("ls --layout x"), "");
    scratch.layout("y", &["a", "b"]);
    let mut index = scratch.read_json("y/index.json");
    index["manifests"][0]
        .as_object_mut()
        .unwrap()
        .remove("annotations");
    scratch.write("y/index.json", index.to_string());
    let listed = scratch.run("ls --layout y");
    assert_eq!((listed.code, &*listed.stdout), (0, "b\n"));
    assert!(
        listed.stderr.contains("without a tag: 1"),
        "{}",
        listed.stderr
    );
}

#[test]
fn an_error_of_writing_names_the_layout() {
    let scratch = Scratch::new();
    scratch.layout("dir/x", &[]);
    fs::remove_dir_all(scratch.path("dir/x/blobs/sha256")).unwrap();
    scratch.write("dir/x/blobs/sha256", "in the way");
    let said = scratch.fails("new --image dir/x:a");
    let expected = "make new image a: lock image layout dir/x: ";
    assert!(said.contains(expected), "{said}");
    assert_eq!(scratch.ok("ls --layout dir/x"), "");
}

#[test]
fn what_is_no_layout_is_refused_by_every_command() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("empty")).unwrap();
    scratch.layout("future", &["a"]);
    scratch.write("future/oci-layout", "{\"imageLayoutVersion\":\"2.0.0\"}\n");
    for layout in ["empty", "future", "nowhere"] {
        for line in [
            "new --image L:a",
            "tag --image L:a b",
            "ls --layout L",
            "rm --image L:a",
            "stat --image L:a",
            "gc --layout L",
            "validate --layout L",
            "raw runtime-config --image L:a config.json",
        ] {
            scratch.fails(&line.replace('L', layout));
        }
    }
    assert!(!scratch.path("config.json").exists());
    assert_eq!(fs::read_dir(scratch.path("empty")).unwrap().count(), 0);
}

/// umoci drops members that it does not know whenever it rewrites a document.
#[test]
fn members_that_nobody_knows_survive_tag_remove_and_new() {
    let scratch = Scratch::new();
    scratch.layout("x", &["gone"]);
    Image::new(json!({
        "architecture": "amd64", "os": "linux", "config": {"Healthcheck": {"Test": ["NONE"]}},
        "rootfs": {"type": "layers", "diff_ids": []}
    }))
    .store(&scratch.path("x"), "a");
    let mut index = scratch.read_json("x/index.json");
    index["org.example.extra"] = json!({"z": 1, "a": [null, 1.5]});
    index["manifests"][1]["org.example.entry"] = json!("kept");
    index["manifests"].as_array_mut().unwrap().push(json!({
        "mediaType": "application/vnd.example.thing",
        "digest": format!("sha256:{}", "0".repeat(64)),
        "size": 7,
        "org.example.other": true,
    }));
    scratch.write("x/index.json", index.to_string());
    scratch.ok("tag --image x:a b");
    scratch.ok("rm --image x:gone");
    scratch.ok("new --image x:c");
    let after = scratch.read_json("x/index.json");
    assert_eq!(after["org.example.extra"], index["org.example.extra"]);
    assert_eq!(after["manifests"][0], index["manifests"][1]);
    assert_eq!(after["manifests"][1], index["manifests"][2]);
    assert_eq!(scratch.run("ls --layout x").stdout, "a\nb\nc\n");
}
