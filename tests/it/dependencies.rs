//! Licences, sources and duplicates of the dependencies, by the lists of `deny.toml`: what `cargo deny check` says, for
//! machines that don't have it. Advisories are its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What cargo knows of the packages that are built on a target.
fn packages(target: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--offline",
            "--filter-platform",
            target,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let used: BTreeSet<&str> = nodes
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let found: Vec<Value> = packages
        .filter(|package| used.contains(text(package, "id")))
        .cloned()
        .collect();
    assert!(found.len() > 20);
    found
}

fn text<'a>(package: &'a Value, member: &str) -> &'a str {
    package[member].as_str().unwrap_or_default()
}

/// The strings of a list of `deny.toml`, whose lines are `"...",` between `KEY = [` and `]`.
fn listed(key: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    let text = fs::read_to_string(path).unwrap();
    let start = format!("{key} = [");
    let lines = text.lines().skip_while(|line| *line != start).skip(1);
    let lines = lines.take_while(|line| *line != "]");
    lines
        .filter_map(|line| line.split('"').nth(1))
        .map(str::to_owned)
        .collect()
}

/// Whether an SPDX expression can be met by the licences: of `OR` one side, of `AND` both.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    // `/` is how older manifests write OR. Nothing here nests deeper than one pair of parentheses.
    let expression = expression.replace('/', " OR ");
    let expression = expression.trim();
    if let Some((first, second)) = outside(expression, " AND ") {
        return is_met(first, allowed) && is_met(second, allowed);
    }
    if let Some((first, second)) = outside(expression, " OR ") {
        return is_met(first, allowed) || is_met(second, allowed);
    }
    let inner = expression
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'));
    inner.map_or_else(
        || allowed.contains(expression),
        |inner| is_met(inner, allowed),
    )
}

/// Splits at the first operator that is outside of parentheses.
fn outside<'a>(expression: &'a str, operator: &str) -> Option<(&'a str, &'a str)> {
    let mut depth = 0;
    for (at, c) in expression.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && expression[at..].starts_with(operator) => {
                return Some((&expression[..at], &expression[at + operator.len()..]));
            }
            _ => {}
        }
    }
    None
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let allowed = listed("allow");
    assert!(allowed.contains("MIT"));
    let wrong: Vec<String> = packages("x86_64-unknown-linux-gnu")
        .iter()
        .filter(|package| !is_met(text(package, "license"), &allowed))
        .map(|package| format!("{}: {}", text(package, "name"), package["license"]))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = listed("allow");
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("MIT/GPL-3.0-only", true),
        ("GPL-3.0-only AND MIT", false),
        ("(MIT OR GPL-3.0-only) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0-only", false),
        ("", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}

#[test]
fn every_package_comes_from_the_registry() {
    let others: Vec<String> = packages("x86_64-unknown-linux-gnu")
        .iter()
        .filter(|package| !package["source"].is_null())
        .filter(|package| !text(package, "source").starts_with("registry+"))
        .map(|package| text(package, "id").to_owned())
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn no_package_is_there_twice_without_a_reason() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages("x86_64-unknown-linux-gnu") {
        let name = text(&package, "name").to_owned();
        let version = text(&package, "version").to_owned();
        versions.entry(name).or_default().insert(version);
    }
    let skipped = listed("skip");
    let twice: Vec<_> = versions
        .into_iter()
        .filter(|(name, versions)| versions.len() > 1 && !skipped.contains(name))
        .collect();
    assert!(twice.is_empty(), "not in `skip` of deny.toml: {twice:#?}");
}

#[test]
fn no_dependency_wants_a_newer_compiler_than_we_say() {
    let version = |text: &str| -> Vec<u32> {
        let parts = text.split('.').map(|part| part.parse().unwrap());
        parts.collect()
    };
    let ours = version(env!("CARGO_PKG_RUST_VERSION"));
    let newer: Vec<String> = packages("x86_64-unknown-linux-gnu")
        .iter()
        .filter(|package| !package["rust_version"].is_null())
        .filter(|package| {
            version(text(package, "rust_version")) > [&ours[..], &[u32::MAX]].concat()
        })
        .map(|package| format!("{} {}", text(package, "name"), package["rust_version"]))
        .collect();
    assert!(newer.is_empty(), "{newer:#?}");
}
