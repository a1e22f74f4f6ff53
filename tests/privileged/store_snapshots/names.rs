//! Kinds, parents, labels, filters.

use std::fs;

use oci_bundle::snapshots::{Kind, Labels, SnapshotOptions, Snapshotter};
use oci_bundle::store::Reason;
use oci_bundle::{Error, ErrorKind, Result};

use super::{Stage, plain};

fn reason<T: std::fmt::Debug>(result: Result<T>) -> Option<Reason> {
    Reason::of(&result.unwrap_err())
}

/// Names and values of labels.
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn labels(pairs: Pairs<'_>) -> Labels {
    let pairs = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    pairs.collect()
}

fn prepare(stage: &Stage<'_>, key: &str, parent: Option<&str>) {
    stage.snapshots.prepare(key, parent, &plain()).unwrap();
}

fn commit(stage: &Stage<'_>, name: &str, parent: Option<&str>) {
    let key = format!("{name}-active");
    prepare(stage, &key, parent);
    stage.snapshots.commit(name, &key, &plain()).unwrap();
}

pub fn an_active_snapshot_is_told_with_kind_and_parent(stage: &Stage<'_>) {
    commit(stage, "base", None);
    prepare(stage, "active", Some("base"));
    stage
        .snapshots
        .view("view", Some("base"), &plain())
        .unwrap();
    for (key, kind) in [("active", Kind::Active), ("view", Kind::View)] {
        let info = stage.snapshots.stat(key).unwrap();
        assert_eq!((info.kind, info.name.as_str()), (kind, key));
        assert_eq!(info.parent.as_deref(), Some("base"));
        assert_eq!(info.created, info.updated);
    }
}

pub fn a_committed_snapshot_is_told_with_kind_and_parent(stage: &Stage<'_>) {
    commit(stage, "base", None);
    commit(stage, "top", Some("base"));
    let (base, top) = (
        stage.snapshots.stat("base").unwrap(),
        stage.snapshots.stat("top").unwrap(),
    );
    assert_eq!((base.kind, base.parent), (Kind::Committed, None));
    assert_eq!(
        (top.kind, top.parent.as_deref()),
        (Kind::Committed, Some("base"))
    );
    assert_eq!(top.name, "top");
}

pub fn what_is_not_there_is_not_found(stage: &Stage<'_>) {
    assert_eq!(stage.walked(&[]), Vec::<String>::new());
    for _ in 0..2 {
        let sn = stage.snapshots;
        let unknown = Some(Reason::KeyUnknown);
        assert_eq!(reason(sn.stat("x")), unknown);
        assert_eq!(reason(sn.usage("x")), unknown);
        assert_eq!(reason(sn.mounts("x")), unknown);
        assert_eq!(reason(sn.remove("x")), unknown);
        assert_eq!(reason(sn.commit("y", "x", &plain())), unknown);
        assert_eq!(reason(sn.prepare("y", Some("x"), &plain())), unknown);
        assert_eq!(reason(sn.view("y", Some("x"), &plain())), unknown);
        assert_eq!(reason(sn.prepare("y", Some("x"), &plain())), unknown);
        if sn.stat("base").is_err() {
            commit(stage, "base", None);
            let mut info = sn.stat("base").unwrap();
            info.name = "x".into();
            assert_eq!(reason(sn.update(&info, &[])), unknown);
        }
    }
    assert_eq!(stage.walked(&[]), ["base"]);
}

pub fn names_are_taken_once(stage: &Stage<'_>) {
    let exists = Some(Reason::KeyExists);
    commit(stage, "base", None);
    prepare(stage, "active", Some("base"));
    stage
        .snapshots
        .view("view", Some("base"), &plain())
        .unwrap();
    for name in ["base", "active", "view"] {
        for parent in [None, Some("base")] {
            assert_eq!(
                reason(stage.snapshots.prepare(name, parent, &plain())),
                exists,
                "{name}"
            );
            assert_eq!(
                reason(stage.snapshots.view(name, parent, &plain())),
                exists,
                "{name}"
            );
        }
    }
}

