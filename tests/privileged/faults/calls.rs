//! One system call fails once: the Nth of its kind in each thread, for many N, by `strace`.

use std::fs;
use std::process::Output;

use super::{Ground, assert_orderly};
use crate::machine::{Bounded, said};

/// Calls, and how they fail.
const FAULTS: &[(&str, &str)] = &[
    ("openat", "EMFILE"),
    ("openat2", "EIO"),
    ("mkdirat", "ENOSPC"),
    ("read", "EIO"),
    ("write", "ENOSPC"),
    ("renameat", "EIO"),
    ("renameat2", "EIO"),
    ("fsync", "EIO"),
    ("unlinkat", "EIO"),
    ("statx", "EIO"),
    ("flock", "ENOLCK"),
];

/// Which of the calls of one kind fail; the last is never come to.
const PLACES: [u32; 14] = [1, 2, 3, 4, 5, 6, 8, 11, 15, 21, 30, 45, 70, 120];

impl Ground {
    /// Runs a command in which a call fails. `None` if there is no such call any more.
    fn with_fault(&self, fault: (&str, &str), place: u32, line: &str) -> Option<Output> {
        let (call, errno) = fault;
        let trace = self.path("trace");
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = Bounded::new("strace", 60)
            .args(&["-f", "-qq", "-e", &format!("trace={call}"), "-o"])
            .arg(&trace)
            .args(&["-e", &format!("inject={call}:error={errno}:when={place}")])
            .arg(self.scratch.binary())
            .args(&words)
            .current_dir(&self.path(""))
            .output();
        let is_injected = fs::read_to_string(&trace).unwrap().contains("(INJECTED)");
        is_injected.then_some(output)
    }

    /// Has each call of a command fail once; `before` makes room for it, `after` looks at what a failure has left.
    fn with_each_fault(&self, line: &str, before: impl Fn(), after: impl Fn(&str, bool)) {
        for &fault in FAULTS {
            for place in PLACES {
                before();
                let Some(output) = self.with_fault(fault, place, line) else {
                    break;
                };
                let what = format!("{line}: {} number {place} fails with {}", fault.0, fault.1);
                assert_orderly(&what, &output);
                let succeeded = output.status.success();
                // An error is said, unless it is the saying that fails.
                let is_said = succeeded || fault.0 == "write" || !said(&output).is_empty();
                assert!(is_said, "{what}: nothing is said");
                after(&what, succeeded);
            }
        }
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_unpack_in_which_a_call_fails_leaves_nothing_and_works_when_repeated() {
    let ground = Ground::new(&["strace"]);
    for (line, exists) in [
        ("unpack --image layout:latest bundle", false),
        ("unpack --image layout:latest bundle", true),
        ("raw unpack --image layout:latest bundle", false),
    ] {
        let bundle = ground.path("bundle");
        let set_up = || {
            let _ = fs::remove_dir_all(&bundle);
            if exists {
                fs::create_dir(&bundle).unwrap();
            }
        };
        ground.with_each_fault(line, set_up, |what, succeeded| {
            if !succeeded {
                let left = if exists {
                    bundle.join("config.json").exists() || bundle.join("rootfs").exists()
                } else {
                    bundle.exists()
                };
                assert!(!left, "{what}: something is left");
                ground.ok(line);
            }
        });
        set_up();
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_edit_in_which_a_call_fails_leaves_a_valid_layout_and_works_when_repeated() {
    let ground = Ground::new(&["strace"]);
    ground.ok("unpack --image layout:latest bundle");
    fs::write(ground.path("bundle/rootfs/new"), vec![1; 70_000]).unwrap();
    for line in [
        "raw add-layer --image layout:latest --tag added one.tar",
        "insert --image layout:latest --tag inserted file /file",
        "repack --image layout:repacked bundle",
        "config --image layout:latest --tag configured --author me",
        "gc --layout layout",
    ] {
        ground.with_each_fault(
            line,
            || {},
            |what, succeeded| {
                let valid = ground.scratch.tool(&["validate", "--layout", "layout"]);
                let valid = valid.current_dir(&ground.path("")).output();
                assert!(valid.status.success(), "{what}: {}", said(&valid));
                if !succeeded {
                    ground.ok(line);
                }
            },
        );
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_overlay_in_which_a_call_fails_leaves_a_sound_store_and_works_when_repeated() {
    let ground = Ground::new(&["strace"]);
    let line = "unpack --overlay --store store --image layout:latest bundle";
    let set_up = || {
        if ground.path("bundle").exists() {
            ground.ok("remove-bundle bundle");
        }
        // Each time from the beginning: what is in the store already needs few calls.
        let _ = fs::remove_dir_all(ground.path("store"));
    };
    ground.with_each_fault(line, set_up, |what, succeeded| {
        if !succeeded {
            assert!(!ground.path("bundle").exists(), "{what}: something is left");
            ground.ok(line);
        }
        // The record of a mount that is gone may be left, and is harmless.
        ground.ok("store gc --store store");
        ground.ok("store check --store store");
    });
    set_up();
}
