//! Hand-made upper directories: what overlayfs leaves there for an edit, and what a flat tree would say of it.

use super::*;
use crate::ErrorKind;
use crate::overlay::Stack;
use crate::overlay::stack::tests::{Layers, MARKS, set_xattr};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The hard links of a layer, found by a walk.
fn groups(layer: &Path) -> LinkGroups {
    let mut groups = HashMap::<u64, Vec<Vec<u8>>>::new();
    for entry in walkdir::WalkDir::new(layer).sort_by_file_name() {
        let entry = entry.unwrap();
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        if !metadata.is_dir() && metadata.nlink() > 1 {
            let path = entry.path().strip_prefix(layer).unwrap();
            let path = path.to_str().unwrap().as_bytes().to_vec();
            groups.entry(metadata.ino()).or_default().push(path);
        }
    }
    groups.into_values().collect()
}

fn found(layers: &Layers, masks: &[&str], fuse: bool) -> crate::Result<Changes> {
    let masks: Vec<_> = masks.iter().map(|mask| mask.as_bytes().to_vec()).collect();
    let options = ChangesOptions {
        masks: &masks,
        link_groups: &|layer| Ok(groups(&layers.path(layer + 1, ""))),
        fuse,
    };
    changes(&layers.dir(0), &layers.stack(1), &options)
}

fn shown(changes: &[Change]) -> Vec<String> {
    let line = |change: &Change| {
        let letter = match change.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'M',
            ChangeKind::Deleted => 'D',
        };
        format!("{letter} {}", String::from_utf8_lossy(&change.path))
    };
    changes.iter().map(line).collect()
}

#[track_caller]
fn expect(layers: &Layers, expected: &[&str]) -> Changes {
    let found = found(layers, &[], false).unwrap();
    assert_eq!(shown(&found.changes), expected);
    found
}

