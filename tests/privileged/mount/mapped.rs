//! Mounts that show other owners.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, chown};

use oci_bundle::ErrorKind;
use oci_bundle::fs::mount::{self, MountAttributes, Overlay, Upper, UserNamespace};
use oci_bundle::fs::{IdMap, MapOptions, XattrNamespace};

use super::{made, opened};
use crate::machine::{Scratch, names_in};

fn shift(ranges: &[&str]) -> MapOptions {
    let map = IdMap(ranges.iter().map(|range| range.parse().unwrap()).collect());
    MapOptions {
        uid: map.clone(),
        gid: map,
        rootless: false,
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_id_mapped_layer_shows_other_owners_and_keeps_its_own() {
    let scratch = Scratch::new(&[]);
    let (layer, upper, work) = (
        made(&scratch, "layer"),
        made(&scratch, "upper"),
        made(&scratch, "work"),
    );
    let path = scratch.path("layer");
    fs::write(path.join("root"), "content").unwrap();
    fs::write(path.join("user"), "content").unwrap();
    chown(path.join("user"), Some(33), Some(34)).unwrap();
    let namespace = UserNamespace::with_maps(&shift(&["0:100000:10", "10:200000:1000"])).unwrap();
    let mapped = mount::id_mapped(&layer, &namespace, true).unwrap();
    drop(namespace);
    let overlay = Overlay {
        lowers: &[mapped.as_fd()],
        upper: Some(Upper {
            dir: &upper,
            work: &work,
        }),
        marks: XattrNamespace::Trusted,
        source: "bundle:mapped",
        volatile: false,
        read_only: false,
        attributes: MountAttributes::default(),
        selinux_context: None,
    };
    let scratch_dir = opened(&scratch.path(""));
    let target = made(&scratch, "target");
    overlay
        .mount(None, &scratch_dir)
        .unwrap()
        .attach(&target)
        .unwrap();
    // What carries the map has no name: nothing below it can be removed through one.
    drop(mapped);
    let seen = scratch.path("target");
    let owner = |name: &str| {
        let metadata = fs::metadata(seen.join(name)).unwrap();
        (metadata.uid(), metadata.gid())
    };
    assert_eq!(owner("root"), (100_000, 100_000));
    assert_eq!(owner("user"), (200_023, 200_024));
    // While somebody is in there, all of it is taken away.
    let busy = fs::File::open(seen.join("user")).unwrap();
    fs::remove_file(seen.join("root")).unwrap();
    fs::write(seen.join("user"), "changed").unwrap();
    assert_eq!(
        mount::unmount(&seen, false).unwrap_err().kind(),
        ErrorKind::Busy
    );
    mount::unmount(&seen, true).unwrap();
    scratch_dir.remove_all(b"target").unwrap();
    assert_eq!(names_in(&path), ["root", "user"]);
    assert_eq!(fs::read(path.join("user")).unwrap(), b"content");
    let metadata = fs::metadata(path.join("user")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (33, 34));
    // What was copied up has the owner that was seen.
    drop(busy);
    let copied = fs::metadata(scratch.path("upper/user")).unwrap();
    assert_eq!((copied.uid(), copied.gid()), (200_023, 200_024));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_read_only_mapped_mount_cannot_be_written_and_without_ranges_owners_stay() {
    let scratch = Scratch::new(&[]);
    let layer = made(&scratch, "layer");
    fs::write(scratch.path("layer/file"), "").unwrap();
    chown(scratch.path("layer/file"), Some(4_000_000), Some(5)).unwrap();
    let namespace = UserNamespace::with_maps(&MapOptions::default()).unwrap();
    let mapped = mount::id_mapped(&layer, &namespace, true).unwrap();
    let root = mapped.root().unwrap();
    let stat = root.stat(b"file").unwrap();
    assert_eq!((stat.uid, stat.gid), (4_000_000, 5));
    assert!(root.create_file(b"new", 0o600).is_err());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn maps_that_overlap_are_refused() {
    let _root = Scratch::new(&[]);
    let error = UserNamespace::with_maps(&shift(&["0:1000:10", "5:2000:10"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    assert!(error.chain().contains("0 1000 10, 5 2000 10"), "{error:?}");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn namespaces_are_made_from_many_threads_at_once_and_leave_no_process() {
    let _root = Scratch::new(&[]);
    let children = || {
        let own = format!("/proc/{}/task", std::process::id());
        let tasks = fs::read_dir(own).unwrap().flatten();
        let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")));
        lists
            .flatten()
            .flat_map(|list| {
                let pids = list.split_whitespace().map(str::to_owned);
                pids.collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    let same_name = |pid: &String| {
        let comm = |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
        // A child that has not called exec has the name of the thread that made it.
        comm(pid).is_some_and(|name| name.starts_with("namespaces-"))
    };
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let make = || {
                for _ in 0..20 {
                    UserNamespace::with_maps(&shift(&["0:100000:65536"])).unwrap();
                }
            };
            let named = std::thread::Builder::new().name(format!("namespaces-{thread}"));
            named.spawn_scoped(scope, make).unwrap();
        }
    });
    assert_eq!(children().iter().filter(|pid| same_name(pid)).count(), 0);
}
