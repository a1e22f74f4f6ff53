//! Power cuts. The store and the bundle are on a disk image; the process dies at one of its points, the image is copied, and
//! the copy is what the disk would have after a power cut: the kernel writes nothing to it by itself in so short a time,
//! so it has what was synced and nothing else. That is more than a real power cut takes. Where the kernel has written
//! something while it was copied, because memory became scarce, say, the copy is of no one moment, and is made again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::crash_fs::{Ground, LONG, assert_sound, plain, reaching};
use crate::image::{Image, layers_of};
use crate::machine::{Bounded, names_in, said};
use crate::tree::Tree;

const UNPACK: [&str; 7] = [
    "unpack",
    "--overlay",
    "--store",
    "disk/store",
    "--image",
    "image:latest",
    "disk/b",
];

/// Every third point is taken; the images begin with different ones.
const STRIDE: usize = 3;

/// How a file system is made and mounted.
struct Kind {
    make: &'static [&'static str],
    mount: &'static str,
}

const WITH_JOURNAL: Kind = Kind {
    make: &["-J", "size=4"],
    mount: "loop,commit=600",
};

const WITHOUT_JOURNAL: Kind = Kind {
    make: &["-O", "^has_journal"],
    mount: "loop",
};

struct Disk {
    ground: Ground,
    kind: Kind,
    /// The image of the disk as it is at first.
    first: &'static str,
}

impl Disk {
    fn new(ground: Ground, kind: Kind) -> Self {
        fs::create_dir(ground.path("disk")).unwrap();
        let image = ground.path("empty.img");
        fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
        Bounded::new("mkfs.ext4", LONG)
            .args(&["-q", "-F", "-m", "0"])
            .args(kind.make)
            .arg(&image)
            .succeed();
        Self {
            ground,
            kind,
            first: "empty.img",
        }
    }

    /// From now on, a bundle in which something was changed is on the disk at first; what is seen in it.
    fn with_bundle(&mut self) -> Tree {
        self.copy("empty.img", "bundle.img");
        self.mount("bundle.img");
        self.ground.succeed(&UNPACK);
        let rootfs = self.path("b/rootfs");
        fs::write(rootfs.join("etc/passwd"), "edited").unwrap();
        fs::remove_file(rootfs.join("data/two")).unwrap();
        let tree = Tree::read(&rootfs);
        self.ground.unmount_all();
        self.first = "bundle.img";
        tree
    }

    /// Copies an image into a new file: a loop device that was mounted of the old one may live a little longer than its
    /// mount, and one of the same file would be taken for the next mount, with all that it remembers.
    fn copy(&self, from: &str, to: &str) {
        Bounded::new("cp", LONG)
            .args(&["--sparse=always", "--remove-destination"])
            .arg(self.ground.path(from))
            .arg(self.ground.path(to))
            .succeed();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.ground.path("disk").join(name)
    }

    fn mount(&self, image: &str) {
        Bounded::new("mount", LONG)
            .args(&["-t", "ext4", "-o", self.kind.mount])
            .arg(self.ground.path(image))
            .arg(self.ground.path("disk"))
            .succeed();
    }

    /// Runs a command that dies after so many points, and puts the disk in place as it is after a power cut. `false` if
    /// the command came to its end.
    fn cut(&self, passed: usize, command: &[&str]) -> bool {
        self.copy(self.first, "used.img");
        self.mount("used.img");
        let died = self.ground.dies(passed, command);
        // Whoever tidies up the machine meanwhile proves nothing.
        let disk = self.ground.path("disk");
        assert!(self.ground.mounted().contains(&disk), "the disk is gone");
        let written = || {
            let image = fs::metadata(self.ground.path("used.img")).unwrap();
            (image.mtime(), image.mtime_nsec())
        };
        loop {
            let before = written();
            self.copy("used.img", "cut.img");
            if written() == before {
                break;
            }
        }
        self.ground.unmount_all();
        let checked = Bounded::new("e2fsck", LONG)
            .args(&["-f", "-y"])
            .arg(self.ground.path("cut.img"))
            .output();
        // Shown where something fails.
        eprintln!("{}", said(&checked));
        assert!(checked.status.code() <= Some(1), "e2fsck fails");
        self.mount("cut.img");
        died
    }