/// The paths that are told to be one inode, in groups.
fn linked(changes: &Changes) -> Vec<Vec<&str>> {
    let mut groups = HashMap::<usize, Vec<&str>>::new();
    for (path, number) in &changes.links {
        let path = std::str::from_utf8(path).unwrap();
        groups.entry(*number).or_default().push(path);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    for group in &mut groups {
        group.sort_unstable();
    }
    groups.sort_unstable();
    groups
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_was_copied_up_and_is_still_the_same_has_not_changed() {
    let layers = Layers::new(&[
        &["d/a = one", "d/l -> x"],
        &["d/a = one", "d/b", "d/l -> x"],
    ]);
    set_xattr(&layers.path(0, "d"), "user.overlay.origin", "x");
    expect(&layers, &[]);
}

#[test]
fn every_keyword_of_a_record_makes_a_change() {
    let name = ["a", "b", "c", "d", "e", "f"];
    let layers = Layers::new(&[&name, &name, &["unused"]]);
    fs::write(layers.path(0, "a"), "z").unwrap();
    fs::write(layers.path(0, "b"), "longer").unwrap();
    layers.settle(0);
    chmod(&layers.path(0, "c"), 0o600);
    set_xattr(&layers.path(0, "d"), "user.x", "1");
    let time = filetime::FileTime::from_unix_time(1_000_000_001, 0);
    filetime::set_file_mtime(layers.path(0, "e"), time).unwrap();
    let time = filetime::FileTime::from_unix_time(1_000_000_000, 5);
    filetime::set_file_mtime(layers.path(0, "f"), time).unwrap();
    expect(&layers, &["M a", "M b", "M c", "M d", "M e"]);
}

#[test]
fn what_is_new_is_added_with_all_below_it() {
    let layers = Layers::new(&[&["d/new/a", "l -> d"], &["d/old"]]);
    expect(&layers, &["M d", "A d/new", "A d/new/a", "A l"]);
}

#[test]
fn a_whiteout_deletes_what_is_beneath_and_nothing_if_there_is_nothing() {
    let layers = Layers::new(&[&["-d", "-none", "e/-f", "g/-x"], &["d/a/b", "e/f", "e/h"]]);
    expect(&layers, &["D d", "D e/f", "A g"]);
}

#[test]
fn what_a_lower_layer_has_hidden_already_is_not_deleted_again() {
    let layers = Layers::new(&[&["-d", "e/-f"], &["-d", "e/ = y"], &["d/a", "e/f"]]);
    expect(&layers, &[]);
}

#[test]
fn an_opaque_directory_is_compared_with_all_that_is_beneath() {
    let layers = Layers::new(&[
        &["d/ = y", "d/same", "d/new", "d/other = x"],
        &["d/same", "d/other", "d/-whiteout"],
        &["d/gone/deep/er", "d/lost", "d/whiteout"],
    ]);
    // It has one subdirectory less.
    let expected = ["M d", "D d/gone", "D d/lost", "A d/new", "M d/other"];
    let mut expected = expected.to_vec();
    expected.sort_by_key(|line| line[2..].to_owned());
    expect(&layers, &expected);
}

#[test]
fn a_directory_in_an_opaque_one_is_compared_as_if_it_were_opaque() {
    // The kernel marks the topmost one only: below it nothing is merged.
    let layers = Layers::new(&[
        &["d/ = y", "d/same/new", "d/same/far/er"],
        &["d/same/gone", "d/same/far/er", "d/same/far/lost"],
    ]);
    expect(
        &layers,
        &["D d/same/far/lost", "D d/same/gone", "A d/same/new"],
    );
}

#[test]
fn a_directory_that_became_something_else_is_modified_and_each_name_in_it_is_gone() {
    let layers = Layers::new(&[&["d = file", "h/new"], &["d/e/f", "d/g", "h"]]);
    // The root has as many subdirectories as before.
    expect(&layers, &["M d", "D d/e", "D d/g", "M h", "A h/new"]);
}

#[test]
fn the_number_of_subdirectories_counts_where_the_file_system_counts_it() {
    let layers = Layers::new(&[&["d/new/", "e/-old", "f/x"], &["d/", "e/old/", "f/"]]);
    let counts = fs::metadata(layers.path(1, "e")).unwrap().nlink() > 1;
    if counts {
        expect(&layers, &["M d", "A d/new", "M e", "D e/old", "A f/x"]);
    } else {
        expect(&layers, &["A d/new", "D e/old", "A f/x"]);
    }
}

#[test]
fn what_the_upper_directory_does_not_touch_is_not_looked_at() {
    let layers = Layers::new(&[&["d/a", "-x"], &["d/b/c", "e/f", "x"]]);
    // Whoever looked into them would be refused.
    for path in ["d/b", "e"] {
        set_xattr(&layers.path(1, path), "user.overlay.redirect", "x");
    }
    expect(&layers, &["A d/a", "D x"]);
}

#[test]
fn masks_hide_what_they_name_and_what_is_below() {
    let layers = Layers::new(&[&["d/a", "d2/b", "-e"], &["x", "e/f"]]);
    let found = found(&layers, &["d", "e/f", ""], false).unwrap();
    let lines: Vec<_> = shown(&found.changes);
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("d/") || line == "A d")
    );
    for line in ["A d2", "A d2/b", "D e"] {
        assert!(lines.iter().any(|it| it == line), "{lines:?}");
    }
}

#[test]
fn a_name_that_is_added_to_links_of_a_lower_layer_brings_all_of_them() {
    // `ln a c`: the kernel copies `a` up, and `b` stays where it is.
    let layers = Layers::new(&[&["a", "c == a"], &["a", "d/b == a", "x"]]);
    let found = expect(&layers, &["M a", "A c", "M d/b"]);
    assert_eq!(linked(&found), [["a", "c", "d/b"]]);
}

#[test]
fn a_name_that_is_removed_from_links_of_a_lower_layer_brings_the_others() {
    let layers = Layers::new(&[&["-a"], &["a", "b == a", "c == a"]]);
    let told = expect(&layers, &["D a", "M b", "M c"]);
    assert_eq!(linked(&told), [["b", "c"]]);
    let layers = Layers::new(&[&["-d"], &["d/e/a", "b == d/e/a"]]);
    let mut lines = shown(&found(&layers, &[], false).unwrap().changes);
    lines.retain(|line| line != "M .");
    assert_eq!(lines, ["M b", "D d"]);
}

