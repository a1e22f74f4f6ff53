//! The syntax of flags, and the order in which arguments are checked. The syntax itself has its table of cases beside
//! the code; here is what the user sees of it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::Scratch;

/// Usage errors: stdout has the reason and the command's help, stderr the logged error.
#[test]
fn usage_errors_show_the_reason_and_the_help() {
    let scratch = Scratch::new();
    for (line, command, reason) in [
        ("tag --zz", "tag", "flag provided but not defined: -zz"),
        (
            "tag --image x new --zz",
            "tag",
            "flag provided but not defined: -zz",
        ),
        (
            "new --layout x",
            "new",
            "flag provided but not defined: -layout",
        ),
        ("rm --image", "remove", "flag needs an argument: -image"),
        (
            "raw unpack --rootless=maybe",
            "raw unpack",
            "invalid boolean value \"maybe\" for -rootless: parse error",
        ),
        ("ls ---layout x", "list", "bad flag syntax: ---layout"),
        (
            "raw mtree-validate -f a --manifest b",
            "raw mtree-validate",
            "Cannot use two forms of the same flag: f manifest",
        ),
        (
            "stat --verbose",
            "stat",
            "flag provided but not defined: -verbose",
        ),
    ] {
        let outcome = scratch.run(line);
        assert_eq!(outcome.code, 1, "{line}");
        let page = scratch.ok(&format!("{command} --help"));
        assert_eq!(
            outcome.stdout,
            format!("Incorrect Usage: {reason}\n\n{page}")
        );
        // Behind it, a hint may stand.
        let first = outcome.stderr.lines().next().unwrap();
        assert_eq!(first.trim_end(), format!("   ⨯ {reason}"));
    }
}

#[test]
fn usage_errors_of_the_program_and_of_raw_have_a_full_stop() {
    let scratch = Scratch::new();
    for (line, topic, reason) in [
        ("--zz", "", "flag provided but not defined: -zz"),
        (
            "--zz tag --image x y",
            "",
            "flag provided but not defined: -zz",
        ),
        ("--log", "", "flag needs an argument: -log"),
        ("raw --zz", "raw", "flag provided but not defined: -zz"),
    ] {
        let outcome = scratch.run(line);
        assert_eq!(outcome.code, 1, "{line}");
        let page = scratch.ok(&format!("help {topic}"));
        assert_eq!(
            outcome.stdout,
            format!("Incorrect Usage. {reason}\n\n{page}")
        );
        // Behind it, a hint may stand.
        let first = outcome.stderr.lines().next().unwrap();
        assert_eq!(first.trim_end(), format!("   ⨯ {reason}"));
    }
}

#[test]
fn arguments_that_are_wrong_print_one_line_on_stderr_only() {
    let scratch = Scratch::new();
    for (line, message) in [
        ("tag", "missing mandatory argument: --image"),
        ("tag new", "missing mandatory argument: --image"),
        ("ls", "missing mandatory argument: --layout"),
        (
            "raw mtree-validate --path x",
            "missing mandatory argument: --manifest",
        ),
        (
            "validate",
            "missing mandatory argument: --layout or --image",
        ),
        (
            "validate --layout x --image x",
            "--layout and --image are mutually exclusive",
        ),
        (
            "tag --image x",
            "invalid number of positional arguments: expected <new-tag>",
        ),
        (
            "tag --image x a b",
            "invalid number of positional arguments: unexpected \"b\"",
        ),
        (
            "unpack --image x",
            "invalid number of positional arguments: expected <bundle>",
        ),
        (
            "stat --image x y",
            "invalid number of positional arguments: unexpected \"y\"",
        ),
        (
            "init --layout a:b",
            "invalid --layout: the path of a layout cannot contain ':'",
        ),
        ("gc --layout=", "invalid --layout: the path is empty"),
        ("new --image x:.AZ94n18s", "invalid --image: "),
        ("new --image x:", "invalid --image: "),
        ("new --image :x", "invalid --image: "),
        ("tag --image x a..b", "invalid <new-tag>: "),
        (
            "unpack --image x --platform nonsense b",
            "invalid --platform: ",
        ),
        ("unpack --image x --max-size 1.5M b", "invalid --max-size: "),
        (
            "unpack --image x --uid-map 1:2:3:4 b",
            "invalid --uid-map: ",
        ),
        (
            "raw mtree-validate -f x -p y -k bogus",
            "invalid --use-keywords: ",
        ),
        (
            "raw mtree-validate -f x -p y -K bogus",
            "invalid --add-keywords: ",
        ),
    ] {
        let said = scratch.fails(line);
        let first = said.lines().next().unwrap();
        assert!(
            first.starts_with(&format!("   ⨯ {message}")),
            "{line}: {said}"
        );
    }
}

#[test]
fn an_empty_positional_is_refused() {
    let scratch = Scratch::new();
    for args in [["unpack", "--image", "x", ""], ["tag", "--image", "x", ""]] {
        let outcome = scratch.run_args(args);
        assert_eq!((outcome.code, &*outcome.stdout), (1, ""), "{args:?}");
    }
}

#[test]
fn the_mandatory_flag_is_checked_before_the_others() {
    let scratch = Scratch::new();
    let said = scratch.fails("unpack --uid-map nonsense a b c");
    assert!(
        said.contains("missing mandatory argument: --image"),
        "{said}"
    );
    let said = scratch.fails("unpack --image :y --uid-map nonsense a b c");
    assert!(said.contains("invalid --image: "), "{said}");
}

#[test]
fn every_spelling_of_a_flag_works() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    for (number, line) in [
        "tag --image x:a T",
        "tag -image x:a T",
        "tag --image=x:a T",
        "tag -image=x:a T",
        "tag T --image x:a",
        "tag --image x:bogus --image x:a T",
        "tag --image x:a -- T",
        "tag --quiet T --image x:a",
        "--quiet tag --quiet=false --image x:a T",
        "-log=debug tag --image x:a T",
    ]
    .iter()
    .enumerate()
    {
        let tag = format!("t{number}");
        scratch.ok(&line.replace('T', &tag));
        assert!(scratch.ok("ls --layout x").contains(&tag), "{line}");
    }
}

#[test]
fn a_value_may_begin_with_a_dash() {
    let scratch = Scratch::new();
    scratch.ok("init --layout -x");
    scratch.ok("new --image -x:a");
    assert_eq!(scratch.ok("ls -layout -x"), "a\n");
    assert!(scratch.path("-x/index.json").is_file());
}

#[test]
fn paths_need_not_be_text() {
    let scratch = Scratch::new();
    let name = OsStr::from_bytes(b"l\xff");
    let image = OsStr::from_bytes(b"l\xff:a");
    let run = |args: &[&OsStr]| {
        let outcome = scratch.run_args(args);
        assert_eq!((outcome.code, &*outcome.stderr), (0, ""), "{args:?}");
        outcome.stdout
    };
    run(&["init".as_ref(), "--layout".as_ref(), name]);
    run(&["new".as_ref(), "--image".as_ref(), image]);
    assert_eq!(run(&["ls".as_ref(), "--layout".as_ref(), name]), "a\n");
    assert!(scratch.path(name).join("index.json").is_file());
}
