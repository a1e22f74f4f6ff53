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

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_link_to_what_is_below_stays_one_when_the_layer_makes_a_loop_of_its_way() {
    let lower = || vec![file("c/a"), link("g", "c/a")];
    assert!(works(&[
        lower(),
        vec![link("b", "c/a"), symlink("c", "c/x")]
    ]));
    assert!(!works(&[
        lower(),
        vec![link("b", "c/x"), symlink("c", "c/x")]
    ]));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_loop_of_links_that_is_none_over_the_layers_below_is_none() {
    // Over these, the link leads to `x/c`; alone, to itself.
    let lower = || vec![dir("x/y"), dir("x/c"), symlink("d", "x/y")];
    assert!(works(&[
        lower(),
        vec![symlink("c", "d/../c"), file("c/f"), hide("c/g")]
    ]));
    assert!(!works(&[
        Vec::new(),
        vec![symlink("c", "d/../c"), file("c/f"), hide("c/g")]
    ]));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_leads_to_nothing_in_a_layer_alone_may_lead_somewhere_over_those_below() {
    let lower = || vec![dir("a"), symlink("b", "a")];
    // To a name in what it replaces, which is elsewhere.
    let layer = || vec![file("b/d"), link("b", "b/d")];
    assert!(works(&[lower(), layer()]));
    assert!(!works(&[layer()]));
    // To a name in a directory that has nothing of those below.
    let layer = || vec![hide("a"), dir("a"), file("b/d"), link("e", "a/d")];
    assert!(works(&[lower(), layer()]));
    assert!(!works(&[layer()]));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_link_to_a_name_that_another_link_is_going_to_take_is_one_to_what_is_below() {
    let layer = || vec![link("b", "t"), link("c", "b"), file("t")];
    assert!(works(&[vec![file("b")], layer()]));
    assert!(works(&[layer()]));
    let layer = || vec![symlink("s", "d"), link("a", "s/t"), file("d/t")];
    assert!(works(&[vec![file("d/t")], layer()]));
    assert!(works(&[layer()]));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn links_to_a_set_of_which_nothing_is_left_are_one_file() {
    let lower = vec![file("a"), link("b", "a")];
    let upper = vec![link("x", "a"), link("y", "b"), hide("a"), hide("b")];
    assert!(works(&[lower, upper]));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_link_through_a_new_symbolic_link_joins_the_whole_set() {
    let lower = || vec![file("d/f"), link("d/g", "d/f")];
    assert!(works(&[lower(), vec![symlink("s", "d"), link("x", "s/f")]]));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_link_to_what_is_below_takes_a_name_from_its_set() {
    let lower = || vec![file("d/f"), link("g", "d/f"), file("h")];
    assert!(works(&[lower(), vec![link("d/f", "h")]]));
    assert!(works(&[lower(), vec![link("d", "h")]]));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_device_that_overlayfs_takes_for_a_whiteout_is_refused_also_in_a_layer_that_needs_those_below()
{
    let lower = || vec![dir("x/y"), dir("x/c"), symlink("d", "x/y")];
    let device = Entry::new("e", What::CharDevice(0, 0));
    let layer = vec![symlink("c", "d/../c"), file("c/f"), device];
    // The overlay refuses it, and says that it cannot.
    assert!(works(&[lower(), layer]));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_is_hidden_behind_a_link_to_a_symbolic_link_below_leaves_its_set() {
    let lower = || vec![file("a"), link("b/d", "a"), symlink("s", "b")];
    assert!(works(&[
        lower(),
        vec![link("t", "s"), hide("t/d"), link("t/e", "a")]
    ]));
    assert!(works(&[lower(), vec![link("t", "s"), hide("t/d")]]));
}
