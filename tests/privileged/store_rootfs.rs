//! Roots for containers, mounted for real: what can be written to and what not, that the prototype stays as it is, and
//! that nothing is left.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use oci_bundle::compat::rootfs::{
    GeneratedRoot, Generator, GeneratorOptions, KernelMounter, MountPlace, Mounter, OverlayParts,
    RootfsGenerator, RootfsMode, RootfsReason,
};
use oci_bundle::fs::mount::{at_target, mounts};
use oci_bundle::fs::{Dir, XattrNamespace};
use oci_bundle::{ErrorKind, Result};

use crate::machine::{Bounded, NOBODY, Scratch, Tmpfs, names_in};
use crate::tree::Tree;

const SUBDIRS: [&str; 7] = ["proc", "dev", "etc", "home", "sbin", "var", "tmp"];
const MODES: [RootfsMode; 2] = [RootfsMode::Overlay, RootfsMode::Quilt];

/// A prototype in `prototype` and an empty `base`.
fn prototype(scratch: &Scratch) -> PathBuf {
    let path = scratch.path("prototype");
    for name in SUBDIRS {
        fs::create_dir_all(path.join(name)).unwrap();
        fs::write(path.join(name).join("file"), name).unwrap();
    }
    fs::create_dir(path.join("usr")).unwrap();
    fs::write(path.join("usr/file"), "usr").unwrap();
    chown(path.join("home/file"), Some(1234), Some(5678)).unwrap();
    symlink("/etc/file", path.join("var/link")).unwrap();
    fs::create_dir(scratch.path("base")).unwrap();
    path
}

fn generator(scratch: &Scratch, mode: RootfsMode) -> Generator<KernelMounter> {
    with(scratch, mode, KernelMounter::new().unwrap())
}

fn with<M: Mounter>(scratch: &Scratch, mode: RootfsMode, mounter: M) -> Generator<M> {
    let mut options = GeneratorOptions::default();
    options.mode = Some(mode);
    Generator::new(mounter, &scratch.path("base"), options).unwrap()
}

/// Nothing is mounted below the base, and nothing is in it.
fn assert_nothing_left(scratch: &Scratch) {
    let base = scratch.path("base");
    let mounts = mounts().unwrap().into_iter();
    let mounted: Vec<_> = mounts
        .map(|mount| mount.target)
        .filter(|target| target.starts_with(&base))
        .collect();
    assert_eq!(mounted, [] as [PathBuf; 0]);
    assert_eq!(names_in(&base), [] as [String; 0]);
}

