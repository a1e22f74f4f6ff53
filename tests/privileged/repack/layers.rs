//! What a repack adds to the image, and what it leaves alone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::edit::{
    Tool, assert_unpacks_to, assert_valid, base, config, diff_ids, index_entry, name, set_mtime,
    set_xattr, settle, sh, top_archive, top_names,
};
use crate::image::{Image, Layer, layers_of};
use crate::machine::{Bounded, Scratch, names_in};
use crate::tree::{Tree, xattrs};

/// A layout with the base image, and a bundle of it.
fn unpacked(scratch: &Scratch) -> std::path::PathBuf {
    base().write(&scratch.path("layout"));
    scratch.unpack("layout", "b")
}

fn history(layout: &Path, tag: &str) -> Vec<Value> {
    let config = config(layout, tag);
    config["history"].as_array().unwrap().clone()
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn without_an_edit_there_is_no_layer() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch);
    let layout = scratch.path("layout");
    let before = Tree::read(&bundle);
    let image = name(&scratch, "layout", "again");
    Tool::Ours.repack(&scratch, &image, &bundle, &["--history.comment", "none"]);
    assert_valid(&layout);
    assert_eq!(layers_of(&layout, "again"), layers_of(&layout, "latest"));
    let (old, mut new) = (history(&layout, "latest"), history(&layout, "again"));
    let step = new.pop().unwrap();
    assert_eq!(new, old);
    assert_eq!(step["empty_layer"], true);
    assert_eq!(step["created_by"], "umoci repack");
    assert_eq!(step["comment"], "none");
    Tree::read(&bundle).assert_same(&before, "the bundle after and before");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn without_an_edit_and_without_history_there_is_only_the_tag() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch);
    let layout = scratch.path("layout");
    for tag in ["one", "two"] {
        let image = name(&scratch, "layout", tag);
        Tool::Ours.repack(&scratch, &image, &bundle, &["--no-history"]);
        assert_eq!(layers_of(&layout, tag), layers_of(&layout, "latest"));
        assert_eq!(config(&layout, tag), config(&layout, "latest"));
    }
    let digest = |tag| index_entry(&layout, tag)["digest"].clone();
    assert_eq!(digest("one"), digest("two"));
    assert_valid(&layout);
}

/// What no tool counts as a change: access, fractions of seconds, another inode with the same content.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_an_image_cannot_say_is_no_change() {
    let scratch = Scratch::new(&["umoci"]);
    let bundle = unpacked(&scratch);
    let layout = scratch.path("layout");
    let rootfs = bundle.join("rootfs");
    sh(
        &rootfs,
        "cp -a f copy; mv copy f; cp -a d copy; rm copy/h3; ln d/h3 copy; rm -r d; mv copy d; touch -a -d @7 g; touch -d @1600000000 . d",
    );
    for path in ["g", "d/sub", "d", "link", "fifo"] {
        set_mtime(&rootfs.join(path), 1_600_000_000, 999_999_999);
    }
    for (tool, tag) in [(Tool::Ours, "ours"), (Tool::Umoci, "theirs")] {
        tool.repack(&scratch, &name(&scratch, "layout", tag), &bundle, &[]);
        let ids = diff_ids(&layout, tag);
        assert_eq!(
            ids,
            diff_ids(&layout, "latest"),
            "{tool:?} packed {:?}",
            top_names(&layout, tag)
        );
    }
}

