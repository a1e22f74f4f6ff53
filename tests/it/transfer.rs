//! `--image` of any place, `copy` and `export`, through the command.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Layer, Outcome, Scratch, store_layers};

/// More than a piece on its way, and different in each place.
fn big() -> String {
    let lines: Vec<String> = (0..120_000).map(|number| format!("{number:7}\n")).collect();
    lines.concat()
}

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let layers = [
        Layer::default()
            .dir("d")
            .file("d/gone", "1")
            .file("d/kept", "kept")
            .link("d/link", "d/kept"),
        Layer::default()
            .file("d/.wh.gone", "")
            .symlink("s", "d/kept")
            .file("big", &big()),
    ];
    store_layers(&scratch.path("x"), "a", &layers);
    scratch
}

/// What `files` lists of an image.
#[track_caller]
fn listed(scratch: &Scratch, image: &str) -> String {
    scratch.ok(&format!("files -l -R --image {image}"))
}

/// Descriptors of the layers.
fn layers(scratch: &Scratch, image: &str) -> Value {
    serde_json::from_str(&scratch.ok(&format!("layers --json --image {image}"))).unwrap()
}

#[test]
fn an_image_is_the_same_in_a_layout_and_in_every_archive() {
    let scratch = scratch();
    let expected = listed(&scratch, "x:a");
    for target in [
        "oci-archive:o.tar:a",
        "docker-archive:d.tar:example.org/app:1",
        "oci:y:b",
        "z",
    ] {
        scratch.ok(&format!("copy x:a {target}"));
        assert_eq!(listed(&scratch, target), expected, "{target}");
    }
    // Without a prefix, by what they are.
    assert_eq!(listed(&scratch, "o.tar"), expected);
    assert_eq!(listed(&scratch, "d.tar"), expected);
    assert_eq!(scratch.ok("cat --image docker-archive:d.tar:1 s"), "kept");
    assert!(
        scratch
            .ok("stat --image oci-archive:o.tar")
            .contains("step 1")
    );
    scratch.ok("raw unpack --rootless --image docker-archive:d.tar root");
    assert_eq!(scratch.read("root/d/kept"), "kept");
    scratch.ok("unpack --rootless --image oci-archive:o.tar bundle");
    assert_eq!(scratch.read("bundle/rootfs/big"), big());
}

