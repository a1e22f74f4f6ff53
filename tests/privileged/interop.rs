//! The tools of the field and ours read what the other writes.
//!
//! Debian's umoci is the oracle for a rootfs: ours must equal it in every attribute.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::image::{Image, Layer, layers_of};
use crate::machine::{Bounded, Scratch, installed};
use crate::tree::Tree;

/// An image with every type of entry, changed by a second layer. Each directory has its own entry, so
/// that two tools have no choice anywhere.
pub fn image_with_everything() -> Image {
    let first = Layer::new()
        .directory("./", 0o755)
        .directory("bin/", 0o755)
        .file("bin/tool", 0o4755, b"#!/bin/sh\n")
        .hard_link("bin/same-tool", "bin/tool")
        .symlink("bin/link", "../bin/tool")
        .xattr(
            "security.capability",
            b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        )
        .file("bin/ping", 0o755, b"capable")
        .owner(1000, 100)
        .directory("home/", 0o2775)
        .xattr("user.colour", b"blue")
        .file("home/note", 0o640, b"mine")
        .directory("home/old/", 0o700)
        .file("home/old/a", 0o600, b"a")
        .file("home/old/b", 0o600, b"b")
        .file("home/gone", 0o600, b"gone")
        .owner(0, 0)
        .directory("dev/", 0o755)
        .null_device("dev/null")
        .fifo("dev/fifo")
        .directory("tmp/", 0o1777)
        .file("tmp/name with \u{20ac} and \t", 0o444, b"")
        .file(&format!("tmp/{}", "long".repeat(50)), 0o644, b"long name");
    let second = Layer::new()
        .directory("home/", 0o755)
        .directory("home/old/", 0o755)
        .file("home/old/.wh..wh..opq", 0o644, b"")
        .file("home/old/c", 0o644, b"c")
        .file("home/.wh.gone", 0o644, b"")
        .directory("bin/tool/", 0o755)
        .file("bin/tool/inside", 0o644, b"a directory now");
    Image::new().layer(first).layer(second)
}

