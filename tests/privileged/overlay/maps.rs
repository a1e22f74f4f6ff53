//! Owners by id maps: shown by id-mapped mounts, or copied, they are those of the flat unpack.

use super::Trial;
use super::recipe::{Entry, What};
use crate::machine::{Scratch, said};

const MAPS: [&str; 4] = ["--uid-map", "0:100000:65536", "--gid-map", "0:200000:65536"];

/// Files, links and directories of many owners, in layers that need a patch and a variant.
fn layers() -> Vec<Vec<Entry>> {
    let owned = |path: &str, what, uid, gid| Entry::new(path, what).with(0o4751, uid, gid);
    vec![
        vec![
            Entry::new("", What::Directory).with(0o711, 7, 8),
            owned("d", What::Directory, 1, 2),
            owned("d/f", What::File(3), 3, 4).xattr("user.x", b"1"),
            owned("d/n", What::CharDevice(1, 3), 5, 6),
            owned("s", What::Symlink("d".into()), 7, 8),
        ],
        vec![
            owned("d/g", What::File(4), 65535, 65535),
            owned("l", What::Link("d/f".into()), 0, 0),
            owned("s/through", What::Fifo, 9, 10),
        ],
        vec![
            Entry::new("d/f", What::Whiteout),
            owned("d/dir", What::Directory, 11, 12),
        ],
    ]
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn owners_by_maps_are_as_in_the_flat_unpack() {
    let scratch = Scratch::new(&[]);
    let trial = Trial::new(&scratch, "maps", &layers());
    let flat = trial.flat(&MAPS);
    for environment in [&[][..], &["BUNDLE_NO_IDMAP=1"]] {
        let over = trial.overlay(environment, &MAPS);
        flat.assert_same(&over, &format!("{environment:?}"));
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_owner_that_maps_do_not_have_fails_in_both_shapes() {
    let scratch = Scratch::new(&[]);
    let outside = Entry::new("f", What::File(1)).with(0o644, 70_000, 0);
    let trial = Trial::new(&scratch, "outside", &[vec![outside]]);
    assert!(!trial.unpack_flat(&MAPS).output().status.success());
    for environment in [&[][..], &["BUNDLE_NO_IDMAP=1"]] {
        let output = trial.unpack_overlay(environment, &MAPS).output();
        assert!(!output.status.success(), "{environment:?}");
        assert!(said(&output).contains("70000"), "{}", said(&output));
        assert!(!trial.path("over").exists(), "{environment:?}");
    }
}
