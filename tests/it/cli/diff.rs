//! `diff`

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::{Value, json};

use crate::support::{Layer, Scratch, store_layers};

/// Tags `a`, `b` (one more layer) and `c` (the same files as `b`, in one layer).
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let layout = scratch.path("x");
    let base = Layer::default()
        .dir("d")
        .file("d/gone", "123")
        .file("d/same", "s")
        .file("d/grown", "1")
        .file("d-x", "");
    let upper = Layer::default()
        .file("d/.wh.gone", "")
        .file("d/grown", "12")
        .file("d/new", "1234")
        .dir("d-x");
    store_layers(&layout, "a", std::slice::from_ref(&base));
    store_layers(&layout, "b", &[base, upper]);
    let flat = Layer::default()
        .dir("d")
        .file("d/same", "s")
        .file("d/grown", "12")
        .file("d/new", "1234")
        .dir("d-x");
    store_layers(&layout, "c", &[flat]);
    scratch
}

#[test]
fn two_tags_differ_by_paths() {
    let scratch = scratch();
    let lines = "D /d/gone\nC /d/grown\nA /d/new\nC /d-x\n";
    assert_eq!(scratch.ok("diff --image x:a x:b"), lines);
    assert_eq!(scratch.ok("diff --image x:a x:c"), lines);
    let back = "A /d/gone\nC /d/grown\nD /d/new\nC /d-x\n";
    assert_eq!(scratch.ok("diff --image x:b x:a"), back);
    assert_eq!(scratch.ok("diff --image x:b x:c"), "");
    assert_eq!(scratch.ok("diff --image x:b x:b"), "");
    assert_eq!(
        scratch.ok("diff --image x:a --sizes x:b"),
        "D           -3 /d/gone\n\
         C           +1 /d/grown\n\
         A           +4 /d/new\n\
         C           +0 /d-x\n"
    );
    assert_eq!(
        scratch.ok("diff --image x:a --summary x:b"),
        "A        1 4B\nC        2 1B to 2B\nD        1 3B\n"
    );
}

#[test]
fn what_is_no_other_image_is_an_error_that_says_how_to_name_one() {
    let scratch = scratch();
    fs::create_dir(scratch.path("bundle")).unwrap();
    for (other, reason) in [
        ("b", "open image layout b: "),
        ("bundle", "open image layout bundle: "),
        ("x:none", "hint: the image layout has the tags a, b, c"),
    ] {
        let said = scratch.fails(&format!("diff --image x:a {other}"));
        assert!(said.contains(reason), "{said}");
        assert!(said.contains("a bundle with --bundle"), "{said}");
    }
}

#[test]
fn the_exit_code_tells_only_when_it_is_asked_to() {
    let scratch = scratch();
    let outcome = scratch.run("diff --exit-code --image x:a x:b");
    assert_eq!((outcome.code, &*outcome.stderr), (1, ""));
    assert!(outcome.stdout.starts_with("D /d/gone\n"));
    scratch.ok("diff --exit-code --image x:b x:c");
    scratch.fails("diff --image x:a");
    scratch.fails("diff --image x:a x:none");
    scratch.fails("diff --image x:a --bundle none");
    assert_eq!(scratch.run("diff --image x:a --bundle b x:b").code, 1);
}

#[test]
fn json_says_what_has_changed() {
    let scratch = scratch();
    let lines = scratch.ok("diff --json --image x:a x:b");
    let changes: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let file = |size: u64| json!({"type": "file", "size": size});
    assert_eq!(
        Value::from(changes),
        json!([
            {"path": "/d/gone", "status": "deleted", "old": file(3)},
            {"path": "/d/grown", "status": "changed", "old": file(1), "new": file(2),
             "changed": ["size", "content"]},
            {"path": "/d/new", "status": "added", "new": file(4)},
            {"path": "/d-x", "status": "changed", "old": file(0),
             "new": {"type": "directory", "size": 0}, "changed": ["type", "mode"]},
        ])
    );
    let summary: Value =
        serde_json::from_str(&scratch.ok("diff --json --summary --image x:a x:b")).unwrap();
    assert_eq!(
        summary["changed"],
        json!({"paths": 2, "old_size": 1, "new_size": 2})
    );
}

#[test]
fn hard_links_and_targets_count_too() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let files = Layer::default()
        .file("a", "1")
        .file("b", "1")
        .symlink("s", "a");
    let linked = Layer::default()
        .file("a", "1")
        .link("b", "a")
        .symlink("s", "b");
    store_layers(&scratch.path("x"), "a", &[files]);
    store_layers(&scratch.path("x"), "b", &[linked]);
    let lines = scratch.ok("diff --json --image x:a x:b");
    let changed: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["changed"].clone())
        .collect();
    assert_eq!(
        changed,
        [
            json!(["hardlinks"]),
            json!(["hardlinks"]),
            json!(["target"])
        ]
    );
}

/// Flags by which the caller can unpack and owns everything.
fn maps(scratch: &Scratch) -> String {
    let own = fs::metadata(scratch.path("x")).unwrap();
    format!("--uid-map 0:{} --gid-map 0:{}", own.uid(), own.gid())
}

