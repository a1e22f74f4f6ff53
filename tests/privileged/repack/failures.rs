//! A repack that fails, is killed or runs out of room leaves the image and the bundle as they were.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::edit::{
    Tool, assert_unpacks_to, assert_valid, base, blob_path, diff_ids, document, index_entry, name,
    settle, sh, top_names,
};
use crate::image::layers_of;
use crate::machine::{Scratch, Tmpfs, names_in, said};
use crate::tree::Tree;

fn unpacked(scratch: &Scratch) -> PathBuf {
    base().write(&scratch.path("layout"));
    scratch.unpack("layout", "b")
}

/// Repacks, which must fail and say all of these words, and leave bundle and layout alone.
#[track_caller]
fn assert_fails(scratch: &Scratch, layout: &str, bundle: &Path, words: &[&str]) {
    let both = || {
        (
            Tree::read(bundle).without_times_of(&[""]),
            Tree::read(&scratch.path(layout)).without_times_of(&["", "blobs/sha256"]),
        )
    };
    let before = both();
    let image = name(scratch, layout, "failed");
    for flags in [&[][..], &["--refresh-bundle"], &["--verify"]] {
        let output = scratch
            .tool(&["repack", "--image", &image])
            .args(flags)
            .arg(bundle)
            .output();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{flags:?}: no {word:?} in {said}");
        }
        let after = both();
        after
            .0
            .assert_same(&before.0, "the bundle after and before");
        after
            .1
            .assert_same(&before.1, "the layout after and before");
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_image_that_lacks_a_layer_gets_no_other() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch);
    let layout = scratch.path("layout");
    let digest = layers_of(&layout, "latest")[0].clone();
    let (layer, aside) = (blob_path(&layout, &digest), scratch.path("aside"));
    fs::rename(&layer, &aside).unwrap();
    sh(&bundle.join("rootfs"), "echo x >f");
    assert_fails(
        &scratch,
        "layout",
        &bundle,
        &[digest["digest"].as_str().unwrap()],
    );
    fs::rename(&aside, &layer).unwrap();
    assert_valid(&layout);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn without_the_manifest_or_the_config_there_is_nothing_to_add_to() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch);
    sh(&bundle.join("rootfs"), "echo x >f");
    let layout = scratch.path("layout");
    let entry = index_entry(&layout, "latest");
    let manifest = document(&layout, &entry);
    let aside = scratch.path("aside");
    for descriptor in [&entry, &manifest["config"]] {
        let path = blob_path(&layout, descriptor);
        let digest = descriptor["digest"].as_str().unwrap();
        fs::rename(&path, &aside).unwrap();
        assert_fails(&scratch, "layout", &bundle, &[digest]);
        // Damaged, of the same size.
        let mut bytes = fs::read(&aside).unwrap();
        let last = bytes.len() - 1;
        bytes[last] = b'\n';
        fs::write(&path, bytes).unwrap();
        assert_fails(&scratch, "layout", &bundle, &["digest mismatch"]);
        fs::rename(&aside, &path).unwrap();
    }
    let image = name(&scratch, "layout", "works");
    Tool::Ours.repack(&scratch, &image, &bundle, &[]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_bundle_goes_only_where_it_came_from() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch);
    sh(&bundle.join("rootfs"), "echo x >f");
    let other = scratch.path("other").display().to_string();
    scratch.tool(&["init", "--layout", &other]).succeed();
    let words = ["not in the layout", "layout that the bundle comes from"];
    assert_fails(&scratch, "other", &bundle, &words);
    // The metadata of a bundle of another image, in a layout where that is.
    fs::remove_dir_all(&other).unwrap();
    crate::image::Image::new()
        .layer(crate::image::Layer::new().file("other", 0o644, b""))
        .write(Path::new(&other));
    let second = scratch.unpack("other", "second");
    assert_fails(&scratch, "layout", &second, &words[..1]);
    fs::copy(second.join("umoci.json"), bundle.join("umoci.json")).unwrap();
    // Its record is not there.
    assert_fails(&scratch, "other", &bundle, &[".mtree"]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_is_no_bundle_is_refused() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch);
    sh(&bundle.join("rootfs"), "echo x >f");
    let names = names_in(&bundle);
    let manifest = names.iter().find(|name| name.contains(".mtree")).unwrap();
    for (file, content, words) in [
        ("umoci.json", None, &["umoci.json"][..]),
        ("umoci.json", Some("{"), &["umoci.json"]),
        ("umoci.json", Some("null"), &["umoci.json"]),
        (
            "umoci.json",
            Some(r#"{"umoci_version":"3"}"#),
            &["umoci_version"],
        ),
        (manifest, None, &[".mtree"]),
        (manifest, Some("\0 type=file\n"), &[".mtree"]),
    ] {
        let path = bundle.join(file);
        let saved = fs::read(&path).unwrap();
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert_fails(&scratch, "layout", &bundle, words);
        fs::write(&path, saved).unwrap();
    }
    let rootfs = bundle.join("rootfs");
    let aside = scratch.path("aside");
    fs::rename(&rootfs, &aside).unwrap();
    assert_fails(&scratch, "layout", &bundle, &["rootfs"]);
    fs::write(&rootfs, "a file").unwrap();
    assert_fails(&scratch, "layout", &bundle, &["rootfs"]);
    fs::remove_file(&rootfs).unwrap();
    fs::rename(&aside, &rootfs).unwrap();
    let image = name(&scratch, "layout", "works");
    Tool::Ours.repack(&scratch, &image, &bundle, &[]);
    let output = scratch
        .tool(&["repack", "--image", &image])
        .arg(scratch.path("none"))
        .output();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("none"), "{}", said(&output));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_no_layer_can_hold_is_an_error() {
    let scratch = Scratch::new(&[]);
    let bundle = unpacked(&scratch);
    let rootfs = bundle.join("rootfs");
    sh(&rootfs, "echo big >big; seq 100000 >>big");
    for whiteout in [".wh.f", "d/.wh.b", ".wh..wh..opq", ".wh."] {
        fs::write(rootfs.join(whiteout), "").unwrap();
        assert_fails(&scratch, "layout", &bundle, &[".wh."]);
        fs::remove_file(rootfs.join(whiteout)).unwrap();
    }
    // Behind a mask it does not matter.
    fs::write(rootfs.join("d/.wh.b"), "").unwrap();
    let image = name(&scratch, "layout", "masked");
    Tool::Ours.repack(&scratch, &image, &bundle, &["--mask-path", "/d"]);
    assert_eq!(top_names(&scratch.path("layout"), "masked"), [".", "big"]);
}

