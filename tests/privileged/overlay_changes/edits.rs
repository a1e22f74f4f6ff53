//! Edits by name: those that overlays are known to get wrong.

use std::path::PathBuf;

use super::flat_vs_overlay::{AFTER, FlatAndOverlay};
use super::model::Step;
use super::view::Mounter;
use crate::machine::Scratch;

/// Directories, files and links in two layers.
fn two_layers() -> Vec<Vec<Step>> {
    let text = |name: &str, byte| Step::Write(name.into(), byte, 2);
    let make = |name: &str| Step::Directory(name.into());
    let link = |from: &str, to: &str| Step::Link(from.into(), to.into());
    let lower = vec![
        make("d"),
        make("d/e"),
        text("d/e/f", b'f'),
        text("d/g", b'g'),
        text("one", b'1'),
        link("one", "two"),
        link("one", "d/three"),
        make("k"),
    ];
    let upper = vec![
        text("d/h", b'h'),
        text("alone", b'a'),
        link("alone", "k/other"),
        Step::Remove("two".into()),
    ];
    vec![lower, upper]
}

/// Edits by name, and whether they change anything.
fn with_known_edits(check: impl Fn(&str, &[Step], bool)) {
    let rename = |from: &str, to: &str| Step::Rename(from.into(), to.into());
    let link = |from: &str, to: &str| Step::Link(from.into(), to.into());
    let remove = |name: &str| Step::Remove(name.into());
    let make = |name: &str| Step::Directory(name.into());
    let text = |name: &str, byte| Step::Write(name.into(), byte, 2);
    let edits: &[(&str, &[Step], bool)] = &[
        ("nothing", &[], false),
        ("a directory renamed", &[rename("d", "moved")], true),
        (
            "there and back",
            &[rename("d", "x"), rename("x", "d")],
            true,
        ),
        (
            "mode and back",
            &[
                Step::ModeAndBack("d/g".into()),
                Step::ModeAndBack("one".into()),
            ],
            false,
        ),
        (
            "opened",
            &[Step::Open("d/e/f".into()), Step::Open("one".into())],
            false,
        ),
        (
            "deleted and made again",
            &[remove("d"), make("d"), text("d/g", b'g')],
            true,
        ),
        (
            "a file deleted and made again",
            &[remove("d/g"), text("d/g", b'G')],
            true,
        ),
        ("a tree deleted", &[remove("d")], true),
        ("a link added", &[link("one", "k/four")], true),
        ("a link removed", &[remove("one")], true),
        ("a link renamed", &[rename("one", "k/five")], true),
        (
            "links of both layers",
            &[link("alone", "d/six"), remove("k"), remove("d/three")],
            true,
        ),
        (
            "a directory becomes a file",
            &[remove("d"), text("d", b'd')],
            true,
        ),
        (
            "a file becomes a directory",
            &[remove("one"), make("one"), text("one/x", b'x')],
            true,
        ),
        (
            "a link renamed away and made again",
            &[rename("one", "k/five"), link("d/three", "one")],
            true,
        ),
        (
            "a link and a file exchanged",
            &[Step::Exchange("one".into(), "d/g".into())],
            true,
        ),
        (
            "a directory renamed over an empty one",
            &[make("new"), rename("d", "new")],
            true,
        ),
        (
            "an attribute with the name of a mark",
            &[Step::Attribute(
                "d".into(),
                "trusted.overlay.opaque",
                b"y".into(),
            )],
            true,
        ),
        (
            "emptied and written again",
            &[
                Step::Rewrite("d/g".into()),
                Step::Time("d/g".into(), 1_740_000_000, 7),
            ],
            false,
        ),
        (
            "copied up, then linked",
            &[Step::Open("one".into()), link("d/three", "y")],
            true,
        ),
    ];
    for (what, steps, is_change) in edits {
        println!("{what}");
        check(what, steps, *is_change);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_edits_that_overlays_are_known_to_get_wrong_give_the_layer_of_a_flat_tree() {
    let scratch = Scratch::new(&[]);
    with_known_edits(|what, steps, is_change| {
        let found = FlatAndOverlay::new(&scratch, &two_layers())
            .check(steps, AFTER, Mounter::Kernel)
            .unwrap();
        assert_eq!(!found.is_empty(), is_change, "{what}");
    });
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_overlay_of_fuse_overlayfs_gives_the_layer_of_a_flat_tree() {
    let scratch = Scratch::new(&["fuse-overlayfs"]);
    // Where it copies a file up it gives the directory a new time: not these edits, which do so themselves.
    let edits = [
        "nothing",
        "a directory renamed",
        "there and back",
        "deleted and made again",
        "a tree deleted",
        "a link removed",
        "a directory becomes a file",
        "a file becomes a directory",
    ];
    with_known_edits(|what, steps, is_change| {
        if edits.contains(&what) {
            let found = FlatAndOverlay::new(&scratch, &two_layers())
                .check(steps, AFTER, Mounter::Fuse)
                .unwrap();
            assert_eq!(!found.is_empty(), is_change, "{what}");
        }
    });
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_link_that_an_equal_file_was_renamed_over_is_lost() {
    let name = |name: &str| PathBuf::from(name);
    let lower = vec![
        Step::Write(name("a"), b'a', 2),
        Step::Link(name("a"), name("b")),
        Step::Link(name("a"), name("c")),
    ];
    // Copied up, so that it is one of the three no more.
    let upper = vec![Step::Open(name("c"))];
    let scratch = Scratch::new(&[]);
    let trees = FlatAndOverlay::new(&scratch, &[lower, upper]);
    let edit = [Step::Rename(name("c"), name("b"))];
    let found = trees.check(&edit, AFTER, Mounter::Kernel).unwrap();
    let paths: Vec<&[u8]> = found.iter().map(|change| &change.path[..]).collect();
    assert_eq!(paths, [&b"."[..], b"a", b"b", b"c"]);
}
