//! Files must not need each other in a circle: what two of them share is a file of its own.
//!
//! Read as text: a file needs the files that its `use` declarations and paths lead to, through re-exports. A module and the
//! files below it are one thing here, as a module's children see their parent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::architecture::{elements, production, production_sources, read};

/// A module by its names from the root of its crate, or a longer path to something in one.
type Names = Vec<String>;

struct Crate {
    /// What each module's file has in it, tests left out.
    files: BTreeMap<Names, String>,
    /// What a module shows under a name of its own, and where that is.
    shown: BTreeMap<Names, BTreeMap<String, Names>>,
}

/// Paths of a `use` declaration, or of one element of its groups.
fn paths(prefix: &[String], text: &str) -> Vec<Names> {
    let text = text.trim();
    let own = |text: &str| {
        let names = text.split("::").map(str::trim).filter(|n| !n.is_empty());
        let names = names.map(|name| name.split(" as ").next().unwrap_or(name).to_owned());
        [prefix.to_vec(), names.collect()].concat()
    };
    let Some((head, group)) = text.split_once('{') else {
        return vec![own(text)];
    };
    let prefix = own(head);
    let group = &group[..group.rfind('}').unwrap_or(group.len())];
    let parts = elements(group).into_iter();
    parts.flat_map(|part| paths(&prefix, part)).collect()
}

/// The declarations between a keyword and the semicolon after it.
fn declarations<'t>(code: &'t str, keyword: &str) -> Vec<(bool, &'t str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let starts = code.match_indices(keyword).filter(|(at, _)| {
        !code[..*at].ends_with(is_word) && code[at + keyword.len()..].starts_with(' ')
    });
    let ends = starts.filter_map(|(at, _)| {
        let end = at + code[at..].find(';')?;
        let line = code[..at]
            .rfind(['\n', ';', '}'])
            .map_or(0, |start| start + 1);
        let is_public = code[line..at].trim_start().starts_with("pub");
        Some((is_public, &code[at + keyword.len()..end]))
    });
    ends.collect()
}

impl Crate {
    fn read(directory: &str) -> Self {
        let mut files = BTreeMap::new();
        for file in production_sources(directory) {
            let module = file.strip_prefix(directory).unwrap().with_extension("");
            let mut names: Names = module
                .iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect();
            match names.last().map(String::as_str) {
                Some("mod" | "lib") => drop(names.pop()),
                Some("main") => continue,
                _ => {}
            }
            files.insert(names, production(&read(Path::new(&file))));
        }
        let mut made = Self {
            files,
            shown: BTreeMap::new(),
        };
        for (module, code) in &made.files {
            let public = declarations(code, "use")
                .into_iter()
                .filter(|(is_public, _)| *is_public);
            let shown = public.flat_map(|(_, text)| paths(&[], text));
            let shown = shown
                .filter_map(|path| Some((path.last()?.clone(), made.absolute(module, &path)?)));
            made.shown.insert(module.clone(), shown.collect());
        }
        made
    }