/// An image with a volume, and one whose name only begins like it.
fn image_with_volume(scratch: &Scratch) {
    let layer = Layer::new()
        .directory("./", 0o755)
        .directory("volume/", 0o755)
        .file("volume/old", 0o644, b"o")
        .file("volume-x", 0o644, b"x")
        .file("f", 0o644, b"f");
    Image::new().layer(layer).write(&scratch.path("layout"));
    let latest = name(scratch, "layout", "latest");
    scratch
        .tool(&["config", "--image", &latest, "--config.volume", "/volume/"])
        .succeed();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn masks_and_volumes_keep_changes_out_of_the_layer() {
    let scratch = Scratch::new(&["umoci"]);
    image_with_volume(&scratch);
    let layout = scratch.path("layout");
    let bundle = scratch.unpack("layout", "b");
    let rootfs = bundle.join("rootfs");
    sh(
        &rootfs,
        "rm volume/old; echo n >volume/new; echo y >volume-x; echo g >>f; mkdir -p a/b a/c; echo 1 >a/b/1; echo 2 >a/c/2",
    );
    settle(&rootfs);
    let with_volume = ["volume/", "volume/.wh.old", "volume/new", "volume-x"];
    for (flags, expected) in [
        (
            &[][..],
            &[".", "a/", "a/b/", "a/b/1", "a/c/", "a/c/2", "f", "volume-x"][..],
        ),
        (&["--mask-path", "/a"], &[".", "f", "volume-x"]),
        (&["--mask-path", "a/"], &[".", "f", "volume-x"]),
        (&["--mask-path", "/x/..//a/./"], &[".", "f", "volume-x"]),
        (
            &["--mask-path", "/a/b", "--mask-path", "/f/"],
            &[".", "a/", "a/c/", "a/c/2", "volume-x"],
        ),
        (
            &["--mask-path", "/a", "--mask-path", "/vol", "--mask-path=/"],
            &[".", "f", "volume-x"],
        ),
        (
            &["--no-mask-volumes", "--mask-path", "/a"],
            &[
                &[".", "f", "volume-x"][..],
                &["volume/", "volume/.wh.old", "volume/new"],
            ]
            .concat(),
        ),
        (
            &["--no-mask-volumes", "--mask-path=/a", "--mask-path=/f"],
            &[&["."][..], &with_volume].concat(),
        ),
    ] {
        let mut ids = Vec::new();
        for (tool, tag) in [(Tool::Ours, "ours"), (Tool::Umoci, "theirs")] {
            tool.repack(&scratch, &name(&scratch, "layout", tag), &bundle, flags);
            let mut names = top_names(&layout, tag);
            names.sort();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(names, expected, "{tool:?} {flags:?}");
            ids.push(diff_ids(&layout, tag));
        }
        assert_eq!(ids[0], ids[1], "{flags:?}");
    }
    assert_valid(&layout);
}

/// All that changed is masked, so there is nothing to add.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn masked_changes_alone_make_no_layer() {
    let scratch = Scratch::new(&[]);
    image_with_volume(&scratch);
    let layout = scratch.path("layout");
    let bundle = scratch.unpack("layout", "b");
    sh(
        &bundle.join("rootfs"),
        "echo n >volume/new; chmod 700 volume",
    );
    let image = name(&scratch, "layout", "ours");
    Tool::Ours.repack(&scratch, &image, &bundle, &[]);
    assert_eq!(diff_ids(&layout, "ours"), diff_ids(&layout, "latest"));
    let step = history(&layout, "ours").pop().unwrap();
    assert_eq!(step["empty_layer"], true);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_refreshed_bundle_is_one_of_the_new_image() {
    let scratch = Scratch::new(&["umoci"]);
    let bundle = unpacked(&scratch);
    let layout = scratch.path("layout");
    let rootfs = bundle.join("rootfs");
    let refresh = |tag: &str| {
        settle(&rootfs);
        let image = name(&scratch, "layout", tag);
        Tool::Ours.repack(&scratch, &image, &bundle, &["--refresh-bundle"]);
        assert_valid(&layout);
        let entry = index_entry(&layout, tag);
        let stem = entry["digest"].as_str().unwrap().replace(':', "_");
        let expected = ["config.json", "rootfs", "umoci.json"].map(str::to_owned);
        let mut expected = expected.to_vec();
        expected.extend([format!("{stem}.mtree"), format!("{stem}.stat")]);
        expected.sort();
        assert_eq!(names_in(&bundle), expected);
        let metadata = fs::read(bundle.join("umoci.json")).unwrap();
        let metadata: Value = serde_json::from_slice(&metadata).unwrap();
        let walk = &metadata["from_descriptor_path"]["descriptor_walk"];
        assert_eq!(*walk, json!([entry]));
        // The manifest is that of a fresh bundle, but for its comments.
        let fresh = Tool::Ours.unpack(&scratch, &image, "fresh");
        let manifest = |bundle: &Path| {
            let text = fs::read_to_string(bundle.join(format!("{stem}.mtree"))).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(manifest(&bundle), manifest(&fresh));
        fs::remove_dir_all(fresh).unwrap();
    };
    sh(
        &rootfs,
        "echo 1 >one; rm d/a; chmod 700 empty; ln h1 h4; ln -s x d/l",
    );
    refresh("one");
    sh(&rootfs, "echo 2 >empty/two; rm one");
    refresh("two");
    assert_eq!(
        top_names(&layout, "two"),
        ["empty/", "empty/two", ".wh.one"]
    );
    // Over its own tag, too.
    sh(&rootfs, "echo 3 >empty/two");
    refresh("two");
    assert_eq!(top_names(&layout, "two"), ["empty/two"]);
    let count = diff_ids(&layout, "latest").len();
    assert_eq!(diff_ids(&layout, "two").len(), count + 3);
    // Nothing is left to say.
    refresh("three");
    assert_eq!(diff_ids(&layout, "three"), diff_ids(&layout, "two"));
    let edited = Tree::read(&rootfs);
    for tool in [Tool::Ours, Tool::Umoci] {
        let image = name(&scratch, "layout", "three");
        assert_unpacks_to(&scratch, tool, &image, &edited, "after three edits");
    }
}

/// umoci tags the image, and then fails since the record exists.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_bundle_can_be_refreshed_to_the_image_that_it_is_of() {
    let scratch = Scratch::new(&["umoci"]);
    let bundle = unpacked(&scratch);
    let layout = scratch.path("layout");
    let image = name(&scratch, "layout", "one");
    let flags = ["--refresh-bundle", "--no-history"];
    Tool::Ours.repack(&scratch, &image, &bundle, &flags);
    let digest = index_entry(&layout, "one")["digest"].clone();
    let before = (names_in(&bundle), Tree::read(&bundle.join("rootfs")));
    for tag in ["one", "two"] {
        let image = name(&scratch, "layout", tag);
        Tool::Ours.repack(&scratch, &image, &bundle, &flags);
        assert_eq!(index_entry(&layout, tag)["digest"], digest);
        assert_eq!(names_in(&bundle), before.0);
        Tree::read(&bundle.join("rootfs")).assert_same(&before.1, "the root after and before");
    }
    sh(&bundle.join("rootfs"), "echo x >d/a");
    for tool in [Tool::Ours, Tool::Umoci] {
        let image = name(&scratch, "layout", "edited");
        tool.repack(&scratch, &image, &bundle, &[]);
        assert_eq!(top_names(&layout, "edited"), ["d/a"]);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_tag_is_only_where_the_result_goes() {
    let scratch = Scratch::new(&["umoci"]);
    let bundle = unpacked(&scratch);
    let layout = scratch.path("layout");
    let base = layers_of(&layout, "latest");
    // The tag that the bundle came from is gone, and that of the result is of something else.
    let latest = name(&scratch, "layout", "latest");
    scratch.tool(&["rm", "--image", &latest]).succeed();
    let other = name(&scratch, "layout", "other");
    scratch.tool(&["new", "--image", &other]).succeed();
    sh(&bundle.join("rootfs"), "echo x >f");
    Tool::Ours.repack(&scratch, &other, &bundle, &[]);
    assert_eq!(layers_of(&layout, "other")[..base.len()], base);
    assert_eq!(top_names(&layout, "other"), ["f"]);
    assert_valid(&layout);
    // A layout may be moved, and linked to.
    fs::rename(&layout, scratch.path("moved")).unwrap();
    std::os::unix::fs::symlink("moved", scratch.path("linked")).unwrap();
    let linked = name(&scratch, "linked", "again");
    Tool::Ours.repack(&scratch, &linked, &bundle, &[]);
    let ids = diff_ids(&scratch.path("moved"), "again");
    assert_eq!(ids, diff_ids(&scratch.path("moved"), "other"));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn times_later_than_the_epoch_are_lowered_to_it() {
    let scratch = Scratch::new(&["env"]);
    let bundle = unpacked(&scratch);
    let layout = scratch.path("layout");
    let rootfs = bundle.join("rootfs");
    sh(
        &rootfs,
        "echo x >f; echo y >d/older; touch -d @1000000000 d/older; rm g",
    );
    let mut entries = Vec::new();
    for tag in ["one", "two"] {
        let image = name(&scratch, "layout", tag);
        let command = Bounded::new("env", 60)
            .args(&["SOURCE_DATE_EPOCH=1650000000"])
            .arg(scratch.binary())
            .args(&["repack", "--image", &image])
            .arg(&bundle);
        command.succeed();
        entries.push(index_entry(&layout, tag)["digest"].clone());
    }
    assert_eq!(entries[0], entries[1]);
    let step = history(&layout, "one").pop().unwrap();
    assert_eq!(step["created"], "2022-04-15T05:20:00Z");
    let archive = top_archive(&layout, "one");
    let mut archive = tar::Archive::new(&archive[..]);
    let times = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        (path, entry.header().mtime().unwrap())
    });
    let expected = [
        (".", 1_650_000_000),
        ("d/", 1_650_000_000),
        ("d/older", 1_000_000_000),
        ("f", 1_650_000_000),
        (".wh.g", 0),
    ];
    let expected = expected.map(|(path, time)| (path.to_owned(), time));
    assert_eq!(times.collect::<Vec<_>>(), expected);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_new_layer_is_compressed_as_asked_or_as_those_below() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch);
    let layout = scratch.path("layout");
    sh(&bundle.join("rootfs"), "seq 20000 >d/a");
    let mut ids = Vec::new();
    let mut sizes = Vec::new();
    for (flags, suffix) in [
        (&[][..], "+gzip"),
        (&["--compress", "auto"], "+gzip"),
        (&["--compress", "gzip", "--compress-level", "0"], "+gzip"),
        (&["--compress", "zstd"], "+zstd"),
        (&["--compress", "zstd", "--compress-level", "19"], "+zstd"),
        (&["--compress", "none"], ""),
    ] {
        let image = name(&scratch, "layout", "compressed");
        Tool::Ours.repack(&scratch, &image, &bundle, flags);
        assert_valid(&layout);
        let layer = layers_of(&layout, "compressed").pop().unwrap();
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        assert_eq!(layer["mediaType"], media_type, "{flags:?}");
        let size = top_archive(&layout, "compressed").len().to_string();
        let annotation = &layer["annotations"]["ci.umo.uncompressed_blob_size"];
        let expected = (!suffix.is_empty()).then_some(&*size);
        assert_eq!(annotation.as_str(), expected, "{flags:?}");
        ids.push(diff_ids(&layout, "compressed"));
        sizes.push(layer["size"].as_u64().unwrap());
    }
    assert!(ids.iter().all(|other| *other == ids[0]), "{ids:?}");
    assert_eq!(sizes[0], sizes[1], "auto is what is done by default");
    assert!(sizes[2] > sizes[0] && sizes[4] < sizes[3], "{sizes:?}");
    // On a layer of zstd, auto means zstd.
    let image = name(&scratch, "layout", "zstd");
    let flags = ["--compress", "zstd", "--refresh-bundle"];
    Tool::Ours.repack(&scratch, &image, &bundle, &flags);
    sh(&bundle.join("rootfs"), "echo >d/b");
    Tool::Ours.repack(&scratch, &image, &bundle, &[]);
    let layers = layers_of(&layout, "zstd");
    let zstd = "application/vnd.oci.image.layer.v1.tar+zstd";
    assert!(layers[2..].iter().all(|layer| layer["mediaType"] == zstd));
    assert_eq!(layers.len(), 4);
}

/// umoci writes the newline into a comment of its manifest, and later finds files missing that never were.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_directory_may_have_a_newline_in_its_name() {
    let scratch = Scratch::new(&[]);
    let layer = Layer::new()
        .directory("./", 0o755)
        .directory("a\nb type=file/", 0o755)
        .file("a\nb type=file/f", 0o644, b"f");
    Image::new().layer(layer).write(&scratch.path("layout"));
    let layout = scratch.path("layout");
    let bundle = scratch.unpack("layout", "b");
    let rootfs = bundle.join("rootfs");
    let image = name(&scratch, "layout", "again");
    let repack = |flags: &[&str]| {
        settle(&rootfs);
        Tool::Ours.repack(&scratch, &image, &bundle, flags);
        assert_valid(&layout);
        let edited = Tree::read(&rootfs);
        assert_unpacks_to(&scratch, Tool::Ours, &image, &edited, "newlines");
    };
    repack(&["--verify"]);
    assert_eq!(diff_ids(&layout, "again"), diff_ids(&layout, "latest"));
    fs::write(rootfs.join("a\nb type=file/g"), "g").unwrap();
    fs::create_dir(rootfs.join("c\n\nd")).unwrap();
    repack(&["--refresh-bundle"]);
    fs::write(rootfs.join("c\n\nd/..\n"), "g").unwrap();
    fs::remove_file(rootfs.join("a\nb type=file/f")).unwrap();
    repack(&["--verify"]);
    let expected = ["a\nb type=file/.wh.f", "c\n\nd/..\n"];
    assert_eq!(top_names(&layout, "again"), expected);
}

