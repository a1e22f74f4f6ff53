//! Edits that must be seen, and what must be read to see them.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

#[test]
fn a_tree_that_nobody_touched_is_proven_without_reading_a_file() {
    let bundle = Bundle::with(&[("a", "1"), ("d/b", "2"), ("d/e/c", "3")]);
    symlink("d/b", bundle.path("d/link")).unwrap();
    fs::create_dir(bundle.path("empty")).unwrap();
    bundle.wait();
    bundle.record();
    assert_eq!(bundle.expect(&[]), 0);
}

#[test]
fn without_the_index_every_file_is_read() {
    let bundle = Bundle::with(&[("a", "1"), ("d/b", "2"), ("d/e/c", "3")]);
    assert_eq!(bundle.by_manifest(), (Vec::new(), 3));
    edit_unseen(&bundle.path("d/b"), "x");
    assert_eq!(bundle.by_manifest(), (vec!["M d/b".to_owned()], 3));
}

#[test]
fn an_edit_in_the_clock_tick_of_the_record_is_seen() {
    // Many rounds, each as fast as possible: at 100 Hz the edit is nearly always in the tick of the record.
    for round in 0..20 {
        let bundle = Bundle::new();
        bundle.write("a", "before");
        bundle.write("b", "before");
        bundle.record();
        edit_unseen(&bundle.path("a"), "after!");
        let (found, _) = bundle.by_index();
        assert_eq!(found, ["M a"], "round {round}");
    }
}

#[test]
fn what_was_changed_in_the_tick_of_the_reference_is_not_proven() {
    let bundle = Bundle::with(&[("a", "1")]);
    let stat = bundle.rootfs().stat(b"a").unwrap();
    let ctime = node::nanoseconds(stat.ctime).unwrap();
    let manifest = fs::read(bundle.root().join(MANIFEST)).unwrap();
    let sha256 = Sha256::digest(&manifest).into();
    let read_with_reference = |time| {
        let mut recorder = Recorder::new(stat.id.dev);
        let root = bundle.rootfs().stat_self().unwrap();
        let attributes = |stat: &crate::fs::Stat, sha256| Attributes {
            kind: stat.kind,
            size: stat.size,
            uid: stat.uid,
            gid: stat.gid,
            mode: stat.mode,
            nlink: stat.nlink,
            mtime: stat.mtime,
            link: b"",
            sha256,
            xattrs: &[],
            other: Vec::new(),
        };
        let stat_stamp = crate::fs::tree::StatStamp::of;
        recorder.enter(b".", &attributes(&root, None), Some(&stat_stamp(&root)));
        let digest = Sha256::digest(b"1").into();
        recorder.leaf(
            b"a",
            &attributes(&stat, Some(digest)),
            Some(&stat_stamp(&stat)),
        );
        recorder.leave();
        let record = recorder.finish().unwrap();
        let mut index = Vec::new();
        let device = stat.id.dev;
        let reference = Reference { device, time };
        record.write_index(&mut index, sha256, &reference).unwrap();
        let index = StatIndex::parse(index, &sha256).unwrap();
        let found = bundle.diff(Baseline::Index(&index), &[], None);
        assert_eq!(found.changes, []);
        found.files_read
    };
    assert_eq!(read_with_reference(ctime + index::GRANULARITY), 1);
    assert_eq!(read_with_reference(ctime + index::GRANULARITY + 1), 0);
    // A clock that was set back: what looks younger than the index proves nothing.
    assert_eq!(read_with_reference(ctime - 1_000_000_000), 1);
    assert_eq!(read_with_reference(i64::MIN), 1);
}

