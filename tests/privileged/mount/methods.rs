//! Overlays by every method, of few and of many layers.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use oci_bundle::ErrorKind;
use oci_bundle::fs::XattrNamespace;
use oci_bundle::fs::mount::{self, MountAttributes, MountMethod};

use super::{Stack, made, names, opened};
use crate::machine::{Bounded, Scratch, names_in};
use crate::tree::Tree;

/// Two layers with one of everything that stacking is about, marked in a namespace; the topmost first.
fn marked_layers<'a>(scratch: &'a Scratch, name: &str, marks: XattrNamespace) -> Stack<'a> {
    let lower = made(scratch, &format!("{name}-lower"));
    let path = scratch.path(&format!("{name}-lower"));
    for directory in ["merged", "hidden", "gone"] {
        fs::create_dir(path.join(directory)).unwrap();
        fs::write(path.join(directory).join("below"), "below").unwrap();
    }
    fs::write(path.join("removed"), "r").unwrap();
    fs::write(path.join("replaced"), "below").unwrap();
    fs::write(path.join("merged/linked"), "l").unwrap();
    fs::hard_link(path.join("merged/linked"), path.join("link-of-it")).unwrap();
    symlink("nowhere", path.join("link")).unwrap();
    std::os::unix::fs::chown(path.join("gone/below"), Some(7), Some(8)).unwrap();
    let top = made(scratch, &format!("{name}-top"));
    let path = scratch.path(&format!("{name}-top"));
    for directory in ["merged", "hidden"] {
        fs::create_dir(path.join(directory)).unwrap();
        fs::write(path.join(directory).join("above"), "above").unwrap();
    }
    fs::write(path.join("replaced"), "above").unwrap();
    opened(&path.join("hidden")).set_opaque(marks).unwrap();
    for name in ["removed", "gone"] {
        assert!(top.create_whiteout(name.as_bytes()).unwrap());
    }
    let mut stack = Stack::new(scratch, vec![top, lower]);
    stack.marks = marks;
    stack
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn every_method_shows_the_same_tree_in_both_namespaces_of_marks() {
    let scratch = Scratch::new(&["fuse-overlayfs"]);
    for (name, marks) in [
        ("trusted", XattrNamespace::Trusted),
        ("user", XattrNamespace::User),
    ] {
        let stack = marked_layers(&scratch, name, marks);
        let target = made(&scratch, &format!("{name}-target"));
        let path = scratch.path(&format!("{name}-target"));
        let mut first: Option<Tree> = None;
        for method in MountMethod::ALL {
            let mounted = stack.mount(Some(method)).unwrap();
            assert_eq!(mounted.method(), Some(method));
            mounted.attach(&target).unwrap();
            assert_eq!(names_in(&path.join("hidden")), ["above"], "{method}");
            assert_eq!(names_in(&path.join("merged")), ["above", "below", "linked"]);
            assert!(!path.join("removed").exists() && !path.join("gone").exists());
            let tree = Tree::read(&path);
            mount::unmount(&path, false).unwrap();
            match &first {
                Some(first) => first.assert_same(&tree, &format!("{name}: {method}")),
                None => first = Some(tree),
            }
        }
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn changes_go_to_the_upper_directory_by_every_method() {
    let scratch = Scratch::new(&["fuse-overlayfs"]);
    for method in MountMethod::ALL {
        let stack = marked_layers(&scratch, &method.to_string(), XattrNamespace::Trusted);
        let stack = stack.with_upper(&format!("{method}-upper"));
        let root = stack.mount(Some(method)).unwrap().root().unwrap();
        drop(root.create_file(b"new", 0o644).unwrap().unwrap());
        root.remove_all(b"replaced").unwrap();
        let upper = scratch.path(&format!("{method}-upper"));
        assert!(upper.join("new").is_file(), "{method}");
        let whiteout = fs::symlink_metadata(upper.join("replaced")).unwrap();
        assert_eq!((whiteout.rdev(), whiteout.len()), (0, 0), "{method}");
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn up_to_500_lower_directories_are_mounted_in_their_order() {
    let scratch = Scratch::new(&[]);
    let mut stack = Stack::of(&scratch, 500);
    for count in [500, 499, 128, 2, 1] {
        stack.lowers.truncate(count);
        for method in [MountMethod::Fd, MountMethod::String] {
            let mounted = stack.mount(Some(method)).unwrap();
            let names = names(&mounted);
            assert_eq!(names.len(), count + 1, "{method}, {count}");
            let root = mounted.root().unwrap();
            assert_eq!(root.read_file(b"all", 10).unwrap(), b"0");
            drop((root, mounted));
        }
    }
    stack.lowers.reverse();
    let one = stack.with_upper("upper").mount(None).unwrap();
    assert_eq!(one.method(), Some(MountMethod::Fd));
    assert_eq!(names(&one), ["all", "own-0"]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn more_than_500_lower_directories_are_refused_in_the_kernels_words_too() {
    let scratch = Scratch::new(&[]);
    let stack = Stack::of(&scratch, 501);
    for method in [None, Some(MountMethod::Fd), Some(MountMethod::String)] {
        let error = stack.mount(method).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error:?}");
        let chain = error.chain();
        assert!(chain.contains("501 lower directories"), "{chain}");
        assert!(chain.contains("too many lower directories"), "{chain}");
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_legacy_call_never_gets_more_options_than_the_kernel_reads() {
    let scratch = Scratch::new(&[]);
    let mut stack = Stack::of(&scratch, 300);
    let error = stack.mount(Some(MountMethod::Legacy)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.chain().contains("300 lower directories"), "{error:?}");
    // Whatever is not refused is mounted whole.
    stack.lowers.truncate(180);
    let mounted = stack.mount(Some(MountMethod::Legacy)).unwrap();
    assert_eq!(names(&mounted).len(), 181);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn no_character_in_a_path_means_anything() {
    let scratch = Scratch::new(&["fuse-overlayfs"]);
    let odd = ["a:b", "a,b", "a\\b", "a b", "a\nb", "a\\:b", "a=b"];
    let mut stack = Stack::new(&scratch, Vec::new()).with_upper("up:p,e\\r \n");
    for name in odd {
        stack.lowers.push(made(&scratch, name));
        fs::write(scratch.path(name).join(name), "").unwrap();
    }
    let target = made(&scratch, "tar:get, \\\n");
    let path = scratch.path("tar:get, \\\n");
    let mut expected = odd.map(str::to_owned);
    expected.sort();
    for method in MountMethod::ALL {
        if method == MountMethod::Fuse {
            // The one thing that it cannot do, and must not do wrong.
            let error = stack.mount(Some(method)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
            assert!(error.chain().contains("colon"), "{error:?}");
            stack = stack.with_upper("up,p,e\\r \n");
        }
        stack.mount(Some(method)).unwrap().attach(&target).unwrap();
        assert_eq!(names_in(&path), expected, "{method}");
        let table = mount::mounts().unwrap();
        let entry = mount::at_target(&table, &path).unwrap();
        assert!(entry.file_system.contains("overlay"), "{entry:?}");
        mount::unmount(&path, false).unwrap();
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_dropped_mount_leaves_nothing_in_the_table_and_no_process() {
    let scratch = Scratch::new(&["fuse-overlayfs"]);
    let stack = Stack::of(&scratch, 2).with_upper("upper");
    fs::write(scratch.path(".mount-lock"), "").unwrap();
    let before = names_in(&scratch.path(""));
    for method in MountMethod::ALL {
        let mounted = stack.mount(Some(method)).unwrap();
        let serving = method == MountMethod::Fuse;
        assert_eq!(serving_of(&scratch.path("upper")) > 0, serving, "{method}");
        let id = mounted.id().unwrap();
        assert_eq!(names(&mounted), ["all", "own-0", "own-1"]);
        drop(mounted);
        assert!(!id.is_mounted().unwrap());
        let below = |entry: &&mount::MountEntry| entry.target.starts_with(scratch.path(""));
        let table = mount::mounts().unwrap();
        assert_eq!(table.iter().find(below), None, "{method}");
        assert_eq!(names_in(&scratch.path("")), before, "{method}");
    }
    assert!(ends_soon(&scratch.path("upper")), "fuse-overlayfs goes on");
}

/// Whether every fuse-overlayfs that has this directory open ends within ten seconds.
fn ends_soon(directory: &Path) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        serving_of(directory) == 0
    })
}

/// How many processes fuse-overlayfs have this directory open.
fn serving_of(directory: &Path) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| {
            let comm = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let open = fs::read_dir(process.path().join("fd"))
                .into_iter()
                .flatten();
            let links = open.flatten().map(|fd| fs::read_link(fd.path()));
            comm.starts_with("fuse-overlayfs")
                && links.flatten().any(|link| link.starts_with(directory))
        })
        .count()
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_failed_mount_leaves_nothing_behind() {
    let scratch = Scratch::new(&["fuse-overlayfs"]);
    // The same directory above and below itself: no overlay of the kernel's.
    let lower = || opened(&scratch.path("lower-0"));
    let mut stack = Stack::of(&scratch, 1);
    stack.lowers = vec![lower(), lower()];
    fs::write(scratch.path(".mount-lock"), "").unwrap();
    let before = names_in(&scratch.path(""));
    for method in [MountMethod::Fd, MountMethod::String, MountMethod::Legacy] {
        stack.mount(Some(method)).unwrap_err();
    }
    // No path leads to what is removed.
    stack.lowers = vec![made(&scratch, "removed"), lower()];
    fs::remove_dir(scratch.path("removed")).unwrap();
    let error = stack.mount(Some(MountMethod::Fuse)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    assert_eq!(names_in(&scratch.path("")), before);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_a_killed_process_left_mounted_is_swept_but_never_under_somebody() {
    let scratch = Scratch::new(&[]);
    let dir = opened(&scratch.path(""));
    let left = made(&scratch, ".mount-4194305-0");
    let stack = Stack::of(&scratch, 2);
    let id = stack.mount(None).unwrap().attach(&left).unwrap();
    fs::create_dir(scratch.path(".mount-4194305-1")).unwrap();
    let lock = fs::File::create(scratch.path(".mount-lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).unwrap();
    assert_eq!(mount::sweep(&dir).unwrap(), 0);
    assert!(id.is_mounted().unwrap());
    drop(lock);
    assert_eq!(mount::sweep(&dir).unwrap(), 2);
    assert!(!id.is_mounted().unwrap());
    let names = names_in(&scratch.path(""));
    assert_eq!(names, [".mount-lock", "bin", "lower-0", "lower-1"]);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_volatile_upper_directory_is_not_mounted_again_unless_its_mark_is_gone() {
    let scratch = Scratch::new(&[]);
    let mut stack = Stack::of(&scratch, 1).with_upper("upper");
    stack.volatile = true;
    let by_kernel = [MountMethod::Fd, MountMethod::String, MountMethod::Legacy];
    for method in by_kernel {
        drop(stack.mount(Some(method)).unwrap());
        let mark = "upper-work/work/incompat/volatile";
        assert!(scratch.path(mark).is_dir(), "{method}");
        stack.volatile = false;
        stack.mount(Some(method)).unwrap_err();
        stack.volatile = true;
        fs::remove_dir_all(scratch.path(mark)).unwrap();
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn devices_can_be_opened_unless_that_is_forbidden() {
    let scratch = Scratch::new(&["fuse-overlayfs"]);
    let lower = made(&scratch, "lower");
    let null = oci_bundle::fs::InodeKind::CharDevice;
    assert!(lower.create_node(b"null", null, 0o666, (1, 3)).unwrap());
    let mut stack = Stack::new(&scratch, vec![lower]).with_upper("upper");
    let target = made(&scratch, "target");
    let path = scratch.path("target");
    for method in MountMethod::ALL {
        for nodev in [false, true] {
            stack.attributes.nodev = nodev;
            stack.mount(Some(method)).unwrap().attach(&target).unwrap();
            let opened = fs::File::open(path.join("null"));
            assert_eq!(opened.is_err(), nodev, "{method}: {opened:?}");
            drop(opened);
            mount::unmount(&path, false).unwrap();
        }
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn attributes_hold_by_every_method() {
    let scratch = Scratch::new(&["fuse-overlayfs"]);
    for method in MountMethod::ALL {
        let mut stack = Stack::new(&scratch, vec![made(&scratch, &format!("{method}-lower"))]);
        stack = stack.with_upper(&format!("{method}-upper"));
        stack.read_only = true;
        stack.attributes = MountAttributes {
            nodev: true,
            nosuid: true,
            noexec: true,
            noatime: true,
        };
        let target = made(&scratch, &format!("{method}-target"));
        let path = scratch.path(&format!("{method}-target"));
        stack.mount(Some(method)).unwrap().attach(&target).unwrap();
        let table = mount::mounts().unwrap();
        let options = &mount::at_target(&table, &path).unwrap().options;
        for option in ["ro", "nodev", "nosuid", "noexec", "noatime"] {
            assert!(options.split(',').any(|has| has == option), "{options}");
        }
        let written = fs::write(path.join("file"), "");
        assert_eq!(
            written.unwrap_err().kind(),
            std::io::ErrorKind::ReadOnlyFilesystem
        );
        mount::unmount(&path, false).unwrap();
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn without_the_right_to_mount_the_error_says_what_to_do() {
    // This test runs itself again as nobody.
    const STEP: &str = "BUNDLE_TEST_STEP_DENIED";
    const NAME: &str = "mount::methods::without_the_right_to_mount_the_error_says_what_to_do";
    if let Some(path) = std::env::var_os(STEP) {
        let lower = opened(Path::new(&path));
        let lowers = [std::os::fd::AsFd::as_fd(&lower); 2];
        let overlay = mount::Overlay {
            lowers: &lowers,
            upper: None,
            marks: XattrNamespace::User,
            source: "denied",
            volatile: false,
            read_only: true,
            attributes: MountAttributes::default(),
            selinux_context: None,
        };
        let error = overlay.mount(None, &lower).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
        let hints = error.hints().join(" ");
        assert!(hints.contains("bundle unshare"), "{hints}");
        return;
    }
    let scratch = Scratch::new(&["setpriv"]);
    let home = scratch.home_of_nobody();
    let program = super::namespace::own_program(&scratch);
    let output = Bounded::new("env", 60)
        .arg(format!("{STEP}={}", home.display()))
        .arg(&program)
        .args(&["--include-ignored", "--exact", NAME])
        .run_by_nobody(&home)
        .succeed();
    assert!(output.contains("1 passed"), "{output}");
    let left = Command::new("pgrep")
        .args(["-u", "65534", "fuse-overlayfs"])
        .output();
    assert!(left.unwrap().stdout.is_empty());
}
