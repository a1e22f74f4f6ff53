//! The house rules that the compiler does not check: who may import whom, what may be called where, and that no file
//! is forgotten. The rules are the tables; what is above them reads the sources as text.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the top downwards. A room sees the levels below its own.
const LEVELS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["ops", "serve"],
    &["bundle"],
    &["compat"],
    &["snapshots", "transfer"],
    &["store"],
    &["overlay", "erofs", "layer", "layout", "mtree"],
    &["image", "archive", "fs"],
    &["error", "progress"],
];

/// Rooms that see one of their own level.
const SIBLINGS: &[(&str, &str)] = &[("overlay", "layer")];

/// Names at the root of the library, and the rooms they come from. `cas` is below everything.
const RE_EXPORTS: &[(&str, &str)] = &[
    ("Error", "error"),
    ("ErrorKind", "error"),
    ("Result", "error"),
    ("ResultExt", "error"),
];

/// Text that may stand only in some places: what, where, and why elsewhere not.
const CALLS: &[(&[&str], &[&str], &str)] = &[
    (
        &["unsafe"],
        &["src/fs/syscall.rs"],
        "unsafe code is in one file",
    ),
    (
        &["println!", "eprintln!", "print!", "eprint!", "dbg!"],
        &[],
        "everything is printed by the command's printer",
    ),
    (
        &["std::env", "process::exit"],
        &["src/cli/", "src/main.rs"],
        "the library neither reads the environment nor exits",
    ),
    (
        &[
            "std::fs",
            "rustix::fs",
            "tempfile",
            "walkdir",
            "File::open",
            "File::create",
            "OpenOptions",
            "std::path::absolute",
            "canonicalize()",
            "symlink_metadata()",
            "try_exists()",
            "exists()",
            "path.is_dir()",
            "is_file()",
        ],
        &["src/fs/", "cas/src/dir/"],
        "the file system has one door in each crate",
    ),
    (
        &["clap", "indicatif", "signal_hook"],
        &["src/cli/"],
        "only the command knows of the command line and of signals",
    ),
];

/// Types and constants out of those modules, which call nothing.
const HARMLESS: &[&str] = &[
    "std::fs::File",
    "rustix::fs::StatVfsMountFlags",
    "std::env::consts",
];

/// Places where a rule of [`CALLS`] does not hold: file, text, reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a directory, relative to the repository, sorted.
fn sources(directory: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![root().join(directory)];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no sources in {directory}");
    files
}

pub(crate) fn read(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The text with comments, strings and characters blanked out, line breaks kept.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' | 'b' if !out.ends_with(is_word) => raw_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if skipped == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.push(' ');
            out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            rest = &rest[skipped..];
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

fn raw_string(text: &str) -> usize {
    let after = text.strip_prefix('b').unwrap_or(text);
    let Some(after) = after.strip_prefix('r') else {
        return 0;
    };
    let hashes = after.len() - after.trim_start_matches('#').len();
    let Some(body) = after[hashes..].strip_prefix('"') else {
        return 0;
    };
    let end = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - body.len();
    body.find(&end)
        .map_or(text.len(), |at| start + at + end.len())
}

/// A character literal, or nothing for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let from = at + c.len_utf8();
            text[from..].find('\'').map_or(0, |end| from + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// The code without `#[cfg(test)]` modules: tests may look wherever they like.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = match (rest.find('{'), rest.find(';')) {
            (Some(open), semicolon) if semicolon.is_none_or(|semicolon| open < semicolon) => {
                open + matching(&rest[open..])
            }
            (_, Some(semicolon)) => semicolon + 1,
            _ => rest.len(),
        };
        rest = &rest[end..];
    }
    out + rest
}

/// Bytes up to and with the brace that closes the first one.
fn matching(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// The production code of a file.
pub(crate) fn production(text: &str) -> String {
    without_tests(&code(text))
}

/// Names that directly follow a path prefix such as `crate::`, also inside of a group.
fn names_after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c| is_word(c) || c == ':') {
            continue;
        }
        let tail = code[at + prefix.len()..].trim_start();
        if let Some(group) = tail.strip_prefix('{') {
            let group = &group[..matching(tail).saturating_sub(2)];
            names.extend(elements(group).iter().map(|element| first_word(element)));
        } else {
            names.push(first_word(tail));
        }
    }
    names
}

/// The parts of a group between its own commas.
pub(crate) fn elements(group: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = group.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth == 0 && c == ','
    });
    parts.filter(|part| !part.trim().is_empty()).collect()
}

fn first_word(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| is_word(*c))
        .collect()
}