#[test]
fn an_archive_may_be_compressed_or_come_through_a_pipe() {
    let scratch = scratch();
    let expected = listed(&scratch, "x:a");
    scratch.ok("copy x:a docker-archive:d.tar:app:1");
    let packed = Command::new("gzip")
        .arg("-k")
        .arg(scratch.path("d.tar"))
        .status();
    assert!(packed.unwrap().success());
    let temporary = scratch.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let run = |line: &str, input: &Path| {
        let mut command = scratch.command(line.split_whitespace());
        command
            .env("TMPDIR", &temporary)
            .stdin(fs::File::open(input).unwrap());
        let outcome = Outcome::of(&mut command);
        assert_eq!((outcome.code, &*outcome.stderr), (0, ""), "{line}");
        outcome.stdout
    };
    let (plain, zipped) = (scratch.path("d.tar"), scratch.path("d.tar.gz"));
    assert_eq!(
        run("files -l -R --image docker-archive:d.tar.gz", &plain),
        expected
    );
    assert_eq!(run("files -l -R --image -", &plain), expected);
    assert_eq!(run("files -l -R --image -", &zipped), expected);
    run("copy - y:b", &zipped);
    assert_eq!(listed(&scratch, "y:b"), expected);
    // Nothing is left behind.
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn plain_layers_of_docker_archives_are_compressed_in_layouts() {
    let scratch = scratch();
    scratch.ok("copy x:a docker-archive:d.tar:app:1");
    scratch.ok("copy docker-archive:d.tar y:gzip");
    scratch.ok("copy --recompress none docker-archive:d.tar y:plain");
    scratch.ok("copy --recompress zstd:3 y:gzip y:zstd");
    scratch.ok("copy y:zstd docker-archive:back.tar:app:1");
    let types = |image: &str| -> Vec<String> {
        let layers = layers(&scratch, image);
        let types = layers.as_array().unwrap().iter();
        types.map(ToString::to_string).collect()
    };
    for (image, word) in [
        ("y:gzip", "tar+gzip"),
        ("y:zstd", "tar+zstd"),
        ("y:plain", "layer.v1.tar\""),
    ] {
        assert!(
            types(image).iter().all(|layer| layer.contains(word)),
            "{:?}",
            types(image)
        );
        assert_eq!(listed(&scratch, image), listed(&scratch, "x:a"));
    }
    // There and back, it is the same archive.
    assert!(
        fs::read(scratch.path("d.tar")).unwrap() == fs::read(scratch.path("back.tar")).unwrap()
    );
    scratch.ok("validate --layout y");
}

#[test]
fn what_the_target_has_is_not_copied() {
    let scratch = scratch();
    let copied = |line: &str| -> Value { serde_json::from_str(&scratch.ok(line)).unwrap() };
    let first = copied("copy --json x:a y:b");
    assert_eq!(
        (&first["copied"], &first["existing"]),
        (&4.into(), &0.into())
    );
    let second = copied("copy --json --tag more x:a y:c");
    assert_eq!(
        (&second["copied"], &second["existing"]),
        (&0.into(), &4.into())
    );
    assert_eq!(scratch.ok("ls --layout y"), "b\nc\nmore\n");
}

#[test]
fn an_index_is_copied_whole_or_in_part() {
    let scratch = scratch();
    let manifest = |tag: &str| {
        let index = scratch.read_json("x/index.json");
        let entries = index["manifests"].as_array().unwrap().clone();
        entries
            .into_iter()
            .find(|entry| entry.to_string().contains(&format!("\"{tag}\"")))
            .unwrap()
    };
    store_layers(
        &scratch.path("x"),
        "other",
        &[Layer::default().file("arm", "1")],
    );
    let (mut amd, mut arm) = (manifest("a"), manifest("other"));
    for (entry, architecture) in [(&mut amd, "amd64"), (&mut arm, "arm64")] {
        entry.as_object_mut().unwrap().remove("annotations");
        entry["platform"] = serde_json::json!({"architecture": architecture, "os": "linux"});
    }
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [amd, arm],
    });
    let mut entry = crate::support::descriptor(
        &scratch.path("x"),
        "application/vnd.oci.image.index.v1+json",
        index.to_string().as_bytes(),
    );
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "multi"});
    let mut file = scratch.read_json("x/index.json");
    file["manifests"].as_array_mut().unwrap().push(entry);
    scratch.write("x/index.json", file.to_string());

    scratch.ok("copy --all x:multi y:all");
    scratch.ok("copy --platform linux/arm64 x:multi y:arm");
    scratch.ok("copy --platform linux/arm64 --platform linux/amd64 x:multi y:both");
    assert_eq!(scratch.ok("files --image y:arm"), "arm\n");
    for tag in ["all", "both"] {
        assert_eq!(
            scratch.ok(&format!("files --platform linux/arm64 --image y:{tag}")),
            "arm\n"
        );
        let amd = scratch.ok(&format!(
            "files -l -R --platform linux/amd64 --image y:{tag}"
        ));
        assert_eq!(amd, listed(&scratch, "x:a"));
    }
    scratch.ok("copy --all --recompress gzip x:multi oci-archive:all.tar:multi");
    assert_eq!(
        scratch.ok("files --platform linux/arm64 --image oci-archive:all.tar"),
        "arm\n"
    );
}

#[test]
fn an_archive_that_lies_is_refused_and_the_target_is_as_before() {
    let scratch = scratch();
    scratch.ok("copy x:a docker-archive:d.tar:app:1");
    let whole = fs::read(scratch.path("d.tar")).unwrap();
    let place = whole
        .windows(8)
        .position(|bytes| bytes == b"   1234\n")
        .unwrap();
    let mut changed = whole.clone();
    changed[place] = b'x';
    scratch.write("changed.tar", &changed);
    scratch.write("cut.tar", &whole[..whole.len() / 2]);
    scratch.layout("y", &["old"]);
    for name in ["changed.tar", "cut.tar"] {
        for line in [
            format!("copy docker-archive:{name} y:new"),
            format!("copy --recompress none docker-archive:{name} y:new"),
            format!("raw unpack --rootless --image docker-archive:{name} root-{name}"),
            format!("copy docker-archive:{name} oci-archive:new.tar"),
        ] {
            scratch.fails(&line);
        }
    }
    assert_eq!(scratch.ok("ls --layout y"), "old\n");
    assert!(!scratch.path("new.tar").exists());
    let error = scratch.fails("files --image docker-archive:d.tar:other");
    assert!(error.contains("app:1"), "{error}");
    let error = scratch.fails("files --image docker-daemon:app:1");
    assert!(error.contains("skopeo"), "{error}");
}

