//! What is left when a process is killed, at every point that names itself.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oci_bundle::fs::failpoint;
use oci_bundle::snapshots::{Kind, Snapshotter, StoreSnapshots};
use oci_bundle::store::{GcOptions, Store};

use super::super::machine::{Scratch, names_in};
use super::{open_store, plain, read, stage};

/// Tells the child how many points it passes before it dies.
const PASSED: &str = "BUNDLE_TEST_POINTS_PASSED";
/// Tells the child where the store is.
const STORE: &str = "BUNDLE_TEST_STORE";
/// More points than there are.
const MAX_POINTS: usize = 200;

/// What is there after a death, in the order in which the child makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Nothing,
    Active,
    Committed,
    Removed,
}

/// Prepares a snapshot, changes something in it, commits and removes it.
fn work(path: &Path) {
    let store = open_store(path);
    let snapshots = StoreSnapshots::new(&store).unwrap();
    let mounts = snapshots.prepare("key", Some("base"), &plain()).unwrap();
    let mut options = mounts[0].options.iter();
    let upper = options.find_map(|option| option.to_str()?.strip_prefix("upperdir="));
    fs::write(Path::new(upper.unwrap()).join("file"), "new").unwrap();
    snapshots.commit("name", "key", &plain()).unwrap();
    snapshots.remove("name").unwrap();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_death_anywhere_leaves_one_state_or_the_next() {
    if let Some(path) = std::env::var_os(STORE) {
        let passed: usize = std::env::var(PASSED).unwrap().parse().unwrap();
        let count = AtomicUsize::new(0);
        failpoint::set_hook(Box::new(move |_| {
            if count.fetch_add(1, Ordering::Relaxed) == passed {
                let process = rustix::process::getpid();
                let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
                std::thread::park();
            }
        }));
        return work(Path::new(&path));
    }
    let mut seen = vec![State::Nothing];
    for passed in 0..MAX_POINTS {
        let scratch = Scratch::new(&[]);
        let path = scratch.path("store");
        let store = open_store(&path);
        let snapshots = StoreSnapshots::new(&store).unwrap();
        let stage = stage(&scratch, &snapshots);
        stage.layer("base", None, |root| {
            fs::write(root.join("old"), "old").unwrap();
        });
        drop(stage);
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--include-ignored", "--exact"])
            .arg(
                concat!(
                    module_path!(),
                    "::a_death_anywhere_leaves_one_state_or_the_next"
                )
                .split_once("::")
                .unwrap()
                .1,
            )
            .env(STORE, &path)
            .env(PASSED, passed.to_string())
            .output()
            .unwrap()
            .status;
        if status.success() {
            seen.sort();
            assert!(passed > 10, "only {passed} points");
            assert_eq!(
                seen,
                [
                    State::Nothing,
                    State::Active,
                    State::Committed,
                    State::Removed
                ]
            );
            return;
        }
        assert_eq!(status.signal(), Some(9), "after {passed} points");
        // Two threads commit: a point may be passed a little earlier or later than the time before.
        let furthest = *seen.iter().max().unwrap();
        let found = check(&scratch, &store, furthest);
        if !seen.contains(&found) {
            seen.push(found);
        }
    }
    panic!("the child never came to its end");
}

/// Looks at what is left, and that it can be gone on with.
fn check(scratch: &Scratch, store: &Store, before: State) -> State {
    let snapshots = StoreSnapshots::new(store).unwrap();
    for directory in ["mounts", "mounter"] {
        fs::remove_dir_all(scratch.path(directory)).unwrap();
    }
    let stage = stage(scratch, &snapshots);
    let (key, name) = (snapshots.stat("key"), snapshots.stat("name"));
    let found = match (key, name) {
        (Ok(key), Err(_)) => {
            assert_eq!(key.kind, Kind::Active);
            State::Active
        }
        (Err(_), Ok(name)) => {
            assert_eq!(name.kind, Kind::Committed);
            State::Committed
        }
        (Err(_), Err(_)) if before < State::Committed => State::Nothing,
        (Err(_), Err(_)) => State::Removed,
        (Ok(_), Ok(_)) => panic!("both are there"),
    };
    snapshots.cleanup().unwrap();
    store.gc(GcOptions::default()).unwrap();
    let is_there = |wanted| usize::from(found == wanted);
    assert_eq!(store.containers().unwrap().len(), is_there(State::Active));
    assert_eq!(
        store.layers().unwrap().len(),
        1 + is_there(State::Committed)
    );
    // A lock of the dead may be there for a moment more.
    for _ in 0..50 {
        if names_in(&store.path().join("staging")).is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        store.gc(GcOptions::default()).unwrap();
    }
    for directory in ["staging", "trash"] {
        let left = names_in(&store.path().join(directory));
        assert_eq!(left, Vec::<String>::new(), "in {directory}, {found:?}");
    }
    if found == State::Active {
        snapshots.commit("name", "key", &plain()).unwrap();
    }
    if found == State::Active || found == State::Committed {
        stage.look("name", |root| assert_eq!(read(root.join("old")), "old"));
    }
    if found == State::Committed {
        stage.look("name", |root| assert_eq!(read(root.join("file")), "new"));
    }
    // The key is free again.
    snapshots.prepare("key", Some("base"), &plain()).unwrap();
    found
}