/// umoci leaves attributes out of its manifest, silently, when they are large.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn changes_of_large_extended_attributes_are_seen() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch);
    let layout = scratch.path("layout");
    let rootfs = bundle.join("rootfs");
    let image = name(&scratch, "layout", "large");
    set_xattr(&rootfs.join("f"), "user.large", &[b'1'; 3000]);
    for number in 0..40 {
        let name = format!("user.{number}.{}", "n".repeat(40));
        set_xattr(&rootfs.join("g"), &name, b"v");
    }
    Tool::Ours.repack(&scratch, &image, &bundle, &["--refresh-bundle"]);
    assert_eq!(top_names(&layout, "large"), ["f", "g"]);
    let edited = Tree::read(&rootfs);
    assert_unpacks_to(&scratch, Tool::Ours, &image, &edited, "large");
    set_xattr(&rootfs.join("f"), "user.large", &[b'2'; 3000]);
    for flags in [&[][..], &["--verify"]] {
        Tool::Ours.repack(&scratch, &image, &bundle, flags);
        assert_eq!(top_names(&layout, "large"), ["f"], "{flags:?}");
    }
    let edited = Tree::read(&rootfs);
    assert_unpacks_to(&scratch, Tool::Ours, &image, &edited, "changed");
}

/// The manifest has no device numbers; the stat index has.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn another_device_number_is_a_change() {
    let scratch = Scratch::new(&["mknod"]);
    let bundle = unpacked(&scratch);
    let layout = scratch.path("layout");
    let rootfs = bundle.join("rootfs");
    sh(
        &rootfs,
        "rm null; mknod -m 666 null c 1 5; touch -d @1600000000 null .",
    );
    let image = name(&scratch, "layout", "zero");
    Tool::Ours.repack(&scratch, &image, &bundle, &[]);
    assert_eq!(top_names(&layout, "zero"), ["null"]);
    let unpacked = Tool::Ours.unpack(&scratch, &image, "again");
    let metadata = fs::symlink_metadata(unpacked.join("rootfs/null")).unwrap();
    assert_eq!(metadata.rdev(), rustix::fs::makedev(1, 5));
}

/// Attributes without a value are packed like others: tar's records can carry them, only some tools cannot.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_extended_attribute_without_a_value_does_not_fail_the_repack() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch);
    let rootfs = bundle.join("rootfs");
    set_xattr(&rootfs.join("f"), "user.empty", b"");
    set_xattr(&rootfs.join("f"), "user.full", b"1");
    let image = name(&scratch, "layout", "empty");
    Tool::Ours.repack(&scratch, &image, &bundle, &[]);
    assert_eq!(top_names(&scratch.path("layout"), "empty"), ["f"]);
    assert_valid(&scratch.path("layout"));
    let unpacked = Tool::Ours.unpack(&scratch, &image, "again");
    let found = xattrs(&unpacked.join("rootfs/f"));
    assert_eq!(found["user.full"], b"1");
}
