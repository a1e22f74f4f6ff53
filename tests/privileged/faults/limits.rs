//! Limits of processes, descriptors and memory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{Ground, assert_orderly};
use crate::machine::{Bounded, said};

/// A user of whom no process runs, so that a limit counts those of the test alone.
const LONELY: &str = "54321";

impl Ground {
    /// A shell command of the lonely user's in a directory of its own, with the tool as `$b`.
    fn by_lonely(&self, script: &str) -> Bounded {
        let home = self.path("lonely");
        if !home.exists() {
            fs::create_dir(&home).unwrap();
            fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();
            Bounded::new("chmod", 60)
                .args(&["-R", "a+rwX"])
                .arg(self.path("layout"))
                .succeed();
        }
        let script = format!(
            "b={}; l={}; export HOME=$PWD; {script}",
            self.scratch.binary().display(),
            self.path("layout").display()
        );
        Bounded::new("setpriv", 120)
            .arg(format!("--reuid={LONELY}"))
            .arg(format!("--regid={LONELY}"))
            .args(&["--clear-groups", "--", "sh", "-c", &script])
            .current_dir(&home)
    }

    /// Runs a script under one limit after the other until it succeeds, which it must at last. Returns how often it failed.
    fn until_it_works(&self, name: &str, values: impl Iterator<Item = u32>, script: &str) -> u32 {
        let (mut failures, mut last) = (0, String::new());
        for value in values {
            let output = self
                .by_lonely(&script.replace("$n", &value.to_string()))
                .output();
            let what = format!("{script} with {name} {value}");
            assert_orderly(&what, &output);
            if output.status.success() {
                return failures;
            }
            (failures, last) = (failures + 1, said(&output));
        }
        panic!("{script} works with no {name}: {last}");
    }
}

/// Each of these had threads whose refusal was a panic, or would be one.
#[test]
#[ignore = "needs root: becomes another user"]
fn a_thread_that_cannot_be_started_is_an_error_or_there_are_fewer() {
    let ground = Ground::new(&["prlimit", "setpriv"]);
    ground.ok("insert --image layout:latest --tag big file /file");
    let mut failures = 0;
    for script in [
        "exec prlimit --nproc=$n $b unpack --rootless --image $l:latest bundle",
        "exec prlimit --nproc=$n $b raw add-layer --image $l:latest --tag added ../one.tar",
        "exec prlimit --nproc=$n $b insert --rootless --image $l:latest --tag inserted ../file /f",
        "exec prlimit --nproc=$n $b squash --image $l:latest --tag squashed",
        "exec prlimit --nproc=$n $b validate --layout $l",
        "exec prlimit --nproc=$n $b repack --image $l:repacked bundle",
        // The limit counts in a user namespace, too, whoever is root in there.
        "exec $b unshare -- prlimit --nproc=$n $b unpack --overlay --store s --image $l:latest over",
        // What was mounted has gone with its namespace.
        "$b unshare -- $b store gc --store s; exec $b unshare -- prlimit --nproc=$n $b store check --store s",
        "exec $b unshare -- prlimit --nproc=$n $b store commit --store s $(ls s/active)",
        "exec prlimit --nproc=$n $b unshare -- true",
    ] {
        failures += ground.until_it_works("processes", 1..=40, script);
    }
    assert!(failures > 20, "the limits have limited little: {failures}");
    ground.ok("validate --layout layout");
}

#[test]
#[ignore = "needs root: becomes another user"]
fn few_descriptors_are_enough_or_the_error_says_so() {
    let ground = Ground::new(&["prlimit", "setpriv"]);
    let mut failures = 0;
    for script in [
        "exec prlimit --nofile=$n $b unpack --rootless --image $l:latest bundle",
        "exec prlimit --nofile=$n $b raw add-layer --image $l:latest --tag added ../one.tar",
        "exec prlimit --nofile=$n $b squash --image $l:latest --tag squashed",
        "exec prlimit --nofile=$n $b repack --image $l:repacked bundle",
        "exec prlimit --nofile=$n $b gc --layout $l",
        "exec $b unshare -- prlimit --nofile=$n $b unpack --overlay --store s --image $l:latest over",
    ] {
        // 32 is what they must do with.
        failures += ground.until_it_works("descriptors", (4..=32).step_by(2), script);
    }
    assert!(failures > 20, "the limits have limited little: {failures}");
    ground.ok("validate --layout layout");
}
