//! Each command on the store, killed at each point that it passes.

use std::collections::BTreeMap;
use std::fs;

use super::crash_fs::{Ground, UNPACK, base, inventory, plain, reaching};
use crate::image::{Image, Layer, layers_of};
use crate::machine::names_in;
use crate::tree::Tree;

/// More points than are tried of any command.
const MANY: usize = 2000;

/// By how many points two runs of one command may differ.
const NEAR: usize = 2;

/// Kills a command at each point that it passes, each time on the ground as it was kept and after `before`, and has the
/// rest looked at: `again` runs the command once more, or what a user would in its place.
#[track_caller]
fn die_everywhere(
    ground: &Ground,
    before: &[&[&str]],
    command: &[&str],
    again: &dyn Fn(&Ground, &str),
) {
    die_after("", ground, before, command, again);
}

/// The same for the last point of a name and all after it.
#[track_caller]
fn die_after(
    name: &str,
    ground: &Ground,
    before: &[&[&str]],
    command: &[&str],
    again: &dyn Fn(&Ground, &str),
) {
    let begin = || {
        ground.restore();
        for command in before {
            ground.succeed(command);
        }
    };
    begin();
    let points = ground.points(command);
    // Which of the threads of a command is first is not said, and so neither is the number of a point to the last one.
    let first = points.iter().rposition(|point| point == name);
    let first = first.map_or(0, |first| first.saturating_sub(NEAR));
    let mut deaths = 0_usize;
    for passed in first..first + MANY {
        begin();
        if !ground.dies(passed, command) {
            break;
        }
        deaths += 1;
        let point = points.get(passed).map_or("(none)", String::as_str);
        let at = format!("{command:?} died at point {passed}, {point}");
        eprintln!("{at}");
        ground.assert_sound();
        // Every other time before anything else goes on.
        if passed % 2 == 1 && ground.path("store/store.json").exists() {
            ground.gc();
            ground.assert_sound();
        }
        again(ground, &at);
        ground.assert_sound();
        ground.gc();
        ground.assert_sound();
    }
    let expected = points.len() - first;
    assert!(
        deaths.abs_diff(expected) <= NEAR && deaths > 0,
        "{deaths} deaths, {points:?}"
    );
}

/// What a store has in it after a command that nothing has disturbed.
fn undisturbed(
    ground: &Ground,
    before: &[&[&str]],
    command: &[&str],
) -> BTreeMap<&'static str, Vec<String>> {
    ground.restore();
    for command in before {
        ground.succeed(command);
    }
    ground.succeed(command);
    ground.gc();
    inventory(&ground.path("store"))
}

/// Unpacks again, or mounts the bundle if it is there; both give the same.
fn unpack_again(ground: &Ground, command: &[&str], bundle: &str) {
    if ground.path(bundle).join("rootfs").exists() {
        ground.succeed(&["mount", bundle]);
    } else {
        ground.succeed(command);
    }
}

