//! Overlay bundles as things: what failures leave behind, odd paths, who may mount what, and containers in them.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Trial;
use super::recipe::{Entry, What, tar_of};
use crate::image::Image;
use crate::machine::{Bounded, Scratch, names_in, said};
use crate::tree::Tree;

fn image() -> Vec<Vec<Entry>> {
    vec![
        vec![
            Entry::new("d", What::Directory),
            Entry::new("d/f", What::File(3)),
        ],
        vec![
            Entry::new("d/g", What::File(4)),
            Entry::new("d/f", What::Whiteout),
        ],
    ]
}

/// A process that is ended on drop.
struct Sleeper(Child);

impl Sleeper {
    fn in_directory(directory: &Path) -> Self {
        let mut command = Command::new("sleep");
        let command = command.arg("60").current_dir(directory);
        Self(
            command
                .process_group(0)
                .stdin(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many containers the store has.
fn containers(trial: &Trial<'_>) -> usize {
    names_in(&trial.path("store/active")).len()
}

fn mounted_below(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.contains(&format!("{}/", path.display()))
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn two_blobs_that_claim_to_be_one_layer_are_both_looked_at() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "claims", &image());
    fs::remove_dir_all(trial.path("layout")).unwrap();
    let tars = image().into_iter().map(|layer| tar_of(&layer));
    let image = tars.fold(Image::new(), Image::tar_layer);
    image.claiming(vec![0, 0]).write(&trial.path("layout"));
    for command in [trial.unpack_flat(&[]), trial.unpack_overlay(&[], &[])] {
        let output = command.output();
        assert!(!output.status.success());
        assert!(
            said(&output).contains("diffid mismatch"),
            "{}",
            said(&output)
        );
    }
    assert!(!trial.path("over").exists());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_failed_unpack_leaves_no_mount_no_container_and_no_bundle() {
    let scratch = Scratch::new(&[]);
    let broken = vec![vec![Entry::new("l", What::Link("nothing".into()))]];
    let trial = Trial::new(&scratch, "broken", &broken);
    let output = trial.unpack_overlay(&[], &[]).output();
    assert!(!output.status.success(), "{}", said(&output));
    assert!(!trial.path("over").exists());
    assert_eq!(containers(&trial), 0);
    assert!(!mounted_below(&scratch.path("")));

    let trial = Trial::new(&scratch, "good", &image());
    // A way of mounting that there is not, found out when all else is done.
    let many = ["BUNDLE_MOUNT_API=legacy", "PATH=/none"];
    let _ = trial.unpack_overlay(&many[..1], &[]).succeed();
    let before = containers(&trial);
    let again = trial.unpack_overlay(&[], &[]).output();
    assert!(!again.status.success(), "a bundle that exists");
    assert_eq!(containers(&trial), before);
    trial
        .command(&[], "remove-bundle")
        .arg(trial.path("over"))
        .succeed();
    assert_eq!(containers(&trial), 0);
    let fuse = trial
        .unpack_overlay(&["BUNDLE_MOUNT_API=fuse", many[1]], &[])
        .output();
    assert!(!fuse.status.success(), "{}", said(&fuse));
    assert!(!trial.path("over").exists());
    assert_eq!(containers(&trial), 0);
    assert!(!mounted_below(&scratch.path("")));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_bundle_is_made_in_a_directory_that_exists_and_the_rest_of_it_stays() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "there", &image());
    fs::create_dir(trial.path("over")).unwrap();
    fs::write(trial.path("over/mine"), "mine").unwrap();
    let flat = trial.flat(&[]);
    flat.assert_same(&trial.overlay(&[], &[]), "in a directory that exists");
    assert_eq!(names_in(&trial.path("over")), ["mine"]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn stores_and_bundles_may_have_any_path() {
    let scratch = Scratch::new(&["fuse-overlayfs"]);
    for name in ["a:b", "a,b", "a\\b", "a b", "a\nb", "a\"b=c", "\\054"] {
        let trial = Trial::new(&scratch, "odd", &image());
        let moved = scratch.path(name);
        fs::create_dir(&moved).unwrap();
        let flat = trial.flat(&[]);
        for api in ["fd", "string", "legacy", "fuse"] {
            // fuse-overlayfs splits the path of the upper directory there.
            if api == "fuse" && name.contains(':') {
                continue;
            }
            let over = moved.join("over");
            let variable = format!("BUNDLE_MOUNT_API={api}");
            let run = |command: &[&str]| {
                Bounded::new("env", 60)
                    .args(&[&variable])
                    .arg(scratch.binary())
                    .args(command)
                    .arg("--store")
                    .arg(moved.join("store"))
                    .arg(&over)
                    .succeed()
            };
            run(&[
                "unpack",
                "--overlay",
                "--no-sync",
                "--image",
                &trial.image(),
            ]);
            flat.assert_same(
                &Tree::read(&over.join("rootfs")),
                &format!("{name:?} {api}"),
            );
            run(&["umount"]);
            run(&["mount"]);
            assert!(over.join("rootfs/d/g").exists());
            run(&["remove-bundle"]);
            assert!(!over.exists());
        }
        fs::remove_dir_all(trial.path("flat")).unwrap();
        fs::remove_dir_all(trial.path("layout")).unwrap();
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_upper_directory_is_mounted_once() {
    let scratch = Scratch::new(&["unshare"]);
    let trial = Trial::new(&scratch, "once", &image());
    trial.unpack_overlay(&[], &[]).succeed();
    // The same bundle in its place: nothing to do.
    trial
        .command(&[], "mount")
        .arg(trial.path("over"))
        .succeed();
    // A copy of it.
    let copy = trial.path("copy");
    fs::create_dir_all(copy.join("rootfs")).unwrap();
    for name in names_in(&trial.path("over")) {
        if name != "rootfs" {
            fs::copy(trial.path("over").join(&name), copy.join(&name)).unwrap();
        }
    }
    let output = trial.command(&[], "mount").arg(&copy).output();
    assert!(!output.status.success());
    assert!(said(&output).contains("is a copy"), "{}", said(&output));
    // In another mount namespace.
    let output = Bounded::new("unshare", 60)
        .args(&["--mount", "--propagation", "private"])
        .arg(scratch.binary())
        .args(&["mount", "--store"])
        .arg(trial.path("store"))
        .arg(trial.path("over"))
        .output();
    assert!(!output.status.success());
    assert!(
        said(&output).contains("another mount namespace"),
        "{}",
        said(&output)
    );
    trial
        .command(&[], "remove-bundle")
        .arg(trial.path("over"))
        .succeed();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_busy_bundle_stays_mounted_and_who_holds_it_is_named() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "busy", &image());
    trial.unpack_overlay(&[], &[]).succeed();
    let over = trial.path("over");
    let sleeper = Sleeper::in_directory(&over.join("rootfs/d"));
    for command in ["umount", "remove-bundle"] {
        let output = trial.command(&[], command).arg(&over).output();
        assert!(!output.status.success(), "{command}");
        let said = said(&output);
        assert!(
            said.contains("sleep") && said.contains(&sleeper.0.id().to_string()),
            "{said}"
        );
        assert!(over.join("rootfs/d/g").exists(), "{command}");
    }
    trial
        .command(&[], "umount")
        .arg("--lazy")
        .arg(&over)
        .succeed();
    assert!(names_in(&over.join("rootfs")).is_empty());
    drop(sleeper);
    trial.command(&[], "remove-bundle").arg(&over).succeed();
    assert!(!over.exists());
}

/// Runs a command of the tested binary in a directory, with the store of a trial.
fn run_in(directory: &Path, trial: &Trial<'_>, arguments: &[&str]) -> std::process::Output {
    Bounded::new(trial.scratch.binary(), 60)
        .args(&arguments[..1])
        .arg("--store")
        .arg(trial.path("store"))
        .args(&arguments[1..])
        .current_dir(directory)
        .output()
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_bundle_is_the_same_by_whatever_path_it_is_named() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "paths", &image());
    let home = trial.path("home");
    fs::create_dir_all(home.join("real/deep")).unwrap();
    std::os::unix::fs::symlink("real", home.join("link")).unwrap();
    let paths = [
        "real/b",
        "link/b",
        "real/deep/../b",
        "link/deep/../b",
        "./real//b/",
    ];
    for made in paths {
        let unpack = ["unpack", "--overlay", "--image", &trial.image(), made];
        let output = run_in(&home, &trial, &unpack);
        assert!(output.status.success(), "{made}: {}", said(&output));
        for path in paths {
            for verb in ["mount", "umount", "mount"] {
                let output = run_in(&home, &trial, &[verb, path]);
                assert!(
                    output.status.success(),
                    "{made}: {verb} {path}: {}",
                    said(&output)
                );
            }
            let repack = ["repack", "--image", &trial.image(), path];
            let output = scratch.tool(&repack).current_dir(&home).output();
            assert!(output.status.success(), "{made}: {path}: {}", said(&output));
        }
        let output = run_in(&home, &trial, &["remove-bundle", paths[1]]);
        assert!(output.status.success(), "{made}: {}", said(&output));
        assert!(!home.join("real/b").exists(), "{made}");
        assert_eq!(containers(&trial), 0, "{made}");
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_copy_of_a_bundle_mounted_or_not_is_told_to_be_one_and_leaves_the_bundle_alone() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "copy", &image());
    trial.unpack_overlay(&[], &[]).succeed();
    let over = trial.path("over");
    fs::write(over.join("rootfs/new"), "n").unwrap();
    for is_mounted in [true, false] {
        if !is_mounted {
            trial.command(&[], "umount").arg(&over).succeed();
        }
        let copy = trial.path(&format!("copy-{is_mounted}"));
        Bounded::new("cp", 60)
            .args(&["-a"])
            .arg(&over)
            .arg(&copy)
            .succeed();
        assert_eq!(copy.join("rootfs/new").exists(), is_mounted);
        let image = trial.image();
        let path = copy.display().to_string();
        for arguments in [
            &["mount", &path][..],
            &["remove-bundle", &path],
            &["repack", "--image", &image, &path],
            &["diff", "--image", &image, "--bundle", &path],
        ] {
            let output = scratch.tool(arguments).output();
            let said = said(&output);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
            let named = format!("belongs to the bundle {}, of which this", over.display());
            assert!(said.contains(&named), "{arguments:?}: {said}");
            assert!(said.contains("hint: unpack the image"), "{said}");
        }
        scratch.tool(&["umount", &path]).succeed();
        assert_eq!(copy.join("rootfs/new").exists(), is_mounted);
    }
    trial.command(&[], "mount").arg(&over).succeed();
    assert_eq!(fs::read(over.join("rootfs/new")).unwrap(), b"n");
    trial.command(&[], "remove-bundle").arg(&over).succeed();
    assert_eq!(containers(&trial), 0);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_is_written_where_nothing_is_mounted_is_not_left_out_of_an_image_without_a_word() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "beneath", &image());
    trial.unpack_overlay(&[], &[]).succeed();
    let over = trial.path("over");
    trial.command(&[], "umount").arg(&over).succeed();
    fs::write(over.join("rootfs/lost"), "l").unwrap();
    let (image, path) = (trial.image(), over.display().to_string());
    for arguments in [
        &["repack", "--image", &image, &path][..],
        &["diff", "--image", &image, "--bundle", &path],
    ] {
        let output = scratch.tool(arguments).output();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("is not mounted"), "{arguments:?}: {said}");
    }
    // Mounted, what is beneath is as far away as below any mount.
    trial.command(&[], "mount").arg(&over).succeed();
    scratch
        .tool(&["repack", "--image", &image, &path])
        .succeed();
    trial.command(&[], "umount").arg(&over).succeed();
    fs::remove_file(over.join("rootfs/lost")).unwrap();
    scratch
        .tool(&["repack", "--image", &image, &path])
        .succeed();
    trial.command(&[], "remove-bundle").arg(&over).succeed();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_image_of_an_archive_is_laid_out_and_mounted_like_one_of_a_layout() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "archive", &image());
    let flat = trial.flat(&[]);
    let archive = format!("docker-archive:{}:app:1", trial.path("image.tar").display());
    scratch.tool(&["copy", &trial.image(), &archive]).succeed();
    fs::remove_dir_all(trial.path("layout")).unwrap();
    let over = trial.path("over");
    trial
        .command(&[], "unpack")
        .args(&["--overlay", "--image", &archive])
        .arg(&over)
        .succeed();
    flat.assert_same(&Tree::read(&over.join("rootfs")), "unpacked");
    let view = trial.path("view");
    fs::create_dir(&view).unwrap();
    trial
        .command(&[], "mount")
        .args(&["--image", &archive])
        .arg(&view)
        .succeed();
    flat.assert_same(&Tree::read(&view), "mounted");
    trial.unmount(&view);
    trial.command(&[], "remove-bundle").arg(&over).succeed();
    let names = Bounded::new(scratch.binary(), 60)
        .args(&["store", "ls", "--store"])
        .arg(trial.path("store"))
        .succeed();
    assert!(names.contains(&archive), "{names}");
}