#[test]
fn a_bundle_differs_by_what_was_done_to_it() {
    let scratch = scratch();
    let maps = maps(&scratch);
    scratch.ok(&format!("unpack --image x:a {maps} bundle"));
    scratch.ok(&format!("unpack --image x:b {maps} other"));
    // By the record, and by the layers of another image.
    assert_eq!(scratch.ok("diff --image x:a --bundle bundle"), "");
    let lines = "D /d/gone\nC /d/grown\nA /d/new\nC /d-x\n";
    assert_eq!(scratch.ok("diff --image x:a --bundle other"), lines);
    assert_eq!(scratch.ok("diff --image x:c --bundle other"), "");

    fs::write(scratch.path("bundle/rootfs/d/grown"), "2").unwrap();
    fs::write(scratch.path("bundle/rootfs/d/new"), "22").unwrap();
    fs::remove_file(scratch.path("bundle/rootfs/d/gone")).unwrap();
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(scratch.path("bundle/rootfs/d/same"), mode).unwrap();
    let lines = "C /d\nD /d/gone\nC /d/grown\nA /d/new\nC /d/same\n";
    assert_eq!(scratch.ok("diff --image x:a --bundle bundle"), lines);
    let sizes = scratch.ok("diff --sizes --image x:a --bundle bundle");
    assert!(sizes.contains("\nD           -3 /d/gone\n"), "{sizes}");
    assert!(sizes.contains("\nA           +2 /d/new\n"), "{sizes}");
    // Without the record the layers tell the same.
    for name in fs::read_dir(scratch.path("bundle")).unwrap() {
        let path = name.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "mtree")
        {
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(scratch.ok("diff --image x:a --bundle bundle"), lines);
    let changed = scratch.ok("diff --json --image x:a --bundle bundle");
    assert!(changed.contains(r#""changed":["mode"]"#), "{changed}");
}

/// Layers have whole seconds, the disk has more.
#[test]
fn what_has_been_repacked_is_no_difference_any_more() {
    let scratch = scratch();
    let maps = maps(&scratch);
    scratch.ok(&format!("unpack --image x:a {maps} bundle"));
    let rootfs = scratch.path("bundle/rootfs");
    fs::write(rootfs.join("d/new"), "22").unwrap();
    fs::remove_file(rootfs.join("d/gone")).unwrap();
    let time = filetime::FileTime::from_unix_time(1_700_000_000, 123_456_789);
    for path in ["d/new", "d", ""] {
        filetime::set_file_mtime(rootfs.join(path), time).unwrap();
    }
    scratch.ok("repack --image x:new bundle");
    assert_eq!(scratch.ok("diff --image x:new --bundle bundle"), "");
    let later = filetime::FileTime::from_unix_time(1_700_000_001, 0);
    filetime::set_file_mtime(rootfs.join("d/new"), later).unwrap();
    assert_eq!(
        scratch.ok("diff --image x:new --bundle bundle"),
        "C /d/new\n"
    );
}

#[test]
fn what_has_become_another_type_is_told_alike_by_record_and_layers() {
    let scratch = scratch();
    let maps = maps(&scratch);
    let before = Layer::default()
        .dir("dir")
        .file("file", "1")
        .symlink("link", "x")
        .file("linked", "")
        .link("linked2", "linked");
    store_layers(&scratch.path("x"), "t", &[before]);
    scratch.ok(&format!("unpack --image x:t {maps} bundle"));
    let path = |name: &str| scratch.path(format!("bundle/rootfs/{name}"));
    fs::remove_dir(path("dir")).unwrap();
    fs::write(path("dir"), "a file").unwrap();
    fs::remove_file(path("file")).unwrap();
    std::os::unix::fs::symlink("x", path("file")).unwrap();
    fs::remove_file(path("link")).unwrap();
    std::os::unix::fs::symlink("longer", path("link")).unwrap();
    fs::remove_file(path("linked")).unwrap();
    fs::create_dir(path("linked")).unwrap();
    let by_record = scratch.ok("diff --json --image x:t --bundle bundle");
    scratch.ok("repack --image x:new bundle");
    let by_layers = scratch.ok("diff --json --image x:t x:new");
    assert_eq!(by_record, by_layers);
    for (path, changed) in [
        ("dir", r#"["type","mode","mtime"]"#),
        ("link", r#"["mtime","target"]"#),
    ] {
        let start = format!("{{\"path\":\"/{path}\"");
        let mut lines = by_record.lines();
        let line = lines.find(|line| line.starts_with(&start)).unwrap();
        assert!(
            line.ends_with(&format!("\"changed\":{changed}}}")),
            "{line}"
        );
    }
}

#[test]
fn a_new_name_of_a_file_does_not_change_its_content() {
    let scratch = scratch();
    let maps = maps(&scratch);
    scratch.ok(&format!("unpack --image x:a {maps} bundle"));
    let file = |name: &str| scratch.path(format!("bundle/rootfs/d/{name}"));
    for name in ["a", "z"] {
        fs::hard_link(file("same"), file(name)).unwrap();
    }
    // By the layers: the other image has the same files.
    let lines = scratch.ok("diff --json --image x:c --bundle bundle");
    let same = lines.lines().find(|line| line.contains("/d/same")).unwrap();
    assert!(same.contains(r#""changed":["hardlinks"]"#), "{same}");
}

#[test]
fn a_rootless_bundle_is_compared_with_what_it_could_keep() {
    let scratch = scratch();
    let layout = scratch.path("x");
    let devices = Layer::default()
        .entry(b"null", tar::EntryType::Char, "", b"")
        .symlink("s", "null");
    store_layers(&layout, "dev", std::slice::from_ref(&devices));
    store_layers(&layout, "same", &[devices, Layer::default()]);
    scratch.run("unpack --rootless --image x:dev devices");
    assert_eq!(scratch.ok("diff --image x:same --bundle devices"), "");
    scratch.ok("unpack --rootless --image x:b bundle");
    assert_eq!(scratch.ok("diff --image x:b --bundle bundle"), "");
    assert_eq!(scratch.ok("diff --image x:c --bundle bundle"), "");
}
