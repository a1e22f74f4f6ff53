//! A disk that becomes full, at every page: what has begun is gone, what was there is whole, and with room it works.

use std::fs;

use super::{Ground, assert_orderly};
use crate::machine::{Bounded, Tmpfs, names_in, said};

/// Bytes of a page, by which a tmpfs gives room.
const PAGE: u64 = 4096;

/// A command on a disk, which has a copy of the layout and, where it is asked for, a bundle with a change.
struct Case {
    line: &'static str,
    /// What is not there after a failure.
    made: &'static [&'static str],
    /// What must succeed after a failure.
    sound: &'static [&'static str],
    /// What ends a success.
    end: &'static [&'static str],
}

const VALIDATE: &[&str] = &["validate --layout disk/layout"];

const CASES: &[Case] = &[
    Case {
        line: "unpack --image disk/layout:latest disk/bundle",
        made: &["bundle"],
        sound: VALIDATE,
        end: &[],
    },
    Case {
        line: "unpack --overlay --store disk/store --image disk/layout:latest disk/over",
        made: &["over"],
        sound: &[
            "validate --layout disk/layout",
            "store check --store disk/store",
        ],
        end: &["remove-bundle disk/over", "store check --store disk/store"],
    },
    Case {
        line: "repack --image disk/layout:new disk/edited",
        made: &[],
        sound: VALIDATE,
        end: VALIDATE,
    },
    Case {
        line: "insert --image disk/layout:latest --tag new file /file",
        made: &[],
        sound: VALIDATE,
        end: VALIDATE,
    },
    Case {
        line: "raw add-layer --image disk/layout:latest --tag new one.tar",
        made: &[],
        sound: VALIDATE,
        end: VALIDATE,
    },
    Case {
        line: "squash --image disk/layout:latest --tag new",
        made: &[],
        sound: VALIDATE,
        end: VALIDATE,
    },
    Case {
        line: "copy disk/layout:latest docker-archive:disk/archive.tar:a/b:1",
        made: &["archive.tar"],
        sound: VALIDATE,
        end: &[],
    },
    Case {
        line: "copy disk/layout:latest disk/other:latest",
        made: &[],
        sound: VALIDATE,
        end: &["validate --layout disk/other"],
    },
    Case {
        line: "export --image disk/layout:latest --output disk/root.tar",
        made: &["root.tar"],
        sound: VALIDATE,
        end: &[],
    },
    Case {
        line: "gc --layout disk/layout",
        made: &[],
        sound: VALIDATE,
        end: VALIDATE,
    },
];

impl Ground {
    /// Gives the disk this many bytes.
    fn resize(&self, bytes: u64) {
        Bounded::new("mount", 10)
            .args(&["-o", &format!("remount,size={bytes}")])
            .arg(self.path("disk"))
            .succeed();
    }

    /// Puts what there was at the beginning on the disk.
    fn restore(&self) {
        let disk = self.path("disk");
        for name in names_in(&disk) {
            Bounded::new("rm", 30)
                .arg("-rf")
                .arg(disk.join(name))
                .succeed();
        }
        Bounded::new("cp", 30)
            .args(&["-a", "layout", "edited", "disk/"])
            .current_dir(&self.path(""))
            .succeed();
    }

    /// Runs a command with one page more each time until it succeeds. Returns how often it failed.
    fn fill(&self, case: &Case) -> u32 {
        let disk = self.path("disk");
        let words: Vec<&str> = case.line.split_whitespace().collect();
        // Each of the first pages, where what is small is written; then steps.
        let sizes = (0..32).chain((32..800).step_by(9));
        for (failures, pages) in (0..).zip(sizes) {
            self.restore();
            let stat = rustix::fs::statvfs(&disk).unwrap();
            let used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize;
            self.resize(used + pages * PAGE);
            let tool = self.scratch.tool(&words).current_dir(&self.path(""));
            let output = tool.output();
            self.resize(64 << 20);
            let what = format!("{} with {pages} pages", case.line);
            assert_orderly(&what, &output);
            if output.status.success() {
                case.end.iter().for_each(|line| drop(self.ok(line)));
                return failures;
            }
            let text = said(&output);
            assert!(text.contains("No space left on device"), "{what}: {text}");
            for name in case.made {
                assert!(!disk.join(name).exists(), "{what}: {name} is there");
            }
            let left = names_in(&disk);
            let left: Vec<_> = left.iter().filter(|name| name.starts_with('.')).collect();
            assert!(left.is_empty(), "{what}: {left:?}");
            // Without a store there is nothing to check.
            let is_store = |line: &&&str| !line.starts_with("store") || disk.join("store").exists();
            let sound = case.sound.iter().filter(is_store);
            sound.for_each(|line| drop(self.ok(line)));
            self.ok(case.line);
            case.end.iter().for_each(|line| drop(self.ok(line)));
        }
        panic!("{}: never works", case.line);
    }
}

#[test]
#[ignore = "needs root: mounts a tmpfs"]
fn a_full_disk_leaves_nothing_half_and_loses_nothing() {
    let ground = Ground::new(&[]);
    ground.ok("unpack --image layout:latest edited");
    fs::write(ground.path("edited/rootfs/new"), vec![5; 60_000]).unwrap();
    let _disk = Tmpfs::mount(ground.path("disk"), "size=64m");
    let mut failures = 0;
    for case in CASES {
        failures += ground.fill(case);
        ground.restore();
    }
    assert!(failures > 100, "the disk was hardly ever full: {failures}");
}
