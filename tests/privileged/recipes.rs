//! The scripts in `examples/recipes`, each run on the sample image as its header says.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::containers::debian_mirror;
use crate::machine::{Bounded, Scratch};

/// A script, the programs that it needs, and what it prints.
const RECIPES: &[(&str, &[&str], &str)] = &[
    ("runc", &["runc", "python3"], "hello from"),
    ("crun", &["crun", "python3"], "hello from"),
    ("lxc", &["python3"], "lxc.execute.cmd = /bin/sh"),
    ("kiwi", &[], "latest\n"),
    ("rockcraft", &["python3"], "steps"),
    ("distrobuilder", &[], "latest\n"),
    ("systemd-nspawn", &["systemd-nspawn"], "hello from nspawn\n"),
    ("firecracker", &["mkfs.ext4", "debugfs"], "/group/"),
    ("ci-cache", &[], "sha256/"),
    ("build-step", &[], "A /built\n"),
    ("debootstrap", &["debootstrap"], "debootstrap\n"),
];

/// crun on a machine with both cgroup hierarchies, which it does not take: it is shown version 2 only.
const CRUN: &str = r#"#!/bin/sh
crun=$(PATH=${PATH#*:} command -v crun)
test -d /sys/fs/cgroup/unified || exec "$crun" --cgroup-manager=disabled "$@"
exec unshare --mount --propagation private sh -euc '
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    crun=$1; shift
    exec "$crun" --cgroup-manager=disabled "$@"' sh "$crun" "$@"
"#;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/recipes")
}

/// Runs a recipe with our program as `bundle` and as `umoci`.
#[track_caller]
fn run(name: &str) {
    let (_, peers, expected) = RECIPES.iter().find(|(recipe, ..)| *recipe == name).unwrap();
    let scratch = Scratch::new(peers);
    scratch.sample_image("image");
    symlink("bundle", scratch.path("bin/umoci")).unwrap();
    if name == "crun" {
        fs::write(scratch.path("bin/crun"), CRUN).unwrap();
        fs::set_permissions(scratch.path("bin/crun"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir(scratch.path("work")).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let command = Bounded::new("env", 900)
        .arg(format!("PATH={}:{path}", scratch.path("bin").display()))
        .arg(directory().join(format!("{name}.sh")));
    let command = if name == "debootstrap" {
        let (mirror, suite) = debian_mirror();
        command.arg(scratch.path("work")).args(&[&suite, &mirror])
    } else {
        let image = format!("{}:latest", scratch.path("image").display());
        command.arg(image).arg(scratch.path("work"))
    };
    let said = command.succeed();
    assert!(said.contains(expected), "{name}: {said}");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn runtimes_run_an_image() {
    run("runc");
    run("crun");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn nspawn_runs_an_image() {
    run("systemd-nspawn");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn callers_of_umoci_get_what_they_expect() {
    for name in ["lxc", "kiwi", "rockcraft", "distrobuilder"] {
        run(name);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_image_becomes_a_disk() {
    run("firecracker");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_store_is_cached_and_a_step_is_built() {
    run("ci-cache");
    run("build-step");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn debian_becomes_an_image() {
    run("debootstrap");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn every_recipe_is_in_the_table() {
    let _ = Scratch::new(&[]);
    let names = fs::read_dir(directory()).unwrap();
    let names: BTreeSet<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let known: BTreeSet<String> = RECIPES
        .iter()
        .map(|(name, ..)| format!("{name}.sh"))
        .collect();
    assert_eq!(names, known);
}
