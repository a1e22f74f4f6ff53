//! Mounts that have a place: who keeps them busy, and how they go.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use oci_bundle::ErrorKind;
use oci_bundle::fs::mount::{self, Hold, Holder};

use super::{Stack, made, names, opened};
use crate::machine::{Bounded, Scratch, names_in};

/// A process that waits, killed on drop.
struct Waiting(Child);

impl Waiting {
    fn in_directory(path: &Path) -> Self {
        let mut command = Command::new("sleep");
        let command = command.arg("600").current_dir(path).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_nobody_is_seen_to_use_is_unmounted_as_soon_as_it_is_let_go_of() {
    let scratch = Scratch::new(&[]);
    let target = made(&scratch, "target");
    let path = scratch.path("target");
    let stack = Stack::of(&scratch, 1).with_upper("upper");
    stack.mount(None).unwrap().attach(&target).unwrap();
    // The kernel's own use of a file is no process's.
    let image = path.join("image");
    fs::write(&image, vec![0; 1 << 16]).unwrap();
    let device = Bounded::new("losetup", 60)
        .args(&["--find", "--show"])
        .arg(&image)
        .succeed();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            Bounded::new("losetup", 60)
                .args(&["--detach", device.trim()])
                .succeed();
        });
        mount::unmount(&path, false).unwrap();
    });
    assert!(names_in(&path).is_empty());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn unmounting_what_is_busy_says_by_whom_and_lazily_it_goes() {
    let scratch = Scratch::new(&[]);
    let target = made(&scratch, "target");
    let path = scratch.path("target");
    let stack = Stack::of(&scratch, 2).with_upper("upper");
    let id = stack.mount(None).unwrap().attach(&target).unwrap();
    let user = Waiting::in_directory(&path);
    let error = mount::unmount(&path, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    let said = format!("sleep (process {}: working directory)", user.0.id());
    assert!(error.chain().contains(&said), "{}", error.chain());
    assert!(error.hints().join("").contains("--lazy"));
    assert!(id.is_mounted().unwrap());
    mount::unmount(&path, true).unwrap();
    assert!(!id.is_mounted().unwrap());
    assert!(names_in(&path).is_empty());
    // Whoever is in it stays in it.
    let inside = format!("/proc/{}/cwd/all", user.0.id());
    assert_eq!(fs::read(inside).unwrap(), b"0");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn open_files_and_mounts_inside_are_holders_too() {
    let scratch = Scratch::new(&[]);
    let path = scratch.path("target");
    let stack = Stack::of(&scratch, 2).with_upper("upper");
    let target = made(&scratch, "target");
    stack.mount(None).unwrap().attach(&target).unwrap();
    fs::create_dir(path.join("inner")).unwrap();
    let source = opened(&scratch.path("lower-0"));
    let inner = opened(&path.join("inner"));
    mount::bind(&source, true, false)
        .unwrap()
        .attach(&inner)
        .unwrap();
    let found = mount::holders(&path);
    let mounted = Holder::Mounted(path.join("inner"));
    assert!(found.contains(&mounted), "{found:?}");
    let own = found.iter().find_map(|holder| match holder {
        Holder::Process { pid, hold, .. } if *pid == std::process::id() => Some(hold),
        _ => None,
    });
    let Some(Hold::Descriptor(_, open)) = own else {
        panic!("{found:?}");
    };
    assert_eq!(*open, path.join("inner"));
    drop(inner);
    mount::unmount_at(&opened(&path), b"inner", false).unwrap();
    mount::unmount(&path, false).unwrap();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_program_that_runs_from_there_is_a_holder() {
    let scratch = Scratch::new(&[]);
    let target = made(&scratch, "target");
    let path = scratch.path("target");
    let stack = Stack::of(&scratch, 2);
    // Copied by another program: this one must not have it open for writing when some thread forks.
    let copied = Command::new("cp")
        .arg("/bin/sleep")
        .arg(scratch.path("lower-1"))
        .status();
    assert!(copied.unwrap().success());
    stack.mount(None).unwrap().attach(&target).unwrap();
    let mut command = Command::new(path.join("sleep"));
    let user = Waiting(command.arg("600").stdin(Stdio::null()).spawn().unwrap());
    let found = mount::holders(&path);
    let expected = Holder::Process {
        pid: user.0.id(),
        command: "sleep".to_owned(),
        hold: Hold::Program,
    };
    assert_eq!(found, [expected]);
    drop(user);
    mount::unmount(&path, false).unwrap();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_is_no_mount_is_not_found_and_links_are_not_followed() {
    let scratch = Scratch::new(&[]);
    let target = made(&scratch, "target");
    let path = scratch.path("target");
    let error = mount::unmount(&path, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    let error = mount::unmount(&scratch.path("none"), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    let stack = Stack::of(&scratch, 2);
    stack.mount(None).unwrap().attach(&target).unwrap();
    std::os::unix::fs::symlink(&path, scratch.path("link")).unwrap();
    mount::unmount(&scratch.path("link"), false).unwrap_err();
    mount::unmount(&path, false).unwrap();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn removing_a_tree_stops_at_a_bind_mount_of_the_same_file_system() {
    let scratch = Scratch::new(&[]);
    let source = made(&scratch, "source");
    fs::write(scratch.path("source/precious"), b"1").unwrap();
    fs::create_dir_all(scratch.path("tree/d/bound")).unwrap();
    let place = opened(&scratch.path("tree/d/bound"));
    mount::bind(&source, false, false)
        .unwrap()
        .attach(&place)
        .unwrap();
    let top = opened(&scratch.path("tree"));
    let error = top.remove_all(b"d").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.chain());
    assert!(scratch.path("source/precious").exists());
    mount::unmount(&scratch.path("tree/d/bound"), true).unwrap();
    drop(place);
    top.remove_all(b"d").unwrap();
    assert!(scratch.path("source/precious").exists());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_bind_mount_is_read_only_from_the_first_moment_with_all_below_it() {
    let scratch = Scratch::new(&[]);
    let outer = made(&scratch, "outer");
    let inner = made(&scratch, "outer/inner");
    let stack = Stack::of(&scratch, 2).with_upper("upper");
    stack.mount(None).unwrap().attach(&inner).unwrap();
    let bound = mount::bind(&outer, true, true).unwrap();
    let root = bound.root().unwrap();
    assert!(root.create_file(b"file", 0o600).is_err());
    let below = root.open_dir(b"inner").unwrap();
    assert!(below.create_file(b"file", 0o600).is_err());
    assert_eq!(below.read_file(b"all", 10).unwrap(), b"0");
    // Alone, it is a mount of that one directory.
    let alone = mount::bind(&outer, false, false).unwrap().root().unwrap();
    assert!(
        alone
            .open_dir(b"inner")
            .unwrap()
            .names()
            .unwrap()
            .is_empty()
    );
    drop(alone.create_file(b"file", 0o600).unwrap().unwrap());
    drop((below, root));
    mount::unmount(&scratch.path("outer/inner"), false).unwrap();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_table_has_the_source_the_target_and_the_number() {
    let scratch = Scratch::new(&[]);
    let target = made(&scratch, "target");
    let mounted = Stack::of(&scratch, 2).mount(None).unwrap();
    assert_eq!(names(&mounted), ["all", "own-0", "own-1"]);
    let id = mounted.attach(&target).unwrap();
    let table = mount::mounts().unwrap();
    let entry = mount::by_id(&table, id).unwrap();
    assert_eq!(entry.target, scratch.path("target"));
    assert_eq!(entry.file_system, "overlay");
    assert!(mount::from_source(&table, b"bundle:test").any(|found| found == entry));
    let options = String::from_utf8_lossy(&entry.super_options);
    for option in ["redirect_dir=nofollow", "lowerdir+="] {
        assert!(options.contains(option), "{options}");
    }
    for option in ["metacopy=on", "index=on"] {
        assert!(!options.contains(option), "{options}");
    }
    mount::unmount(&scratch.path("target"), false).unwrap();
}
