//! Overlay bundles as things: what failures leave behind, odd paths, who may mount what, and containers in them.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Trial;
use super::recipe::{Entry, What};
use crate::machine::{Scratch, names_in, said};
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
                crate::machine::Bounded::new("env", 60)
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
    let output = crate::machine::Bounded::new("unshare", 60)
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
