//! `insert`, as any user.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use crate::support::{Layer, Outcome, Scratch, store_layers};

/// A layout `x` with the tag `a`, and `source` with things to insert.
fn prepared() -> Scratch {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let base = Layer::default()
        .dir("./")
        .dir("d")
        .file("d/f", "one")
        .file("g", "two");
    store_layers(&scratch.path("x"), "a", &[base]);
    fs::create_dir_all(scratch.path("source/tree/sub")).unwrap();
    scratch.write("source/file", "file");
    scratch.write("source/tree/sub/1", "1");
    scratch.write("source/tree-0", "0");
    symlink("tree", scratch.path("source/link")).unwrap();
    scratch
}

fn layers(scratch: &Scratch, image: &str) -> Vec<Value> {
    let text = scratch.ok(&format!("layers --json --image {image}"));
    serde_json::from_str(&text).unwrap()
}

/// Inserts into `x:a`, as `x:b`, and returns how that differs.
#[track_caller]
fn inserted(scratch: &Scratch, arguments: &str) -> String {
    scratch.ok(&format!(
        "insert --rootless --image x:a --tag b {arguments}"
    ));
    scratch.ok("validate --layout x");
    let (old, new) = (layers(scratch, "x:a"), layers(scratch, "x:b"));
    assert_eq!(new[..old.len()], old, "{arguments}");
    assert_eq!(new.len(), old.len() + 1, "{arguments}");
    scratch.ok("diff --image x:a x:b")
}

#[test]
fn files_trees_and_links_come_at_their_targets() {
    let scratch = prepared();
    for (arguments, expected) in [
        ("source/file /new", "A /new\n"),
        ("source/file new", "A /new\n"),
        ("source/file /d/../d//f", "C /d/f\n"),
        ("source/tree /d", "C /d\nA /d/sub\nA /d/sub/1\n"),
        ("source/tree t", "A /t\nA /t/sub\nA /t/sub/1\n"),
        ("source/link /l", "A /l\n"),
        (
            "--opaque source/tree /d",
            "C /d\nD /d/f\nA /d/sub\nA /d/sub/1\n",
        ),
        ("--whiteout /d", "D /d\nD /d/f\n"),
        ("--whiteout d/f", "D /d/f\n"),
        ("source/tree/sub/1 /n source/file /g", "C /g\nA /n\n"),
        ("--parents source/file /p/q/r", "A /p\nA /p/q\nA /p/q/r\n"),
        ("source/tree /", "A /sub\nA /sub/1\n"),
        ("source/tree/../file /new", "A /new\n"),
        ("source/file /", "A /file\n"),
        ("source/file /d/", "A /d/file\n"),
        ("--parents source/file /d/new", "A /d/new\n"),
        ("--whiteout=false source/file /new", "A /new\n"),
    ] {
        assert_eq!(inserted(&scratch, arguments), expected, "{arguments}");
    }
    inserted(&scratch, "source/link /l source/file /d/f");
    scratch.ok("unpack --rootless --image x:b b");
    let link = fs::read_link(scratch.path("b/rootfs/l")).unwrap();
    assert_eq!(link.to_str(), Some("tree"));
    assert_eq!(scratch.read("b/rootfs/d/f"), "file");
}

#[test]
fn a_source_outside_of_the_working_directory_is_itself() {
    let scratch = prepared();
    scratch.write("file", "outside");
    let insert = |source: &str| {
        let args = ["insert", "--rootless", "--image", "../x:a", "--tag", "b"];
        let mut command = scratch.command(args);
        command.args([source, "/f"]);
        let status = command.current_dir(scratch.path("source")).status();
        assert!(status.unwrap().success());
        scratch.ok("raw unpack --rootless --image x:b rootfs");
        let content = scratch.read("rootfs/f");
        fs::remove_dir_all(scratch.path("rootfs")).unwrap();
        content
    };
    assert_eq!(insert("../file"), "outside");
    assert_eq!(insert("file"), "file");
    assert_eq!(insert("../source/file"), "file");
    let absolute = scratch.path("file");
    assert_eq!(insert(absolute.to_str().unwrap()), "outside");
}