#[test]
fn links_that_were_hidden_before_do_not_count() {
    let layers = Layers::new(&[&["-a"], &["-c", "b"], &["a", "b == a", "c == a", "d == a"]]);
    expect(&layers, &["D a", "M d"]);
    let layers = Layers::new(&[&["a"], &["-b"], &["a", "b == a"]]);
    expect(&layers, &[]);
}

#[test]
fn a_link_that_was_copied_up_without_need_is_still_one_of_its_set() {
    let layers = Layers::new(&[&["a"], &["a", "b == a"]]);
    expect(&layers, &[]);
    // Both, apart from each other.
    let layers = Layers::new(&[&["a", "b = a"], &["a", "b == a"]]);
    expect(&layers, &[]);
}

#[test]
fn a_link_that_was_changed_in_place_has_left_its_set() {
    let layers = Layers::new(&[&["a = new", "c == a"], &["a", "b == a"]]);
    let found = expect(&layers, &["M a", "M b", "A c"]);
    assert_eq!(linked(&found), [["a", "c"]]);
}

#[test]
fn a_link_that_was_renamed_is_still_one_of_its_set() {
    let layers = Layers::new(&[&["-a", "c = a"], &["a", "b == a"]]);
    let found = expect(&layers, &["D a", "A c"]);
    assert!(found.links.is_empty());
    // All of them.
    let layers = Layers::new(&[&["-a", "-b", "c = a", "d = a"], &["a", "b == a"]]);
    let found = expect(&layers, &["D a", "D b", "A c", "A d"]);
    assert_eq!(linked(&found), [["c", "d"]]);
    // Copied up from another file.
    let layers = Layers::new(&[&["-a", "-x", "c = a"], &["a", "b == a", "x = a"]]);
    set_xattr(&layers.path(0, "c"), "user.overlay.origin", "x");
    expect(&layers, &["D a", "M b", "A c", "D x"]);
    // Over a file that was just the same.
    let layers = Layers::new(&[&["-a", "c = a"], &["a", "b == a", "c = a"]]);
    expect(&layers, &["D a", "M c"]);
    // Over another file.
    let layers = Layers::new(&[&["-a", "c = a"], &["a", "b == a", "c = other"]]);
    expect(&layers, &["D a", "M c"]);
    // Made anew at another time: not what was lost.
    let layers = Layers::new(&[&["-a", "c = a"], &["a", "b == a"]]);
    let time = filetime::FileTime::from_unix_time(1_000_000_000, 1);
    filetime::set_file_mtime(layers.path(0, "c"), time).unwrap();
    expect(&layers, &["D a", "M b", "A c"]);
}

#[test]
fn a_link_that_was_renamed_away_and_made_again_from_another_is_still_one_of_its_set() {
    let lower: &[&str] = &["a", "b == a", "c == a", "x", "y == x"];
    // mv b x; ln c b: what is at x was copied up by itself.
    let layers = Layers::new(&[&["c = a", "b == c", "x = a"], lower]);
    let found = expect(&layers, &["M a", "M b", "M c", "M x", "M y"]);
    assert_eq!(linked(&found), [["a", "b", "c", "x"]]);
    // mv b v; ln v w; mv c z: each took away one name, whatever it was given later.
    let layers = Layers::new(&[&["-b", "v = a", "w == v", "-c", "z = a"], lower]);
    let found = expect(&layers, &["M a", "D b", "D c", "A v", "A w", "A z"]);
    assert_eq!(linked(&found), [["a", "v", "w", "z"]]);
}

#[test]
fn an_equal_file_that_was_renamed_over_a_link_is_none_of_its_set() {
    // The kernel notes where it copied a file up from only if that had one name.
    let lower: &[&str] = &["a", "b == a", "x = a"];
    let layers = Layers::new(&[&["a", "-x"], lower]);
    set_xattr(&layers.path(0, "a"), "user.overlay.origin", "x");
    expect(&layers, &["M a", "M b", "D x"]);
    // With another name it has as many as before.
    let layers = Layers::new(&[&["a", "c == a", "-x"], lower]);
    set_xattr(&layers.path(0, "a"), "user.overlay.origin", "x");
    expect(&layers, &["M b", "A c", "D x"]);
    // The same where it has only one name left.
    let layers = Layers::new(&[&["a", "-x"], &["-b"], lower]);
    set_xattr(&layers.path(0, "a"), "user.overlay.origin", "x");
    expect(&layers, &["D x"]);
}

