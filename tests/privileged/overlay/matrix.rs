//! What layer stores get wrong, case by case: what an independent layer loses of the layers below.

use super::Trial;
use super::recipe::{Entry, What};
use crate::machine::Scratch;
use crate::tree::Tree;

fn dir(path: &str) -> Entry {
    Entry::new(path, What::Directory).with(0o751, 5, 6)
}

fn file(path: &str) -> Entry {
    Entry::new(path, What::File(7)).with(0o604, 3, 4)
}

fn hide(path: &str) -> Entry {
    Entry::new(path, What::Whiteout)
}

fn symlink(path: &str, target: &str) -> Entry {
    Entry::new(path, What::Symlink(target.to_owned()))
}

fn link(path: &str, target: &str) -> Entry {
    Entry::new(path, What::Link(target.to_owned()))
}

/// The name of a case, its layers from the lowest, a path that is seen, and one that is not.
pub type Case = (
    &'static str,
    Vec<Vec<Entry>>,
    &'static str,
    Option<&'static str>,
);

pub fn cases() -> Vec<Case> {
    let root = Entry::new("", What::Directory).with(0o711, 7, 8);
    let root = root.xattr("user.root", b"1");
    let old = || vec![dir("s"), file("s/old")];
    vec![
        (
            "root-attributes",
            vec![vec![root, file("f")], vec![file("g")]],
            "g",
            None,
        ),
        (
            "implied-directory",
            vec![
                vec![dir("a").xattr("user.a", b"1"), dir("a/b")],
                vec![file("a/b/new")],
            ],
            "a/b/new",
            None,
        ),
        (
            "whiteout",
            vec![vec![dir("a"), file("a/gone")], vec![hide("a/gone")]],
            "a",
            Some("a/gone"),
        ),
        (
            "whiteout-then-directory",
            vec![old(), vec![hide("s"), dir("s"), file("s/new")]],
            "s/new",
            Some("s/old"),
        ),
        (
            "dangling-whiteout",
            vec![
                vec![file("f")],
                vec![dir("dang"), hide("dang/x"), hide("none/x"), hide("y")],
            ],
            "dang",
            Some("dang/x"),
        ),
        (
            "link-as-parent",
            vec![
                vec![dir("usr"), dir("usr/lib"), symlink("lib", "usr/lib")],
                vec![file("lib/inlib")],
            ],
            "usr/lib/inlib",
            None,
        ),
        (
            "directory-then-whiteout",
            vec![old(), vec![dir("s"), file("s/new"), hide("s")]],
            "s/new",
            Some("s/old"),
        ),
        (
            "file-then-whiteout",
            vec![
                vec![file("h")],
                vec![Entry::new("h", What::File(9)), hide("h")],
            ],
            "h",
            None,
        ),
        (
            "link-into-lower-layer",
            vec![
                vec![file("f"), link("g", "f")],
                vec![dir("d"), link("d/h", "f")],
            ],
            "d/h",
            None,
        ),
        (
            "link-set-behind-a-link",
            vec![
                vec![
                    Entry::new("b", What::Symlink("c".into())),
                    link("a/a", "b/a"),
                    file("b/a"),
                ],
                vec![dir("b/a")],
            ],
            "a/a",
            None,
        ),
        (
            "whiteout-then-implied-directory",
            vec![old(), vec![hide("s"), file("s/new3")]],
            "s/new3",
            Some("s/old"),
        ),
    ]
}

fn check(environment: &[&str], peers: &[&str]) {
    let scratch = Scratch::new(peers);
    // Where it copies something up, fuse-overlayfs gives the directory above a new time, and it shows links as copies.
    let is_fuse = peers.contains(&"fuse-overlayfs");
    for (name, layers, seen, hidden) in cases() {
        if is_fuse && name.starts_with("link-") && name != "link-as-parent" {
            continue;
        }
        let compared = |tree: Tree| match (is_fuse, name) {
            (true, "link-as-parent") => tree.without_times_of(&["", "usr"]),
            _ => tree,
        };
        let trial = Trial::new(&scratch, name, &layers);
        let flat = compared(trial.flat(&[]));
        assert!(flat.contains(seen), "{name}");
        assert!(
            !hidden.is_some_and(|hidden| flat.contains(hidden)),
            "{name}"
        );
        flat.assert_same(&compared(trial.overlay(environment, &[])), name);
        let view = compared(trial.view(environment));
        flat.assert_same(&view, &format!("{name}, to be read"));
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_layer_stores_get_wrong_is_as_in_the_flat_unpack() {
    check(&[], &[]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn layers_as_tar_files_are_as_in_the_flat_unpack() {
    check(&["BUNDLE_LAYERS=tar"], &[]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn layers_by_descriptor_are_as_in_the_flat_unpack() {
    check(&["BUNDLE_MOUNT_API=fd"], &[]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn layers_by_name_are_as_in_the_flat_unpack() {
    check(&["BUNDLE_MOUNT_API=string"], &[]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn layers_by_the_old_call_are_as_in_the_flat_unpack() {
    check(&["BUNDLE_MOUNT_API=legacy"], &[]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn layers_by_fuse_are_as_in_the_flat_unpack() {
    check(&["BUNDLE_MOUNT_API=fuse"], &["fuse-overlayfs"]);
}
