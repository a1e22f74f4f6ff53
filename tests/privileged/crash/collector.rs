//! `gc`, killed at each point that it passes. It runs in a process of its own, which is this test once more.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci_bundle::fs::failpoint;
use oci_bundle::store::{GcOptions, Store, StoreOptions};

use super::crash_fs::{Ground, LONG, inventory, plain, reaching, was_killed};
use crate::machine::{Bounded, said};
use crate::tree::Tree;

/// Names the store, in a process that is to collect.
const STORE: &str = "BUNDLE_TEST_COLLECT";
/// How many points are passed before that process dies.
const PASSED: &str = "BUNDLE_TEST_PASSED";

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Collects in this process, which dies after so many points.
fn collect_and_die(store: &Path) {
    let left = AtomicUsize::new(number(PASSED).unwrap());
    let is_last = |left: usize| left.checked_sub(1);
    failpoint::set_hook(Box::new(move |_| {
        let order = Ordering::SeqCst;
        if left.fetch_update(order, order, is_last).is_err() {
            failpoint::crash();
        }
    }));
    let mut options = StoreOptions::new(store);
    options.create = false;
    Store::open(options)
        .unwrap()
        .gc(GcOptions::default())
        .unwrap();
}

/// Whether the process that was to collect has died.
fn dies(store: &Path, passed: usize) -> bool {
    let output = Bounded::new("env", LONG)
        .arg(format!("{STORE}={}", store.display()))
        .arg(format!("{PASSED}={passed}"))
        .arg(std::env::current_exe().unwrap())
        .args(&[
            "crash::collector::gc_may_die_anywhere",
            "--exact",
            "--include-ignored",
        ])
        .output();
    let killed = was_killed(&output);
    assert!(killed || output.status.success(), "{}", said(&output));
    killed
}

/// A store with something of everything that is to go, and a bundle that is to stay.
fn littered(ground: &Ground) {
    plain().write(&ground.path("image"));
    reaching().write(&ground.path("other"));
    let unpack = ["unpack", "--overlay", "--store", "store", "--image"];
    for (image, bundle) in [
        ("image:latest", "b"),
        ("image:latest", "c"),
        ("other:latest", "d"),
    ] {
        ground.succeed(&[&unpack[..], &[image, bundle]].concat());
    }
    ground.succeed(&["umount", "c"]);
    fs::remove_dir_all(ground.path("c")).unwrap();
    ground.succeed(&["remove-bundle", "d"]);
    let store = ground.store();
    let other = ground.path("other:latest");
    let image = store.image(other.to_str().unwrap()).unwrap();
    store.remove_image(image.digest()).unwrap();
    ground.succeed(&["umount", "b"]);
    fs::create_dir(ground.path("store/trash/t-0")).unwrap();
    fs::write(ground.path("store/trash/t-0/file"), "").unwrap();
    let staging = ground.path("store/staging/s-0123456789abcdef");
    fs::create_dir_all(staging.join("0/fs")).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&staging, private).unwrap();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn gc_may_die_anywhere() {
    if let Some(store) = std::env::var_os(STORE) {
        return collect_and_die(Path::new(&store));
    }
    let ground = Ground::new();
    littered(&ground);
    let flat = ground.flat("image");
    ground.keep();
    let report = ground.gc();
    let taken = (
        report.layers.len(),
        report.chains.len(),
        report.containers.len(),
    );
    assert_eq!(taken, (3, 1, 1), "layers, chains and containers");
    let expected = inventory(&ground.path("store"));
    let mut deaths = 0;
    loop {
        ground.restore();
        if !dies(&ground.path("store"), deaths) {
            break;
        }
        deaths += 1;
        ground.assert_sound();
        ground.succeed(&["mount", "b"]);
        Tree::read(&ground.path("b/rootfs")).assert_same(&flat, "the bundle after a death");
        ground.succeed(&["umount", "b"]);
        ground.gc();
        assert_eq!(inventory(&ground.path("store")), expected);
        // What gc has taken comes back when it is wanted.
        ground.succeed(&[
            "unpack",
            "--overlay",
            "--store",
            "store",
            "--image",
            "other:latest",
            "e",
        ]);
        ground.assert_sound();
    }
    assert!(deaths > 20, "{deaths} deaths");
}
