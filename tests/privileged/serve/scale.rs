//! Many snapshots, and snapshots of many layers.

use std::fs;
use std::path::PathBuf;

use oci_bundle::snapshots::{Mount, SnapshotOptions, Snapshotter};

use super::server::Server;
use crate::machine::{Bounded, Scratch};

/// The largest resident size of a process so far, in KiB.
fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

/// 3,000 of them, or as many as `BUNDLE_TEST_SNAPSHOTS` says; the limit is for 10,000.
#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn many_snapshots_are_made_listed_and_removed_in_little_memory() {
    let count = std::env::var("BUNDLE_TEST_SNAPSHOTS");
    let count: u32 = count.map_or(3000, |count| count.parse().unwrap());
    let scratch = Scratch::new(&[]);
    let server = Server::start(&scratch);
    let client = server.client();
    let plain = SnapshotOptions::default();
    client.prepare("base", None, &plain).unwrap();
    client.commit("layer", "base", &plain).unwrap();
    let keys: Vec<String> = (0..count).map(|n| format!("default/{n}/box")).collect();
    for key in &keys {
        client.prepare(key, Some("layer"), &plain).unwrap();
    }
    assert_eq!(client.listed(&[]).unwrap().len(), keys.len() + 1);
    let one = client.listed(&["name==default/77/box"]).unwrap();
    assert_eq!(one.len(), 1);
    for key in &keys {
        client.remove(key).unwrap();
    }
    assert_eq!(client.listed(&[]).unwrap().len(), 1);
    let memory = peak_memory(server.program.child.id());
    assert!(memory < 64 << 10, "{memory} KiB");
}

/// What a mount writes to.
fn upper(mounts: &[Mount]) -> PathBuf {
    let [mount] = mounts else {
        panic!("{mounts:?}");
    };
    let upper = mount.options.iter().find_map(|option| {
        let option = option.to_str()?;
        Some(PathBuf::from(option.strip_prefix("upperdir=")?))
    });
    upper.unwrap_or_else(|| mount.source.clone())
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn five_hundred_layers_are_mounted_by_options_of_one_page() {
    const COUNT: usize = 500;
    let scratch = Scratch::new(&[]);
    let server = Server::start(&scratch);
    let client = server.client();
    let plain = SnapshotOptions::default();
    let mut parent = None;
    for number in 0..COUNT {
        let (key, name) = (format!("key {number}"), format!("layer {number}"));
        let mounts = client.prepare(&key, parent.as_deref(), &plain).unwrap();
        fs::write(upper(&mounts).join(number.to_string()), b"x").unwrap();
        client.commit(&name, &key, &plain).unwrap();
        parent = Some(name);
    }
    let mounts = client.prepare("box", parent.as_deref(), &plain).unwrap();
    let options: Vec<&str> = mounts[0]
        .options
        .iter()
        .map(|option| option.to_str().unwrap())
        .collect();
    let options = options.join(",");
    assert!(options.len() < 4096, "{} bytes", options.len());
    // mount(2), as containerd calls it, for which newer mount(8) must be asked; in a mount namespace that goes with the shell.
    let count = "LIBMOUNT_FORCE_MOUNT2=always mount -i -t overlay -o \"$1\" overlay \"$2\" && ls \"$2\" | wc -l";
    let target = scratch.path("target");
    fs::create_dir(&target).unwrap();
    let counted = Bounded::new("unshare", 60)
        .args(&["--mount", "sh", "-c", count, "sh", &options])
        .arg(&target)
        .succeed();
    assert_eq!(counted.trim(), COUNT.to_string());
}