/// The changes against all lower layers, of which those that the upper directory was written over begin with a number.
#[track_caller]
fn expect_since(layers: &Layers, mounted: usize, expected: &[&str]) {
    let options = ChangesOptions {
        masks: &[],
        link_groups: &|layer| Ok(groups(&layers.path(layer + 1, ""))),
        fuse: false,
    };
    let (image, mounted) = (layers.stack(1), layers.stack(mounted));
    let found = changes_since(&layers.dir(0), &mounted, &image, &options).unwrap();
    assert_eq!(shown(&found.changes), expected);
}

#[test]
fn a_file_that_was_linked_and_packed_is_still_one_of_its_set() {
    let layers = Layers::new(&[&["a", "b == a"], &["a", "b == a"], &["a"]]);
    set_xattr(&layers.path(0, "a"), "user.overlay.origin", "x");
    expect_since(&layers, 2, &[]);
}

#[test]
fn a_file_that_was_packed_is_not_taken_for_what_packed_links_that_are_equal_have_lost() {
    let packed: &[&str] = &["a", "b == a", "c = a"];
    let layers = Layers::new(&[packed, packed, &["x"]]);
    expect_since(&layers, 2, &[]);
    let layers = Layers::new(&[&["a", "c = a"], packed, &["x"]]);
    expect_since(&layers, 2, &["M a", "D b"]);
}

#[test]
fn marks_that_say_that_content_lies_elsewhere_are_refused() {
    for (mark, path) in [("redirect", "d"), ("metacopy", "d/f")] {
        let layers = Layers::new(&[&["d/f"], &["x"]]);
        set_xattr(&layers.path(0, path), &format!("user.overlay.{mark}"), "x");
        let error = found(&layers, &[], false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn an_upper_directory_of_fuse_overlayfs_is_understood() {
    // `rm -r d; mkdir d`, a new directory, a file that could not become a device.
    let upper: &[&str] = &[
        "d/.wh..wh..opq = ",
        "d/-.wh..opq",
        "new/ = y",
        "new/.wh..wh..opq = ",
        "new/-.wh..opq",
        "new/f",
        ".wh.x = ",
    ];
    let layers = Layers::new(&[upper, &["d/old", "x"]]);
    set_xattr(&layers.path(0, "d"), "user.fuseoverlayfs.origin", "x");
    let found = found(&layers, &[], true).unwrap();
    let mut lines = shown(&found.changes);
    lines.retain(|line| line != "M .");
    assert_eq!(lines, ["D d/old", "A new", "A new/f", "D x"]);
}

#[test]
fn two_stacks_differ_in_what_their_merged_trees_differ_in() {
    let layers = Layers::new(&[
        &["d/-a", "d/new/x", "e = file", "-l", "same"],
        &["d/a", "d/b", "e/f", "e/g/h", "l", "same", "k/x/y"],
    ]);
    let between = |old: usize, new: usize| {
        let mut lines = shown(&changes_between(&layers.stack(old), &layers.stack(new)).unwrap());
        lines.retain(|line| line != "M .");
        lines
    };
    let expected = [
        "M d",
        "D d/a",
        "A d/new",
        "A d/new/x",
        "M e",
        "D e/f",
        "D e/g",
        "D l",
    ];
    assert_eq!(between(1, 0), expected);
    let expected = [
        "M d", "A d/a", "D d/new", "M e", "A e/f", "A e/g", "A e/g/h", "A l",
    ];
    assert_eq!(between(0, 1), expected);
    assert!(between(0, 0).is_empty());
}

#[test]
fn directories_that_both_stacks_show_alike_are_not_looked_into() {
    let layers = Layers::new(&[&["new"], &["d/e/f", "x"]]);
    // Whoever looked into it would be refused.
    set_xattr(&layers.path(1, "d/e"), "user.overlay.redirect", "x");
    let found = changes_between(&layers.stack(1), &layers.stack(0)).unwrap();
    assert_eq!(shown(&found), ["A new"]);
    let alone = Stack::new(vec![layers.dir(0)], MARKS);
    let error = changes_between(&alone, &layers.stack(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
