//! Each tool repacks what the other unpacked, and both write the same layers.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use crate::edit::{
    Tool, assert_unpacks_to, assert_valid, base, diff_ids, name, settle, sh, top_archive, top_names,
};
use crate::image::{Image, Layer};
use crate::machine::{Bounded, NOBODY, Scratch};
use crate::tree::Tree;

const TOOLS: [Tool; 2] = [Tool::Ours, Tool::Umoci];

const EDIT: &str = "
    echo more >>f; rm g; rm -r d/sub; mkdir -p new/er; echo n >new/er/n; ln h1 new/h4; chmod 750 d; rm link; mkdir link
";

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn who_unpacked_and_who_repacks_makes_no_difference() {
    let scratch = Scratch::new(&["umoci"]);
    let layout = scratch.path("layout");
    base().write(&layout);
    let latest = name(&scratch, "layout", "latest");
    let mut results = Vec::new();
    for unpacking in TOOLS {
        for repacking in TOOLS {
            let tag = format!("{unpacking:?}.{repacking:?}");
            let image = name(&scratch, "layout", &tag);
            let bundle = unpacking.unpack(&scratch, &latest, &tag);
            sh(&bundle.join("rootfs"), EDIT);
            settle(&bundle.join("rootfs"));
            repacking.repack(&scratch, &image, &bundle, &[]);
            assert_valid(&layout);
            let edited = Tree::read(&bundle.join("rootfs"));
            for reading in TOOLS {
                assert_unpacks_to(&scratch, reading, &image, &edited, &tag);
            }
            results.push((tag.clone(), diff_ids(&layout, &tag)));
        }
    }
    for (tag, ids) in &results {
        assert_eq!(ids, &results[0].1, "{tag} and {}", results[0].0);
    }
}

/// A refreshed bundle is one that the other tool goes on with.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn each_goes_on_with_a_bundle_that_the_other_refreshed() {
    let scratch = Scratch::new(&["umoci"]);
    let layout = scratch.path("layout");
    base().write(&layout);
    let latest = name(&scratch, "layout", "latest");
    for (first, second) in [(Tool::Ours, Tool::Umoci), (Tool::Umoci, Tool::Ours)] {
        let tag = format!("{first:?}");
        let bundle = first.unpack(&scratch, &latest, &tag);
        let rootfs = bundle.join("rootfs");
        sh(&rootfs, "echo 1 >one; rm d/a");
        settle(&rootfs);
        let image = name(&scratch, "layout", &tag);
        first.repack(&scratch, &image, &bundle, &["--refresh-bundle"]);
        let (old, refreshed) = (diff_ids(&layout, "latest"), diff_ids(&layout, &tag));
        assert_eq!(refreshed.len(), old.len() + 1);
        second.repack(&scratch, &image, &bundle, &[]);
        assert_eq!(diff_ids(&layout, &tag), refreshed, "{first:?} refreshed");

        sh(&rootfs, "echo 2 >empty/two");
        settle(&rootfs);
        second.repack(&scratch, &image, &bundle, &["--refresh-bundle"]);
        assert_eq!(top_names(&layout, &tag), ["empty/", "empty/two"]);
        first.repack(&scratch, &image, &bundle, &[]);
        assert_eq!(diff_ids(&layout, &tag).len(), refreshed.len() + 1);
        assert_valid(&layout);
        let edited = Tree::read(&rootfs);
        for reading in TOOLS {
            assert_unpacks_to(&scratch, reading, &image, &edited, "refreshed twice");
        }
    }
}

