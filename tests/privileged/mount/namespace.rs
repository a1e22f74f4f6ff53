//! Commands of an ordinary user's in a user namespace. The tests run themselves again, in steps, told by a variable.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use oci_bundle::fs::mount::{self, MountAttributes, MountMethod, Overlay, Upper};
use oci_bundle::fs::userns::{Entry, run_in_user_namespace};
use oci_bundle::fs::{XattrNamespace, probe};

use super::opened;
use crate::machine::{Bounded, Scratch};

/// Says which step of a test this process is to do: `user` or `inside`.
pub const STEP: &str = "BUNDLE_TEST_STEP";

/// A copy of this program that an ordinary user can run.
pub fn own_program(scratch: &Scratch) -> PathBuf {
    let program = scratch.path("bin/tests");
    Bounded::new("cp", 60)
        .arg(std::env::current_exe().unwrap())
        .arg(&program)
        .succeed();
    program
}

/// Which step this process is to do; none, if it is the first.
pub fn step() -> Option<String> {
    std::env::var(STEP).ok()
}

/// A command that does a step of a test, in the working directory of this process.
fn again(program: &Path, step: &str, test: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--include-ignored", "--exact", "--nocapture", test])
        .env(STEP, step);
    command
}

/// Runs a test's step `user` as nobody, who has these lines in `/etc/subuid` and `/etc/subgid`.
#[track_caller]
fn run_as_nobody(scratch: &Scratch, lines: &str, test: &str) {
    scratch.home_of_nobody();
    let program = own_program(scratch);
    let output = scratch
        .command_by_nobody(lines)
        .args(&["env", &format!("{STEP}=user")])
        .arg(&program)
        .args(&["--include-ignored", "--exact", "--nocapture", test])
        .succeed();
    assert!(output.contains("1 passed"), "{output}");
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_ordinary_user_with_ranges_mounts_and_keeps_owners() {
    const TEST: &str = "mount::namespace::an_ordinary_user_with_ranges_mounts_and_keeps_owners";
    match step().as_deref() {
        None => {
            let scratch = Scratch::new(&["unshare", "setpriv", "newuidmap", "fuse-overlayfs"]);
            run_as_nobody(&scratch, "nobody:100000:65536\n", TEST);
            let owner = |name: &str| {
                fs::metadata(scratch.path("home/upper").join(name))
                    .unwrap()
                    .uid()
            };
            assert_eq!((owner("own"), owner("other")), (65534, 100_004));
        }
        Some("user") => {
            let program = std::env::current_exe().unwrap();
            let (status, entry) = run_in_user_namespace(again(&program, "inside", TEST)).unwrap();
            assert!(status.success(), "{status}");
            assert!(matches!(entry, Entry::Ranges(_)), "{entry:?}");
            // What was mounted in there was never mounted here.
            let table = mount::mounts().unwrap();
            assert_eq!(mount::from_source(&table, b"bundle:user").next(), None);
        }
        Some(_) => mount_as_namespace_root(),
    }
}

fn mount_as_namespace_root() {
    assert!(probe::is_superuser() && probe::in_user_namespace() && probe::may_mount());
    assert_eq!(Entry::for_caller(), Entry::Direct);
    let home = std::env::current_dir().unwrap();
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(home.join(name)).unwrap();
    }
    let [lower, upper, work, merged] =
        ["lower", "upper", "work", "merged"].map(|name| opened(&home.join(name)));
    fs::create_dir(home.join("lower/hidden")).unwrap();
    let overlay = Overlay {
        lowers: &[lower.as_fd()],
        upper: Some(Upper {
            dir: &upper,
            work: &work,
        }),
        marks: XattrNamespace::User,
        source: "bundle:user",
        volatile: false,
        read_only: false,
        attributes: MountAttributes::default(),
        selinux_context: None,
    };
    let scratch = opened(&home);
    for method in MountMethod::ALL {
        let mounted = overlay.mount(Some(method), &scratch).unwrap();
        let names = mounted.root().unwrap().names().unwrap();
        assert_eq!(names, [b"hidden"], "{method}");
    }
    overlay
        .mount(None, &scratch)
        .unwrap()
        .attach(&merged)
        .unwrap();
    let seen = home.join("merged");
    fs::write(seen.join("own"), "").unwrap();
    fs::write(seen.join("other"), "").unwrap();
    std::os::unix::fs::chown(seen.join("other"), Some(5), Some(5)).unwrap();
    fs::remove_dir(seen.join("hidden")).unwrap();
    fs::create_dir(seen.join("hidden")).unwrap();
    let hidden = opened(&home.join("upper/hidden"));
    assert!(hidden.is_opaque(XattrNamespace::User).unwrap());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn without_ranges_a_user_is_told_and_has_one_id() {
    const TEST: &str = "mount::namespace::without_ranges_a_user_is_told_and_has_one_id";
    match step().as_deref() {
        None => {
            let scratch = Scratch::new(&["unshare", "setpriv"]);
            run_as_nobody(&scratch, "somebody:100000:65536\n", TEST);
        }
        Some("user") => {
            let program = std::env::current_exe().unwrap();
            let (status, entry) = run_in_user_namespace(again(&program, "inside", TEST)).unwrap();
            assert!(status.success(), "{status}");
            let Entry::OwnIdOnly { reason } = entry else {
                panic!("{entry:?}");
            };
            assert!(reason.contains("/etc/subuid"), "{reason}");
            // A program that is not there is an error, not a status.
            run_in_user_namespace(Command::new("/none")).unwrap_err();
            let mut failing = Command::new("sh");
            failing.args(["-c", "exit 7"]);
            let (status, _) = run_in_user_namespace(failing).unwrap();
            assert_eq!(status.code(), Some(7));
        }
        Some(_) => {
            assert!(probe::is_superuser());
            let map = fs::read_to_string("/proc/self/uid_map").unwrap();
            let map: Vec<&str> = map.split_whitespace().collect();
            assert_eq!(map, ["0", "65534", "1"]);
        }
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn ranges_that_newuidmap_refuses_are_the_error_and_nothing_runs() {
    const TEST: &str =
        "mount::namespace::ranges_that_newuidmap_refuses_are_the_error_and_nothing_runs";
    if step().is_none() {
        let scratch = Scratch::new(&["unshare", "setpriv", "newuidmap"]);
        run_as_nobody(&scratch, "nobody:100000:65536\n", TEST);
        assert!(!scratch.path("home/ran").exists());
        return;
    }
    let Entry::Ranges(mut maps) = Entry::for_caller() else {
        panic!("no ranges");
    };
    maps.uid.0[1].host = 1;
    let mut command = Command::new("touch");
    command.arg("ran");
    let error = Entry::Ranges(maps).run(command).unwrap_err();
    assert!(error.chain().contains("newuidmap"), "{error:?}");
}
