//! Real output of every command on the store with `--json`, and the schemas in `docs/json`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Fixture;
use crate::schema;

/// Commands in an order in which each has something to say. `{}` is a directory of the test's.
const COMMANDS: &[&str] = &[
    "status --usage",
    "status",
    "probe",
    "prepare --key one NAME",
    "mount one {}/mount",
    "ls mounts",
    "ls containers",
    "inspect one",
    "changes one",
    "diff one --output {}/diff.tar",
    "commit one",
    "ls",
    "ls layers",
    "ls chains",
    "ls snapshots",
    "inspect NAME",
    "usage",
    "tag NAME again",
    "export again --output {}/archive.tar",
    "untag again",
    "umount {}/mount",
    "umount {}/mount",
    "check",
    "gc --dry-run",
    "remove one",
    "import {}/archive.tar",
    "version",
    "shutdown",
    "gc --all",
];

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn every_document_is_as_its_schema_says() {
    let fixture = Fixture::filled();
    fixture.directory("mount");
    let place = fixture.path("").display().to_string();
    let listed = fixture.json(&["store", "ls"]);
    let name = listed[0]["digest"].as_str().unwrap();
    let mut checked = BTreeSet::new();
    for line in COMMANDS {
        let line = line
            .replace("{}", place.trim_end_matches('/'))
            .replace("NAME", name);
        if line.starts_with("changes") {
            fs::write(fixture.path("mount/etc/new"), "x").unwrap();
        }
        let words: Vec<&str> = ["store"].into_iter().chain(line.split(' ')).collect();
        let document = fixture.json(&words);
        let schema = format!("store-{}", words[1]);
        schema::check(&schema, &document);
        checked.insert(schema);
    }
    // What is in none of the commands here is tested without privileges.
    let elsewhere = ["store-defs", "store-error"];
    let all = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json")).unwrap();
    for file in all {
        let name = file.unwrap().file_name().into_string().unwrap();
        let name = name.trim_end_matches(".json");
        if name.starts_with("store-") && !elsewhere.contains(&name) {
            assert!(
                checked.contains(name),
                "no command here for docs/json/{name}.json"
            );
        }
    }
    assert_eq!(fixture.json(&["store", "ls"]), Value::Array(Vec::new()));
}