/// With maps, owners on disk are not those in the image.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn owners_are_mapped_back() {
    let scratch = Scratch::new(&["umoci"]);
    let layout = scratch.path("layout");
    base_of(&[0, 1, 1000]).write(&layout);
    let latest = name(&scratch, "layout", "latest");
    let maps = [
        "--uid-map",
        "0:100000:2000",
        "--gid-map",
        "0:200000:1",
        "--gid-map",
        "1:300000:5000",
    ];
    let mut results = Vec::new();
    for tool in TOOLS {
        let tag = format!("{tool:?}");
        let bundle = scratch.path(&tag);
        tool.command(&scratch, &["unpack", "--image", &latest])
            .args(&maps)
            .arg(&bundle)
            .succeed();
        let rootfs = bundle.join("rootfs");
        let metadata = fs::metadata(rootfs.join("of 1000")).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (101_000, 300_999));
        sh(
            &rootfs,
            "echo x >'of 1000'; echo n >new; chown 101999:304999 new; touch -d @77 'of 1'; chown 100000:200000 'of 1'",
        );
        settle(&rootfs);
        let image = name(&scratch, "layout", &tag);
        tool.repack(&scratch, &image, &bundle, &[]);
        let names = top_names(&layout, &tag);
        assert_eq!(names, [".", "new", "of 1", "of 1000"]);
        let archive = top_archive(&layout, &tag);
        let owners = owners(&archive);
        assert_eq!(owners, [(0, 0), (1999, 5000), (0, 0), (1000, 1000)]);
        results.push(diff_ids(&layout, &tag));
    }
    assert_eq!(results[0], results[1]);
    assert_valid(&layout);
    // An owner that no map has is an error, and the image stays.
    let bundle = scratch.path("Ours");
    chown(bundle.join("rootfs/new"), Some(50), Some(50)).unwrap();
    let index = fs::read(layout.join("index.json")).unwrap();
    let output = scratch
        .tool(&["repack", "--image", &latest])
        .arg(&bundle)
        .output();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read(layout.join("index.json")).unwrap(), index);
    assert_valid(&layout);
}

fn base_of(ids: &[u64]) -> Image {
    let mut layer = Layer::new().directory("./", 0o755);
    for id in ids {
        layer = layer
            .owner(*id, *id)
            .file(&format!("of {id}"), 0o644, b"mine");
    }
    Image::new().layer(layer)
}

fn owners(archive: &[u8]) -> Vec<(u64, u64)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.header().uid().unwrap(), entry.header().gid().unwrap())
        })
        .collect()
}

/// An image whose files have other owners, which an ordinary user's tool records in attributes.
///
/// Nothing that others own is closed to its owner: there umoci loses the record.
fn image_of_many_owners() -> Image {
    let layer = Layer::new()
        .directory("./", 0o755)
        .file("f", 0o644, b"f")
        .directory("closed/", 0o000)
        .file("closed/inside", 0o400, b"i")
        .directory("open/", 0o755)
        .owner(992, 123)
        .file("open/owned", 0o644, b"o")
        .directory("open/d/", 0o755)
        .file("open/d/inside", 0o600, b"i")
        .owner(0, 456)
        .file("of-group", 0o644, b"g")
        .hard_link("open/of-group", "of-group")
        .owner(0, 0)
        .symlink("link", "f")
        .null_device("null");
    Image::new().layer(layer)
}

const EDIT_OF_NOBODY: &str = "
    echo more >>f; echo more >>open/owned; echo more >>of-group; rm open/d/inside; echo n >open/d/new; chmod 700 open;
    chmod 700 closed; echo 2 >closed/second; chmod 000 closed; ln f open/f2
