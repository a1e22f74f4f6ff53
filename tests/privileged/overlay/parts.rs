//! Parts of an image are gone from the store, by `gc` or otherwise: unpacked again, it is whole again.

use std::fs;
use std::path::PathBuf;

use super::Trial;
use super::recipe::{Entry, What};
use crate::machine::{Bounded, Scratch, names_in, said};
use crate::tree::Tree;

fn dir(path: &str) -> Entry {
    Entry::new(path, What::Directory).with(0o751, 5, 6)
}

fn file(path: &str) -> Entry {
    Entry::new(path, What::File(7)).with(0o604, 3, 4)
}

/// Layers that need a patch, for `a` and the root, and two variants: `lib` is a link, and `h` one into a lower layer.
fn layers() -> Vec<Vec<Entry>> {
    vec![
        vec![
            dir("a"),
            file("a/f"),
            dir("usr"),
            dir("usr/lib"),
            Entry::new("lib", What::Symlink("usr/lib".to_owned())),
        ],
        vec![file("a/new"), file("lib/inlib")],
        vec![Entry::new("h", What::Link("a/f".to_owned()))],
    ]
}

/// Everything in the store that an image consists of: directories of layers and patches, records of chains.
fn parts(trial: &Trial<'_>) -> Vec<PathBuf> {
    let mut parts = Vec::new();
    for kind in ["layers/sha256", "patches", "chains"] {
        let directory = trial.path("store").join(kind);
        parts.extend(names_in(&directory).iter().map(|name| directory.join(name)));
    }
    parts
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn whatever_part_of_an_image_is_gone_unpacking_it_again_brings_it_back() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "parts", &layers());
    let flat = trial.flat(&[]);
    flat.assert_same(&trial.overlay(&[], &[]), "the first time");
    let all = parts(&trial);
    let layers = all
        .iter()
        .filter(|part| part.parent().unwrap().ends_with("sha256"));
    assert!(layers.count() > 3, "variants: {all:?}");
    let copy = |from: &str, to: &str| {
        let copy = Bounded::new("cp", 60).args(&["-a"]);
        copy.arg(trial.path(from)).arg(trial.path(to)).succeed();
    };
    copy("store", "full");
    // Each one, and each one with one of the others.
    for one in &all {
        for other in &all {
            fs::remove_dir_all(trial.path("store")).unwrap();
            copy("full", "store");
            for part in [one, other] {
                Bounded::new("rm", 10).args(&["-rf"]).arg(part).succeed();
            }
            let what = format!("without {} and {}", one.display(), other.display());
            flat.assert_same(&trial.overlay(&[], &[]), &what);
        }
    }
    let check = scratch.tool(&["store", "check", "--store"]);
    check.arg(trial.path("store")).succeed();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_gc_takes_of_one_image_the_others_keep_and_unpacking_brings_back() {
    let scratch = Scratch::new(&[]);
    // Images that have more and more of the same layers.
    let trials = [1, 2, 3].map(|count| {
        let trial = Trial::new(&scratch, &count.to_string(), &layers()[..count]);
        let flat = trial.flat(&[]);
        (trial, flat)
    });
    let store = scratch.path("store").display().to_string();
    let store = &store[..];
    let run = |arguments: &[&str]| {
        let output = scratch.tool(arguments).args(&["--store", store]).output();
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    };
    let bundle = |trial: &Trial<'_>| trial.path("over").display().to_string();
    let unpack = |trial: &Trial<'_>| {
        run(&[
            "unpack",
            "--overlay",
            "--no-sync",
            "--image",
            &trial.image(),
            &bundle(trial),
        ]);
    };
    let shown = |trial: &Trial<'_>| Tree::read(&trial.path("over/rootfs"));
    for (trial, _) in &trials {
        unpack(trial);
    }
    for (gone, _) in &trials {
        run(&["remove-bundle", &bundle(gone)]);
        run(&["store", "untag", &gone.image()]);
        run(&["store", "gc", "--all"]);
        run(&["store", "check"]);
        for (trial, flat) in &trials {
            if trial.name == gone.name {
                unpack(trial);
            }
            let what = format!("{} when {} was gone", trial.name, gone.name);
            flat.assert_same(&shown(trial), &what);
            run(&["umount", &bundle(trial)]);
            run(&["mount", &bundle(trial)]);
            flat.assert_same(&shown(trial), &format!("{what}, mounted again"));
        }
    }
    for (trial, _) in &trials {
        run(&["remove-bundle", &bundle(trial)]);
        run(&["store", "untag", &trial.image()]);
    }
    run(&["store", "gc", "--all"]);
    for kind in ["layers/sha256", "chains", "patches", "active"] {
        let left = fs::read_dir(scratch.path("store").join(kind))
            .unwrap()
            .count();
        assert_eq!(left, 0, "{kind}");
    }
}
