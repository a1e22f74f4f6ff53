//! Commands on one store while others add, remove and collect in it.

use std::fs;

use super::{outputs, start};
use crate::crash::crash_fs::{Ground, plain, reaching};
use crate::machine::said;

const ROUNDS: usize = 4;

/// Commands that looked something up before it was safe from gc could find it gone a moment later.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn no_command_on_a_store_fails_because_of_others_beside_it() {
    let ground = Ground::new();
    plain().write(&ground.path("plain"));
    reaching().write(&ground.path("reaching"));
    for name in ["kept", "changed", "view", "target"] {
        fs::create_dir(ground.path(name)).unwrap();
    }
    // An image that stays, as a container is on it; its name is moved all the time.
    let store = ["--store", "store"];
    let run = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        ground.succeed(&[&words[..], &store].concat());
    };
    run("mount --image plain:latest view");
    run("umount view");
    let plain = format!("{}:latest", ground.path("plain").display());
    run(&format!("store prepare --key box {plain}"));
    run("store mount box kept");
    fs::write(ground.path("kept/changed-file"), "x").unwrap();
    run("store umount box");
    for round in 0..ROUNDS {
        let mut lines: Vec<String> = [
            "store ls",
            "store ls layers",
            "store ls containers",
            "store ls mounts",
            "store ls chains",
            "store ls snapshots",
            "store status --usage",
            "store usage",
            "store inspect box",
            "store changes box",
            "store check",
            "store diff box --output diff.tar",
            "store commit box",
            "store mount box target",
            // Another image comes and goes.
            "mount --image reaching:latest view",
        ]
        .map(str::to_owned)
        .into();
        lines.push(format!("store tag {plain} name-{round}"));
        lines.push(format!("store prepare --key box-{round} {plain}"));
        lines.push(format!("store export -o exported-{round}.tar {plain}"));
        lines.push(format!("unpack --overlay --image plain:latest b{round}"));
        if round > 0 {
            lines.push(format!("store rm box-{}", round - 1));
            lines.push(format!("store untag name-{}", round - 1));
        }
        let gc = "store gc --all".to_owned();
        let all = lines
            .chunks(4)
            .flat_map(|some| some.iter().chain([&gc]))
            .collect::<Vec<_>>();
        let children = all.iter().map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            start(&ground, &[&words[..], &store].concat(), &[])
        });
        for (line, output) in all.iter().zip(outputs(children.collect())) {
            assert!(output.status.success(), "{line}: {}", said(&output));
        }
        run("umount view");
        run("store umount box");
        ground.succeed(&["remove-bundle", &format!("b{round}")]);
    }
    run("store check");
}
