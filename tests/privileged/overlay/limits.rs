//! As many layers as an image may have, and more than the kernel stacks; few open files.

use super::Trial;
use super::recipe::{Entry, What};
use crate::machine::{Bounded, Scratch, said};

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

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_soft_limit_of_open_files_does_not_limit_the_layers() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "few", &layers(300));
    let flat = trial.flat(&[]);
    Bounded::new("sh", 120)
        .args(&["-c", "ulimit -Sn 256; exec \"$@\"", "sh"])
        .arg(scratch.binary())
        .args(&[
            "unpack",
            "--overlay",
            "--no-sync",
            "--image",
            &trial.image(),
        ])
        .arg("--store")
        .arg(trial.path("store"))
        .arg(trial.path("over"))
        .succeed();
    let over = crate::tree::Tree::read(&trial.path("over/rootfs"));
    flat.assert_same(&over, "300 layers with 256 open files");
    trial
        .command(&[], "remove-bundle")
        .arg(trial.path("over"))
        .succeed();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn many_layers_are_mounted_with_256_open_files_at_most() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "few", &layers(128));
    let flat = trial.flat(&[]);
    Bounded::new("sh", 120)
        .args(&["-c", "ulimit -n 256; exec \"$@\"", "sh"])
        .arg(scratch.binary())
        .args(&[
            "unpack",
            "--overlay",
            "--no-sync",
            "--image",
            &trial.image(),
        ])
        .arg("--store")
        .arg(trial.path("store"))
        .arg(trial.path("over"))
        .succeed();
    let over = crate::tree::Tree::read(&trial.path("over/rootfs"));
    flat.assert_same(&over, "128 layers with 256 open files");
    trial
        .command(&[], "remove-bundle")
        .arg(trial.path("over"))
        .succeed();
}