/// The room of a file: the first component below `src`.
fn room(file: &Path) -> String {
    let mut parts = file.strip_prefix("src").unwrap().components();
    let first = parts.next().unwrap().as_os_str().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

fn level(room: &str) -> Option<usize> {
    LEVELS.iter().position(|rooms| rooms.contains(&room))
}

/// What is wrong with the imports of one file.
fn import_findings(file: &Path, text: &str) -> Vec<String> {
    let code = production(text);
    let mut names = names_after(&code, "crate::");
    names.extend(names_after(&code, "oci_bundle::"));
    // So many `super` lead from the file to the root.
    let depth = file.components().count() - 1;
    let depth = depth - usize::from(file.ends_with("mod.rs"));
    let up = "super::".repeat(depth);
    let known = |name: &String| level(name).is_some();
    names.extend(names_after(&code, &up).into_iter().filter(known));
    let from = room(file);
    let mut findings = Vec::new();
    for name in names {
        let re_export = RE_EXPORTS.iter().find(|(short, _)| *short == name);
        let to = re_export.map_or(name.as_str(), |(_, room)| room);
        if to == from || to == "cas" || SIBLINGS.contains(&(from.as_str(), to)) {
            continue;
        }
        match (level(&from), level(to)) {
            (Some(above), Some(below)) if above < below => {}
            (_, None) => findings.push(format!("{}: {to} is no room", file.display())),
            _ => findings.push(format!("{}: {from} may not see {to}", file.display())),
        }
    }
    findings
}

/// What one file calls that it may not.
fn call_findings(file: &Path, text: &str) -> Vec<String> {
    let mut code = production(text);
    for harmless in HARMLESS {
        code = code.replace(harmless, "");
    }
    let name = file.to_str().unwrap();
    let mut findings = Vec::new();
    for (texts, places, reason) in CALLS {
        if places.iter().any(|place| name.starts_with(place)) {
            continue;
        }
        for text in *texts {
            let excepted = EXCEPTIONS
                .iter()
                .any(|(file, what, _)| *file == name && what == text);
            let is_whole = |at: usize| {
                let before = code[..at].chars().next_back();
                let after = code[at + text.len()..].chars().next();
                !before.is_some_and(is_word) && !after.is_some_and(is_word)
            };
            let found = code.match_indices(text).any(|(at, _)| is_whole(at));
            if found && !excepted {
                findings.push(format!("{name}: {text}: {reason}"));
            }
        }
    }
    findings
}

/// How far the declaration of a file as a module reaches.
#[derive(Debug, PartialEq, Eq)]
enum Declared {
    Nowhere,
    ForTests,
    Always,
}

/// Whether some file declares this one as a module.
fn declared(file: &Path) -> Declared {
    let stem = file.file_stem().unwrap().to_str().unwrap();
    let directory = file.parent().unwrap();
    let (module, home) = if stem == "mod" {
        let name = directory.file_name().unwrap().to_str().unwrap();
        (name, directory.parent().unwrap())
    } else {
        (stem, directory)
    };
    let parents = [
        home.join("mod.rs"),
        home.with_extension("rs"),
        home.join("lib.rs"),
        home.join("main.rs"),
    ];
    let declaration = format!("mod {module};");
    let existing = parents
        .iter()
        .filter(|parent| root().join(parent).is_file());
    let codes: Vec<String> = existing.map(|parent| code(&read(parent))).collect();
    if codes
        .iter()
        .any(|code| without_tests(code).contains(&declaration))
    {
        Declared::Always
    } else if codes.iter().any(|code| code.contains(&declaration)) {
        Declared::ForTests
    } else {
        Declared::Nowhere
    }
}

/// The files of a crate that are compiled for others than its tests.
pub(crate) fn production_sources(directory: &str) -> Vec<PathBuf> {
    let files = sources(directory).into_iter();
    files.filter(|file| !only_for_tests(file)).collect()
}

/// Whether the file, or a directory that it is in, is a module for tests.
fn only_for_tests(file: &Path) -> bool {
    let mut modules = vec![file.to_owned()];
    for directory in file.ancestors().skip(1) {
        modules.push(directory.join("mod.rs"));
        modules.push(directory.with_extension("rs"));
    }
    modules
        .iter()
        .filter(|module| root().join(module).is_file())
        .any(|module| declared(module) == Declared::ForTests)
}

#[test]
fn rooms_import_downwards_only() {
    let files = production_sources("src").into_iter();
    let findings: Vec<String> = files
        .filter(|file| !["lib", "design"].contains(&&*room(file)))
        .flat_map(|file| import_findings(&file, &read(&file)))
        .collect();
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn calls_stay_where_they_belong() {
    let files = [production_sources("src"), production_sources("cas/src")].concat();
    let findings: Vec<String> = files
        .iter()
        .flat_map(|file| call_findings(file, &read(file)))
        .collect();
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn exceptions_are_still_needed() {
    for (file, text, reason) in EXCEPTIONS {
        let code = production(&read(Path::new(file)));
        assert!(code.contains(text), "{file}: {text} ({reason}) is gone");
    }
}

#[test]
fn no_file_is_forgotten() {
    let files = ["src", "cas/src", "tests/it", "tests/privileged"].map(sources);
    let tops = ["lib.rs", "main.rs"];
    let forgotten: Vec<_> = files
        .concat()
        .into_iter()
        .filter(|file| !tops.iter().any(|top| file.ends_with(top)))
        .filter(|file| declared(file) == Declared::Nowhere)
        .collect();
    assert!(forgotten.is_empty(), "no `mod` for {forgotten:#?}");
}

#[test]
fn planted_imports_are_found() {
    let bad = [
        (
            "src/layer/x.rs",
            "use crate::cli::ui;",
            "layer may not see cli",
        ),
        (
            "src/layer/x.rs",
            "use crate::{error, mtree::walk};",
            "layer may not see mtree",
        ),
        (
            "src/fs/x.rs",
            "use crate::{image::{A, b::C}, Error};",
            "fs may not see image",
        ),
        (
            "src/archive/mod.rs",
            "fn f() { crate::fs::open(); }",
            "archive may not see fs",
        ),
        ("src/error.rs", "use crate :: image;", ""),
        (
            "src/error.rs",
            "use crate::image::Tag;",
            "error may not see image",
        ),
        (
            "src/layer/x/y.rs",
            "use super::super::super::store;",
            "layer may not see store",
        ),
        (
            "src/bundle/x.rs",
            "use super::super::ops;",
            "bundle may not see ops",
        ),
        (
            "src/ops/x.rs",
            "use crate::{\n  // why\n  cli,\n};",
            "ops may not see cli",
        ),
        ("src/ops/x.rs", "use crate::attic::Box;", "attic is no room"),
        (
            "src/progress.rs",
            "use crate::Error;",
            "progress may not see error",
        ),
    ];
    for (file, text, finding) in bad {
        let findings = import_findings(Path::new(file), text);
        if finding.is_empty() {
            // rustfmt closes such gaps.
            assert!(findings.is_empty(), "{text}");
        } else {
            assert_eq!(findings, [format!("{file}: {finding}")], "{text}");
        }
    }
}

#[test]
fn good_imports_pass() {
    let good = [
        ("src/cli/x.rs", "use oci_bundle::{Error, image::Tag, ops};"),
        ("src/cli/raw/x.rs", "use super::super::args;"),
        ("src/store/x.rs", "use crate::{cas, layer::apply};"),
        (
            "src/layer/x.rs",
            "// use crate::cli;\n/* crate::ops /* */ crate::cli */",
        ),
        (
            "src/layer/x.rs",
            "const X: &str = \"crate::cli\"; const Y: &str = r#\"\" crate::cli\"#;",
        ),
        (
            "src/layer/x.rs",
            "fn f<'a>(c: char, s: &'a str) -> bool { c == '\"' && s == \"crate::cli\" }",
        ),
        (
            "src/layer/x.rs",
            "#[cfg(test)]\nmod tests { use crate::ops; fn f() {} }",
        ),
        ("src/layer/x.rs", "use super::super::fs;"),
    ];
    for (file, text) in good {
        let findings = import_findings(Path::new(file), text);
        assert!(findings.is_empty(), "{text}: {findings:?}");
    }
}

#[test]
fn planted_calls_are_found() {
    let bad = [
        ("src/layer/x.rs", "fn f() { unsafe { g() } }"),
        ("src/ops/x.rs", "fn f() { println!(\"x\"); }"),
        ("src/cli/x.rs", "fn f() { eprint!(\"x\"); }"),
        ("src/ops/x.rs", "use std::env;"),
        ("src/ops/x.rs", "fn f() -> ! { std::process::exit(1) }"),
        ("src/layout/x.rs", "use std::fs::{self, File};"),
        ("src/layout/x.rs", "use std::{fs, io}; use std::fs;"),
        ("src/mtree/x.rs", "fn f() { let _ = rustix::fs::openat(); }"),
        ("cas/src/memory.rs", "use std::fs;"),
        ("src/ops/x.rs", "use clap::Parser;"),
    ];
    for (file, text) in bad {
        assert_eq!(call_findings(Path::new(file), text).len(), 1, "{text}");
    }
    let good = [
        ("src/layout/x.rs", "use std::fs::File;"),
        ("src/fs/x.rs", "use rustix::fs::openat;"),
        ("cas/src/dir/x.rs", "use rustix::fs::openat;"),
        ("src/ops/x.rs", "#![deny(unsafe_code)] // println!"),
        ("src/layout/x.rs", "#[cfg(test)] mod tests { use std::fs; }"),
    ];
    for (file, text) in good {
        let findings = call_findings(Path::new(file), text);
        assert!(findings.is_empty(), "{text}: {findings:?}");
    }
}