#[track_caller]
fn assert_unpack_survives_death((ground, flat): (Ground, Tree)) {
    ground.keep();
    let expected = undisturbed(&ground, &[], &UNPACK);
    let names = names_in(&ground.path(""));
    die_everywhere(&ground, &[], &UNPACK, &|ground, at| {
        unpack_again(ground, &UNPACK, "b");
        Tree::read(&ground.path("b/rootfs")).assert_same(&flat, at);
        assert_eq!(names_in(&ground.path("")), names, "{at}");
        ground.gc();
        assert_eq!(inventory(&ground.path("store")), expected, "{at}");
    });
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_first_unpack_may_die_anywhere() {
    assert_unpack_survives_death(Ground::with_image(plain()));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_first_unpack_that_makes_a_variant_may_die_anywhere() {
    assert_unpack_survives_death(Ground::with_image(reaching()));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_first_unpack_into_tar_files_may_die_anywhere() {
    let (mut ground, flat) = Ground::on_disk().holding(reaching());
    ground.set("BUNDLE_LAYERS", "tar");
    assert_unpack_survives_death((ground, flat));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_unpack_that_copies_layers_with_other_owners_may_die_anywhere() {
    let maps = ["--uid-map", "0:100000:65536", "--gid-map", "0:100000:65536"];
    let command = [&maps[..], &UNPACK[1..]].concat();
    let command = [&UNPACK[..1], &command].concat();
    let (mut ground, _) = Ground::with_image(plain());
    ground.set("BUNDLE_NO_IDMAP", "1");
    ground.succeed(&[&["unpack"][..], &maps, &["--image", "image:latest", "flat"]].concat());
    let flat = Tree::read(&ground.path("flat/rootfs"));
    fs::remove_dir_all(ground.path("flat")).unwrap();
    ground.keep();
    let expected = undisturbed(&ground, &[], &command);
    die_everywhere(&ground, &[], &command, &|ground, at| {
        unpack_again(ground, &command, "b");
        Tree::read(&ground.path("b/rootfs")).assert_same(&flat, at);
        ground.gc();
        assert_eq!(inventory(&ground.path("store")), expected, "{at}");
    });
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_second_unpack_into_a_directory_that_exists_may_die_anywhere() {
    let (ground, flat) = Ground::with_image(plain());
    let mut command = UNPACK;
    ground.succeed(&command);
    ground.unmount_all();
    fs::create_dir(ground.path("c")).unwrap();
    fs::write(ground.path("c/notes"), "untouched").unwrap();
    ground.keep();
    command[6] = "c";
    let expected = undisturbed(&ground, &[], &command);
    let names = names_in(&ground.path("c"));
    die_everywhere(&ground, &[], &command, &|ground, at| {
        unpack_again(ground, &command, "c");
        Tree::read(&ground.path("c/rootfs")).assert_same(&flat, at);
        assert_eq!(names_in(&ground.path("c")), names, "{at}");
        ground.gc();
        assert_eq!(inventory(&ground.path("store")), expected, "{at}");
    });
}

/// A bundle in which something was changed, not mounted; and what is seen in it.
fn edited() -> (Ground, Tree) {
    let (ground, _) = Ground::with_image(reaching());
    ground.succeed(&UNPACK);
    fs::write(ground.path("b/rootfs/etc/passwd"), "edited").unwrap();
    fs::write(ground.path("b/rootfs/etc/added"), "added").unwrap();
    fs::remove_file(ground.path("b/rootfs/data/two")).unwrap();
    let tree = Tree::read(&ground.path("b/rootfs"));
    ground.unmount_all();
    ground.keep();
    (ground, tree)
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn mount_and_umount_may_die_anywhere() {
    let (ground, tree) = edited();
    let expected = undisturbed(&ground, &[], &["mount", "b"]);
    let mounted = |ground: &Ground, at: &str| {
        ground.succeed(&["mount", "b"]);
        Tree::read(&ground.path("b/rootfs")).assert_same(&tree, at);
        ground.gc();
        assert_eq!(inventory(&ground.path("store")), expected, "{at}");
    };
    die_everywhere(&ground, &[], &["mount", "b"], &mounted);
    let unmounted = |ground: &Ground, at: &str| {
        ground.succeed(&["umount", "b"]);
        assert!(ground.mounted().is_empty(), "{at}");
        mounted(ground, at);
    };
    die_everywhere(&ground, &[&["mount", "b"]], &["umount", "b"], &unmounted);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_repack_that_refreshes_its_bundle_may_die_anywhere() {
    let (ground, tree) = edited();
    let mount: &[&[&str]] = &[&["mount", "b"]];
    let repack = ["repack", "--refresh-bundle", "--image", "image:new", "b"];
    let mut expected = undisturbed(&ground, mount, &repack);
    expected.remove("images");
    let layers = layers_of(&ground.path("image"), "new");
    die_everywhere(&ground, mount, &repack, &|ground, at| {
        ground.succeed(&repack);
        assert_eq!(layers_of(&ground.path("image"), "new"), layers, "{at}");
        Tree::read(&ground.path("b/rootfs")).assert_same(&tree, at);
        ground.succeed(&["umount", "b"]);
        ground.succeed(&["mount", "b"]);
        Tree::read(&ground.path("b/rootfs")).assert_same(&tree, at);
        ground.gc();
        // Repacked once more, it is an image with one more entry in its history.
        let mut found = inventory(&ground.path("store"));
        found.remove("images");
        assert_eq!(found, expected, "{at}");
    });
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn remove_bundle_may_die_anywhere() {
    let (ground, _) = edited();
    fs::write(ground.path("b/notes"), "untouched").unwrap();
    fs::remove_dir_all(ground.path("../kept")).unwrap();
    ground.keep();
    let mount: &[&[&str]] = &[&["mount", "b"]];
    let remove = ["remove-bundle", "b"];
    let expected = undisturbed(&ground, mount, &remove);
    die_everywhere(&ground, mount, &remove, &|ground, at| {
        // Without its files it is no bundle any more.
        if names_in(&ground.path("b")) != ["notes"] {
            ground.succeed(&remove);
        }
        assert_eq!(names_in(&ground.path("b")), ["notes"], "{at}");
        ground.gc();
        assert_eq!(inventory(&ground.path("store")), expected, "{at}");
    });
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn mounting_an_image_may_die_anywhere() {
    let (ground, flat) = Ground::with_image(plain());
    ground.succeed(&UNPACK);
    ground.succeed(&["remove-bundle", "b"]);
    fs::create_dir(ground.path("m")).unwrap();
    ground.keep();
    let common = ["mount", "--store", "store", "--image", "image:latest", "m"];
    for more in [&[][..], &["--rw"], &["--rw", "--key", "mine"]] {
        let command = [&common[..], more].concat();
        let expected = undisturbed(&ground, &[], &command);
        die_everywhere(&ground, &[], &command, &|ground, at| {
            if ground.mounted().is_empty() {
                ground.succeed(&command);
            }
            Tree::read(&ground.path("m")).assert_same(&flat, at);
            ground.gc();
            assert_eq!(inventory(&ground.path("store")), expected, "{at}");
        });
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_mount_that_has_a_name_for_a_moment_may_die_anywhere() {
    let (mut ground, tree) = edited();
    for how in ["legacy", "fuse"] {
        ground.set("BUNDLE_MOUNT_API", how);
        let expected = undisturbed(&ground, &[], &["mount", "b"]);
        die_everywhere(&ground, &[], &["mount", "b"], &|ground, at| {
            ground.succeed(&["mount", "b"]);
            Tree::read(&ground.path("b/rootfs")).assert_same(&tree, at);
            ground.gc();
            assert_eq!(inventory(&ground.path("store")), expected, "{at}");
        });
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_commit_may_die_anywhere() {
    let (ground, _) = Ground::with_image(reaching());
    ground.succeed(&UNPACK);
    ground.succeed(&["remove-bundle", "b"]);
    fs::create_dir(ground.path("m")).unwrap();
    let image = ground.path("image:latest");
    let store = ["--store", "store"];
    let prepare = ["store", "prepare", "--key", "box", image.to_str().unwrap()];
    ground.succeed(&[&prepare[..], &store].concat());
    ground.succeed(&[&["store", "mount", "box", "m"][..], &store].concat());
    fs::write(ground.path("m/etc/passwd"), "edited").unwrap();
    fs::remove_file(ground.path("m/data/two")).unwrap();
    fs::remove_file(ground.path("m/etc/linked")).unwrap();
    ground.unmount_all();
    ground.keep();
    let commit = [&["store", "commit", "box"][..], &store].concat();
    let committed = |ground: &Ground| {
        let snapshots = ground.store().snapshots().unwrap();
        assert_eq!(snapshots.len(), 1);
        let mount = ["store", "mount", &snapshots[0].name, "m"];
        ground.succeed(&[&mount[..], &store].concat());
        Tree::read(&ground.path("m"))
    };
    let expected = undisturbed(&ground, &[], &commit);
    let tree = committed(&ground);
    die_everywhere(&ground, &[], &commit, &|ground, at| {
        ground.succeed(&commit);
        ground.gc();
        assert_eq!(inventory(&ground.path("store")), expected, "{at}");
        committed(ground).assert_same(&tree, at);
    });
}

/// Tiny layers, the uppermost of which hides a file of one further down.
fn tiny(count: usize) -> Image {
    let mut image = Image::new().layer(base());
    for number in 1..count {
        let name = format!("own-{number}");
        let layer = Layer::new().file(&name, 0o644, name.as_bytes());
        image = image.layer(if number == 502 {
            layer.file(".wh.own-5", 0o644, b"")
        } else {
            layer
        });
    }
    image
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_unpack_of_more_layers_than_overlayfs_stacks_may_die_while_they_are_merged() {
    let (ground, flat) = Ground::with_image(tiny(503));
    // Most of them are in the store, on behalf of another image: that they come in at any death is tested above.
    tiny(490).write(&ground.path("lower"));
    let mut unpack = UNPACK;
    (unpack[5], unpack[6]) = ("lower:latest", "c");
    ground.succeed(&unpack);
    ground.succeed(&["umount", "c"]);
    ground.keep();
    let expected = undisturbed(&ground, &[], &UNPACK);
    assert!(
        expected["layers"]
            .iter()
            .any(|layer| layer.contains("merged"))
    );
    let again = |ground: &Ground, at: &str| {
        unpack_again(ground, &UNPACK, "b");
        Tree::read(&ground.path("b/rootfs")).assert_same(&flat, at);
        ground.gc();
        assert_eq!(inventory(&ground.path("store")), expected, "{at}");
    };
    die_after("unpack-published", &ground, &[], &UNPACK, &again);
}