    /// What must hold after a power cut.
    fn assert_recovers(&self, flat: &Tree, at: &str) {
        if self.path("store/store.json").exists() {
            assert_sound(&self.path("store"));
        }
        for name in ["config.json", "umoci.json", "overlay.json"] {
            let size = fs::metadata(self.path("b").join(name)).map_or(1, |found| found.len());
            assert_ne!(size, 0, "{name}: {at}");
        }
        if self.path("b/rootfs").exists() {
            self.ground.succeed(&["mount", "disk/b"]);
        } else {
            self.ground.succeed(&UNPACK);
        }
        Tree::read(&self.path("b/rootfs")).assert_same(flat, at);
        assert_sound(&self.path("store"));
    }
}

fn is_sound(store: &Path) -> bool {
    std::panic::catch_unwind(|| assert_sound(store)).is_ok()
}

#[track_caller]
fn assert_power_may_fail(image: Image, kind: Kind, first: usize) {
    let (ground, flat) = Ground::with_image(image);
    let disk = Disk::new(ground, kind);
    for passed in (first..).step_by(STRIDE) {
        let at = format!("power cut after {passed} points");
        eprintln!("{at}");
        let died = disk.cut(passed, &UNPACK);
        if !died {
            for name in ["b", "b/rootfs", "b/config.json"] {
                let there = names_in(&disk.path(""));
                assert!(disk.path(name).exists(), "{name} was there, of {there:?}");
            }
        }
        disk.assert_recovers(&flat, &at);
        disk.ground.unmount_all();
        if !died {
            break;
        }
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_power_may_fail_at_any_point_of_an_unpack() {
    assert_power_may_fail(plain(), WITH_JOURNAL, 0);
    assert_power_may_fail(reaching(), WITH_JOURNAL, 1);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_power_may_fail_at_any_point_where_the_file_system_has_no_journal() {
    assert_power_may_fail(plain(), WITHOUT_JOURNAL, 2);
    assert_power_may_fail(reaching(), WITHOUT_JOURNAL, 0);
}

#[track_caller]
fn assert_power_may_fail_in_repack(kind: Kind, first: usize) {
    let (ground, _) = Ground::with_image(reaching());
    let mut disk = Disk::new(ground, kind);
    let tree = disk.with_bundle();
    let repack = [
        "repack",
        "--refresh-bundle",
        "--image",
        "image:new",
        "disk/b",
    ];
    let mut layers = None;
    for passed in (first..).step_by(STRIDE) {
        let at = format!("power cut after {passed} points of a repack");
        eprintln!("{at}");
        let died = disk.cut(passed, &repack);
        assert_sound(&disk.path("store"));
        disk.ground.succeed(&repack);
        let found = layers_of(&disk.ground.path("image"), "new");
        assert_eq!(layers.get_or_insert_with(|| found.clone()), &found, "{at}");
        disk.ground.succeed(&["mount", "disk/b"]);
        Tree::read(&disk.path("b/rootfs")).assert_same(&tree, &at);
        assert_sound(&disk.path("store"));
        disk.ground.unmount_all();
        if !died {
            break;
        }
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_power_may_fail_at_any_point_of_a_repack() {
    assert_power_may_fail_in_repack(WITH_JOURNAL, 0);
    assert_power_may_fail_in_repack(WITHOUT_JOURNAL, 1);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_was_not_synced_is_lost_on_this_disk() {
    let (ground, _) = Ground::with_image(plain());
    let disk = Disk::new(ground, WITH_JOURNAL);
    let mut command = UNPACK.to_vec();
    command.insert(2, "--no-sync");
    // Otherwise the tests beside this one would prove nothing. Now and then, the kernel writes for the sake of others.
    let is_lost = (0..10).any(|_| {
        disk.cut(usize::MAX, &command);
        let is_lost = !is_sound(&disk.path("store"));
        disk.ground.unmount_all();
        is_lost
    });
    assert!(is_lost, "everything was written without being synced");
}
