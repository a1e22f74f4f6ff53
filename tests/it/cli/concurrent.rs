//! Processes that change one layout at the same time.

use crate::support::{Layer, Scratch, store_layers};

/// umoci loses tags here: it reads the index, changes it and writes it back without a lock (its issues 146 and 216).
#[test]
fn twenty_processes_that_tag_at_once_lose_no_tag() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let lines: Vec<_> = (0..20)
        .map(|number| format!("tag --image x:a t{number:02}"))
        .collect();
    scratch.ok_together(&lines);
    let listed = scratch.ok("ls --layout x");
    let mut tags: Vec<&str> = listed.lines().collect();
    tags.sort_unstable();
    let mut expected = vec!["a".to_owned()];
    expected.extend((0..20).map(|number| format!("t{number:02}")));
    assert_eq!(tags, expected);
    scratch.ok("validate --layout x");
}

#[test]
fn new_images_survive_a_gc_that_runs_beside_them() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let mut lines = Vec::new();
    for number in 0..8 {
        lines.push(format!("new --image x:t{number}"));
        lines.push("gc --layout x".to_owned());
    }
    scratch.ok_together(&lines);
    assert_eq!(scratch.ok("ls --layout x").lines().count(), 8);
    scratch.ok("validate --layout x");
}

/// A command that resolved a tag before it was safe from gc failed when the tag was moved in between.
#[test]
fn no_command_fails_because_of_edits_and_gc_that_run_beside_it() {
    const ROUNDS: usize = 4;
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let base = [Layer::default().dir("d/").file("d/f", "old")];
    store_layers(&scratch.path("x"), "base", &base);
    let new_base = [base[0].clone(), Layer::default().file("n", "new")];
    store_layers(&scratch.path("x"), "new-base", &new_base);
    let app = [base[0].clone(), Layer::default().file("app", "app")];
    store_layers(&scratch.path("x"), "a", &app);
    scratch.ok("unpack --rootless --image x:a bundle");
    // Its own image, of which only `a` and this know.
    scratch.ok("tag --image x:a packed");
    scratch.write("one.tar", one_file());
    scratch.write("inserted", "inserted");
    for round in 0..ROUNDS {
        scratch.write("bundle/rootfs/changed", format!("{round}"));
        let mut lines: Vec<String> = [
            "raw add-layer --image x:a one.tar",
            "insert --rootless --image x:a inserted /inserted",
            "config --image x:a --author me",
            "config --image x:a --get architecture",
            "rebase --image x:a --old-base base --new-base new-base --tag rebased",
            "squash --image x:a --tag squashed",
            "repack --image x:repacked bundle",
            "stat --image x:a",
            "layers --image x:a",
            "cat --image x:a /d/f",
            "files --image x:a",
            "diff --image x:a x:base",
            "validate --layout x",
            "tag --image x:a other",
            "rm --image x:other",
            "ls --layout x",
        ]
        .map(str::to_owned)
        .into();
        lines.extend([
            format!("unpack --rootless --image x:a unpacked-{round}"),
            format!("raw unpack --rootless --image x:a raw-{round}"),
            format!("raw runtime-config --rootless --image x:a config-{round}.json"),
            format!("new --image x:new-{round}"),
        ]);
        let collected = lines
            .chunks(4)
            .flat_map(|some| some.iter().map(String::as_str).chain(["gc --layout x"]));
        scratch.ok_together(&collected.collect::<Vec<_>>());
    }
    scratch.ok("validate --layout x");
    let layers = scratch.ok("layers --json --image x:a");
    let layers: Vec<serde_json::Value> = serde_json::from_str(&layers).unwrap();
    // Those it had, and what each round added and inserted.
    assert_eq!(layers.len(), 2 + 2 * ROUNDS);
}

fn one_file() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(2);
    archive
        .append_data(&mut header, "one", &b"x\n"[..])
        .unwrap();
    archive.into_inner().unwrap()
}
