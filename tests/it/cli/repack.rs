//! `repack`, as any user.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::{Layer, Scratch, store_layers};

/// A layout `x` with the tag `a`, of two layers, and a bundle `b` of it.
fn unpacked() -> Scratch {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let base = Layer::default()
        .dir("./")
        .dir("d")
        .file("d/f", "one")
        .file("d/gone", "gone")
        .symlink("link", "d");
    let upper = Layer::default().file("g", "two").link("h", "g");
    store_layers(&scratch.path("x"), "a", &[base, upper]);
    scratch.ok("unpack --rootless --image x:a b");
    scratch
}

fn layers(scratch: &Scratch, image: &str) -> Vec<Value> {
    let text = scratch.ok(&format!("layers --json --image {image}"));
    serde_json::from_str(&text).unwrap()
}

fn history(scratch: &Scratch, image: &str) -> Vec<Value> {
    let text = scratch.ok(&format!("stat --json --image {image}"));
    let stat: Value = serde_json::from_str(&text).unwrap();
    stat["history"].as_array().unwrap().clone()
}

/// Everything in the layout and the bundle: names, and content that is not of the root file system.
fn state(scratch: &Scratch) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for directory in ["x", "x/blobs/sha256", "b"] {
        for entry in fs::read_dir(scratch.path(directory)).unwrap() {
            let path = entry.unwrap().path();
            let content = fs::read(&path).unwrap_or_default();
            found.push((path, content));
        }
    }
    found.sort();
    found
}

#[test]
fn what_has_changed_becomes_a_layer() {
    let scratch = unpacked();
    scratch.write("b/rootfs/d/f", "ONE");
    scratch.write("b/rootfs/d/new", "new");
    fs::remove_file(scratch.path("b/rootfs/d/gone")).unwrap();
    fs::remove_file(scratch.path("b/rootfs/h")).unwrap();
    let outcome = scratch.run(
        "repack --image x:b b --history.author me --history.comment why --history.created 2020-01-01T00:00:00Z",
    );
    assert_eq!(
        (outcome.code, &*outcome.stdout, &*outcome.stderr),
        (0, "", "")
    );
    scratch.ok("validate --layout x");
    assert_eq!(
        scratch.ok("diff --image x:a x:b"),
        "C /\nC /d\nC /d/f\nD /d/gone\nA /d/new\nC /g\nD /h\n"
    );
    let (old, new) = (layers(&scratch, "x:a"), layers(&scratch, "x:b"));
    assert_eq!(new[..2], old[..]);
    assert_eq!(
        new[2]["history"],
        json!({"created": "2020-01-01T00:00:00Z", "created_by": "umoci repack", "author": "me", "comment": "why"})
    );
    // The bundle is still one of the image below, and says the same again.
    scratch.ok("repack --image x:c b");
    let again = layers(&scratch, "x:c");
    assert_eq!(again.len(), 3);
    assert_eq!(again[2]["diff_id"], new[2]["diff_id"]);
    scratch.ok("unpack --rootless --image x:b again");
    assert_eq!(scratch.read("again/rootfs/d/f"), "ONE");
    assert!(!scratch.path("again/rootfs/h").exists());
}

#[test]
fn without_a_change_there_is_an_entry_in_the_history_or_nothing() {
    let scratch = unpacked();
    scratch.ok("config --image x:a --author somebody");
    fs::remove_dir_all(scratch.path("b")).unwrap();
    scratch.ok("unpack --rootless --image x:a b");
    scratch.ok("repack --image x:b b");
    assert_eq!(layers(&scratch, "x:a"), layers(&scratch, "x:b"));
    let (old, mut new) = (history(&scratch, "x:a"), history(&scratch, "x:b"));
    let step = new.pop().unwrap();
    assert_eq!(new, old);
    assert_eq!(step["created_by"], "umoci repack");
    assert_eq!(step["empty_layer"], true);
    assert_eq!(step["author"], "somebody", "the image's author by default");
    scratch.ok("repack --no-history --image x:c b");
    let digest = |image: &str| {
        let text = scratch.ok(&format!("stat --json --image {image}"));
        let stat: Value = serde_json::from_str(&text).unwrap();
        stat["manifest"]["descriptor"]["digest"].clone()
    };
    assert_eq!(digest("x:c"), digest("x:a"));
    assert_ne!(digest("x:b"), digest("x:a"));
    scratch.ok("validate --layout x");
}

#[test]
fn a_layer_without_history_is_warned_of() {
    let scratch = unpacked();
    scratch.write("b/rootfs/new", "new");
    let outcome = scratch.run("repack --no-history --image x:b b");
    assert_eq!((outcome.code, &*outcome.stdout), (0, ""));
    assert!(
        outcome.stderr.contains("no history entry"),
        "{}",
        outcome.stderr
    );
    assert_eq!(layers(&scratch, "x:b").len(), 3);
    assert_eq!(history(&scratch, "x:b").len(), 2);
}

