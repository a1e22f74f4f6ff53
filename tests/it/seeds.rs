//! The table of `src/design.rs` that says what the names of the systems that came before are here: each target exists,
//! and is public.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// The sections of the table, and the least that each maps.
const SECTIONS: [(&str, usize); 4] = [
    ("overmount", 45),
    ("The overlay graph driver", 40),
    ("containerd's rootfs", 8),
    ("guardian's rootfs", 18),
];

/// A row: the names on the left, the targets on the right.
struct Row {
    names: String,
    targets: Vec<String>,
}

fn rows() -> BTreeMap<String, Vec<Row>> {
    let text = fs::read_to_string(root().join("src/design.rs")).unwrap();
    let mut section = String::new();
    let mut rows: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim_start_matches("//!").trim();
        if let Some(name) = line.strip_prefix("## ") {
            name.clone_into(&mut section);
        }
        let Some(cells) = line.strip_prefix("| ") else {
            continue;
        };
        let (names, targets) = cells.split_once(" | ").unwrap();
        let targets = targets.split("](crate::").skip(1);
        let targets = targets.map(|target| target.split(')').next().unwrap().to_owned());
        let (names, targets) = (names.to_owned(), targets.collect::<Vec<_>>());
        if names != "theirs" {
            rows.entry(section.clone())
                .or_default()
                .push(Row { names, targets });
        }
    }
    rows
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources of the module that a path begins with, and what is left of the path.
fn sources<'p>(path: &[&'p str]) -> (Vec<PathBuf>, Vec<&'p str>) {
    let mut place = root().join("src");
    let mut depth = 0;
    for name in path {
        if !place.join(name).is_dir() && !place.join(format!("{name}.rs")).is_file() {
            break;
        }
        place = place.join(name);
        depth += 1;
    }
    let mut files: Vec<PathBuf> = WalkDir::new(&place)
        .into_iter()
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    files.extend(Some(place.with_extension("rs")).filter(|file| file.is_file()));
    (files, path[depth..].to_vec())
}

/// Whether a line makes something public of this name: an item, a method of a trait, a variant.
fn defines(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let rest = [
        "pub fn ",
        "pub const fn ",
        "fn ",
        "pub struct ",
        "pub enum ",
        "pub trait ",
        "pub type ",
        "pub const ",
    ]
    .iter()
    .find_map(|keyword| line.strip_prefix(keyword))
    .unwrap_or(line);
    let Some(after) = rest.strip_prefix(name) else {
        return false;
    };
    let is_item = rest.len() < line.len();
    let ends = ["(", "<", " {", " =", ";", ":", ","];
    let is_variant = name.starts_with(char::is_uppercase)
        && (after.is_empty()
            || after.starts_with(',')
            || after.starts_with(" = ")
            || after.starts_with(" {")
            || after.starts_with('('));
    (is_item && ends.iter().any(|end| after.starts_with(end))) || is_variant
}

#[test]
fn each_name_of_the_seeds_has_a_counterpart_that_exists() {
    let rows = rows();
    for (section, least) in SECTIONS {
        let count = rows.get(section).map_or(0, Vec::len);
        assert!(count >= least, "{section}: {count} rows");
    }
    let mut missing = Vec::new();
    for row in rows.values().flatten() {
        assert!(!row.targets.is_empty(), "{}: no target", row.names);
        for target in &row.targets {
            let path: Vec<&str> = target.split("::").collect();
            let (files, names) = sources(&path);
            for name in names {
                let found = files.iter().any(|file| {
                    let text = fs::read_to_string(file).unwrap();
                    text.lines().any(|line| defines(line, name))
                });
                if !found {
                    missing.push(format!("{}: {target}: no {name}", row.names));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn only_definitions_define() {
    assert!(defines("    pub fn open(options: X) -> Y {", "open"));
    assert!(defines(
        "    LayerUnknown = \"layer-unknown\", NotFound;",
        "LayerUnknown"
    ));
    assert!(defines("    fn diff_size(&self) -> u64;", "diff_size"));
    assert!(!defines("    pub fn opened() {", "open"));
    assert!(!defines("    /// open", "open"));
    assert!(!defines("    open(x);", "open"));
}
