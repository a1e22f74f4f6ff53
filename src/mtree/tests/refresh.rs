//! The record of a walk is that of a second walk, which it spares.

use super::*;

/// What a second walk would write.
fn second_walk(bundle: &Bundle) -> String {
    let options = WalkOptions {
        keywords: UMOCI_KEYWORDS,
        owners: None,
    };
    let mut writer = Writer::new(Vec::new(), UMOCI_KEYWORDS, &Header::default()).unwrap();
    walk(&bundle.rootfs(), &options, &mut writer).unwrap();
    String::from_utf8(writer.finish().unwrap()).unwrap()
}

#[track_caller]
pub(super) fn check_record(bundle: &Bundle) {
    let written = fs::read_to_string(bundle.root().join(MANIFEST)).unwrap();
    assert_eq!(written, second_walk(bundle));
}

fn edited() -> Bundle {
    let bundle = Bundle::with(&[
        ("a", "1"),
        ("d/b", "2"),
        ("d/c", "3"),
        ("e/f", "4"),
        ("v/w", "5"),
    ]);
    fs::hard_link(bundle.path("a"), bundle.path("d/link")).unwrap();
    fs::write(bundle.path("d/b"), "changed").unwrap();
    fs::write(bundle.path("new file"), "new").unwrap();
    fs::remove_dir_all(bundle.path("e")).unwrap();
    fs::write(bundle.path("v/new"), "new").unwrap();
    fs::write(bundle.path("v/w"), "new").unwrap();
    std::os::unix::fs::symlink("a\\b", bundle.path("d/sym")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(bundle.path("d/c"), "user.a=b", b"\0value", flags).unwrap();
    bundle
}

#[test]
fn the_refreshed_manifest_is_what_a_second_walk_would_write() {
    for uses_index in [true, false] {
        let bundle = edited();
        let (index, manifest) = (bundle.index().unwrap(), bundle.manifest());
        let baseline = if uses_index {
            Baseline::Index(&index)
        } else {
            Baseline::Manifest(&manifest)
        };
        let found = bundle.refresh(baseline, &[]);
        // Without an index: `d/c`, whose change shows before its content is read, but must be recorded; and no other.
        assert_eq!(found.files_read, 0, "{uses_index}");
        assert_eq!(found.changes.len(), 12, "{:?}", lines(&found.changes));
        check_record(&bundle);
        bundle.expect(&[]);
    }
}

#[test]
fn a_refreshed_index_sees_the_next_change_and_proves_the_rest() {
    let bundle = edited();
    let index = bundle.index().unwrap();
    bundle.wait();
    bundle.refresh(Baseline::Index(&index), &[]);
    assert_eq!(bundle.expect(&[]), 0);
    edit_unseen(&bundle.path("d/b"), "CHANGED");
    assert_eq!(bundle.expect(&["M d/b"]), 1);
}

#[test]
fn an_edit_in_the_tick_of_a_refresh_is_seen() {
    for round in 0..20 {
        let bundle = Bundle::with(&[("a", "one"), ("b", "one")]);
        let index = bundle.index().unwrap();
        edit_unseen(&bundle.path("a"), "two");
        bundle.refresh(Baseline::Index(&index), &[]);
        edit_unseen(&bundle.path("a"), "six");
        assert_eq!(bundle.by_index().0, ["M a"], "round {round}");
    }
}

#[test]
fn an_edit_between_the_walk_and_the_new_record_is_seen() {
    let bundle = Bundle::with(&[("a", "one"), ("b", "one")]);
    let reference = Reference::now(&bundle.dir()).unwrap();
    let index = bundle.index().unwrap();
    let mut found = bundle.diff(Baseline::Index(&index), &[], Some(reference));
    edit_unseen(&bundle.path("a"), "two");
    let mut record = found.record.take().unwrap();
    let (mut manifest, mut index) = (Vec::new(), Vec::new());
    let sha256 = record
        .write_manifest(&mut manifest, &Header::default())
        .unwrap();
    record.write_index(&mut index, sha256, &reference).unwrap();
    let index = StatIndex::parse(index, &sha256).unwrap();
    let found = bundle.diff(Baseline::Index(&index), &[], None);
    assert_eq!(lines(&found.changes), ["M a"]);
    assert_eq!(found.files_read, 1);
}

#[test]
fn masked_changes_are_recorded_though_nobody_packs_them() {
    let bundle = edited();
    let index = bundle.index().unwrap();
    let found = bundle.refresh(Baseline::Index(&index), &["v"]);
    assert!(!lines(&found.changes).iter().any(|line| line.contains(" v")));
    assert_eq!(found.files_read, 2);
    check_record(&bundle);
    bundle.expect(&[]);
}

#[test]
fn names_of_one_inode_get_the_digest_that_was_packed_under_one_of_them() {
    let bundle = edited();
    let reference = Reference::now(&bundle.dir()).unwrap();
    let index = bundle.index().unwrap();
    let found = bundle.diff(Baseline::Index(&index), &[], Some(reference));
    let mut record = found.record.unwrap();
    record.packed(b"a", Some(Sha256::digest(b"1").into()));
    record.packed(b"d/link", None);
    record.packed(b"never heard of", Some([1; 32]));
    let mut manifest = Vec::new();
    record
        .write_manifest(&mut manifest, &Header::default())
        .unwrap();
    let digests = digests(&Manifest::parse(&manifest[..]).unwrap());
    assert_eq!(digests["a"], digests["d/link"]);
    // Never told: recorded without a digest, so that it counts as changed.
    assert!(!digests.contains_key("new file"));
}

#[test]
fn a_record_for_another_device_proves_nothing() {
    let bundle = Bundle::with(&[("a", "1")]);
    let index = bundle.index().unwrap();
    let mut reference = Reference::now(&bundle.dir()).unwrap();
    reference.device += 1;
    let found = bundle.diff(Baseline::Index(&index), &[], Some(reference));
    assert_eq!((found.changes.len(), found.files_read), (0, 0));
    let mut record = found.record.unwrap();
    let sha256 = record
        .write_manifest(Vec::new(), &Header::default())
        .unwrap();
    let mut bytes = Vec::new();
    record.write_index(&mut bytes, sha256, &reference).unwrap();
    let index = StatIndex::parse(bytes, &sha256).unwrap();
    let found = bundle.diff(Baseline::Index(&index), &[], None);
    assert_eq!((found.changes.len(), found.files_read), (0, 1));
}
