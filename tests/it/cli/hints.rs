//! Mistakes of usage: what is said, and what the user is told to do about it.

use crate::support::Scratch;

/// A line, what its error says, and what its hint says.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "unpak",
        "No help topic for 'unpak'",
        "did you mean 'bundle unpack'?",
    ),
    ("exract x", "No help topic for 'exract'", ""),
    (
        "extract x",
        "No help topic for 'extract'",
        "did you mean 'bundle unpack'?",
    ),
    (
        "raw unpakc",
        "No help topic for 'unpakc'",
        "did you mean 'bundle raw unpack'?",
    ),
    (
        "store chek",
        "No help topic for 'chek'",
        "did you mean 'bundle store check'?",
    ),
    (
        "help sqash",
        "No help topic for 'sqash'",
        "did you mean 'bundle squash'?",
    ),
    (
        "add-layer x",
        "No help topic for 'add-layer'",
        "did you mean 'bundle raw add-layer'?",
    ),
    (
        "unpack --overlya --image x b",
        "flag provided but not defined: -overlya",
        "did you mean --overlay?",
    ),
    (
        "unpack --imge x b",
        "flag provided but not defined: -imge",
        "did you mean --image?",
    ),
    (
        "unpack --layout x b",
        "flag provided but not defined: -layout",
        "takes --image <image>",
    ),
    (
        "ls --image x",
        "flag provided but not defined: -image",
        "takes --layout <path>",
    ),
    (
        "stat --verbose --image x",
        "flag provided but not defined: -verbose",
        "--verbose stands before the command",
    ),
    (
        "--image x unpack b",
        "flag provided but not defined: -image",
        "flags of a command stand behind it",
    ),
    (
        "unpack b",
        "missing mandatory argument: --image",
        "usage: bundle unpack [command options] --image",
    ),
    (
        "unpack --image x",
        "expected <bundle>",
        "usage: bundle unpack [command options] --image",
    ),
    ("tag --image x a b", "unexpected \"b\"", "usage: bundle tag"),
    (
        "repack --image x --compress gzp b",
        "unknown compression \"gzp\"",
        "none, gzip, zstd and auto",
    ),
    (
        "repack --image x --compress gzip --compress-level 12 b",
        "gzip has no level 12",
        "",
    ),
    (
        "repack --image x --compress-level 99 b",
        "invalid --compress-level: no compression has level 99",
        "",
    ),
    (
        "unpack --image none:x b",
        "open image layout none",
        "init command",
    ),
    (
        "unpack --image alpine b",
        "open image layout alpine",
        "an image of a registry is named docker://NAME",
    ),
    (
        "unpack --image https://example.org/alpine b",
        "images are not read from a URL",
        "named docker://HOST/NAME[:TAG|@DIGEST]",
    ),
    (
        "unpack --image co:lon/x:good b",
        "the path co:lon/x has a colon",
        "name it by a link",
    ),
    (
        "config --image co:lon/x --author me",
        "the path co:lon/x has a colon",
        "from inside its directory",
    ),
    (
        "config --image archive.tar --author me",
        "open image layout archive.tar",
        "copy it into a layout first: bundle copy FILE LAYOUT:TAG",
    ),
    (
        "insert --image docker-archive:archive.tar --whiteout /x",
        "docker-archive:archive.tar is not in an OCI layout",
        "bundle copy SOURCE LAYOUT:TAG",
    ),
    (
        "tag --image docker://alpine new",
        "docker://docker.io/library/alpine:latest is not in an OCI layout",
        "bundle copy SOURCE LAYOUT:TAG",
    ),
    (
        "ls --layout archive.tar",
        "open image layout archive.tar",
        "bundle copy FILE LAYOUT:TAG",
    ),
    (
        "config --image docker://localhost:1/x@sha256:0000000000000000000000000000000000000000000000000000000000000000 --author me",
        "can't be the name of what is written",
        "give a tag",
    ),
    (
        "unpack --image x:bogus b",
        "tag not found: bogus",
        "has the tags good",
    ),
    (
        "unpack --image x:good --platform linux/riscv128 b",
        "no image for platform linux/riscv128",
        "it has",
    ),
    (
        "--log loud ls --layout x",
        "invalid level \"loud\"",
        "debug, info, warn, error and fatal",
    ),
    (
        "ls --layout x --progress-fd 77",
        "invalid --progress-fd: write to file descriptor 77",
        "",
    ),
];

#[test]
fn a_mistake_is_named_and_then_what_can_be_done_about_it() {
    let scratch = Scratch::new();
    scratch.layout("x", &["good"]);
    std::fs::create_dir_all(scratch.path("co:lon/x")).unwrap();
    scratch.write("archive.tar", "no archive at all");
    let mut wrong: Vec<String> = Vec::new();
    for (line, error, hint) in MISTAKES {
        let outcome = scratch.run(line);
        let said = &outcome.stderr;
        let expected = if error.starts_with("No help topic") {
            3
        } else {
            1
        };
        let is_hinted = said.contains("hint: ");
        let fits = outcome.code == expected
            && said.contains(error)
            && said.contains(hint)
            && (is_hinted || hint.is_empty());
        if !fits {
            wrong.push(format!("{line}: exit {}\n{said}", outcome.code));
        }
        // The hint is the last line, and the reason stands before it, whatever page is above.
        if is_hinted
            && !said
                .lines()
                .last()
                .is_some_and(|last| last.contains("hint: "))
        {
            wrong.push(format!("{line}: the hint is not last:\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
    assert!(!scratch.path("b").exists());
}