#[test]
fn a_refreshed_bundle_packs_only_what_comes_after() {
    let scratch = unpacked();
    scratch.write("b/rootfs/one", "1");
    scratch.ok("repack --refresh-bundle --image x:b b");
    scratch.ok("repack --image x:c b");
    assert_eq!(layers(&scratch, "x:c"), layers(&scratch, "x:b"));
    // Or the root has changed too, where a second has begun in between.
    let rootfs = fs::File::open(scratch.path("b/rootfs")).unwrap();
    let time = rootfs.metadata().unwrap().modified().unwrap();
    scratch.write("b/rootfs/two", "2");
    rootfs.set_modified(time).unwrap();
    scratch.ok("repack --refresh-bundle --image x:b b");
    assert_eq!(layers(&scratch, "x:b").len(), 4);
    assert_eq!(scratch.ok("diff --image x:c x:b"), "A /two\n");
    // Again and again to the same image, which is an error of umoci's.
    scratch.ok("repack --refresh-bundle --no-history --image x:b b");
    scratch.ok("repack --refresh-bundle --no-history --image x:b b");
    assert_eq!(layers(&scratch, "x:b").len(), 4);
    scratch.ok("diff --exit-code --image x:b --bundle b");
    scratch.ok("validate --layout x");
}

#[test]
fn masks_leave_changes_out() {
    let scratch = unpacked();
    scratch.ok("config --image x:a --config.volume /d");
    fs::remove_dir_all(scratch.path("b")).unwrap();
    scratch.ok("unpack --rootless --image x:a b");
    scratch.write("b/rootfs/d/new", "new");
    scratch.write("b/rootfs/g", "TWO");
    scratch.write("b/rootfs/g2", "2");
    for (flags, expected) in [
        ("", "C /\nC /g\nA /g2\nC /h\n"),
        (
            "--no-mask-volumes",
            "C /\nC /d\nA /d/new\nC /g\nA /g2\nC /h\n",
        ),
        ("--mask-path /g --mask-path=h/", "C /\nA /g2\n"),
        ("--mask-path / --mask-path /x/../g2", "C /\nC /g\nC /h\n"),
        (
            "--no-mask-volumes --mask-path g --mask-path h",
            "C /\nC /d\nA /d/new\nA /g2\n",
        ),
    ] {
        assert_eq!(
            scratch.run(&format!("repack --image x:b {flags} b")).code,
            0
        );
        assert_eq!(scratch.ok("diff --image x:a x:b"), expected, "{flags}");
    }
    // How much is left out is said in a line.
    let said = |flags: &str| scratch.run(&format!("repack --image x:b {flags} b")).stderr;
    for (flags, expected) in [
        (
            "",
            "2 changes are left out below masked paths and volumes of the image: /d\n",
        ),
        (
            "--mask-path g2",
            "3 changes are left out below masked paths and volumes of the image: /g2, /d\n",
        ),
        ("--no-mask-volumes", ""),
        (
            "--refresh-bundle",
            "2 changes are left out below masked paths and volumes of the image: /d\n",
        ),
        ("", ""),
    ] {
        let said = said(flags);
        assert!(
            said.ends_with(expected) && said.is_empty() == expected.is_empty(),
            "{flags}: {said}"
        );
    }
}

#[test]
fn masks_never_leave_out_the_root() {
    let scratch = unpacked();
    scratch.write("b/rootfs/g", "TWO");
    scratch.write("b/rootfs/g2", "2");
    let masks = "--mask-path g --mask-path h --mask-path g2 --mask-path .";
    let outcome = scratch.run(&format!("repack --image x:b {masks} b"));
    assert_eq!(outcome.code, 0);
    assert!(
        outcome.stderr.contains("3 changes are left out"),
        "{}",
        outcome.stderr
    );
    let count = layers(&scratch, "x:b").len();
    assert_eq!(count, 3, "the root itself is no mask, and has changed");
}

#[test]
fn the_layer_is_compressed_as_asked() {
    let scratch = unpacked();
    scratch.write("b/rootfs/new", "new ".repeat(5000));
    for (flags, suffix) in [
        // There is no compressed layer below whose compression could be taken.
        ("", "+gzip"),
        ("--compress auto", "+gzip"),
        ("--compress=gzip --compress-level 1", "+gzip"),
        ("--compress zstd", "+zstd"),
        ("--compress zstd --compress-level=22", "+zstd"),
        ("--compress none", ""),
    ] {
        scratch.ok(&format!("repack --image x:b {flags} b"));
        let layer = layers(&scratch, "x:b").pop().unwrap();
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        assert_eq!(layer["descriptor"]["mediaType"], media_type, "{flags}");
        scratch.ok("validate --layout x");
    }
}

