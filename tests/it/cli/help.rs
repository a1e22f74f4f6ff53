//! Help, version, and what happens without a command or with an unknown one.

use crate::support::{Outcome, Scratch};

const COMMANDS: &[(&str, &str)] = &[
    ("init", "init"),
    ("new", "new"),
    ("tag", "tag"),
    ("list", "list"),
    ("ls", "list"),
    ("remove", "remove"),
    ("rm", "remove"),
    ("stat", "stat"),
    ("config", "config"),
    ("repack", "repack"),
    ("insert", "insert"),
    ("layers", "layers"),
    ("rebase", "rebase"),
    ("append", "append"),
    ("cat", "cat"),
    ("files", "files"),
    ("diff", "diff"),
    ("squash", "squash"),
    ("export", "export"),
    ("gc", "gc"),
    ("validate", "validate"),
    ("unpack", "unpack"),
    ("raw", "raw"),
    ("raw add-layer", "raw add-layer"),
    ("raw unpack", "raw unpack"),
    ("raw runtime-config", "raw runtime-config"),
    ("raw config", "raw runtime-config"),
    ("raw mtree-validate", "raw mtree-validate"),
    ("mount", "mount"),
    ("umount", "umount"),
    ("remove-bundle", "remove-bundle"),
    ("unshare", "unshare"),
    ("completion", "completion"),
    ("man", "man"),
    ("serve", "serve"),
    ("store", "store"),
    ("store status", "store status"),
    ("store probe", "store probe"),
    ("store ls", "store ls"),
    ("store inspect", "store inspect"),
    ("store usage", "store usage"),
    ("store changes", "store changes"),
    ("store diff", "store diff"),
    ("store prepare", "store prepare"),
    ("store mount", "store mount"),
    ("store umount", "store umount"),
    ("store commit", "store commit"),
    ("store tag", "store tag"),
    ("store untag", "store untag"),
    ("store remove", "store remove"),
    ("store gc", "store gc"),
    ("store check", "store check"),
    ("store shutdown", "store shutdown"),
    ("store export", "store export"),
    ("store import", "store import"),
    ("store version", "store version"),
    ("store list", "store ls"),
    ("store rm", "store remove"),
];

#[test]
fn every_command_has_help_under_its_canonical_name() {
    let scratch = Scratch::new();
    for (words, name) in COMMANDS {
        for flag in ["--help", "-h", "-help", "--h"] {
            let page = scratch.ok(&format!("{words} {flag}"));
            let lines: Vec<&str> = page.lines().collect();
            assert_eq!(lines[0], "NAME:");
            let title = format!("   bundle {name} - ");
            assert!(lines[1].starts_with(&title), "{}", lines[1]);
            assert!(page.contains("\nUSAGE:\n") && page.contains("\nOPTIONS:\n"));
        }
        if !words.contains(' ') {
            assert_eq!(
                scratch.ok(&format!("help {words}")),
                scratch.ok(&format!("{words} -h"))
            );
        }
    }
}

#[test]
fn the_program_has_one_page_however_it_is_asked_for() {
    let scratch = Scratch::new();
    let page = scratch.ok("help");
    assert!(
        page.starts_with("NAME:\n   bundle - bundle modifies Open Container images\n\nUSAGE:\n")
    );
    for section in ["VERSION", "AUTHOR", "COMMANDS", "GLOBAL OPTIONS"] {
        assert!(page.contains(&format!("\n{section}:\n")), "{section}");
    }
    for line in ["", "h", "--help", "-h", "help help", "--log debug --help"] {
        assert_eq!(scratch.ok(line), page, "{line}");
    }
}

#[test]
fn hidden_things_are_on_no_page() {
    let scratch = Scratch::new();
    assert!(!scratch.ok("help").contains("cpu-profile"));
    let raw = scratch.ok("raw");
    assert!(!raw.contains("mtree-validate"));
    assert!(raw.contains("runtime-config, config "));
    assert_eq!(scratch.ok("raw help"), raw);
    assert_eq!(scratch.ok("help raw config"), raw);
}