pub fn only_what_is_committed_is_a_parent(stage: &Stage<'_>) {
    prepare(stage, "active", None);
    stage.snapshots.view("view", None, &plain()).unwrap();
    for parent in ["active", "view"] {
        for made in [
            stage.snapshots.prepare("new", Some(parent), &plain()),
            stage.snapshots.view("new", Some(parent), &plain()),
        ] {
            let error = made.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(Reason::of(&error), Some(Reason::ParentNotCommitted));
        }
    }
    assert_eq!(stage.walked(&[]), ["active", "view"]);
}

pub fn labels_are_updated_by_field(stage: &Stage<'_>) {
    let first = SnapshotOptions::with_labels(labels(&[("a", "1"), ("b", "2"), ("c.d", "3")]));
    stage.snapshots.prepare("key", None, &first).unwrap();
    let mut info = stage.snapshots.stat("key").unwrap();
    assert_eq!(info.labels, first.labels);
    let mut updated = info.updated;
    let steps: [(Pairs<'_>, &[&str], Pairs<'_>); 7] = [
        // One is set, the others stay.
        (
            &[("a", "x")],
            &["labels.a"],
            &[("a", "x"), ("b", "2"), ("c.d", "3")],
        ),
        // Without a value one goes.
        (&[], &["labels.b"], &[("a", "x"), ("c.d", "3")]),
        (&[("a", "")], &["labels.a"], &[("c.d", "3")]),
        // Names have dots.
        (
            &[("c.d", "4"), ("e", "5")],
            &["labels.c.d"],
            &[("c.d", "4")],
        ),
        (&[("f", "6")], &["labels"], &[("f", "6")]),
        (&[("g", "7"), ("h", "8")], &[], &[("g", "7"), ("h", "8")]),
        (&[], &[], &[]),
    ];
    for (given, fields, expected) in steps {
        info.labels = labels(given);
        let now = stage.snapshots.update(&info, fields).unwrap();
        assert_eq!(now.labels, labels(expected), "{fields:?}");
        assert!(now.updated > updated, "{fields:?}");
        assert_eq!(now, stage.snapshots.stat("key").unwrap());
        updated = now.updated;
    }
    // Nothing else is changed, whatever is asked.
    info.parent = Some("other".into());
    for field in ["parent", "kind", "created", "label", "labels."] {
        let error = stage.snapshots.update(&info, &[field]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{field}");
    }
    info.labels = labels(&[("long", &"x".repeat(4096))]);
    let error = stage.snapshots.update(&info, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let now = stage.snapshots.stat("key").unwrap();
    assert_eq!((now.updated, now.parent), (updated, None));
}

pub fn labels_are_not_inherited(stage: &Stage<'_>) {
    let given = SnapshotOptions::with_labels(labels(&[("a", "1")]));
    stage.snapshots.prepare("key", None, &given).unwrap();
    let other = SnapshotOptions::with_labels(labels(&[("b", "2")]));
    stage.snapshots.commit("base", "key", &other).unwrap();
    assert_eq!(stage.snapshots.stat("base").unwrap().labels, other.labels);
    prepare(stage, "child", Some("base"));
    assert_eq!(stage.snapshots.stat("child").unwrap().labels, labels(&[]));
}

pub fn what_others_are_laid_on_is_not_removed(stage: &Stage<'_>) {
    commit(stage, "base", None);
    prepare(stage, "active", Some("base"));
    stage
        .snapshots
        .view("view", Some("base"), &plain())
        .unwrap();
    for child in ["active", "view"] {
        let error = stage.snapshots.remove("base").unwrap_err();
        assert_eq!(Reason::of(&error), Some(Reason::HasChildren));
        assert!(error.chain().contains("remove"), "{}", error.chain());
        stage.snapshots.remove(child).unwrap();
    }
    stage.snapshots.remove("base").unwrap();
    assert_eq!(stage.walked(&[]), Vec::<String>::new());
}

pub fn a_removed_name_can_be_used_again(stage: &Stage<'_>) {
    stage.edit("key", None, |root| fs::write(root.join("old"), "").unwrap());
    stage.snapshots.remove("key").unwrap();
    stage.edit("key", None, |root| {
        assert!(!root.join("old").exists());
        fs::write(root.join("new"), "").unwrap();
    });
    stage.snapshots.commit("base", "key", &plain()).unwrap();
    stage.snapshots.view("key", Some("base"), &plain()).unwrap();
    stage.snapshots.remove("key").unwrap();
    stage.snapshots.remove("base").unwrap();
    commit(stage, "key", None);
    stage.look("key", |root| {
        assert_eq!(fs::read_dir(root).unwrap().count(), 0);
    });
}

pub fn an_intermediate_snapshot_is_removed_last(stage: &Stage<'_>) {
    commit(stage, "base", None);
    commit(stage, "middle", Some("base"));
    prepare(stage, "top", Some("middle"));
    let children = Some(Reason::HasChildren);
    assert_eq!(reason(stage.snapshots.remove("middle")), children);
    stage.snapshots.remove("top").unwrap();
    assert_eq!(reason(stage.snapshots.remove("base")), children);
    stage.snapshots.remove("middle").unwrap();
    stage.snapshots.remove("base").unwrap();
}

pub fn a_walk_tells_what_filters_take(stage: &Stage<'_>) {
    commit(stage, "base", None);
    commit(stage, "second", Some("base"));
    let team = |name| SnapshotOptions::with_labels(labels(&[("io.example/team", name)]));
    stage
        .snapshots
        .prepare("active", Some("second"), &team("a"))
        .unwrap();
    stage.snapshots.prepare("lonely", None, &team("b")).unwrap();
    stage
        .snapshots
        .view("view", Some("base"), &plain())
        .unwrap();
    for (filters, expected) in [
        (&[][..], &["active", "base", "lonely", "second", "view"][..]),
        (&["kind==committed"], &["base", "second"]),
        (&["kind==active"], &["active", "lonely"]),
        (&["kind==view"], &["view"]),
        (&["kind!=committed,parent!=\"\""], &["active", "view"]),
        (&["parent==\"\""], &["base", "lonely"]),
        (&["parent==base"], &["second", "view"]),
        (&["parent==base,kind==view"], &["view"]),
        (&["kind==view", "name==lonely"], &["lonely", "view"]),
        (&["labels.\"io.example/team\""], &["active", "lonely"]),
        (&["labels.\"io.example/team\"==b"], &["lonely"]),
        (&["labels.\"io.example/team\"!=b,kind==active"], &["active"]),
        (&["name~=\"^(base|view)$\""], &["base", "view"]),
        (&["name==nobody"], &[]),
    ] {
        assert_eq!(stage.walked(filters), expected, "{filters:?}");
    }
    let walked = stage.snapshots.walk(&["kind="], &mut |_| Ok(()));
    assert_eq!(walked.unwrap_err().kind(), ErrorKind::InvalidInput);
}

pub fn a_walk_may_ask_for_what_it_tells_of(stage: &Stage<'_>) {
    commit(stage, "base", None);
    prepare(stage, "active", Some("base"));
    let mut seen = 0;
    let walked = stage.snapshots.walk(&[], &mut |info| {
        seen += 1;
        assert_eq!(stage.snapshots.stat(&info.name)?, *info);
        stage.snapshots.usage(&info.name).map(drop)
    });
    walked.unwrap();
    assert_eq!(seen, 2);
}

pub fn a_walk_may_remove_what_it_tells_of(stage: &Stage<'_>) {
    commit(stage, "base", None);
    for key in ["x1", "x2", "x3"] {
        prepare(stage, key, Some("base"));
    }
    let remove = &mut |info: &oci_bundle::snapshots::Info| stage.snapshots.remove(&info.name);
    stage.snapshots.walk(&["kind==active"], remove).unwrap();
    assert_eq!(stage.walked(&[]), ["base"]);
}

pub fn the_error_of_a_visitor_ends_the_walk(stage: &Stage<'_>) {
    prepare(stage, "a", None);
    prepare(stage, "b", None);
    let mut seen = 0;
    let walked = stage.snapshots.walk(&[], &mut |_| {
        seen += 1;
        Err(Error::new(ErrorKind::LimitExceeded, "enough"))
    });
    assert_eq!(
        (walked.unwrap_err().kind(), seen),
        (ErrorKind::LimitExceeded, 1)
    );
}

pub fn closing_twice_is_no_error(stage: &Stage<'_>) {
    prepare(stage, "active", None);
    stage.snapshots.close().unwrap();
    stage.snapshots.close().unwrap();
}

pub fn a_committed_key_is_gone_and_its_name_can_be_removed(stage: &Stage<'_>) {
    prepare(stage, "key", None);
    stage.snapshots.commit("name", "key", &plain()).unwrap();
    let unknown = Some(Reason::KeyUnknown);
    assert_eq!(reason(stage.snapshots.stat("key")), unknown);
    assert_eq!(reason(stage.snapshots.remove("key")), unknown);
    // The key is free, and what takes it is not touched by the name's going.
    prepare(stage, "key", Some("name"));
    stage.snapshots.remove("key").unwrap();
    prepare(stage, "key", None);
    stage.snapshots.remove("name").unwrap();
    assert_eq!(stage.walked(&[]), ["key"]);
}

pub fn only_what_is_active_is_committed(stage: &Stage<'_>) {
    let prerequisites = Some(Reason::Prerequisites);
    commit(stage, "base", None);
    stage
        .snapshots
        .view("view", Some("base"), &plain())
        .unwrap();
    for key in ["base", "view"] {
        assert_eq!(
            reason(stage.snapshots.commit("new", key, &plain())),
            prerequisites,
            "{key}"
        );
    }
    assert_eq!(reason(stage.snapshots.mounts("base")), prerequisites);
    assert_eq!(stage.walked(&[]), ["base", "view"]);
}

pub fn a_commit_needs_a_free_name(stage: &Stage<'_>) {
    commit(stage, "base", None);
    prepare(stage, "other", None);
    prepare(stage, "key", None);
    for name in ["base", "other", "key"] {
        let committed = stage.snapshots.commit(name, "key", &plain());
        assert_eq!(reason(committed), Some(Reason::KeyExists), "{name}");
    }
    assert_eq!(stage.snapshots.stat("key").unwrap().kind, Kind::Active);
    assert_eq!(
        stage
            .snapshots
            .commit("", "key", &plain())
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidInput
    );
    stage.snapshots.commit("free", "key", &plain()).unwrap();
}

pub fn a_commit_chooses_a_parent_where_there_was_none(stage: &Stage<'_>) {
    commit(stage, "p", None);
    commit(stage, "q", None);
    prepare(stage, "active", None);
    prepare(stage, "on nothing", None);
    prepare(stage, "on p", Some("p"));
    let commit = |name: &str, key: &str, parent: &str| {
        stage
            .snapshots
            .commit(name, key, &SnapshotOptions::onto(parent))
    };
    assert_eq!(
        reason(commit("n", "on nothing", "missing")),
        Some(Reason::KeyUnknown)
    );
    assert_eq!(
        reason(commit("n", "on nothing", "active")),
        Some(Reason::ParentNotCommitted)
    );
    assert_eq!(
        commit("n", "on p", "q").unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    commit("same", "on p", "p").unwrap();
    assert_eq!(
        stage.snapshots.stat("same").unwrap().parent.as_deref(),
        Some("p")
    );
    prepare(stage, "on p", Some("p"));
    stage.snapshots.commit("kept", "on p", &plain()).unwrap();
    assert_eq!(
        stage.snapshots.stat("kept").unwrap().parent.as_deref(),
        Some("p")
    );
    commit("rebased", "on nothing", "p").unwrap();
    assert_eq!(
        stage.snapshots.stat("rebased").unwrap().parent.as_deref(),
        Some("p")
    );
}

pub fn usage_counts_what_is_its_own(stage: &Stage<'_>) {
    stage.layer("base", None, |root| {
        fs::write(root.join("file"), vec![1; 100_000]).unwrap();
    });
    let base = stage.snapshots.usage("base").unwrap();
    assert!(base.bytes >= 100_000 && base.inodes == 2, "{base:?}");
    stage.edit("active", Some("base"), |root| {
        fs::create_dir(root.join("d")).unwrap();
    });
    let before = stage.snapshots.usage("active").unwrap();
    let mounts = stage.snapshots.mounts("active").unwrap();
    fs::write(stage.mount(&mounts).target.join("other"), vec![2; 50_000]).unwrap();
    let active = stage.snapshots.usage("active").unwrap();
    assert_eq!(active.inodes, before.inodes + 1);
    // A file system may need some time to find blocks; what is committed is written.
    stage.snapshots.commit("top", "active", &plain()).unwrap();
    let committed = stage.snapshots.usage("top").unwrap();
    assert_eq!(committed, stage.snapshots.usage("top").unwrap());
    assert_eq!(committed.inodes, active.inodes);
}

pub fn names_may_be_any_text(stage: &Stage<'_>) {
    let names = [
        "default/12/with spaces and /slashes/",
        "..",
        "/",
        "lock",
        "\u{1f4e6} \"quoted\" \\ \n",
        &"long".repeat(200),
    ];
    commit(stage, "base", None);
    for name in names {
        prepare(stage, name, Some("base"));
        assert_eq!(stage.snapshots.stat(name).unwrap().name, name);
    }
    assert_eq!(stage.walked(&["kind==active"]).len(), names.len());
    for (count, name) in names.into_iter().enumerate() {
        stage
            .snapshots
            .commit(&format!("{name}{count}"), name, &plain())
            .unwrap();
    }
    let too_long = "x".repeat(5000);
    for name in ["", &too_long] {
        let error = stage.snapshots.prepare(name, None, &plain()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

pub fn several_threads_prepare_and_commit_at_once(stage: &Stage<'_>) {
    commit(stage, "base", None);
    let snapshots: &dyn Snapshotter = stage.snapshots;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for count in 0..4 {
                    let (key, name) = (
                        format!("{thread} {count}"),
                        format!("done {thread} {count}"),
                    );
                    snapshots.prepare(&key, Some("base"), &plain()).unwrap();
                    snapshots.commit(&name, &key, &plain()).unwrap();
                }
            });
        }
    });
    assert_eq!(stage.walked(&["kind==committed,parent==base"]).len(), 16);
    assert_eq!(stage.walked(&["kind==active"]).len(), 0);
}

pub fn one_of_several_commits_of_one_name_wins(stage: &Stage<'_>) {
    let snapshots: &dyn Snapshotter = stage.snapshots;
    for key in ["a", "b", "c", "d"] {
        prepare(stage, key, None);
    }
    let won = std::thread::scope(|scope| {
        let commits = ["a", "b", "c", "d"].map(|key| {
            scope.spawn(move || match snapshots.commit("name", key, &plain()) {
                Ok(()) => 1,
                Err(error) => {
                    assert_eq!(Reason::of(&error), Some(Reason::KeyExists));
                    0
                }
            })
        });
        commits
            .into_iter()
            .map(|commit| commit.join().unwrap())
            .sum::<usize>()
    });
    assert_eq!(won, 1);
    assert_eq!(stage.walked(&["kind==active"]).len(), 3);
}
