//! `squash`

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::support::{Layer, Scratch, store_layers};

fn layers() -> [Layer; 3] {
    [
        Layer::default()
            .dir("d")
            .file("d/gone", "1")
            .file("d/kept", "1")
            .link("d/link", "d/kept")
            .file("both", "1"),
        Layer::default()
            .file("d/.wh.gone", "")
            .file("passing", "2")
            .file("both", "2")
            .dir("d/sub"),
        Layer::default()
            .file(".wh.passing", "")
            .symlink("s", "d")
            .file("d/.wh.link", "")
            .file("s/through", "3")
            .link("again", "d/kept"),
    ]
}

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    store_layers(&scratch.path("x"), "a", &layers());
    scratch
}

/// The bundle's files: path, mode, size or target, link count, time, content.
fn tree(scratch: &Scratch, image: &str) -> Vec<String> {
    let own = fs::metadata(scratch.path("x")).unwrap();
    let (uid, gid) = (own.uid(), own.gid());
    let root = scratch.path("rootfs");
    scratch.ok(&format!(
        "raw unpack --image {image} --uid-map 0:{uid} --gid-map 0:{gid} rootfs"
    ));
    let walk = walkdir::WalkDir::new(&root).sort_by_file_name();
    let lines = walk.into_iter().map(|found| {
        let found = found.unwrap();
        let path = found.path();
        let stat = fs::symlink_metadata(path).unwrap();
        let content = if stat.is_file() {
            fs::read(path).unwrap()
        } else if stat.is_symlink() {
            fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            Vec::new()
        };
        let links = if stat.is_dir() { 0 } else { stat.nlink() };
        let time = (stat.mtime(), stat.mtime_nsec());
        let path = path.strip_prefix(&root).unwrap();
        let path = path.display();
        format!("{path} {:o} {links} {time:?} {content:?}", stat.mode())
    });
    let lines = lines.collect();
    fs::remove_dir_all(&root).unwrap();
    lines
}

fn stat(scratch: &Scratch, image: &str) -> Value {
    serde_json::from_str(&scratch.ok(&format!("stat --json --image {image}"))).unwrap()
}

#[test]
fn the_root_file_system_stays_and_the_layers_become_one() {
    let scratch = scratch();
    let before = tree(&scratch, "x:a");
    for (flags, count) in [("", 1), ("--last 1", 3), ("--last 2", 2), ("--last 3", 1)] {
        scratch.ok(&format!("squash --image x:a --tag b {flags}"));
        assert_eq!(tree(&scratch, "x:b"), before, "{flags}");
        let stat = stat(&scratch, "x:b");
        let layers = stat["manifest"]["blob"]["layers"].as_array().unwrap();
        assert_eq!(layers.len(), count, "{flags}");
        let ids = stat["config"]["blob"]["rootfs"]["diff_ids"]
            .as_array()
            .unwrap();
        assert_eq!(ids.len(), count, "{flags}");
        assert_eq!(scratch.ok("diff --image x:a x:b"), "", "{flags}");
        let findings: Value =
            serde_json::from_str(&scratch.ok("validate --json --image x:b")).unwrap();
        assert_eq!(findings["findings"], json!([]), "{flags}");
    }
    // The image itself is another tag's business until it is asked for.
    assert_eq!(
        stat(&scratch, "x:a")["manifest"]["blob"]["layers"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    scratch.ok("squash --image x:a");
    assert_eq!(
        stat(&scratch, "x:a")["manifest"]["blob"]["layers"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn the_same_image_gives_the_same_layer() {
    let scratch = scratch();
    let mut digests = Vec::new();
    for tag in ["b", "c"] {
        scratch.ok(&format!(
            "squash --image x:a --tag {tag} --last 2 --history.created 2020-01-01T00:00:00Z"
        ));
        digests
            .push(stat(&scratch, &format!("x:{tag}"))["manifest"]["descriptor"]["digest"].clone());
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn the_history_keeps_its_steps_and_gets_one_more() {
    let scratch = scratch();
    scratch.ok(
        "squash --image x:a --tag b --last 2 --history.created 2020-01-01T00:00:00Z --history.comment why",
    );
    let stat = stat(&scratch, "x:b");
    assert_eq!(
        stat["config"]["blob"]["history"],
        json!([
            {"created_by": "step 0"},
            {"created_by": "step 1", "empty_layer": true},
            {"created_by": "step 2", "empty_layer": true},
            {"created": "2020-01-01T00:00:00Z", "created_by": "bundle squash", "comment": "why"},
        ])
    );
    assert_eq!(
        stat["history"][3]["layer"],
        stat["manifest"]["blob"]["layers"][1]
    );
}

#[test]
fn what_is_no_number_is_named() {
    let scratch = scratch();
    let image = "squash --image x:a";
    for (flag, value) in [("--last", "-1"), ("--last", "x"), ("--compress-level", "")] {
        let said = scratch.fails(&format!("{image} {flag}={value}"));
        assert!(
            said.contains(&format!("invalid {flag}: {value:?}: ")),
            "{said}"
        );
    }
}

#[test]
fn a_number_of_layers_that_is_not_there_changes_nothing() {
    let scratch = scratch();
    let before = scratch.read("x/index.json");
    for flags in [
        "--last 0",
        "--last 4",
        "--last x",
        "--history.created yesterday",
    ] {
        scratch.fails(&format!("squash --image x:a {flags}"));
    }
    scratch.ok("new --image x:empty");
    let said = scratch.fails("squash --image x:empty");
    assert!(
        said.contains("squash 0 layers of an image that has 0"),
        "{said}"
    );
    scratch.ok("rm --image x:empty");
    assert_eq!(
        scratch.read_json("x/index.json"),
        serde_json::from_str::<Value>(&before).unwrap()
    );
}