#[test]
fn commands_on_the_store_are_in_no_group() {
    let scratch = Scratch::new();
    let page = scratch.ok("store");
    assert!(
        !page.contains("   image:\n") && !page.contains("   layout:\n"),
        "{page}"
    );
    assert!(
        page.contains("\n   remove, rm ") && page.contains("\n   ls, list "),
        "{page}"
    );
    assert!(!scratch.ok("store gc --help").contains("CATEGORY"));
    assert!(scratch.ok("gc --help").contains("CATEGORY:\n   layout\n"));
}

#[test]
fn help_wins_over_missing_arguments_and_leaves_no_trace() {
    let scratch = Scratch::new();
    scratch.ok("init --layout new --help");
    assert!(!scratch.path("new").exists());
}

#[test]
fn options_are_listed_in_the_order_of_declaration() {
    let scratch = Scratch::new();
    let page = scratch.ok("unpack --help");
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
    assert!(at("--image value") < at("--keep-dirlinks"));
    assert!(at("--keep-dirlinks") < at("--uid-map value"));
    assert!(at("--uid-map value") < at("--rootless"));
    let page = scratch.ok("help");
    let line = page.lines().find(|line| line.contains("--log value "));
    assert!(line.is_some_and(|line| {
        line.ends_with(
            "  set the log level (debug, info, [warn], error, fatal) (default: \"warn\")",
        )
    }));
}

#[test]
fn the_usage_line_has_all_that_stands_without_a_flag() {
    let scratch = Scratch::new();
    for (command, usage) in [
        ("tag", " --image <path[:tag]> <new-tag>\n"),
        ("cat", " --image <image> <path>...\n"),
        ("files", " --image <image> [<path>]\n"),
        ("diff", " --image <image> [<other-image>]\n"),
        ("unshare", " [<command>]...\n"),
        ("store mount", " <name> <dir>\n"),
        ("insert", " --image <image> <source> <target>...\n"),
    ] {
        let page = scratch.ok(&format!("{command} --help"));
        assert!(page.contains(usage), "{page}");
    }
}

#[test]
fn the_version_names_the_specifications() {
    let scratch = Scratch::new();
    let version = env!("CARGO_PKG_VERSION");
    for line in ["--version", "-v", "-version", "--version tag"] {
        let text = scratch.ok(line);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("bundle version {version}"));
        assert!(lines[1].starts_with("image spec: 1."));
        assert!(lines[2].starts_with("runtime spec: 1."));
        assert!(lines[3].starts_with("go: go1."));
        assert_eq!(lines.len(), 4);
    }
}

#[test]
fn unknown_commands_and_topics_end_with_code_3() {
    let scratch = Scratch::new();
    for line in [
        "bogus",
        "bogus --image x",
        "help bogus",
        "h bogus",
        "raw bogus",
        "raw help bogus",
        "raw rm",
        "unknown-thing-named-bogus",
    ] {
        let outcome = scratch.run(line);
        assert_eq!((outcome.code, &*outcome.stdout), (3, ""), "{line}");
        let name = line
            .split(' ')
            .find(|word| !["help", "h", "raw"].contains(word))
            .unwrap();
        assert_eq!(outcome.stderr, format!("No help topic for '{name}'\n"));
    }
}

#[test]
fn a_symlink_named_umoci_answers_as_umoci() {
    let scratch = Scratch::new();
    let umoci = |args: &[&str]| {
        let _ = std::fs::remove_file(scratch.path("umoci"));
        Outcome::of(&mut scratch.command_as("umoci", args))
    };
    let page = umoci(&["help"]).stdout;
    assert!(page.starts_with("NAME:\n   umoci - umoci modifies Open Container images\n"));
    assert!(!page.contains("bundle modifies"));
    assert!(
        umoci(&["raw", "config", "-h"])
            .stdout
            .starts_with("NAME:\n   umoci raw runtime-config - ")
    );
    assert!(umoci(&["--version"]).stdout.starts_with("umoci version "));
    let wrong = umoci(&["tag", "--zz"]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.stdout.contains("   umoci tag - "), "{}", wrong.stdout);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::io::Read;
    let scratch = Scratch::new();
    let mut child = scratch
        .command(["help"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!((child.wait().unwrap().code(), &*said), (Some(0), ""));
}

#[test]
fn a_full_stdout_is_an_error() {
    let scratch = Scratch::new();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let outcome = Outcome::of(scratch.command(["help"]).stdout(full));
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("write to standard output: "),
        "{}",
        outcome.stderr
    );
}
