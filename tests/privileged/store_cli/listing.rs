//! What is listed, inspected, measured and probed; containers and names that come and go.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Fixture;
use crate::machine::{names_in, said};

#[test]
#[ignore = "needs root: mounts"]
fn an_image_is_listed_inspected_and_measured() {
    let fixture = Fixture::filled();
    let listed = fixture.json(&["store", "ls"]);
    assert_eq!(listed[0]["names"][0], fixture.image.as_str());
    assert_eq!(listed[0]["layers"], 3);
    let table = fixture.tool(&["store", "ls"]).succeed();
    assert!(
        table.starts_with("NAME ") && table.contains(&fixture.image),
        "{table}"
    );
    for (kind, count) in [
        ("layers", 4),
        ("chains", 1),
        ("containers", 0),
        ("mounts", 0),
    ] {
        let listed = fixture.json(&["store", "ls", kind]);
        assert_eq!(listed.as_array().unwrap().len(), count, "{kind}");
        let table = fixture.tool(&["store", "ls", kind]).succeed();
        assert_eq!(table.lines().count(), count + 1, "{kind}");
    }
    let inspected = fixture.json(&["store", "inspect", &fixture.image]);
    let layers = inspected["chain"]["layers"].as_array().unwrap();
    let kinds: Vec<_> = layers.iter().map(|layer| &layer["kind"]).collect();
    assert_eq!(kinds, ["plain", "variant", "plain"]);
    for layer in layers {
        assert!(Path::new(layer["path"].as_str().unwrap()).is_dir());
    }
    assert!(Path::new(inspected["chain"]["patch"]["path"].as_str().unwrap()).is_dir());
    let chain = inspected["chain"]["chain_id"].as_str().unwrap();
    assert_eq!(
        fixture.json(&["store", "inspect", chain])["chain"],
        inspected["chain"]
    );
    let layer = fixture.json(&["store", "inspect", layers[0]["id"].as_str().unwrap()]);
    assert_eq!(layer["chains"][0], chain);
    let usage = fixture.json(&["store", "usage"]);
    assert!(usage["total"]["bytes"].as_u64().unwrap() > 10_000);
    assert_eq!(usage["images"][0]["shared"]["bytes"], 0);
    let status = fixture.json(&["store", "status", "--usage"]);
    assert_eq!(
        (&status["version"], &status["marks"]),
        (&1.into(), &"trusted".into())
    );
    assert_eq!(
        (&status["images"], &status["layers"]),
        (&1.into(), &4.into())
    );
    assert_eq!(status["usage"], usage["total"]);
    assert_eq!(status["features"]["overlay"]["works"], true);
    assert_eq!(fixture.json(&["store", "version"])["store"], 1);
}

#[test]
#[ignore = "needs root: mounts"]
fn a_container_is_prepared_mounted_unmounted_and_removed() {
    let fixture = Fixture::filled();
    let made = fixture.json(&["store", "prepare", "--key", "box", &fixture.image]);
    assert_eq!(made["key"], "box");
    assert_eq!(
        fixture.fails(&["store", "prepare", "--key", "box", &fixture.image])["reason"],
        "key-exists"
    );
    let target = fixture.directory("root");
    let mount = |target: &Path| fixture.tool(&["store", "mount", "box"]).arg(target);
    mount(&target).succeed();
    // A second time is fine, elsewhere is not.
    mount(&target).succeed();
    let other = fixture.directory("other");
    let output = mount(&other).output();
    assert!(said(&output).contains("mounted on"), "{}", said(&output));
    fs::write(target.join("new"), "x").unwrap();
    let inspected = fixture.json(&["store", "inspect", "box"]);
    let upper = inspected["container"]["upper"].as_str().unwrap();
    assert_eq!(names_in(Path::new(upper)), ["new"]);
    assert!(Path::new(inspected["container"]["work"].as_str().unwrap()).is_dir());
    assert_eq!(
        inspected["container"]["mount"]["target"],
        target.to_str().unwrap()
    );
    assert_eq!(inspected["mounts"][0]["key"], "box");
    assert_eq!(
        fixture.fails(&["store", "remove", "box"])["reason"],
        "in-use"
    );
    let error = fixture.fails(&["store", "remove", &fixture.image]);
    assert_eq!(error["reason"], "in-use");
    assert!(
        error["error"].as_str().unwrap().contains("container box"),
        "{error}"
    );
    let unmounted = fixture.json(&["store", "umount", "box"]);
    assert_eq!(unmounted["target"], target.to_str().unwrap());
    assert_eq!(
        fixture.json(&["store", "umount", "box"])["unmounted"],
        false
    );
    assert!(names_in(&target).is_empty());
    fixture
        .tool(&["store", "rm", "box", &fixture.image])
        .succeed();
    assert_eq!(fixture.json(&["store", "ls"]), Value::Array(vec![]));
    assert_eq!(
        fixture.fails(&["store", "inspect", "box"])["reason"],
        "image-unknown"
    );
    let freed = fixture.json(&["store", "gc"]);
    assert_eq!(freed["layers"].as_array().unwrap().len(), 4);
    assert!(names_in(&fixture.path("store/layers/sha256")).is_empty());
}