/// Bytes that no compression shrinks.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_full_disk_leaves_the_image_as_it_was() {
    let scratch = Scratch::new(&[]);
    let small = Tmpfs::mount(scratch.path("small"), "size=4m");
    base().write(&small.path().join("layout"));
    let bundle = scratch.unpack("small/layout", "b");
    let rootfs = bundle.join("rootfs");
    fs::write(rootfs.join("big"), noise(8 << 20)).unwrap();
    assert_fails(&scratch, "small/layout", &bundle, &["o space left"]);
    // What fails is not what is kept from then on.
    fs::write(rootfs.join("big"), noise(1 << 20)).unwrap();
    let image = name(&scratch, "small/layout", "works");
    Tool::Ours.repack(&scratch, &image, &bundle, &[]);
    assert_valid(&small.path().join("layout"));
}

/// Where the bundle cannot be refreshed, it remains one of the old image.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_bundle_on_a_full_disk_is_not_lost() {
    let scratch = Scratch::new(&[]);
    base().write(&scratch.path("layout"));
    let small = Tmpfs::mount(scratch.path("small"), "size=2m");
    let bundle = scratch.unpack("layout", "small/b");
    let rootfs = bundle.join("rootfs");
    fs::write(rootfs.join("new"), "new").unwrap();
    settle(&rootfs);
    let before = Tree::read(&bundle).without_times_of(&[""]);
    // Fills what is left to the last block.
    let filler = small.path().join("filler");
    let _ = fs::write(&filler, noise(4 << 20));
    let image = name(&scratch, "layout", "refreshed");
    let output = scratch
        .tool(&["repack", "--refresh-bundle", "--image", &image])
        .arg(&bundle)
        .output();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("o space left"), "{said}");
    Tree::read(&bundle)
        .without_times_of(&[""])
        .assert_same(&before, "the bundle after and before");
    fs::remove_file(filler).unwrap();
    Tool::Ours.repack(&scratch, &image, &bundle, &["--refresh-bundle"]);
    let edited = Tree::read(&rootfs);
    assert_unpacks_to(&scratch, Tool::Ours, &image, &edited, "after the retry");
    let count = diff_ids(&scratch.path("layout"), "latest").len();
    assert_eq!(
        diff_ids(&scratch.path("layout"), "refreshed").len(),
        count + 1
    );
}

