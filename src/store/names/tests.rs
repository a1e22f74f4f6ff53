//! Records as processes that died have left them.

use super::*;
use crate::fs::Access;

fn records() -> (tempfile::TempDir, Records) {
    let scratch = tempfile::tempdir().unwrap();
    let base = Dir::open(scratch.path(), Access::Plain).unwrap();
    let records = Records::open(&base, Duration::from_secs(10)).unwrap();
    (scratch, records)
}

fn snapshot(kind: Kind, name: &str, place: &str) -> Snapshot {
    let options = SnapshotOptions::default();
    Snapshot::new(kind, name, None, &options, place.to_owned())
}

fn names(records: &Records) -> Vec<String> {
    let all = records.all().unwrap().into_iter();
    all.map(|snapshot| snapshot.info.name).collect()
}

#[test]
fn a_commit_that_died_before_the_name_appeared_has_not_happened() {
    let (_scratch, records) = records();
    let mut active = snapshot(Kind::Active, "key", "p1");
    active.becoming = Some("name".to_owned());
    records.write(&active).unwrap();
    assert_eq!(names(&records), ["key"]);
    // Somebody else may have the name.
    records
        .write(&snapshot(Kind::Committed, "name", "p2"))
        .unwrap();
    assert_eq!(records.get("key").unwrap().info.kind, Kind::Active);
    assert_eq!(names(&records), ["key", "name"]);
    let locked = records.lock().unwrap();
    let other = snapshot(Kind::Committed, "other", "p1");
    locked.commit(&active, &other).unwrap();
    assert_eq!(names(&records), ["name", "other"]);
}

#[test]
fn a_commit_that_died_after_the_name_appeared_has_happened() {
    let (_scratch, records) = records();
    let mut active = snapshot(Kind::Active, "key", "p1");
    active.becoming = Some("name".to_owned());
    records.write(&active).unwrap();
    records
        .write(&snapshot(Kind::Committed, "name", "p1"))
        .unwrap();
    assert_eq!(names(&records), ["name"]);
    assert!(records.find("key").unwrap().is_none());
    // The key is free.
    let locked = records.lock().unwrap();
    let options = SnapshotOptions::default();
    locked.check_new("key", None, &options).unwrap();
    locked.insert(&snapshot(Kind::Active, "key", "p3")).unwrap();
    assert_eq!(names(&records), ["key", "name"]);
    // What was committed is not the snapshot that has the key now.
    assert!(locked.still(&active).is_err());
}

#[test]
fn a_record_of_another_name_is_none() {
    let (scratch, records) = records();
    records.write(&snapshot(Kind::Active, "key", "p1")).unwrap();
    let directory = scratch.path().join("snapshots");
    std::fs::copy(
        directory.join(file_name("key")),
        directory.join("strange.json"),
    )
    .unwrap();
    std::fs::write(directory.join("readme"), "x").unwrap();
    assert_eq!(names(&records), ["key"]);
    std::fs::write(directory.join(file_name("bad")), "{}").unwrap();
    assert_eq!(
        records.find("bad").unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}

#[test]
fn times_survive_to_the_nanosecond() {
    let (_scratch, records) = records();
    let mut active = snapshot(Kind::View, "key", "p1");
    active.usage = Some(SnapshotUsage {
        bytes: 1,
        inodes: 2,
    });
    records.write(&active).unwrap();
    assert_eq!(records.get("key").unwrap(), active);
}

#[test]
fn what_was_committed_does_not_come_back_when_the_name_is_removed() {
    let (_scratch, records) = records();
    let mut active = snapshot(Kind::Active, "key", "p1");
    active.becoming = Some("name".to_owned());
    records.write(&active).unwrap();
    let committed = snapshot(Kind::Committed, "name", "p1");
    records.write(&committed).unwrap();
    records.lock().unwrap().forget(&committed).unwrap();
    assert!(records.all().unwrap().is_empty());
}