#[test]
#[ignore = "needs root: mounts"]
fn names_move_and_images_without_one_stay() {
    let fixture = Fixture::filled();
    fixture
        .tool(&["store", "tag", &fixture.image, "example.org/x:1"])
        .succeed();
    let digest = fixture.json(&["store", "ls"])[0]["digest"].clone();
    let found = fixture.json(&["store", "inspect", "example.org/x:1"]);
    assert_eq!(found["image"]["digest"], digest);
    fixture
        .tool(&["store", "untag", "example.org/x:1"])
        .succeed();
    fixture.tool(&["store", "untag", &fixture.image]).succeed();
    assert_eq!(
        fixture.fails(&["store", "untag", "none"])["reason"],
        "tag-not-found"
    );
    let listed = fixture.tool(&["store", "ls"]).succeed();
    assert!(listed.contains("<none>"), "{listed}");
    fixture
        .tool(&["store", "gc", "--all", "--dry-run"])
        .succeed();
    assert_eq!(fixture.json(&["store", "ls"]).as_array().unwrap().len(), 1);
    let freed = fixture.json(&["store", "gc", "--all"]);
    assert_eq!(freed["images"][0], digest);
}

#[test]
#[ignore = "needs root: mounts"]
fn a_shutdown_unmounts_what_nobody_uses_and_says_who_uses_the_rest() {
    let fixture = Fixture::filled();
    let (idle, busy) = (fixture.directory("idle"), fixture.directory("busy"));
    for target in [&idle, &busy] {
        fixture
            .tool(&["store", "mount", &fixture.image])
            .arg(target)
            .succeed();
    }
    fs::create_dir(fixture.path("store/trash/t-left")).unwrap();
    let held = fs::File::open(busy.join("data")).unwrap();
    let output = fixture.tool(&["store", "shutdown", "--json"]).output();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["unmounted"][0]["target"], idle.to_str().unwrap());
    assert_eq!(report["busy"][0]["target"], busy.to_str().unwrap());
    let why = report["busy"][0]["why"].as_str().unwrap();
    assert!(why.contains(&std::process::id().to_string()), "{why}");
    assert!(names_in(&fixture.path("store/trash")).is_empty());
    drop(held);
    fixture.tool(&["store", "shutdown"]).succeed();
    assert_eq!(
        fixture.json(&["store", "ls", "mounts"]),
        Value::Array(vec![])
    );
}

#[test]
#[ignore = "needs root: mounts"]
fn a_probe_tells_of_the_nearest_directory_and_leaves_nothing() {
    let fixture = Fixture::new();
    let near = fixture.directory("near");
    let store = near.join("a/b").display().to_string();
    let probe = ["store", "probe", "--store", &store];
    let text = fixture.scratch.tool(&probe).args(&["--json"]).succeed();
    let probed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(probed["path"], near.to_str().unwrap());
    assert_eq!(probed["overlay"]["works"], true);
    let mut answers = probed.as_object().unwrap().values();
    assert!(
        answers.all(
            |answer| answer["works"] != false || !answer["reason"].as_str().unwrap().is_empty()
        )
    );
    assert!(names_in(&near).is_empty());
    let text = fixture.scratch.tool(&probe).succeed();
    assert!(text.contains("\noverlay: yes\n"), "{text}");
}
