//! `raw add-layer`.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Image, Outcome, Scratch};

/// An archive of one file.
fn archive(name: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(2);
    archive.append_data(&mut header, name, &b"x\n"[..]).unwrap();
    archive.into_inner().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn layers(scratch: &Scratch, image: &str) -> Vec<Value> {
    let text = scratch.ok(&format!("layers --json --image {image}"));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_archive_is_stored_verbatim_on_top() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let (one, two) = (archive("one"), archive("two"));
    scratch.write("1.tar", &one);
    scratch.write("2.tar", &two);
    scratch.ok("config --image x:a --no-history --author me");
    scratch.ok("raw add-layer --image x:a --tag b --compress none 1.tar --history.created 2020-01-01T00:00:00Z");
    scratch.ok("raw add-layer --compress=none --image x:b --layer.annotation k=v 2.tar --history.comment c --history.author=");
    let found = layers(&scratch, "x:b");
    assert_eq!(
        found[0],
        json!({
            "descriptor": {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(&one), "size": one.len()},
            "diff_id": digest(&one), "uncompressed_size": one.len(),
            "history": {"created": "2020-01-01T00:00:00Z", "created_by": "umoci raw add-layer", "author": "me"},
        })
    );
    assert_eq!(found[1]["descriptor"]["annotations"], json!({"k": "v"}));
    assert_eq!(found[1]["diff_id"], digest(&two));
    assert_eq!(found[1]["history"]["comment"], "c");
    assert_eq!(found[1]["history"].get("author"), None);
    assert!(layers(&scratch, "x:a").is_empty());
    scratch.ok("validate --layout x");
    scratch.ok("raw unpack --rootless --image x:b rootfs");
    assert_eq!(scratch.read("rootfs/two"), "x\n");
}

#[test]
fn what_is_no_archive_is_refused() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let whole = archive("one");
    scratch.write("junk", vec![b'j'; 2000]);
    scratch.write("short", &whole[..300]);
    scratch.write("gz", b"\x1f\x8b\x08 and so on");
    for (file, words) in [
        ("junk", "junk is not an"),
        ("short", "short is not an"),
        ("gz", "with gzip"),
    ] {
        let error = scratch.fails(&format!("raw add-layer --image x:a {file}"));
        assert!(error.contains(words), "{error}");
    }
    assert!(layers(&scratch, "x:a").is_empty());
    // Nothing at all is an archive of nothing, as tar sees it.
    scratch.write("empty", "");
    scratch.ok("raw add-layer --compress none --image x:a empty");
}

#[test]
fn a_layer_without_history_is_warned_of() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    scratch.write("1.tar", archive("one"));
    let outcome = scratch.run("raw add-layer --no-history --compress none --image x:a 1.tar");
    assert_eq!(outcome.code, 0);
    assert!(
        outcome.stderr.contains("no history entry"),
        "{}",
        outcome.stderr
    );
    assert_eq!(layers(&scratch, "x:a")[0].get("history"), None);
    scratch.ok("validate --layout x");
}

#[test]
fn a_pipe_is_as_good_as_a_file() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    scratch.write("1.tar", archive("one"));
    let file = fs::File::open(scratch.path("1.tar")).unwrap();
    let mut cat = std::process::Command::new("cat")
        .stdin(file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pipe = cat.stdout.take().unwrap();
    let args = [
        "raw",
        "add-layer",
        "--image",
        "x:a",
        "--compress",
        "none",
        "/dev/stdin",
    ];
    let outcome = Outcome::of(scratch.command(args).stdin(pipe));
    assert!(cat.wait().unwrap().success());
    assert_eq!((outcome.code, &*outcome.stderr), (0, ""));
    assert_eq!(
        layers(&scratch, "x:a")[0]["diff_id"],
        digest(&archive("one"))
    );
}

#[test]
fn wrong_arguments_leave_the_layout_alone() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    scratch.write("1.tar", archive("one"));
    fs::create_dir(scratch.path("directory")).unwrap();
    let before = scratch.read("x/index.json");
    for (arguments, reason) in [
        ("none", "open new layer archive"),
        ("directory", "is a directory"),
        ("", "invalid number of positional arguments"),
        ("1.tar 1.tar", "invalid number of positional arguments"),
        ("--compress lzma 1.tar", "unknown compression"),
        ("--compress-level high 1.tar", "--compress-level"),
        (
            "--no-history --history.author x 1.tar",
            "mutually exclusive",
        ),
        ("--history.created x 1.tar", "is not a time"),
        ("--image x:none 1.tar", "tag not found: none"),
    ] {
        let said = scratch.fails(&format!("raw add-layer --image x:a {arguments}"));
        assert!(said.contains(reason), "{arguments}: {said}");
    }
    let said = scratch
        .run_args(["raw", "add-layer", "--image", "x:a", ""])
        .stderr;
    assert!(said.contains("path is empty"), "{said}");
    assert_eq!(scratch.read("x/index.json"), before);
    let blobs = fs::read_dir(scratch.path("x/blobs/sha256")).unwrap();
    assert_eq!(
        blobs.count(),
        2,
        "the config and the manifest of the empty image"
    );
}

#[test]
fn a_docker_image_becomes_an_oci_image_and_a_word_says_so() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    scratch.write("1.tar", archive("one"));
    let mut image = Image::new(
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}),
    );
    image.config_type = "application/vnd.docker.container.image.v1+json";
    image.store(&scratch.path("x"), "a");
    let outcome = scratch.run("raw add-layer --compress none --image x:a 1.tar");
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("OCI"), "{}", outcome.stderr);
    scratch.ok("validate --image x:a");
}

#[test]
fn auto_takes_after_the_newest_compressed_layer_and_is_never_none() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let content = archive("one");
    scratch.write("1.tar", &content);
    for (arguments, suffix) in [
        ("", "+gzip"),
        ("--compress zstd --compress-level 3", "+zstd"),
        ("--compress none", ""),
        ("--compress auto", "+zstd"),
        ("--compress gzip --compress-level 9", "+gzip"),
        ("", "+gzip"),
    ] {
        scratch.ok(&format!("raw add-layer --image x:a 1.tar {arguments}"));
        let layer = layers(&scratch, "x:a").pop().unwrap();
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        assert_eq!(layer["descriptor"]["mediaType"], media_type, "{arguments}");
        let size = json!(content.len().to_string());
        let annotation = &layer["descriptor"]["annotations"]["ci.umo.uncompressed_blob_size"];
        let expected = if suffix.is_empty() {
            &Value::Null
        } else {
            &size
        };
        assert_eq!(annotation, expected);
        assert_eq!(layer["diff_id"], digest(&content));
        assert_eq!(layer["uncompressed_size"], content.len());
    }
    scratch.ok("validate --layout x");
    let before = scratch.read("x/index.json");
    scratch.fails("raw add-layer --image x:a --compress gzip --compress-level 99 1.tar");
    assert_eq!(scratch.read("x/index.json"), before);
}

#[test]
fn of_many_layers_added_at_the_same_time_none_is_lost() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let mut lines = Vec::new();
    for number in 0..8 {
        let name = format!("{number}.tar");
        scratch.write(&name, archive(&name));
        lines.push(format!("raw add-layer --image x:a {name}"));
        lines.push("gc --layout x".to_owned());
    }
    scratch.ok_together(&lines);
    assert_eq!(layers(&scratch, "x:a").len(), 8);
    scratch.ok("validate --layout x");
}