";

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_ordinary_user_keeps_the_owners_that_are_recorded() {
    let scratch = Scratch::new(&["umoci", "setpriv"]);
    let home = scratch.home_of_nobody();
    let layout = home.join("layout");
    image_of_many_owners().write(&layout);
    sh(&home, "chown -R 65534:65534 layout");
    let latest = format!("{}:latest", layout.display());
    let run = |command: Bounded| command.run_by_nobody(&home).succeed();
    let mut results = Vec::new();
    for unpacking in TOOLS {
        for repacking in TOOLS {
            let tag = format!("{unpacking:?}.{repacking:?}");
            let image = format!("{}:{tag}", layout.display());
            let bundle = home.join(&tag);
            run(unpacking
                .command(&scratch, &["unpack", "--rootless", "--image", &latest])
                .arg(&bundle));
            let rootfs = bundle.join("rootfs");
            run(Bounded::new("sh", 60)
                .args(&["-e", "-c", EDIT_OF_NOBODY])
                .current_dir(&rootfs));
            settle(&rootfs);
            let before = Tree::read(&bundle);
            run(repacking
                .command(&scratch, &["repack", "--image", &image])
                .arg(&bundle));
            Tree::read(&bundle).assert_same(&before, "the bundle after and before");
            assert_valid(&layout);
            assert_owned_by_nobody(&layout);
            results.push((tag.clone(), diff_ids(&layout, &tag)));

            // Root, who needs no records, unpacks the owners.
            let unpacked = Tool::Ours
                .unpack(&scratch, &image, "as-root")
                .join("rootfs");
            for (path, owner) in [
                ("f", (0, 0)),
                ("open/owned", (992, 123)),
                ("open/d", (992, 123)),
                ("open/d/new", (0, 0)),
                ("of-group", (0, 456)),
                ("closed/inside", (0, 0)),
                ("closed/second", (0, 0)),
            ] {
                let metadata = fs::symlink_metadata(unpacked.join(path)).unwrap();
                assert_eq!((metadata.uid(), metadata.gid()), owner, "{tag}: {path}");
            }
            assert!(!unpacked.join("open/d/inside").exists());
            fs::remove_dir_all(scratch.path("as-root")).unwrap();
        }
    }
    for (tag, ids) in &results {
        assert_eq!(
            ids,
            &results[0].1,
            "{tag} {:?} and {} {:?}",
            top_names(&layout, tag),
            results[0].0,
            top_names(&layout, &results[0].0),
        );
    }
}

/// What closed files lose with umoci: ours keeps the owners of what its owner cannot write.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_ordinary_user_keeps_the_owners_of_closed_files() {
    let scratch = Scratch::new(&["setpriv"]);
    let home = scratch.home_of_nobody();
    let layout = home.join("layout");
    let layer = Layer::new()
        .directory("./", 0o755)
        .owner(992, 123)
        .file("read-only", 0o444, b"r")
        .directory("closed/", 0o000)
        .file("closed/inside", 0o000, b"i");
    Image::new().layer(layer).write(&layout);
    sh(&home, "chown -R 65534:65534 layout");
    let latest = format!("{}:latest", layout.display());
    let again = format!("{}:again", layout.display());
    let bundle = home.join("b");
    let run = |command: Bounded| command.run_by_nobody(&home).succeed();
    run(scratch
        .tool(&["unpack", "--rootless", "--image", &latest])
        .arg(&bundle));
    run(scratch.tool(&["repack", "--image", &again]).arg(&bundle));
    assert_eq!(diff_ids(&layout, "again"), diff_ids(&layout, "latest"));
    // Times alone change, so that all of them get entries.
    sh(
        &bundle.join("rootfs"),
        "touch -d @5 read-only closed closed/inside",
    );
    run(scratch.tool(&["repack", "--image", &again]).arg(&bundle));
    assert_eq!(
        top_names(&layout, "again"),
        ["closed/", "closed/inside", "read-only"]
    );
    let unpacked = Tool::Ours
        .unpack(&scratch, &again, "as-root")
        .join("rootfs");
    for (path, mode) in [
        ("closed", 0o000),
        ("closed/inside", 0o000),
        ("read-only", 0o444),
    ] {
        let metadata = fs::symlink_metadata(unpacked.join(path)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (992, 123), "{path}");
        assert_eq!(metadata.mode() & 0o7777, mode, "{path}");
    }
}

#[track_caller]
fn assert_owned_by_nobody(layout: &Path) {
    for entry in walkdir::WalkDir::new(layout) {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        let owner = (metadata.uid(), metadata.gid());
        assert_eq!(owner, (NOBODY, NOBODY), "{}", entry.path().display());
    }
}
