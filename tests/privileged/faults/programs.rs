//! Other programs: started when they are needed, and not waited for without end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::Ground;
use crate::machine::{Bounded, said};

/// The first overlay of a store had `fuse-overlayfs` started, and a program of that name that hangs made it hang.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn fuse_overlayfs_is_not_started_where_the_kernel_mounts() {
    let ground = Ground::new(&[]);
    let programs = ground.path("programs");
    fs::create_dir(&programs).unwrap();
    let fake = programs.join("fuse-overlayfs");
    let marker = ground.path("started");
    fs::write(
        &fake,
        format!(
            "#!/bin/sh\ntouch {}\necho not today >&2\nexit 3\n",
            marker.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let run = |line: &str| {
        let path = format!("PATH={}:/usr/bin:/bin", programs.display());
        let words: Vec<&str> = line.split_whitespace().collect();
        Bounded::new("env", 60)
            .arg(path)
            .arg(ground.scratch.binary())
            .args(&words)
            .args(&["--store", "store"])
            .current_dir(&ground.path(""))
            .output()
    };
    for line in [
        "unpack --overlay --image layout:latest bundle",
        "store status",
        "umount bundle",
        "mount bundle",
        "remove-bundle bundle",
    ] {
        let output = run(line);
        assert!(output.status.success(), "{line}: {}", said(&output));
        assert!(!marker.exists(), "{line}");
    }
    // This is asked what works, and says it of all ways.
    let output = run("store probe");
    assert!(output.status.success() && marker.exists());
    assert!(said(&output).contains("not today"), "{}", said(&output));
}

/// Only its diff ID was compared, so that a layout with a damaged blob passed for a good one.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_wrong_blob_of_a_layer_that_the_store_has_is_found() {
    let ground = Ground::new(&[]);
    let image = "--store store --image layout:latest";
    ground.ok(&format!("unpack --overlay {image} first"));
    let layers = ground.ok("layers --json --image layout:latest");
    let layers: serde_json::Value = serde_json::from_str(&layers).unwrap();
    let digest = layers[0]["descriptor"]["digest"].as_str().unwrap();
    let blob = ground.path("layout/blobs").join(digest.replace(':', "/"));
    let fails = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let tool = ground.scratch.tool(&words).current_dir(&ground.path(""));
        let output = tool.output();
        assert_eq!(output.status.code(), Some(1), "{line}: {}", said(&output));
        said(&output)
    };
    let good = fs::read(&blob).unwrap();
    let mut wrong = good.clone();
    wrong[20] ^= 1;
    fs::write(&blob, &wrong).unwrap();
    ground.ok(&format!("unpack --overlay {image} second"));
    fs::create_dir(ground.path("view")).unwrap();
    for line in ["unpack --overlay --verify", "mount --verify"] {
        let target = if line.starts_with("mount") {
            "view"
        } else {
            "third"
        };
        let said = fails(&format!("{line} {image} {target}"));
        assert!(said.contains(digest), "{line}: {said}");
    }
    assert!(!ground.path("third").exists());
    fs::write(&blob, &good[1..]).unwrap();
    let said = fails(&format!("unpack --overlay {image} third"));
    assert!(said.contains(digest) && said.contains("bytes"), "{said}");
    // The store needs no blob of it.
    fs::remove_file(&blob).unwrap();
    ground.ok(&format!("unpack --overlay {image} third"));
    fs::write(&blob, good).unwrap();
    ground.ok(&format!("unpack --overlay --verify {image} fourth"));
    for bundle in ["first", "second", "third", "fourth"] {
        ground.ok(&format!("remove-bundle {bundle}"));
    }
}