#[test]
fn the_history_says_so_without_the_images_author() {
    let scratch = prepared();
    scratch.ok("config --image x:a --no-history --author somebody");
    inserted(
        &scratch,
        "source/file /f --history.created 2020-01-01T00:00:00Z",
    );
    let layer = layers(&scratch, "x:b").pop().unwrap();
    assert_eq!(layer["history"]["created_by"], "umoci insert");
    assert_eq!(layer["history"].get("author"), None);
    assert_eq!(layer["history"]["created"], "2020-01-01T00:00:00Z");
    inserted(
        &scratch,
        "source/file /f --history.author me --history.comment c --history.created_by x",
    );
    let layer = layers(&scratch, "x:b").pop().unwrap();
    assert_eq!(layer["history"]["author"], "me");
    assert_eq!(layer["history"]["comment"], "c");
    assert_eq!(layer["history"]["created_by"], "x");
    let outcome = scratch.run("insert --rootless --image x:a --tag c --no-history source/file /f");
    assert_eq!(outcome.code, 0);
    assert!(
        outcome.stderr.contains("no history entry"),
        "{}",
        outcome.stderr
    );
    // Without --tag, the image itself.
    scratch.ok("insert --rootless --image x:a source/file /f");
    assert_eq!(layers(&scratch, "x:a").len(), 2);
}

#[test]
fn owner_and_mode_can_be_given() {
    let scratch = prepared();
    inserted(
        &scratch,
        "--chown 12:34 --chmod 4711 source/tree /t source/file /f --parents",
    );
    let listed = scratch.ok("files -R --json --image x:b");
    let files: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |path: &str| {
        let mut files = files.iter();
        let file = files.find(|file| file["path"] == path);
        let file = file.unwrap_or_else(|| panic!("no {path} in {listed}"));
        (
            file["uid"].clone(),
            file["gid"].clone(),
            file["mode"].clone(),
        )
    };
    let given = of("/f");
    assert_eq!((&given.0, &given.1), (&json!(12), &json!(34)));
    assert_eq!(of("/t"), given);
    assert_eq!(of("/t/sub/1"), given);
    assert_ne!(of("/g"), given);
}

#[test]
fn with_an_epoch_the_result_is_always_the_same() {
    let scratch = prepared();
    for compression in ["none", "gzip", "zstd"] {
        let mut digests = Vec::new();
        for _ in 0..2 {
            scratch.write("source/file", "file");
            let mut command = scratch.command(["insert", "--rootless", "--image", "x:a"]);
            command
                .args(["--tag", "b", "--compress", compression])
                .args(["source/file", "/f"])
                .env("SOURCE_DATE_EPOCH", "1650000000");
            assert!(command.status().unwrap().success());
            let index = scratch.read_json("x/index.json");
            let entry = index["manifests"].as_array().unwrap().last().unwrap();
            digests.push(entry["digest"].clone());
        }
        assert_eq!(digests[0], digests[1], "{compression}");
        let layer = layers(&scratch, "x:b").pop().unwrap();
        let media_type = layer["descriptor"]["mediaType"].as_str().unwrap();
        let expected = match compression {
            "none" => "application/vnd.oci.image.layer.v1.tar".to_owned(),
            other => format!("application/vnd.oci.image.layer.v1.tar+{other}"),
        };
        assert_eq!(media_type, expected);
    }
}