#[test]
fn a_modification_time_that_was_set_back_hides_nothing_and_only_that_file_is_read() {
    let bundle = Bundle::with(&[("a", "before"), ("b", "before"), ("d/c", "before")]);
    let before = fs::metadata(bundle.path("a")).unwrap();
    fs::write(bundle.path("a"), "after!").unwrap();
    let reference = format!("--reference={}", bundle.path("b").display());
    let status = Command::new("touch")
        .arg(reference)
        .arg(bundle.path("a"))
        .status();
    assert!(status.unwrap().success());
    let after = fs::metadata(bundle.path("a")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert_eq!(bundle.expect(&["M a"]), 1);
}

#[test]
fn a_touched_file_with_its_old_content_and_time_is_read_once_and_has_not_changed() {
    let bundle = Bundle::with(&[("a", "same"), ("b", "same")]);
    edit_unseen(&bundle.path("a"), "same");
    assert_eq!(bundle.expect(&[]), 1);
}

#[test]
fn a_file_whose_size_or_time_has_changed_is_not_read_to_find_that_out() {
    let bundle = Bundle::with(&[("a", "1"), ("b", "1"), ("c", "1")]);
    fs::write(bundle.path("a"), "longer").unwrap();
    set_mtime(&bundle.path("b"), 1);
    fs::set_permissions(bundle.path("c"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(bundle.expect(&["M a", "M b", "M c"]), 0);
}

#[test]
fn contents_that_were_exchanged_under_equal_sizes_and_times_are_seen() {
    let bundle = Bundle::with(&[
        ("d/a", "one"),
        ("d/b", "two"),
        ("x/f", "one"),
        ("y/f", "two"),
    ]);
    let times: Vec<_> = [".", "d"]
        .iter()
        .map(|name| fs::metadata(bundle.path(name)).unwrap())
        .collect();
    for (a, b) in [("d/a", "d/b"), ("x", "y")] {
        fs::rename(bundle.path(a), bundle.path("d/t")).unwrap();
        fs::rename(bundle.path(b), bundle.path(a)).unwrap();
        fs::rename(bundle.path("d/t"), bundle.path(b)).unwrap();
    }
    for (name, metadata) in [".", "d"].iter().zip(&times) {
        let time = filetime::FileTime::from_last_modification_time(metadata);
        set_time(&bundle.path(name), time);
    }
    let (found, _) = bundle.by_index();
    assert_eq!(found, bundle.by_manifest().0);
    for change in ["M d/a", "M d/b", "M x/f", "M y/f"] {
        assert!(found.iter().any(|line| line == change), "{found:?}");
    }
}

#[test]
fn a_copied_bundle_is_read_and_its_changes_are_seen() {
    let mut bundle = Bundle::with(&[("a", "before"), ("d/b", "before")]);
    let (from, to) = (bundle.root(), bundle.directory.path().join("copy"));
    let status = Command::new("cp").arg("-a").args([&from, &to]).status();
    assert!(status.unwrap().success());
    bundle.name = "copy";
    assert_eq!(bundle.expect(&[]), 2);
    edit_unseen(&bundle.path("d/b"), "after!");
    assert_eq!(bundle.expect(&["M d/b"]), 2);
    bundle.name = "bundle";
    assert_eq!(bundle.expect(&[]), 0);
}

#[test]
fn a_moved_bundle_is_as_good_as_before() {
    let mut bundle = Bundle::with(&[("a", "before"), ("d/b", "before")]);
    fs::rename(bundle.root(), bundle.directory.path().join("moved")).unwrap();
    bundle.name = "moved";
    assert_eq!(bundle.expect(&[]), 0);
    edit_unseen(&bundle.path("a"), "after!");
    assert_eq!(bundle.expect(&["M a"]), 1);
}

#[test]
fn a_rootfs_that_was_moved_into_its_bundle_is_proven_but_for_itself() {
    let bundle = Bundle::with(&[("a", "before")]);
    let aside = bundle.directory.path().join("aside");
    fs::rename(bundle.path(""), &aside).unwrap();
    fs::rename(&aside, bundle.path("")).unwrap();
    assert_eq!(bundle.expect(&[]), 0);
}

#[test]
fn of_a_tree_that_is_gone_only_the_topmost_path_is_told() {
    let bundle = Bundle::with(&[("d/e/f", "1"), ("d/g", "1"), ("k/h", "1"), ("k/i", "1")]);
    fs::remove_dir_all(bundle.path("d")).unwrap();
    fs::remove_file(bundle.path("k/h")).unwrap();
    assert_eq!(bundle.expect(&["M .", "D d", "M k", "D k/h"]), 0);
}

#[test]
fn a_directory_that_became_something_else_is_modified_and_its_children_are_gone() {
    let bundle = Bundle::with(&[("d/e/f", "1"), ("d/g", "1"), ("h", "1")]);
    fs::remove_dir_all(bundle.path("d")).unwrap();
    fs::write(bundle.path("d"), "file").unwrap();
    fs::remove_file(bundle.path("h")).unwrap();
    fs::create_dir(bundle.path("h")).unwrap();
    fs::write(bundle.path("h/new"), "").unwrap();
    bundle.expect(&["M .", "M d", "D d/e", "D d/g", "M h", "A h/new"]);
}

#[test]
fn changes_are_sorted_by_the_bytes_of_whole_paths() {
    let bundle = Bundle::with(&[("a/x", "1")]);
    for name in ["a-b", "a.b", "a/new", "z"] {
        fs::write(bundle.path(name), "").unwrap();
    }
    bundle.expect(&["M .", "A a-b", "A a.b", "M a", "A a/new", "A z"].sorted());
}

#[test]
fn names_of_one_inode_change_together_and_are_read_once() {
    let bundle = Bundle::with(&[("a", "before"), ("b", "before")]);
    fs::hard_link(bundle.path("a"), bundle.path("d")).unwrap();
    fs::hard_link(bundle.path("a"), bundle.path("e")).unwrap();
    set_mtime(&bundle.path(""), 1);
    bundle.wait();
    bundle.record();
    assert_eq!(bundle.expect(&[]), 0);
    edit_unseen(&bundle.path("d"), "after!");
    assert_eq!(bundle.expect(&["M a", "M d", "M e"]), 1);
}

#[test]
fn links_pipes_and_attributes_are_compared() {
    let bundle = Bundle::new();
    bundle.write("f", "1");
    bundle.write("g", "1");
    symlink("one", bundle.path("link")).unwrap();
    symlink("one", bundle.path("same")).unwrap();
    set_mtime(&bundle.path("link"), 1);
    set_mtime(&bundle.path(""), 1);
    let set = |name, value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(bundle.path(name), "user.note", value, flags).unwrap();
    };
    set("f", b"old");
    bundle.wait();
    bundle.record();
    assert_eq!(bundle.expect(&[]), 0);

    set("f", b"new");
    set("", b"new");
    fs::remove_file(bundle.path("link")).unwrap();
    symlink("two", bundle.path("link")).unwrap();
    set_mtime(&bundle.path("link"), 1);
    set_mtime(&bundle.path(""), 1);
    assert_eq!(bundle.expect(&["M .", "M f", "M link"]), 0);
}

#[test]
fn masks_leave_out_a_path_and_all_below_it_and_nothing_else() {
    let bundle = Bundle::with(&[("d/e", "1"), ("d/f/g", "1"), ("dd", "1"), ("k/v/w", "1")]);
    for name in ["d/e", "d/f/g", "dd", "k/v/w"] {
        fs::write(bundle.path(name), "changed").unwrap();
    }
    fs::write(bundle.path("d/new"), "").unwrap();
    fs::remove_dir_all(bundle.path("k/v")).unwrap();
    let index = bundle.index().unwrap();
    let manifest = bundle.manifest();
    for baseline in [Baseline::Index(&index), Baseline::Manifest(&manifest)] {
        let changes = |masks: &[&str]| lines(&bundle.diff(baseline, masks, None).changes);
        let all = ["M d", "M d/e", "M d/f/g", "A d/new", "M dd", "M k", "D k/v"];
        assert_eq!(changes(&[]), all);
        assert_eq!(changes(&["", ".", "e", "d/fff"]), all);
        assert_eq!(changes(&["d", "k/v"]), ["M dd", "M k"]);
        assert_eq!(changes(&["d/f", "k"]), ["M d", "M d/e", "A d/new", "M dd"]);
    }
}

#[test]
fn a_foreign_manifest_with_gaps_is_compared_as_far_as_it_goes() {
    let bundle = Bundle::with(&[("d/e/f", "1")]);
    let text = "#mtree\n./d/e/f type=file\n./gone/one type=file\n./gone/two/x type=dir\n";
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    let found = bundle.diff(Baseline::Manifest(&manifest), &[], None);
    let expected = [
        "A .",
        "A d",
        "A d/e",
        "M d/e/f",
        "D gone/one",
        "D gone/two/x",
    ];
    assert_eq!(lines(&found.changes), expected);
}

/// umoci records SHA-256 of the whole, which means the same here; only our own records go by other digests (`content_hash`).
#[test]
fn more_zeros_than_our_records_hash_are_unchanged_beside_the_digest_of_others() {
    let bundle = Bundle::with(&[("lastlog", "")]);
    let recorded = fs::read_to_string(bundle.root().join(MANIFEST)).unwrap();
    let path = bundle.path("lastlog");
    let size = (4_u64 << 30) + 8192;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(size).unwrap();
    set_mtime(&path, 1_600_000_000);
    let of_nothing = hex::encode(Sha256::digest(b""));
    let found = |sha256: &str| {
        let text = recorded
            .replace(" size=0 ", &format!(" size={size} "))
            .replace(&of_nothing, sha256);
        fs::write(bundle.root().join(MANIFEST), text).unwrap();
        let options = ValidateOptions::default();
        let manifest = bundle.root().join(MANIFEST);
        let differences = validate(&manifest, &bundle.path(""), &options).unwrap();
        (bundle.by_manifest().0, differences.len())
    };
    // Of as many zeros, by sha256sum.
    let right = "18f0e98e07bdb3e28fe80c170ef278d40020a0fb48f54ba5928c983708796131";
    assert_eq!(found(right), (Vec::new(), 0));
    let wrong = right.replace('1', "2");
    assert_eq!(found(&wrong), (vec!["M lastlog".to_owned()], 1));
}

/// For a list that is easier to read in another order than that of bytes.
trait Sorted {
    fn sorted(self) -> Self;
}

impl<const N: usize> Sorted for [&str; N] {
    fn sorted(mut self) -> Self {
        self.sort_by_key(|line| &line[2..]);
        self
    }
}
