//! `store` and `unshare`, as far as they need no privilege. The rest is among the tests that root runs.

use serde_json::Value;

use crate::support::{Outcome, Scratch};

/// Words that make a sound command line of each command, but for the store.
const COMMANDS: &[&str] = &[
    "status",
    "ls",
    "ls layers",
    "inspect x",
    "usage",
    "changes x",
    "diff x --output file",
    "prepare x",
    "mount x .",
    "umount x",
    "commit x",
    "tag x y",
    "untag x",
    "remove x",
    "gc",
    "check",
    "shutdown",
    "export x --output file",
    "version",
];

#[test]
fn a_command_that_asks_makes_no_store() {
    let scratch = Scratch::new();
    for words in COMMANDS {
        let line = format!("store {words} --store none");
        let error = scratch.fails(&line);
        assert!(error.contains("open store "), "{line}: {error}");
        let outcome = scratch.run(&format!("{line} --json"));
        assert_eq!(outcome.code, 1, "{line}");
        assert_eq!(outcome.stderr, error, "{line}");
        let value: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(value["reason"], Value::Null, "{line}");
        assert!(error.contains(value["error"].as_str().unwrap()), "{line}");
        assert!(
            !scratch.path("none").exists() && !scratch.path("file").exists(),
            "{line}"
        );
    }
}

#[test]
fn what_is_no_store_is_refused_with_the_reason() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("other")).unwrap();
    scratch.write("other/file", "");
    let outcome = scratch.run("store ls --json --store other");
    let value: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((outcome.code, &value["reason"]), (1, &"not-a-store".into()));
    scratch.write("other/store.json", r#"{"version": 99, "marks": "user"}"#);
    let outcome = scratch.run("store ls --json --store other");
    let value: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(value["reason"], "not-a-store");
    assert!(outcome.stderr.contains("version 99"), "{}", outcome.stderr);
}

#[test]
fn the_store_is_where_the_environment_says() {
    let scratch = Scratch::new();
    let told = |variable: &str, value: &str| {
        let mut command = scratch.command(["store", "status"]);
        Outcome::of(command.env("HOME", "/home-of-nobody").env(variable, value)).stderr
    };
    assert!(told("BUNDLE_STORE", "/no/such").contains("open store /no/such: "));
}

#[test]
fn values_that_mean_nothing_are_refused() {
    let scratch = Scratch::new();
    for (line, why) in [
        ("store ls bogus", "bogus"),
        ("store diff -c brotli x", "unknown compression \"brotli\""),
        ("store export --format ova x", "unknown format \"ova\""),
        ("store prepare --key a/b x", "not a name of a container"),
        ("store prepare --rootless x", "--rootless"),
        ("store check --quick --full", "mutually exclusive"),
        ("store commit --tag a x", "--image"),
        ("store remove", "invalid number of positional arguments"),
    ] {
        let error = scratch.fails(line);
        assert!(error.contains(why), "{line}: {error}");
    }
}

#[test]
fn a_program_that_unshare_cannot_run_is_named() {
    let scratch = Scratch::new();
    let error = scratch.fails("unshare -- ./no-such-program");
    assert!(
        error.contains("./no-such-program") || error.contains("user namespace"),
        "{error}"
    );
}
