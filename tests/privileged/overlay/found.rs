//! Images that an overlay has once shown otherwise than the flat unpack, as small as they can be.

use super::property::Bench;
use super::recipe::{Entry, What};
use crate::machine::Scratch;

fn dir(path: &str) -> Entry {
    Entry::new(path, What::Directory)
}

fn file(path: &str) -> Entry {
    Entry::new(path, What::File(7))
}

fn link(path: &str, target: &str) -> Entry {
    Entry::new(path, What::Link(target.to_owned()))
}

fn hide(path: &str) -> Entry {
    Entry::new(path, What::Whiteout)
}

fn symlink(path: &str, target: &str) -> Entry {
    Entry::new(path, What::Symlink(target.to_owned()))
}

/// Compares both ways to unpack an image; whether it can be unpacked.
#[track_caller]
fn works(layers: &[Vec<Entry>]) -> bool {
    let scratch = Scratch::new(&[]);
    let checked = Bench::new(&scratch.path("")).check(layers);
    checked.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_layer_over_nothing_and_the_same_layer_over_itself_have_variants_of_their_own() {
    let layer = || vec![dir("c/d"), hide("b/x"), symlink("c", "a")];
    assert!(works(&[layer(), layer()]));
    // Over itself, this one has a loop of links in its way.
    let layer = || vec![dir("a/a"), hide("b/a"), symlink("a", "a")];
    assert!(works(&[layer()]));
    assert!(!works(&[layer(), layer()]));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_loop_of_links_below_that_a_layer_replaces_is_in_nobodys_way() {
    let lower = || vec![symlink("b", "b"), file("f"), link("g", "f")];
    assert!(works(&[lower(), vec![dir("b"), hide("b/a/x")]]));
    assert!(works(&[
        lower(),
        vec![file("b"), dir("b/a"), link("b/a/h", "g")]
    ]));
    assert!(works(&[lower(), vec![dir("b"), link("h", "b/../g")]]));
    assert!(!works(&[lower(), vec![dir("b/a")]]));
    assert!(!works(&[lower(), vec![hide("b/a")]]));
    assert!(!works(&[lower(), vec![link("h", "b/a")]]));
}
