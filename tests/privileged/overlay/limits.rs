//! As many layers as an image may have, and more than the kernel stacks; few open files.

use std::os::unix::fs::{MetadataExt, chown};

use super::Trial;
use super::recipe::{Entry, What};
use crate::machine::{Bounded, Scratch, said};
use crate::tree::Tree;

/// So many layers: each has a file of its own, changes one that all have, hides that of the layer ten below, and links to
/// that of the one before in some of them.
fn layers(count: usize) -> Vec<Vec<Entry>> {
    let mut layers = Vec::new();
    for index in 0..count {
        let byte = u8::try_from(index % 250).unwrap();
        let mut layer = vec![
            Entry::new(&format!("d/own-{index}"), What::File(byte)),
            Entry::new("all", What::File(byte)),
        ];
        if index % 10 == 9 {
            layer.push(Entry::new(&format!("d/own-{}", index - 9), What::Whiteout));
        }
        if index % 100 == 50 {
            let target = format!("d/own-{}", index - 1);
            layer.push(Entry::new(&format!("link-{index}"), What::Link(target)));
        }
        layers.push(layer);
    }
    layers[0].insert(0, Entry::new("d", What::Directory).with(0o751, 5, 6));
    layers
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn any_number_of_layers_is_as_in_the_flat_unpack() {
    let scratch = Scratch::new(&[]);
    for count in [1, 2, 128, 499, 500, 505, 600] {
        let trial = Trial::new(&scratch, &count.to_string(), &layers(count));
        let flat = trial.flat(&[]);
        flat.assert_same(&trial.overlay(&[], &[]), &format!("{count} layers"));
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_old_call_says_that_there_are_too_many_layers() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "many", &layers(499));
    let output = trial
        .unpack_overlay(&["BUNDLE_MOUNT_API=legacy"], &[])
        .output();
    assert!(!output.status.success());
    let said = said(&output);
    assert!(
        said.contains("layers") || said.contains("lower directories"),
        "{said}"
    );
    assert!(!trial.path("over").exists());
}

/// Runs a command of the tested binary, with the store of a trial, that may have so many open files.
fn with_open_files(count: u32, trial: &Trial<'_>, environment: &str, arguments: &[&str]) -> String {
    Bounded::new("env", 120)
        .arg(environment)
        .args(&["sh", "-c", &format!("ulimit -n {count}; exec \"$@\""), "sh"])
        .arg(trial.scratch.binary())
        .args(arguments)
        .succeed()
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn hundreds_of_layers_need_few_open_files() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "few", &layers(400));
    let (image, store) = (trial.image(), trial.path("store").display().to_string());
    let over = trial.path("over").display().to_string();
    let maps = ["--uid-map", "0:100000:65536", "--gid-map", "0:200000:65536"];
    let flat = trial.flat(&[]);
    std::fs::remove_dir_all(trial.path("flat")).unwrap();
    let mapped = trial.flat(&maps);
    // Owners as they are, shown by mounts, and changed on disk.
    for (what, environment, maps) in [
        ("plain", "BUNDLE_MOUNT_API=fd", &[][..]),
        ("by name", "BUNDLE_MOUNT_API=string", &[]),
        ("mapped", "BUNDLE_MOUNT_API=fd", &maps),
        ("copied", "BUNDLE_NO_IDMAP=1", &maps),
    ] {
        let unpack = [
            "unpack",
            "--overlay",
            "--no-sync",
            "--store",
            &store,
            "--image",
        ];
        let unpack = [&unpack[..], &[&image, &over], maps].concat();
        with_open_files(64, &trial, environment, &unpack);
        for verb in ["umount", "mount"] {
            with_open_files(64, &trial, environment, &[verb, &over]);
        }
        let rootfs = trial.path("over/rootfs");
        let flat = if maps.is_empty() { &flat } else { &mapped };
        flat.assert_same(&Tree::read(&rootfs), what);
        std::fs::write(rootfs.join("d/new"), "n").unwrap();
        let owner = std::fs::metadata(&rootfs).unwrap();
        chown(rootfs.join("d/new"), Some(owner.uid()), Some(owner.gid())).unwrap();
        std::fs::remove_file(rootfs.join("all")).unwrap();
        let made = format!("{}:made", trial.path("layout").display());
        with_open_files(
            64,
            &trial,
            environment,
            &["repack", "--image", &made, &over],
        );
        let names = crate::edit::top_names(&trial.path("layout"), "made");
        assert_eq!(names, [".", ".wh.all", "d/", "d/new"], "{what}");
        with_open_files(64, &trial, environment, &["remove-bundle", &over]);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn many_directories_in_several_layers_need_few_open_files() {
    let scratch = Scratch::new(&[]);
    let layer = |layer: usize| {
        let name = move |number: usize| format!("{layer}-{number}");
        let directories = (0..100).map(move |number| Entry::new(&name(number), What::Directory));
        directories
            .chain(
                (0..100)
                    .map(move |number| Entry::new(&format!("{}/f", name(number)), What::File(3))),
            )
            .collect::<Vec<_>>()
    };
    let trial = Trial::new(&scratch, "wide", &[layer(0), layer(1), layer(2)]);
    let (image, store) = (trial.image(), trial.path("store").display().to_string());
    let [flat, over] = ["flat", "over"].map(|name| trial.path(name).display().to_string());
    let unpack = ["unpack", "--image", &image, &flat];
    with_open_files(64, &trial, "A=", &unpack);
    let unpack = [
        "unpack",
        "--overlay",
        "--no-sync",
        "--store",
        &store,
        "--image",
        &image,
        &over,
    ];
    with_open_files(64, &trial, "A=", &unpack);
    Tree::read(&trial.path("flat/rootfs"))
        .assert_same(&Tree::read(&trial.path("over/rootfs")), "wide layers");
    with_open_files(64, &trial, "A=", &["remove-bundle", &over]);
}