fn read(root: &GeneratedRoot, path: &str) -> String {
    fs::read_to_string(root.path.join(path)).unwrap()
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_is_written_to_a_root_goes_with_it_and_the_prototype_never_changes() {
    for mode in MODES {
        let scratch = Scratch::new(&[]);
        let prototype = prototype(&scratch);
        let before = Tree::read(&prototype);
        let generator = generator(&scratch, mode);
        let root = generator.generate(&prototype).unwrap();
        assert_eq!(root.mode, mode);
        for name in ["proc", "dev", "etc", "home", "sbin", "var"] {
            assert_eq!(read(&root, &format!("{name}/file")), name);
            fs::write(root.path.join(name).join("file"), "changed").unwrap();
            fs::write(root.path.join(name).join("new"), "new").unwrap();
        }
        assert_eq!(names_in(&root.path.join("tmp")), [] as [String; 0]);
        assert_eq!(
            fs::metadata(root.path.join("tmp")).unwrap().mode() & 0o7777,
            0o777
        );
        fs::write(root.path.join("tmp/new"), "new").unwrap();
        assert_eq!(
            fs::metadata(root.path.join("home/file")).unwrap().uid(),
            1234
        );
        assert_eq!(
            fs::read_link(root.path.join("var/link")).unwrap(),
            Path::new("/etc/file")
        );
        assert_eq!(read(&root, "usr/file"), "usr");
        assert_eq!(Tree::read(&prototype), before);

        generator.remove(&root.path).unwrap();
        assert_nothing_left(&scratch);
        generator.remove(&root.path).unwrap();
        assert_eq!(Tree::read(&prototype), before);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_rest_of_a_quilt_is_read_only_and_all_of_an_overlay_can_be_written_to() {
    let scratch = Scratch::new(&[]);
    let prototype = prototype(&scratch);
    for mode in MODES {
        let generator = generator(&scratch, mode);
        let root = generator.generate(&prototype).unwrap();
        for path in ["usr/file", "usr/new", "new"] {
            let written = fs::write(root.path.join(path), "changed");
            match mode {
                RootfsMode::Overlay => written.unwrap(),
                RootfsMode::Quilt => {
                    let kind = written.unwrap_err().kind();
                    assert_eq!(kind, std::io::ErrorKind::ReadOnlyFilesystem, "{path}");
                }
            }
        }
        assert_eq!(
            fs::read_to_string(prototype.join("usr/file")).unwrap(),
            "usr"
        );
        assert!(!prototype.join("new").exists());
        generator.remove(&root.path).unwrap();
        assert_nothing_left(&scratch);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn two_roots_of_one_prototype_do_not_see_each_others_changes() {
    for mode in MODES {
        let scratch = Scratch::new(&[]);
        let prototype = prototype(&scratch);
        let generator = generator(&scratch, mode);
        let first = generator.generate(&prototype).unwrap();
        let second = generator.generate(&prototype).unwrap();
        fs::write(first.path.join("etc/file"), "first").unwrap();
        assert_eq!(read(&second, "etc/file"), "etc");
        generator.remove(&first.path).unwrap();
        assert_eq!(read(&second, "etc/file"), "etc");
        generator.remove(&second.path).unwrap();
        assert_nothing_left(&scratch);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_root_in_use_stays_and_the_error_says_what_is_used_and_by_whom() {
    for (mode, reason) in [
        (RootfsMode::Quilt, RootfsReason::UnmountSubdir),
        (RootfsMode::Overlay, RootfsReason::UnmountRoot),
    ] {
        let scratch = Scratch::new(&[]);
        let prototype = prototype(&scratch);
        let generator = generator(&scratch, mode);
        let root = generator.generate(&prototype).unwrap();
        let open = fs::File::open(root.path.join("etc/file")).unwrap();
        let error = generator.remove(&root.path).unwrap_err();
        assert_eq!(RootfsReason::of(&error), Some(reason));
        assert_eq!(error.kind(), ErrorKind::Busy);
        let holder = format!("process {}", std::process::id());
        assert!(error.chain().contains(&holder), "{error:?}");
        assert_eq!(read(&root, "etc/file"), "etc");
        // Those that nobody uses are gone.
        let is_mounted =
            |path: &str| at_target(&mounts().unwrap(), &root.path.join(path)).is_some();
        assert_eq!(is_mounted("etc"), mode == RootfsMode::Quilt);
        assert!(!is_mounted("proc") && !is_mounted("tmp"));
        drop(open);
        generator.remove(&root.path).unwrap();
        assert_nothing_left(&scratch);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_is_mounted_in_the_directory_of_a_root_is_not_deleted() {
    let scratch = Scratch::new(&[]);
    let prototype = prototype(&scratch);
    let generator = generator(&scratch, RootfsMode::Quilt);
    let root = generator.generate(&prototype).unwrap();
    let foreign = Tmpfs::mount(root.path.parent().unwrap().join("rw/foreign"), "size=1m");
    let file = foreign.path().join("file");
    fs::write(&file, "precious").unwrap();
    let error = generator.remove(&root.path).unwrap_err();
    assert_eq!(RootfsReason::of(&error), Some(RootfsReason::RemoveMountDir));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    drop(foreign);
    generator.remove(&root.path).unwrap();
    assert_nothing_left(&scratch);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_root_in_another_mount_namespace_stays() {
    let scratch = Scratch::new(&["unshare"]);
    let prototype = prototype(&scratch);
    let generator = generator(&scratch, RootfsMode::Overlay);
    let root = generator.generate(&prototype).unwrap();
    let record = root.path.parent().unwrap().join("root.json");
    let text = fs::read_to_string(&record).unwrap();
    let mut elsewhere = std::process::Command::new("unshare")
        .args(["--mount", "--propagation=private", "sleep", "60"])
        .spawn()
        .unwrap();
    let own = fs::metadata("/proc/self/ns/mnt").unwrap().ino();
    let other = loop {
        let namespace = format!("/proc/{}/ns/mnt", elsewhere.id());
        let number = fs::metadata(namespace).unwrap().ino();
        if number != own {
            break number;
        }
        std::thread::yield_now();
    };
    // As if that process had made it.
    fs::write(&record, text.replace(&own.to_string(), &other.to_string())).unwrap();
    let error = generator.remove(&root.path).unwrap_err();
    elsewhere.kill().unwrap();
    elsewhere.wait().unwrap();
    assert_eq!(RootfsReason::of(&error), Some(RootfsReason::UnmountRoot));
    assert!(
        error.chain().contains("another mount namespace"),
        "{error:?}"
    );
    generator.remove(&root.path).unwrap();
    assert_nothing_left(&scratch);
}

/// The kernel, until a number of mounts have been made: then the process dies, as far as a test can.
#[derive(Debug)]
struct Dying {
    kernel: KernelMounter,
    left: std::cell::Cell<usize>,
}

impl Dying {
    fn step(&self) {
        assert_ne!(self.left.get(), 0, "died");
        self.left.set(self.left.get() - 1);
    }
}

impl Mounter for Dying {
    fn marks(&self) -> XattrNamespace {
        self.kernel.marks()
    }

    fn bind(&self, source: &Dir, place: MountPlace<'_>, read_only: bool) -> Result<()> {
        self.step();
        self.kernel.bind(source, place, read_only)
    }

    fn overlay(&self, parts: OverlayParts<'_>, place: MountPlace<'_>) -> Result<()> {
        self.step();
        self.kernel.overlay(parts, place)
    }

    fn unmount(&self, place: MountPlace<'_>) -> Result<()> {
        self.step();
        self.kernel.unmount(place)
    }

    fn is_mounted(&self, place: MountPlace<'_>) -> Result<bool> {
        self.kernel.is_mounted(place)
    }

    fn sweep(&self, scratch: &Dir) -> Result<()> {
        self.kernel.sweep(scratch)
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_a_death_at_any_call_of_the_kernel_leaves_is_recovered() {
    let scratch = Scratch::new(&[]);
    let prototype = prototype(&scratch);
    let before = Tree::read(&prototype);
    let kernel = KernelMounter::new().unwrap();
    // Eight mounts, and then eight times unmounting.
    for calls in 0..16 {
        let left = std::cell::Cell::new(calls);
        let dying = with(&scratch, RootfsMode::Quilt, Dying { kernel, left });
        let died = catch_unwind(AssertUnwindSafe(|| {
            let root = dying.generate(&prototype).unwrap();
            dying.remove(&root.path).unwrap();
        }));
        assert!(died.is_err(), "there are more than {calls} calls");
        let generator = generator(&scratch, RootfsMode::Quilt);
        assert_eq!(generator.recover().unwrap().len(), 1, "after {calls} calls");
        assert_nothing_left(&scratch);
        assert_eq!(Tree::read(&prototype), before);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_overlay_that_the_file_system_cannot_hold_becomes_a_quilt() {
    let scratch = Scratch::new(&[]);
    let prototype = prototype(&scratch);
    // The root of an overlay cannot be an upper directory itself.
    let outer = generator(&scratch, RootfsMode::Overlay);
    let root = outer.generate(&prototype).unwrap();
    let base = root.path.join("var");
    let kernel = KernelMounter::new().unwrap();
    let inner = Generator::new(kernel, &base, GeneratorOptions::default()).unwrap();
    let inside = inner.generate(&prototype).unwrap();
    assert_eq!(inside.mode, RootfsMode::Quilt);
    fs::write(inside.path.join("etc/file"), "changed").unwrap();
    inner.remove(&inside.path).unwrap();
    assert_eq!(inner.roots().unwrap(), []);
    drop(inner);
    outer.remove(&root.path).unwrap();
    assert_nothing_left(&scratch);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_base_on_a_read_only_mount_is_refused() {
    let scratch = Scratch::new(&[]);
    let tmpfs = Tmpfs::mount(scratch.path("read-only"), "size=1m");
    Bounded::new("mount", 10)
        .args(&["-o", "remount,ro"])
        .arg(tmpfs.path())
        .succeed();
    let kernel = KernelMounter::new().unwrap();
    let error = Generator::new(kernel, tmpfs.path(), GeneratorOptions::default()).unwrap_err();
    assert_eq!(RootfsReason::of(&error), Some(RootfsReason::RwBaseNotRw));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn who_may_not_mount_is_told_so_beforehand() {
    let _root = Scratch::new(&[]);
    // A thread of its own gives up its capabilities; no other one is concerned.
    let denied = std::thread::spawn(|| {
        let nobody = rustix::process::Uid::from_raw(NOBODY);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        RootfsReason::of(&KernelMounter::new().unwrap_err())
    });
    assert_eq!(denied.join().unwrap(), Some(RootfsReason::NeedPrivilege));
}
