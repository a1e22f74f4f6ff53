//! Log lines and log levels.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{Outcome, Scratch};

#[test]
fn an_error_is_one_padded_line() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let said = scratch.fails("stat --image x:y");
    let first = said.lines().next().unwrap();
    assert_eq!(first, format!("   ⨯ {:<25}", "tag not found: y"));
}

#[test]
fn the_error_is_shown_at_every_level() {
    let scratch = Scratch::new();
    for flags in [
        "--log fatal",
        "--log ERROR",
        "--log Warning",
        "--quiet",
        "--verbose",
        "--log=info",
    ] {
        let said = scratch.fails(&format!("{flags} ls --layout nowhere"));
        assert!(
            said.starts_with("   ⨯ ") || said.contains("\n   ⨯ "),
            "{flags}: {said}"
        );
    }
}

#[test]
fn levels_that_contradict_or_do_not_exist_are_errors() {
    let scratch = Scratch::new();
    let said = scratch.fails("--verbose --log info ls --layout x");
    assert!(said.contains("--log and --verbose"), "{said}");
    let said = scratch.fails("--log loud ls --layout x");
    assert!(said.starts_with("   ⨯ parsing log level"), "{said}");
    // A flag that says no contradicts nothing.
    let said = scratch.fails("--verbose=false --log info ls --layout x");
    assert!(!said.contains("--verbose"), "{said}");
}

#[test]
fn hints_stand_below_the_error() {
    let scratch = Scratch::new();
    let said = scratch.fails("--log loud ls --layout x");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(
        lines[1].starts_with("   ⨯ hint: the levels are debug, "),
        "{said}"
    );
}

#[test]
fn a_refusal_by_the_kernel_hints_at_rootless() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("closed")).unwrap();
    let mode = |name: &str, mode| {
        fs::set_permissions(scratch.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("closed", 0o555);
    mode("", 0o755);
    // Root is refused nothing here, so it steps down; then the program must be where anybody can reach it.
    let is_root = rustix::process::geteuid().is_root();
    // Not `fs::copy`: a test that forks meanwhile would inherit the open file, and the program could not be started.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_bundle"))
        .arg(scratch.path("program"))
        .status();
    assert!(copied.unwrap().success());
    let run = |line: &str| {
        let mut command = Command::new(scratch.path("program"));
        command
            .args(line.split(' '))
            .env_clear()
            .current_dir(scratch.path(""));
        if is_root {
            command.uid(65534).gid(65534);
        }
        Outcome::of(&mut command)
    };
    let outcome = run("init --layout closed/x");
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(outcome.code, 1);
    assert!(
        lines[0].starts_with("   • ") && lines[0].contains("--rootless"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("   ⨯ ") && lines[1].contains("denied"),
        "{lines:?}"
    );
    let outcome = run("--quiet init --layout closed/x");
    assert_eq!(outcome.code, 1);
    assert!(!outcome.stderr.contains("--rootless"), "{}", outcome.stderr);
}

#[test]
fn colours_are_for_terminals() {
    let scratch = Scratch::new();
    let outcome = Outcome::of(
        scratch
            .command(["ls", "--layout", "nowhere"])
            .env("TERM", "xterm"),
    );
    assert!(!outcome.stderr.contains('\x1b'), "{}", outcome.stderr);
}

#[test]
fn the_profile_that_is_not_written_is_warned_of() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let outcome = scratch.run("--cpu-profile prof ls --layout x");
    assert_eq!((outcome.code, &*outcome.stdout), (0, "a\n"));
    assert!(
        outcome
            .stderr
            .starts_with("   • --cpu-profile is not supported"),
        "{}",
        outcome.stderr
    );
    assert!(!scratch.path("prof").exists());
}
