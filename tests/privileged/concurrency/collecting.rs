//! Somebody collects while others work.

use std::fs::{self, File};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use oci_bundle::ErrorKind;
use oci_bundle::store::{GcOptions, Reason};

use super::unpack;
use crate::crash::crash_fs::{Ground, LONG, plain, reaching};
use crate::machine::{Bounded, names_in, said};
use crate::tree::Tree;

/// Takes as much as can be taken: images, too, as soon as nobody uses them.
fn greedy() -> GcOptions {
    GcOptions {
        unused_images: true,
        abandoned: true,
        ..GcOptions::default()
    }
}

/// Unpacks, mounts, unmounts and removes.
fn work(ground: &Ground, number: usize, flat: &[(String, Tree)]) {
    for round in 0..15 {
        let (image, flat) = &flat[(number + round) % flat.len()];
        let bundle = format!("b{number}");
        let rootfs = ground.path(&bundle).join("rootfs");
        ground.succeed(&unpack(image, &bundle));
        Tree::read(&rootfs).assert_same(flat, "unpacked while somebody collects");
        ground.succeed(&["umount", &bundle]);
        ground.succeed(&["mount", &bundle]);
        Tree::read(&rootfs).assert_same(flat, "mounted while somebody collects");
        let target = format!("m{number}");
        let common = ["--store", "store", &target];
        ground.succeed(&[&["mount", "--image", image][..], &common].concat());
        Tree::read(&ground.path(&target)).assert_same(flat, "a view while somebody collects");
        ground.succeed(&[&["umount"][..], &common].concat());
        ground.succeed(&["remove-bundle", &bundle]);
        assert!(!ground.path(&bundle).exists());
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn gc_takes_nothing_from_those_who_work() {
    let ground = Ground::new();
    plain().write(&ground.path("plain"));
    reaching().write(&ground.path("reaching"));
    let flat = ["plain", "reaching"].map(|name| (format!("{name}:latest"), ground.flat(name)));
    ground.succeed(&unpack("plain:latest", "first"));
    ground.succeed(&["remove-bundle", "first"]);
    let workers = 3;
    let working = AtomicUsize::new(workers);
    thread::scope(|scope| {
        for number in 0..workers {
            fs::create_dir(ground.path(&format!("m{number}"))).unwrap();
            let (ground, working, flat) = (&ground, &working, &flat);
            scope.spawn(move || {
                let _done = Done(working);
                work(ground, number, flat);
            });
        }
        let store = ground.store();
        let mut taken = 0;
        while working.load(Ordering::SeqCst) > 0 {
            taken += store.gc(greedy()).unwrap().layers.len();
            // Those who are kept out look again after a while only.
            thread::sleep(Duration::from_millis(20));
        }
        assert!(taken > 0, "it has had nothing to take");
    });
    ground.store().gc(greedy()).unwrap();
    ground.gc();
    for name in [
        "layers/sha256",
        "chains",
        "patches",
        "images",
        "names",
        "active",
        "mounts",
    ] {
        let left = names_in(&ground.path("store").join(name));
        assert_eq!(left, [""; 0], "{name}");
    }
}

/// Counts one less when it goes, however its thread ends.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_is_mounted_is_neither_collected_nor_removed() {
    let (ground, flat) = Ground::with_image(reaching());
    ground.succeed(&unpack("image:latest", "b"));
    let store = ground.store();
    let report = store.gc(greedy()).unwrap();
    assert_eq!((report.layers.len(), report.containers.len()), (0, 0));
    Tree::read(&ground.path("b/rootfs")).assert_same(&flat, "what is mounted");
    ground.assert_sound();
    let mount = store.mounts().unwrap().remove(0);
    let refused = store.remove_container(&mount.key.unwrap()).unwrap_err();
    assert_eq!(Reason::of(&refused), Some(Reason::InUse));
    assert!(refused.chain().contains("b/rootfs"), "{}", refused.chain());

    // Without the bundle's directory, too, as long as it is mounted.
    let busy = File::open(ground.path("b/rootfs/etc/passwd")).unwrap();
    let output = ground.tool(&["remove-bundle", "b"]).output();
    assert_eq!(output.status.code(), Some(1));
    let own = format!("{}", std::process::id());
    assert!(said(&output).contains(&own), "{}", said(&output));
    Tree::read(&ground.path("b/rootfs")).assert_same(&flat, "what could not be removed");
    ground.succeed(&["remove-bundle", "--lazy", "b"]);
    drop(busy);
    assert!(!ground.path("b").exists());
    assert_eq!(store.containers().unwrap().len(), 0);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn records_of_mounts_that_are_gone_are_in_nobodys_way() {
    let (ground, flat) = Ground::with_image(plain());
    ground.succeed(&unpack("image:latest", "b"));
    // Behind our back.
    ground.unmount_all();
    ground.succeed(&["mount", "b"]);
    // Who mounts it again forgets the mount that is gone.
    assert_eq!(ground.store().mounts().unwrap().len(), 1);
    assert_eq!(ground.gc().leftovers, 0);
    // In mount namespaces that end with their only processes.
    ground.succeed(&["umount", "b"]);
    for _ in 0..3 {
        Bounded::new("unshare", LONG)
            .args(&["--mount", "--propagation", "private"])
            .arg(ground.binary())
            .args(&["mount", "b"])
            .current_dir(&ground.path(""))
            .succeed();
    }
    ground.succeed(&["mount", "b"]);
    Tree::read(&ground.path("b/rootfs")).assert_same(&flat, "mounted once more");
    assert_eq!(ground.gc().leftovers, 0);
    assert_eq!(ground.store().mounts().unwrap().len(), 1);
    Tree::read(&ground.path("b/rootfs")).assert_same(&flat, "mounted after gc");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn who_waits_for_the_store_in_vain_is_told_so() {
    let (ground, _) = Ground::with_image(plain());
    ground.succeed(&unpack("image:latest", "b"));
    let mut options = oci_bundle::store::StoreOptions::new(ground.path("store"));
    options.lock_timeout = Duration::from_millis(50);
    let impatient = oci_bundle::store::Store::open(options).unwrap();
    let store = ground.store();
    let lease = store.lease().unwrap();
    let error = impatient.gc(greedy()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.chain().contains("lock"), "{}", error.chain());
    drop(lease);
    impatient.gc(greedy()).unwrap();
}