const KILLS: u32 = 12;

/// Kills repacks at moments spread over the time that one takes, and retries.
#[track_caller]
fn assert_kills_leave_old_or_new(flags: &[&str]) {
    let scratch = Scratch::new(&[]);
    base().write(&scratch.path("pristine"));
    scratch.unpack("pristine", "pristine-bundle");
    let rootfs = scratch.path("pristine-bundle/rootfs");
    fs::create_dir(rootfs.join("many")).unwrap();
    for number in 0..400 {
        fs::write(rootfs.join(format!("many/{number}")), noise(500 + number)).unwrap();
    }
    fs::write(rootfs.join("big"), noise(3 << 20)).unwrap();
    fs::remove_file(rootfs.join("d/a")).unwrap();
    settle(&rootfs);
    let edited = Tree::read(&rootfs);
    let fresh = |number: u32| {
        let script = format!(
            "rm -rf layout b; cp -a pristine layout; cp -a pristine-bundle b{number}; mv b{number} b"
        );
        sh(&scratch.path(""), &script);
    };
    let repack = |scratch: &Scratch| {
        let mut command = Command::new(scratch.binary());
        command
            .args(["repack", "--history.created", "2020-01-01T00:00:00Z"])
            .args(flags)
            .arg("--image")
            .arg(name(scratch, "layout", "result"))
            .arg(scratch.path("b"))
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let (layout, bundle) = (scratch.path("layout"), scratch.path("b"));
    let blobs = || names_in(&layout.join("blobs/sha256"));

    fresh(0);
    let started = Instant::now();
    assert!(repack(&scratch).status().unwrap().success());
    let mut duration = started.elapsed();
    let whole = (index_entry(&layout, "result"), blobs(), names_in(&layout));
    let bundle_names = names_in(&bundle);

    let (mut killed, mut moment) = (0, 0);
    while moment < KILLS || (killed < KILLS / 2 && moment < 4 * KILLS) {
        fresh(moment);
        let (old_index, old_metadata) = (
            fs::read(layout.join("index.json")).unwrap(),
            fs::read(bundle.join("umoci.json")).unwrap(),
        );
        let mut child = repack(&scratch).spawn().unwrap();
        thread::sleep(duration * (moment % KILLS) / KILLS + Duration::from_millis(1));
        moment += 1;
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            // It was measured while the machine had more to do.
            duration = duration * 3 / 4;
        } else {
            killed += 1;
        }

        // The image is the old or the new one.
        assert_valid(&layout);
        assert_eq!(layers_of(&layout, "latest").len(), 2);
        let is_old = fs::read(layout.join("index.json")).unwrap() == old_index;
        if !is_old {
            assert_eq!(index_entry(&layout, "result"), whole.0);
        }
        // So is the bundle; its root was never touched.
        Tree::read(&bundle.join("rootfs")).assert_same(&edited, "the root after a kill");
        let is_refreshed = fs::read(bundle.join("umoci.json")).unwrap() != old_metadata;
        assert!(!(is_refreshed && is_old), "refreshed to no image");
        let output = repack(&scratch).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let image = name(&scratch, "layout", "result");
        assert_unpacks_to(&scratch, Tool::Ours, &image, &edited, "after the retry");
        if !is_refreshed {
            assert_eq!(index_entry(&layout, "result"), whole.0);
            scratch.tool(&["gc", "--layout"]).arg(&layout).succeed();
            assert_eq!(blobs(), whole.1);
            assert_eq!(names_in(&layout), whole.2);
            for name in &bundle_names {
                assert!(bundle.join(name).exists(), "{name}");
            }
        }
        assert_valid(&layout);
    }
    assert!(killed >= KILLS / 2, "only {killed} of {moment} were killed");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_killed_repack_can_be_retried() {
    assert_kills_leave_old_or_new(&[]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_killed_refresh_can_be_retried() {
    assert_kills_leave_old_or_new(&["--refresh-bundle"]);
}