#[test]
fn an_export_unpacks_to_what_the_image_is() {
    let scratch = scratch();
    scratch.ok("export --image x:a -o root.tar");
    scratch.ok("export --image x:a same.tar");
    assert!(
        fs::read(scratch.path("root.tar")).unwrap() == fs::read(scratch.path("same.tar")).unwrap()
    );
    fs::create_dir(scratch.path("root")).unwrap();
    let mut export = scratch
        .command(["export", "--image", "x:a"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let unpacked = Command::new("tar")
        .args(["-x", "-C"])
        .arg(scratch.path("root"))
        .stdin(export.stdout.take().unwrap())
        .status();
    assert!(export.wait().unwrap().success() && unpacked.unwrap().success());
    assert_eq!(scratch.read("root/big"), big());
    assert_eq!(scratch.read("root/s"), "kept");
    assert!(!scratch.path("root/d/gone").exists());
    let nlink = |name: &str| {
        std::os::unix::fs::MetadataExt::nlink(&fs::metadata(scratch.path(name)).unwrap())
    };
    assert_eq!(nlink("root/d/link"), 2);
}

#[test]
fn an_index_is_made_and_edited_entry_by_entry() {
    let scratch = scratch();
    store_layers(
        &scratch.path("x"),
        "other",
        &[Layer::default().file("arm", "1")],
    );
    let digest = |tag: &str| {
        let index = scratch.read_json("x/index.json");
        let entries = index["manifests"].as_array().unwrap().clone();
        let of_tag =
            |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
        let entry = entries.into_iter().find(of_tag).unwrap();
        entry["digest"].as_str().unwrap().to_owned()
    };
    scratch.ok("index create --image x:multi a");
    let listed = scratch.ok("index ls --image x:multi");
    assert_eq!(listed, format!("{} linux/amd64\n", digest("a")));
    // Of the same platform: it takes the place of the old one.
    scratch.ok("index add --image x:multi other");
    let listed = scratch.ok("index ls --image x:multi");
    assert_eq!(listed, format!("{} linux/amd64\n", digest("other")));
    assert_eq!(scratch.ok("files --image x:multi"), "arm\n");
    scratch.fails("index create --image x:two a other");
    scratch.fails("index remove --image x:multi linux/s390x");
    scratch.ok(&format!("index remove --image x:multi {}", digest("other")));
    assert_eq!(scratch.ok("index ls --image x:multi"), "");
    scratch.ok(&format!("index add --image x:multi {}", digest("a")));
    assert_eq!(scratch.ok("files --image x:multi s"), "s\n");
    scratch.ok("validate --layout x");
}

#[test]
fn an_archive_without_the_layers_of_another_image_is_taken_in_by_who_has_them() {
    let scratch = scratch();
    scratch.write("file", "new");
    scratch.ok(&format!(
        "insert --image x:a --tag b {} /new",
        scratch.path("file").display()
    ));
    scratch.ok("copy --without x:a x:b oci-archive:part.tar:b");
    scratch.ok("copy x:b oci-archive:whole.tar:b");
    let size = |name: &str| fs::metadata(scratch.path(name)).unwrap().len();
    assert!(size("part.tar") < 20_000, "{}", size("part.tar"));
    assert!(size("whole.tar") > 900_000, "{}", size("whole.tar"));

    // Who has them: in place, and through a pipe.
    scratch.ok("copy x:a y:a");
    let copied = scratch.ok("copy --json part.tar y:b");
    let copied: Value = serde_json::from_str(&copied).unwrap();
    assert_eq!(
        (&copied["copied"], &copied["existing"]),
        (&3.into(), &2.into())
    );
    assert_eq!(listed(&scratch, "y:b"), listed(&scratch, "x:b"));
    assert_eq!(layers(&scratch, "y:b"), layers(&scratch, "x:b"));
    scratch.ok("copy x:a z:a");
    let mut command = scratch.command(["copy", "-", "z:b"]);
    command.stdin(fs::File::open(scratch.path("part.tar")).unwrap());
    let piped = Outcome::of(&mut command);
    assert_eq!((piped.code, &*piped.stderr), (0, ""));
    scratch.ok("validate --layout z");
    assert_eq!(listed(&scratch, "z:b"), listed(&scratch, "x:b"));

    // Who has not: nothing is there afterwards.
    scratch.layout("w", &[]);
    for line in [
        "copy part.tar w:b",
        "unpack --image part.tar bundle",
        "copy part.tar oci-archive:v.tar",
    ] {
        let said = scratch.fails(line);
        assert!(said.contains("is missing"), "{line}: {said}");
    }
    assert_eq!(scratch.ok("ls --layout w"), "");
    assert!(!scratch.path("bundle").exists() && !scratch.path("v.tar").exists());
    for target in ["docker-archive:v.tar:x:1", "w:b"] {
        let said = scratch.fails(&format!("copy --without x:a x:b {target}"));
        assert!(
            said.contains("cannot be without some of its layers"),
            "{said}"
        );
    }
}
