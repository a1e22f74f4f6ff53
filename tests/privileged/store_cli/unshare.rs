//! Commands in a user namespace.

use std::fs;
use std::os::unix::fs::chown;

use super::Fixture;
use crate::machine::{NOBODY, Scratch, names_in, said};

#[test]
#[ignore = "needs root: becomes another user"]
fn an_ordinary_user_runs_commands_with_many_ids() {
    let fixture = Fixture::new();
    let scratch = &fixture.scratch;
    let home = scratch.home_of_nobody();
    let run = |arguments: &[&str]| scratch.tool(arguments).run_by_nobody(&home).output();
    let output = run(&["unshare", "--", "sh", "-c", "id -u; exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    assert_eq!(output.stdout, b"0\n");
    let mapped = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let has_ranges = mapped
        .lines()
        .any(|line| line.starts_with("nobody:") || line.starts_with(&format!("{NOBODY}:")));
    let warned = said(&output).contains("owners of files will be lost");
    assert_eq!(warned, !has_ranges, "{}", said(&output));
    // A store in there is one of the namespace, and root outside does not take it for its own.
    let store = home.join("store").display().to_string();
    let view = home.join("view");
    fs::create_dir(&view).unwrap();
    chown(&view, Some(NOBODY), Some(NOBODY)).unwrap();
    let script = format!(
        "set -e; b={}; $b mount --image {}:latest --store {store} {view}; ls {view}; $b store check --store {store}; \
         $b store status --json --store {store}",
        scratch.binary().display(),
        scratch.path("layout").display(),
        view = view.display(),
    );
    let output = run(&["unshare", "--", "sh", "-c", &script]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("\"marks\":\"user\""),
        "{}",
        said(&output)
    );
    assert!(
        names_in(&view).is_empty(),
        "what is mounted there is not seen outside"
    );
    let output = scratch
        .tool(&["store", "ls", "--json", "--store", &store])
        .output();
    assert!(
        said(&output).contains("namespace-mismatch"),
        "{}",
        said(&output)
    );
    let output = run(&["unshare", "--", "no-such-program-at-all"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no-such-program-at-all"));
}

#[test]
#[ignore = "needs root: no user namespace"]
fn signals_of_the_terminal_are_for_the_program_that_unshare_runs() {
    let scratch = Scratch::new(&[]);
    let script = "kill -INT $PPID; kill -QUIT $PPID; kill -INT $PPID; sleep 0.1; exit 5";
    let output = scratch
        .tool(&["unshare", "--", "sh", "-c", script])
        .output();
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let script = "trap 'exit 6' INT; kill -INT $$; exit 1";
    let output = scratch
        .tool(&["unshare", "--", "sh", "-c", script])
        .output();
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
}
