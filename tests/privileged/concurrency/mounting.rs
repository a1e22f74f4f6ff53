//! Many processes at one bundle.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use oci_bundle::fs::MapOptions;
use oci_bundle::store::{ContainerMeta, GcOptions, Key, MountOptions};

use super::{CROWD, assert_all_succeed, outputs, start, unpack};
use crate::crash::crash_fs::{Ground, plain, reaching};
use crate::image::{Image, layers_of};
use crate::machine::{names_in, said};
use crate::tree::Tree;

fn all_at_once(ground: &Ground, arguments: &[&str]) -> Vec<std::process::Child> {
    (0..CROWD).map(|_| start(ground, arguments, &[])).collect()
}

fn with_bundle(image: Image) -> (Ground, Tree) {
    let (ground, flat) = Ground::with_image(image);
    ground.succeed(&unpack("image:latest", "b"));
    (ground, flat)
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn many_mount_and_unmount_one_bundle() {
    let (ground, flat) = with_bundle(reaching());
    ground.succeed(&["umount", "b"]);
    for _ in 0..3 {
        assert_all_succeed(all_at_once(&ground, &["mount", "b"]));
        assert_eq!(ground.mounted().len(), 1);
        ground.assert_sound();
        Tree::read(&ground.path("b/rootfs")).assert_same(&flat, "mounted by many");
        assert_all_succeed(all_at_once(&ground, &["umount", "b"]));
        ground.assert_sound();
        assert_eq!(ground.mounted().len(), 0);
    }
    assert_eq!(names_in(&ground.path("store/mounts")), [""; 0]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn of_many_who_mount_on_one_directory_one_does() {
    let (ground, flat) = with_bundle(plain());
    ground.succeed(&["remove-bundle", "b"]);
    fs::create_dir(ground.path("m")).unwrap();
    let mount = ["mount", "--store", "store", "--image", "image:latest", "m"];
    for more in [&[][..], &["--rw"]].repeat(5) {
        let arguments = [&mount[..], more].concat();
        let outputs = outputs(all_at_once(&ground, &arguments));
        let (won, lost): (Vec<_>, Vec<_>) =
            outputs.iter().partition(|output| output.status.success());
        assert_eq!(
            won.len(),
            1,
            "{}",
            outputs.iter().map(said).collect::<String>()
        );
        for output in lost {
            assert!(
                said(output).contains("is mounted there"),
                "{}",
                said(output)
            );
        }
        ground.assert_sound();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let target = ground.path("m");
        let on_target = |line: &&str| line.split(' ').nth(1) == target.to_str();
        assert_eq!(mounts.lines().filter(on_target).count(), 1);
        Tree::read(&target).assert_same(&flat, "mounted by one of many");
        assert_all_succeed(all_at_once(&ground, &["umount", "--store", "store", "m"]));
        assert_eq!(ground.mounted().len(), 0);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn many_remove_one_bundle() {
    for round in 0..4 {
        let (ground, _) = with_bundle(plain());
        let outputs = outputs(all_at_once(&ground, &["remove-bundle", "b"]));
        let all: String = outputs.iter().map(said).collect();
        assert!(
            outputs.iter().any(|output| output.status.success()),
            "in round {round}: {all}"
        );
        for output in &outputs {
            assert_eq!(output.status.signal(), None);
            // Whoever is late finds no bundle, and says so.
            let is_told = said(output).contains("not a bundle of this program")
                || said(output).contains("No such file or directory");
            assert!(output.status.success() || is_told, "{}", said(output));
        }
        assert!(!ground.path("b").exists(), "in round {round}: {all}");
        ground.assert_sound();
        assert_eq!(ground.store().containers().unwrap().len(), 0);
        ground.gc();
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn many_repack_one_bundle_and_get_one_layer() {
    let (ground, _) = with_bundle(reaching());
    fs::write(ground.path("b/rootfs/etc/passwd"), "edited").unwrap();
    fs::remove_file(ground.path("b/rootfs/alias")).unwrap();
    let tags: Vec<String> = (0..CROWD)
        .map(|number| format!("image:t{number}"))
        .collect();
    let repack = |tag: &String| start(&ground, &["repack", "--image", tag, "b"], &[]);
    assert_all_succeed(tags.iter().map(repack).collect());
    let layers = layers_of(&ground.path("image"), "t0");
    assert_eq!(layers.len(), 4);
    for number in 1..CROWD {
        let others = layers_of(&ground.path("image"), &format!("t{number}"));
        assert_eq!(others, layers);
    }
    // Any of those that refresh the bundle may be the last; none loses what the others need.
    let repack = |tag: &String| {
        start(
            &ground,
            &["repack", "--refresh-bundle", "--image", tag, "b"],
            &[],
        )
    };
    let outputs = outputs(tags.iter().map(repack).collect());
    assert!(outputs.iter().all(|output| output.status.success()));
    let seen = Tree::read(&ground.path("b/rootfs"));
    ground.assert_sound();
    ground.gc();
    ground.succeed(&["umount", "b"]);
    ground.succeed(&["mount", "b"]);
    Tree::read(&ground.path("b/rootfs")).assert_same(&seen, "refreshed by many");
}

/// Descriptors of this process that lead below a directory.
fn open_below(path: &Path) -> Vec<String> {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let below = links.filter(|link| link.starts_with(path));
    below.map(|link| link.display().to_string()).collect()
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_process_that_works_on_a_store_keeps_neither_descriptors_nor_locks() {
    let (ground, flat) = with_bundle(reaching());
    ground.succeed(&["remove-bundle", "b"]);
    fs::create_dir(ground.path("m")).unwrap();
    let store = ground.store();
    let held = open_below(&ground.path("")).len();
    let name = store.names().unwrap().remove(0).0;
    for _ in 0..5 {
        let image = store.image(&name).unwrap();
        let chain = store.chain(image.chain_id().as_ref()).unwrap();
        let key = Key::unique();
        store
            .prepare(&key, &chain, ContainerMeta::default())
            .unwrap();
        let options = MountOptions::default();
        store
            .mount_container(&key, &ground.path("m"), &options)
            .unwrap();
        Tree::read(&ground.path("m")).assert_same(&flat, "a container");
        fs::write(ground.path("m/etc/new"), "new").unwrap();
        let container = store.container(&key).unwrap();
        assert_eq!(
            store
                .changes_of(&container, &chain, &[])
                .unwrap()
                .changes
                .len(),
            2
        );
        drop(container);
        store.unmount(&ground.path("m"), false).unwrap();
        let view = MapOptions::default();
        let chain = chain.id.as_ref();
        store
            .mount_chain(chain, &view, &ground.path("m"), &options)
            .unwrap();
        store.unmount(&ground.path("m"), false).unwrap();
        store.remove_container(&key).unwrap();
        store.gc(GcOptions::default()).unwrap();
        assert_eq!(open_below(&ground.path("")).len(), held);
    }
    drop(store);
    assert_eq!(open_below(&ground.path("")), [""; 0]);
    // What dead processes have left in the files of their locks says nothing to anybody.
    for name in ["gate", "layers-0", "layers-f", "container-x"] {
        fs::write(ground.path("store/locks").join(name), "1\n").unwrap();
    }
    ground.succeed(&unpack("image:latest", "c"));
    ground.gc();
}