/// Unpacks `layout` with both tools and compares.
#[track_caller]
fn assert_unpacks_like_umoci(scratch: &Scratch, layout: &str) -> Tree {
    let ours = Tree::read(&scratch.unpack(layout, "ours").join("rootfs"));
    let theirs = Tree::read(&scratch.unpack_with_umoci(layout, "theirs").join("rootfs"));
    ours.assert_same(&theirs, "our rootfs and umoci's");
    ours
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn every_type_of_entry_unpacks_like_with_umoci() {
    let scratch = Scratch::new(&["umoci"]);
    image_with_everything().write(&scratch.path("layout"));
    let tree = assert_unpacks_like_umoci(&scratch, "layout");
    assert!(tree.contains("home/old/c") && !tree.contains("home/old/a"));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn raw_unpack_gives_the_same_tree_as_unpack() {
    let scratch = Scratch::new(&["umoci"]);
    image_with_everything().write(&scratch.path("layout"));
    let bundle = scratch.unpack("layout", "b");
    let image = format!("{}:latest", scratch.path("layout").display());
    let raw = scratch.path("raw");
    scratch
        .tool(&["raw", "unpack", "--image", &image])
        .arg(&raw)
        .succeed();
    Tree::read(&raw).assert_same(&Tree::read(&bundle.join("rootfs")), "raw unpack and unpack");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn layout_of_umoci_with_several_layers_unpacks_like_with_umoci() {
    let scratch = Scratch::new(&["umoci"]);
    scratch.sample_image("layout");
    let image = format!("{}:latest", scratch.path("layout").display());
    let umoci = |arguments: &[&str]| Bounded::new("umoci", 60).args(arguments);
    // A layer from a changed bundle, one from `insert`, and one with a whiteout.
    let bundle = scratch.unpack_with_umoci("layout", "edit");
    fs::remove_file(bundle.join("rootfs/bin/sh")).unwrap();
    fs::create_dir_all(bundle.join("rootfs/srv/data")).unwrap();
    fs::write(bundle.join("rootfs/srv/data/file"), "data").unwrap();
    umoci(&["repack", "--image", &image]).arg(&bundle).succeed();
    let source = scratch.path("inserted");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("one"), "1").unwrap();
    umoci(&["insert", "--image", &image])
        .arg(&source)
        .arg("/srv/inserted")
        .succeed();
    umoci(&["insert", "--image", &image, "--whiteout", "/srv/data/file"]).succeed();
    assert_eq!(layers_of(&scratch.path("layout"), "latest").len(), 5);
    let tree = assert_unpacks_like_umoci(&scratch, "layout");
    assert!(tree.contains("srv/inserted/one"));
    assert!(!tree.contains("srv/data/file") && !tree.contains("bin/sh"));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn layouts_of_skopeo_unpack_like_with_umoci() {
    let scratch = Scratch::new(&["umoci", "skopeo"]);
    scratch.sample_image("sample");
    let skopeo = |options: &[&str], from: &str, to: &str| {
        Bounded::new("skopeo", 60)
            .args(&["--insecure-policy", "copy"])
            .args(options)
            .args(&[from, to])
            .succeed();
    };
    let name =
        |transport: &str, name: &str| format!("{transport}:{}", scratch.path(name).display());
    skopeo(
        &[],
        &(name("oci", "sample") + ":latest"),
        &name("dir", "directory"),
    );
    skopeo(
        &[],
        &name("dir", "directory"),
        &(name("oci", "layout") + ":latest"),
    );
    let tree = assert_unpacks_like_umoci(&scratch, "layout");
    assert!(tree.contains("bin/busybox"));
    // zstd layers, which Debian's umoci can't read: the tree must be the one just seen.
    skopeo(
        &["--dest-compress-format=zstd"],
        &(name("oci", "sample") + ":latest"),
        &(name("oci", "zstd") + ":latest"),
    );
    let layers = layers_of(&scratch.path("zstd"), "latest");
    let zstd = "application/vnd.oci.image.layer.v1.tar+zstd";
    assert!(layers.iter().all(|layer| layer["mediaType"] == zstd));
    let ours = scratch.unpack("zstd", "from-zstd").join("rootfs");
    Tree::read(&ours).assert_same(&tree, "zstd and gzip");
}

/// What buildah says, whose state is in the scratch directory.
fn buildah(scratch: &Scratch, arguments: &[&str]) -> String {
    Bounded::new("buildah", 120)
        .args(&["--storage-driver=vfs", "--root"])
        .arg(scratch.path("storage"))
        .arg("--runroot")
        .arg(scratch.path("run"))
        .args(arguments)
        .succeed()
        .trim()
        .to_owned()
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn layout_of_buildah_unpacks_like_with_umoci() {
    let scratch = Scratch::new(&["umoci", "buildah"]);
    let source = scratch.path("source");
    fs::create_dir(&source).unwrap();
    scratch.sample_image("sample");
    let rootfs = scratch.unpack_with_umoci("sample", "base").join("rootfs");
    let buildah = |arguments: &[&str]| buildah(&scratch, arguments);
    let container = buildah(&["from", "scratch"]);
    buildah(&["add", &container, &rootfs.display().to_string(), "/"]);
    let script = "mkdir -m 750 /opt /opt/a; echo b >/opt/a/b; ln /opt/a/b /opt/c; chown -R 7:8 /opt; rm /etc/motd";
    let run = [
        "run",
        "--isolation=chroot",
        &container,
        "--",
        "/bin/sh",
        "-c",
        script,
    ];
    buildah(&["commit", &container, "first"]);
    buildah(&run);
    let image = buildah(&["commit", &container]);
    let target = format!("oci:{}:latest", scratch.path("layout").display());
    buildah(&["push", &image, &target]);
    buildah(&["rm", &container]);
    let tree = assert_unpacks_like_umoci(&scratch, "layout");
    assert!(tree.contains("opt/a/b") && !tree.contains("etc/motd"));
}

/// The numbers of layers before and after Debian's umoci repacked `bundle` as tag `repacked`.
fn repack_with_umoci(scratch: &Scratch, bundle: &Path) -> (Vec<String>, Vec<String>) {
    let layout = scratch.path("layout");
    let image = format!("{}:repacked", layout.display());
    Bounded::new("umoci", 60)
        .args(&["repack", "--image", &image])
        .arg(bundle)
        .succeed();
    let digests = |tag: &str| {
        let layers = layers_of(&layout, tag);
        layers
            .iter()
            .map(|layer| layer["digest"].to_string())
            .collect()
    };
    (digests("latest"), digests("repacked"))
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn umoci_finds_no_change_in_our_untouched_bundle() {
    let scratch = Scratch::new(&["umoci"]);
    image_with_everything().write(&scratch.path("layout"));
    let bundle = scratch.unpack("layout", "b");
    let (before, after) = repack_with_umoci(&scratch, &bundle);
    assert_eq!(before, after, "no layer was added");
    // Debian has no package of gomtree: a second opinion where somebody installed it.
    if installed("gomtree") {
        let manifest = mtree_of(&bundle);
        Bounded::new("gomtree", 60)
            .arg("-f")
            .arg(manifest)
            .arg("-p")
            .arg(bundle.join("rootfs"))
            .succeed();
    }
}

fn mtree_of(bundle: &Path) -> PathBuf {
    fs::read_dir(bundle)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "mtree"))
        .expect("the bundle has an mtree manifest")
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn umoci_repacks_an_edit_of_our_bundle() {
    let scratch = Scratch::new(&["umoci"]);
    image_with_everything().write(&scratch.path("layout"));
    let bundle = scratch.unpack("layout", "b");
    let rootfs = bundle.join("rootfs");
    fs::write(rootfs.join("home/note"), "edited").unwrap();
    fs::write(rootfs.join("home/new"), "new").unwrap();
    fs::remove_file(rootfs.join("dev/fifo")).unwrap();
    let edited = Tree::read(&rootfs);
    let (before, after) = repack_with_umoci(&scratch, &bundle);
    assert_eq!(before.len() + 1, after.len());
    assert_eq!(before, after[..before.len()]);
    // The repacked image, unpacked by us, is the edited tree.
    let image = format!("{}:repacked", scratch.path("layout").display());
    let again = scratch.path("again");
    scratch
        .tool(&["unpack", "--image", &image])
        .arg(&again)
        .succeed();
    // tar carries whole seconds where umoci wrote it.
    let changed = ["home", "home/note", "home/new", "dev"];
    Tree::read(&again.join("rootfs"))
        .without_times_of(&changed)
        .assert_same(&edited.without_times_of(&changed), "unpacked and edited");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn layouts_that_we_write_are_read_by_skopeo_and_umoci() {
    let scratch = Scratch::new(&["umoci", "skopeo"]);
    let layout = scratch.path("layout").display().to_string();
    let (one, two) = (format!("{layout}:one"), format!("{layout}:two"));
    scratch.tool(&["init", "--layout", &layout]).succeed();
    scratch.tool(&["new", "--image", &one]).succeed();
    scratch.tool(&["tag", "--image", &one, "two"]).succeed();
    let list = Bounded::new("umoci", 60).args(&["ls", "--layout", &layout]);
    assert_eq!(list.succeed(), "one\ntwo\n");
    for image in [&one, &two] {
        Bounded::new("umoci", 60)
            .args(&["stat", "--image", image])
            .succeed();
        let inspected = Bounded::new("skopeo", 60)
            .args(&["inspect", &format!("oci:{image}")])
            .succeed();
        assert!(inspected.contains(r#""Os": "linux""#), "{inspected}");
    }
    scratch.tool(&["rm", "--image", &one]).succeed();
    scratch.tool(&["gc", "--layout", &layout]).succeed();
    let inspected = Bounded::new("skopeo", 60).args(&["inspect", &format!("oci:{two}")]);
    inspected.succeed();
    // umoci goes on where we stopped.
    let bundle = scratch.path("b");
    Bounded::new("umoci", 60)
        .args(&["unpack", "--image", &two])
        .arg(&bundle)
        .succeed();
}

/// A large layer of ours has many gzip members. Whoever stopped after the first would miss most of it.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn layers_of_many_gzip_members_are_read_by_the_tools_of_the_field() {
    let scratch = Scratch::new(&["umoci", "skopeo", "buildah", "bsdtar"]);
    let source = scratch.path("source");
    fs::create_dir(&source).unwrap();
    for number in 0..6 {
        let lines: Vec<String> = (0..60_000)
            .map(|line| format!("{number} {line}\n"))
            .collect();
        fs::write(source.join(format!("file-{number}")), lines.concat()).unwrap();
    }
    let blob = insert_at_opt(&scratch, &source);
    let content = fs::read(&blob).unwrap();
    let header = b"\x1f\x8b\x08\0\0\x09\x6e\x88\0\xff";
    let members = content.windows(header.len()).filter(|at| at == header);
    assert!(members.count() > 4);
    assert_read_by_the_tools_of_the_field(&scratch, &blob, &source);
}

/// Holes of 1 MiB or more are PAX sparse 1.0 in our layers, which Go's reader in umoci and containers/storage, GNU tar and
/// bsdtar expand.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn files_with_holes_are_read_by_the_tools_of_the_field() {
    let scratch = Scratch::new(&["umoci", "skopeo", "buildah", "bsdtar"]);
    let source = scratch.path("source");
    fs::create_dir(&source).unwrap();
    let size = (40 << 20) + 7;
    for (name, content) in [
        ("all-hole", &[][..]),
        ("lastlog", &[9 << 20, 30 << 20]),
        ("ends", &[0, size - 4]),
    ] {
        let file = fs::File::create(source.join(name)).unwrap();
        file.set_len(size).unwrap();
        for &offset in content {
            file.write_all_at(b"user", offset).unwrap();
        }
    }
    let blob = insert_at_opt(&scratch, &source);
    let archive = Bounded::new("gzip", 60)
        .args(&["--decompress", "--stdout"])
        .arg(&blob);
    let archive = archive.output().stdout;
    assert!(archive.len() < 500_000, "{} bytes", archive.len());
    assert_read_by_the_tools_of_the_field(&scratch, &blob, &source);
    let disk = scratch.path("ours/rootfs/opt/lastlog");
    assert!(fs::metadata(disk).unwrap().blocks() < 1000);
}

/// Makes the image `layout:latest` of one layer, which has a directory as `/opt`, and returns the layer's blob.
fn insert_at_opt(scratch: &Scratch, source: &Path) -> PathBuf {
    let layout = scratch.path("layout").display().to_string();
    let image = format!("{layout}:latest");
    scratch.tool(&["init", "--layout", &layout]).succeed();
    scratch.tool(&["new", "--image", &image]).succeed();
    scratch
        .tool(&["insert", "--image", &image])
        .args(&[&source.display().to_string(), "/opt"])
        .succeed();
    let layers = layers_of(Path::new(&layout), "latest");
    let digest = layers[0]["digest"].as_str().unwrap();
    scratch.path("layout/blobs").join(digest.replace(':', "/"))
}

/// Reads the layer of [`insert_at_opt`] with what reads layers, and compares the content with the source.
fn assert_read_by_the_tools_of_the_field(scratch: &Scratch, blob: &Path, source: &Path) {
    assert_unpacks_like_umoci(scratch, "layout");
    let ours = scratch.path("ours/rootfs/opt");
    for name in fs::read_dir(source).unwrap() {
        let name = name.unwrap().file_name();
        assert!(fs::read(ours.join(&name)).unwrap() == fs::read(source.join(&name)).unwrap());
    }
    let expected = Tree::read(&ours);
    let assert_whole = |root: &Path, by: &str| Tree::read(root).assert_same(&expected, by);
    for (program, directory) in [("tar", "tar"), ("bsdtar", "bsdtar")] {
        let directory = scratch.path(directory);
        fs::create_dir(&directory).unwrap();
        Bounded::new(program, 60)
            .arg("-xpf")
            .arg(blob)
            .current_dir(&directory)
            .succeed();
        assert_whole(&directory.join("opt"), program);
    }
    let image = format!("oci:{}:latest", scratch.path("layout").display());
    // skopeo checks the diff ID of what it decompresses.
    let plain = format!("dir:{}", scratch.path("plain").display());
    Bounded::new("skopeo", 60)
        .args(&["copy", "--dest-decompress", &image, &plain])
        .succeed();
    let [storage, run] = ["storage", "run"].map(|name| scratch.path(name).display().to_string());
    let stored = format!("containers-storage:[vfs@{storage}+{run}]localhost/many:latest");
    Bounded::new("skopeo", 60)
        .args(&["copy", &image, &stored])
        .succeed();
    let buildah = |arguments: &[&str]| buildah(scratch, arguments);
    let container = buildah(&["from", "localhost/many:latest"]);
    let root = buildah(&["mount", &container]);
    assert_whole(&Path::new(&root).join("opt"), "buildah");
    buildah(&["umount", &container]);
    buildah(&["rm", &container]);
}