#[test]
fn content_that_changed_behind_its_size_and_time_is_seen() {
    let scratch = unpacked();
    let path = scratch.path("b/rootfs/d/f");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    scratch.write("b/rootfs/d/f", "ONE");
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
    for flags in ["", "--verify"] {
        scratch.ok(&format!("repack --image x:b {flags} b"));
        assert_eq!(scratch.ok("diff --image x:a x:b"), "C /d/f\n", "{flags}");
    }
    // Neither an index that is damaged nor none makes a difference.
    let names = fs::read_dir(scratch.path("b")).unwrap();
    let mut names = names.map(|entry| entry.unwrap().path());
    let index = names
        .find(|path| path.extension().is_some_and(|end| end == "stat"))
        .expect("there is an index");
    fs::write(&index, "damaged").unwrap();
    scratch.ok("repack --image x:b b");
    assert_eq!(scratch.ok("diff --image x:a x:b"), "C /d/f\n");
    fs::remove_file(&index).unwrap();
    scratch.ok("repack --image x:b b");
    assert_eq!(scratch.ok("diff --image x:a x:b"), "C /d/f\n");
}

#[test]
fn with_an_epoch_the_result_is_always_the_same() {
    let scratch = unpacked();
    let mut digests = Vec::new();
    for content in ["1", "1"] {
        scratch.write("b/rootfs/new", content);
        let mut command = scratch.command(["repack", "--image", "x:b", "b"]);
        let status = command.env("SOURCE_DATE_EPOCH", "1650000000").status();
        assert!(status.unwrap().success());
        let index = scratch.read_json("x/index.json");
        let entry = index["manifests"].as_array().unwrap().last().unwrap();
        digests.push(entry["digest"].clone());
    }
    assert_eq!(digests[0], digests[1]);
    let step = history(&scratch, "x:b").pop().unwrap();
    assert_eq!(step["created"], "2022-04-15T05:20:00Z");
    let outcome = scratch
        .command(["repack", "--image", "x:b", "b"])
        .env("SOURCE_DATE_EPOCH", "soon")
        .output()
        .unwrap();
    assert_eq!(outcome.status.code(), Some(1));
}

#[test]
fn wrong_arguments_leave_image_and_bundle_alone() {
    let scratch = unpacked();
    scratch.write("b/rootfs/new", "new");
    scratch.layout("other", &["a"]);
    fs::create_dir(scratch.path("empty")).unwrap();
    let before = state(&scratch);
    for (arguments, reason) in [
        ("--image x:b", "positional arguments"),
        ("--image x:b b b", "positional arguments"),
        ("--image x:.b b", ".b"),
        ("--image x: b", "tag"),
        ("--image none:b b", "none"),
        ("--image x:b none", "none"),
        ("--image x:b empty", "umoci.json"),
        ("--image x:b x", "umoci.json"),
        ("--image other:b b", "not in the layout"),
        ("--image x:b --compress lzma b", "lzma"),
        ("--image x:b --compress-level 77 b", "77"),
        ("--image x:b --history.created x b", "time"),
        (
            "--image x:b --no-history --history.comment x b",
            "mutually exclusive",
        ),
    ] {
        let said = scratch.fails(&format!("repack {arguments}"));
        assert!(said.contains(reason), "{arguments}: {said}");
        assert_eq!(state(&scratch), before, "{arguments}");
    }
    let outcome = scratch.run_args(["repack", "--image", "x:b", ""]);
    assert_eq!(outcome.code, 1);
    let outcome = scratch.run("repack --image x:b --zz b");
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stdout.starts_with("Incorrect Usage: flag provided"),
        "{}",
        outcome.stdout
    );
    assert_eq!(state(&scratch), before);
}

#[test]
fn many_repacks_at_the_same_time_lose_no_tag() {
    let scratch = unpacked();
    scratch.write("b/rootfs/new", "new");
    let children: Vec<_> = (0..8)
        .map(|number| {
            let image = format!("x:t{number}");
            let args = ["repack", "--image", &image, "b"];
            let repack = scratch.command(args).spawn().unwrap();
            let gc = scratch.command(["gc", "--layout", "x"]).spawn().unwrap();
            [repack, gc]
        })
        .collect();
    for mut child in children.into_iter().flatten() {
        assert!(child.wait().unwrap().success());
    }
    let mut tags: Vec<_> = scratch
        .ok("ls --layout x")
        .lines()
        .map(str::to_owned)
        .collect();
    tags.sort();
    let expected = ["a", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7"];
    assert_eq!(tags, expected);
    scratch.ok("validate --layout x");
}