    /// A path from the root of the crate; nothing for those of other crates.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Names> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let ups = path.iter().take_while(|name| *name == "super").count();
                let base = module.get(..module.len().checked_sub(ups)?)?;
                Some([base, &path[ups..]].concat())
            }
            _ => {
                let below = [module, &path[..1]].concat();
                self.files
                    .contains_key(&below)
                    .then(|| [module, path].concat())
            }
        }
    }

    /// The module that has what a path leads to.
    fn home(&self, path: &[String], depth: usize) -> Names {
        let known = (0..=path.len())
            .rev()
            .find(|&end| self.files.contains_key(&path[..end]));
        let end = known.unwrap_or(0);
        let module = path[..end].to_vec();
        let elsewhere = path
            .get(end)
            .and_then(|name| self.shown.get(&module)?.get(name));
        match elsewhere {
            Some(elsewhere) if depth < 8 && elsewhere != path => self.home(elsewhere, depth + 1),
            _ => module,
        }
    }

    /// The files that each file needs.
    fn needs(&self) -> BTreeMap<&Names, BTreeSet<Names>> {
        let needs = self.files.iter().map(|(module, code)| {
            let used = declarations(code, "use")
                .into_iter()
                .filter(|(is_public, _)| !is_public);
            let mut found: Vec<Names> = used.flat_map(|(_, text)| paths(&[], text)).collect();
            found.extend(inline_paths(code));
            let homes = found.iter().filter_map(|path| self.absolute(module, path));
            let homes = homes.map(|path| self.home(&path, 0)).filter(|home| {
                self.files.contains_key(home)
                    && !home.starts_with(module)
                    && !module.starts_with(home)
            });
            (module, homes.collect())
        });
        needs.collect()
    }

    /// Files that need each other, each circle once.
    fn circles(&self) -> Vec<BTreeSet<Names>> {
        let needs = self.needs();
        let reach = |from: &Names| {
            let mut seen = BTreeSet::new();
            let mut pending = vec![from.clone()];
            while let Some(module) = pending.pop() {
                for next in needs.get(&module).into_iter().flatten() {
                    if seen.insert(next.clone()) {
                        pending.push(next.clone());
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<&Names, BTreeSet<Names>> = needs
            .keys()
            .map(|module| (*module, reach(module)))
            .collect();
        let mut circles = BTreeSet::new();
        for (module, there) in &reached {
            let back = there
                .iter()
                .filter(|other| reached[other].contains(*module));
            let circle: BTreeSet<Names> = back.cloned().collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }
}

/// Paths in the code itself, such as `atomic::replace`.
fn inline_paths(code: &str) -> Vec<Names> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c: char| !is_part(c));
    let paths = words.filter(|word| word.contains("::"));
    let paths = paths.map(|word| {
        word.split("::")
            .filter(|n| !n.is_empty())
            .map(str::to_owned)
            .collect()
    });
    paths.collect()
}

fn shown(circles: &[BTreeSet<Names>]) -> Vec<String> {
    let line = |circle: &BTreeSet<Names>| {
        let files: Vec<String> = circle.iter().map(|names| names.join("/")).collect();
        files.join(", ")
    };
    circles.iter().map(line).collect()
}

#[test]
fn files_need_each_other_in_no_circle() {
    for directory in ["src", "cas/src"] {
        let circles = shown(&Crate::read(directory).circles());
        let circles: Vec<_> = circles
            .into_iter()
            .filter(|circle| !LEFT.contains(&&**circle))
            .collect();
        assert!(circles.is_empty(), "{directory}: {circles:#?}");
    }
}

/// Circles that are left: contracts of other systems whose traits and types speak of each other, and pairs.
const LEFT: &[&str] = &[
    "compat/driver/additional, compat/driver/limits, compat/driver/mounts, compat/driver/overlay, compat/driver/staged, compat/driver/traits",
    "compat/repository/create, compat/repository/image, compat/repository/layer",
    // Completions and manual pages are made of the commands that they are among.
    "cli/app, cli/completion/candidates, cli/manual",
    "ops/extract, ops/unpack",
    "store/check/repair, store/check/store",
    "transfer/copy, transfer/recompress",
    "transfer/registry/credentials, transfer/registry/helper",
    "transfer/archive/import, transfer/archive/join, transfer/archive/join/docker, transfer/archive/join/legacy, transfer/archive/join/oci",
];

#[test]
fn a_planted_circle_is_found() {
    let file = |name: &str, code: &str| (vec!["room".to_owned(), name.to_owned()], code.to_owned());
    let mut planted = Crate {
        files: BTreeMap::from([
            (
                vec!["room".to_owned()],
                "mod a; mod b; mod c; pub use c::C;".to_owned(),
            ),
            file("a", "use super::{b::B, C};"),
            file("b", "fn f() { crate::room::a::g() }"),
            file("c", "use super::d;"),
        ]),
        shown: BTreeMap::new(),
    };
    assert_eq!(shown(&planted.circles()), ["room/a, room/b"]);
    let names = ["room", "a"].map(str::to_owned);
    planted
        .files
        .insert(names.to_vec(), "use super::C;".to_owned());
    assert!(planted.circles().is_empty());
}
