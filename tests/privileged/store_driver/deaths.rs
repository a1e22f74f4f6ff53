//! What a death leaves: a process of its own dies at a point of what it does, and the next one goes on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use oci_bundle::compat::driver::{DiffDriver, Driver, GetOptions, IdMapUpdater, StagedApply};
use oci_bundle::fs::failpoint;
use oci_bundle::store::GcOptions;

use super::overlay::{fill, one_file, shifted};
use super::{inside, key, layer, lines, open, overlay, plain, stream, whole_seconds};
use crate::machine::{Scratch, names_in};
use crate::tree::Tree;

/// Where the process of [`dies_where_it_is_told`] ends: what it does, and at which point.
const DEATH: &str = "BUNDLE_TEST_DEATH";

fn die(scratch: &Scratch, verb: &str, point: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "store_driver::deaths::dies_where_it_is_told",
        "--ignored",
    ]);
    let store = scratch.path("store");
    let output = command
        .env(DEATH, format!("{verb} {point} {}", store.display()))
        .output()
        .unwrap();
    assert!(!output.status.success(), "{verb} never came to {point}");
}

#[test]
#[ignore = "the other half of tests that have a process die"]
fn dies_where_it_is_told() {
    let Ok(told) = std::env::var(DEATH) else {
        return;
    };
    let mut words = told.splitn(3, ' ');
    let mut word = || words.next().unwrap().to_owned();
    let (verb, end, store) = (word(), word(), PathBuf::from(word()));
    failpoint::set_hook(Box::new(move |point| {
        if point == end {
            std::process::abort();
        }
    }));
    let driver = open(&store);
    match &verb[..] {
        "get" => {
            let handle = driver.get(&key("layer"), &GetOptions::default()).unwrap();
            let _ = fs::write(handle.path().join("by the dead"), "");
            std::process::abort();
        }
        "commit" => drop(driver.commit(&key("layer"))),
        "apply" => {
            let tar = stream(&driver, &key("source"), None);
            let _ = driver.apply(&key("layer"), None, &mut &tar[..]);
        }
        "remap" => drop(driver.remap(&key("layer"), &shifted(500))),
        "copy" => drop(driver.create_from_template(&key("copy"), &key("layer"), &plain(), true)),
        "staged" => {
            let staged = driver.stage(&mut one_file).unwrap();
            let _ = driver.commit_staged(&key("layer"), staged);
        }
        "remove" => drop(driver.remove(&key("layer"))),
        _ => unreachable!("{verb}"),
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn the_mount_of_a_dead_process_is_nobodys() {
    let scratch = Scratch::new(&[]);
    let driver = overlay(&scratch);
    let layer = key("layer");
    driver.create_read_write(&layer, None, &plain()).unwrap();
    die(&scratch, "get", "driver-test-got");
    let merged = driver.metadata(&layer).unwrap().merged;
    assert_eq!(names_in(&merged), ["by the dead"]);
    assert_eq!(driver.users(&layer).unwrap(), 0);
    let mut read_only = GetOptions::default();
    read_only.mount.read_only = true;
    let handle = driver.get(&layer, &read_only).unwrap();
    assert!(fs::write(handle.path().join("new"), "").is_err());
    driver.put(&handle).unwrap();
    die(&scratch, "get", "driver-test-got");
    assert_eq!(driver.cleanup().unwrap(), []);
    assert_eq!(names_in(&merged), [""; 0]);
    driver.remove(&layer).unwrap();
}

#[test]
#[ignore = "needs root: mounts"]
fn a_death_leaves_a_layer_open_or_committed() {
    let scratch = Scratch::new(&[]);
    let driver = overlay(&scratch);
    let base = layer(&driver, "base", None, fill);
    let points = [
        ("layer-synced", false),
        ("commit-layer", false),
        ("patch", false),
        ("driver-committed", true),
        ("driver-upper-gone", true),
    ];
    for (point, is_committed) in points {
        driver.create(&key("layer"), Some(&base), &plain()).unwrap();
        let tree = inside(&driver, &key("layer"), |path| {
            fs::remove_file(path.join("file")).unwrap();
            fs::write(path.join("new"), point).unwrap();
            whole_seconds(path);
            Tree::read(path)
        });
        die(&scratch, "commit", point);
        let info = driver.info(&key("layer")).unwrap();
        assert_eq!(info.diff_id.is_some(), is_committed, "{point}");
        let seen = |what| {
            assert_eq!(
                lines(&driver, &key("layer"), Some(&base)),
                ["D file", "A new"],
                "{point}"
            );
            inside(&driver, &key("layer"), |path| {
                tree.assert_same(&Tree::read(path), what);
            });
        };
        seen(point);
        driver.commit(&key("layer")).unwrap();
        seen(point);
        driver.remove(&key("layer")).unwrap();
    }
    assert!(driver.cleanup().unwrap().is_empty());
    for left in ["staging", "trash"] {
        assert_eq!(names_in(&scratch.path("store").join(left)), [""; 0]);
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn a_death_leaves_a_layer_empty_or_filled_by_the_stream() {
    let scratch = Scratch::new(&[]);
    let driver = overlay(&scratch);
    let source = layer(&driver, "source", None, fill);
    let tree = inside(&driver, &source, Tree::read);
    for (verb, point) in [
        ("apply", "layer-staged"),
        ("apply", "driver-published"),
        ("apply", "driver-committed"),
        ("staged", "driver-populated"),
        ("staged", "driver-staged-gone"),
        ("staged", "driver-staged-moved"),
    ] {
        driver.create(&key("layer"), None, &plain()).unwrap();
        die(&scratch, verb, point);
        let is_committed = driver.info(&key("layer")).unwrap().diff_id.is_some();
        assert_eq!(is_committed, point == "driver-committed", "{point}");
        if is_committed {
            inside(&driver, &key("layer"), |path| {
                tree.assert_same(&Tree::read(path), point);
            });
        } else {
            let names = inside(&driver, &key("layer"), names_in);
            let moved = point == "driver-staged-moved";
            assert_eq!(
                names,
                if moved { vec!["staged"] } else { vec![] },
                "{point}"
            );
            driver.commit(&key("layer")).unwrap();
        }
        driver.remove(&key("layer")).unwrap();
        // What is the same content would not have to be made again.
        driver.store().gc(GcOptions::default()).unwrap();
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn a_death_leaves_the_old_owners_or_the_new_ones() {
    let scratch = Scratch::new(&[]);
    let driver = overlay(&scratch);
    let base = layer(&driver, "base", None, fill);
    let points = [
        ("driver-remap-copied", false),
        ("driver-remap-recorded", true),
        ("driver-remap-gone", true),
        ("driver-remap-exchanged", true),
    ];
    for (point, is_new) in points {
        driver
            .create_read_write(&key("layer"), Some(&base), &plain())
            .unwrap();
        inside(&driver, &key("layer"), |path| {
            fs::write(path.join("own"), point).unwrap();
        });
        die(&scratch, "remap", point);
        inside(&driver, &key("layer"), |path| {
            let owner = |name: &str| fs::symlink_metadata(path.join(name)).unwrap().uid();
            let shift = if is_new { 500 } else { 0 };
            let owners = (owner("own"), owner("file"), owner("dir"));
            assert_eq!(owners, (shift, shift, shift + 1), "{point}");
            assert_eq!(fs::read_to_string(path.join("own")).unwrap(), point);
        });
        driver.remap(&key("layer"), &shifted(500)).unwrap();
        assert_eq!(
            lines(&driver, &key("layer"), Some(&base)),
            ["A own"],
            "{point}"
        );
        driver.remove(&key("layer")).unwrap();
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn a_death_leaves_no_half_of_a_copy_and_no_half_of_a_removal() {
    let scratch = Scratch::new(&[]);
    let driver = overlay(&scratch);
    driver
        .create_read_write(&key("layer"), None, &plain())
        .unwrap();
    inside(&driver, &key("layer"), fill);
    die(&scratch, "copy", "container-staged");
    assert!(!driver.exists(&key("copy")).unwrap());
    die(&scratch, "copy", "container-made");
    let changes = driver.changes(&key("copy"), Some(&key("layer"))).unwrap();
    assert_eq!(changes, []);
    die(&scratch, "remove", "container-remove");
    assert!(driver.exists(&key("layer")).unwrap());
    die(&scratch, "remove", "container-removed");
    assert!(!driver.exists(&key("layer")).unwrap());
    driver.remove(&key("layer")).unwrap();
    driver.cleanup().unwrap();
    assert_eq!(names_in(&scratch.path("store/trash")), [""; 0]);
}