#[test]
fn what_cannot_be_inserted_leaves_the_layout_alone() {
    let scratch = prepared();
    fs::create_dir(scratch.path("source/bad")).unwrap();
    scratch.write("source/bad/a", "a ".repeat(100_000));
    scratch.write("source/bad/.wh.x", "");
    let state = || {
        let blobs = fs::read_dir(scratch.path("x/blobs/sha256")).unwrap();
        let mut names: Vec<_> = blobs.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        (names, scratch.read("x/index.json"))
    };
    let before = state();
    for (arguments, reason) in [
        ("source/none /f", "insert source/none: "),
        ("none /f", "insert none: "),
        ("source/file /f source/none /g", "none"),
        ("source/bad /f", ".wh.x"),
        ("source/file /.wh.f", ".wh.f"),
        ("source/file /d", "a directory with 1 name in it"),
        ("source/file /g/", "not a directory"),
        ("source/file /g/x", "/g is a file"),
        ("--whiteout /", "root"),
        ("--whiteout /d/..", "root"),
        ("--whiteout source/file /f", "positional"),
        ("source/file", "positional"),
        ("source/file /f source/tree", "positional"),
        ("", "positional"),
        ("--chown root source/file /f", "root"),
        // The system takes this one for "do not change", so no layer can have it.
        ("--chown 4294967295:0 source/file /f", "not an id"),
        ("--chown 0:4294967295 source/file /f", "not an id"),
        ("--chmod 9 source/file /f", "9"),
        ("--compress lzma source/file /f", "lzma"),
        ("--tag .x source/file /f", ".x"),
        ("--image x:none source/file /f", "tag not found: none"),
        (
            "--no-history --history.author=x source/file /f",
            "mutually exclusive",
        ),
    ] {
        let said = scratch.fails(&format!("insert --rootless --image x:a {arguments}"));
        assert!(said.contains(reason), "{arguments}: {said}");
        assert_eq!(state(), before, "{arguments}");
    }
    for empty in [["", "/f"], ["source/file", ""]] {
        let mut args = vec!["insert", "--rootless", "--image", "x:a"];
        args.extend(empty);
        assert_eq!(scratch.run_args(args).code, 1, "{empty:?}");
    }
    assert_eq!(state(), before);
}

#[test]
fn a_source_that_cannot_be_read_is_an_error() {
    let scratch = prepared();
    scratch.write("source/tree/closed", "closed");
    let closed = fs::Permissions::from_mode(0o000);
    fs::set_permissions(scratch.path("source/tree/closed"), closed).unwrap();
    // Root reads all, and --rootless opens what is the user's own.
    scratch.ok("insert --rootless --image x:a --tag b source/tree /t");
    let mode = fs::metadata(scratch.path("source/tree/closed")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o7777, 0o000);
    if fs::read(scratch.path("source/tree/closed")).is_err() {
        let said = scratch.fails("insert --image x:a --tag c source/tree /t");
        assert!(said.to_lowercase().contains("permission denied"), "{said}");
    }
}

#[test]
fn of_many_inserted_at_the_same_time_none_is_lost() {
    let scratch = prepared();
    let children: Vec<_> = (0..8)
        .map(|number| {
            let target = format!("/{number}");
            let args = ["insert", "--rootless", "--image", "x:a", "source/tree"];
            let insert = scratch.command(args).arg(&target).spawn().unwrap();
            let gc = scratch.command(["gc", "--layout", "x"]).spawn().unwrap();
            [insert, gc]
        })
        .collect();
    for mut child in children.into_iter().flatten() {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(layers(&scratch, "x:a").len(), 9);
    scratch.ok("validate --layout x");
    scratch.ok("raw unpack --rootless --image x:a rootfs");
    for number in 0..8 {
        assert_eq!(scratch.read(format!("rootfs/{number}/sub/1")), "1");
    }
}

/// An image of gigabytes is read once for the type of a path, not each time.
#[test]
fn what_is_in_large_layers_is_remembered() {
    let scratch = prepared();
    let base = Layer::default()
        .dir("./")
        .file("large", &"x".repeat(2 << 20))
        .file("g", "two");
    store_layers(&scratch.path("x"), "large", &[base]);
    let insert = |cache: &str| {
        let line = "insert --rootless --image x:large --tag b source/file /g/below";
        let mut command = scratch.command(line.split(' '));
        Outcome::of(command.env("XDG_CACHE_HOME", scratch.path(cache)))
    };
    let refused = insert("cache");
    assert_ne!(refused.code, 0);
    // The layer can't be read any more; what was in it is known.
    let layers = layers(&scratch, "x:large");
    let digest = layers[0]["descriptor"]["digest"].as_str().unwrap();
    let blob = scratch.path("x/blobs").join(digest.replace(':', "/"));
    fs::write(blob, "").unwrap();
    assert_eq!(insert("cache").stderr, refused.stderr);
    let unknown = insert("other");
    assert_eq!(unknown.code, 0);
    assert!(unknown.stderr.contains("not known"), "{}", unknown.stderr);
}
