//! `validate`.

use std::fs;

use serde_json::Value;

use crate::support::Scratch;

#[test]
fn a_sound_layout_has_no_findings() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a", "b"]);
    assert_eq!(scratch.ok("validate --layout x"), "");
    assert_eq!(scratch.ok("validate --image x:a"), "");
    assert_eq!(
        scratch.ok("validate --layout x --json"),
        "{\"schema_version\":1,\"findings\":[]}\n"
    );
}

#[test]
fn a_broken_blob_is_a_finding_for_the_tags_that_lead_to_it() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    // A second later, or the two images would be one.
    let other = scratch
        .command(["new", "--image", "x:b"])
        .env("SOURCE_DATE_EPOCH", "7")
        .status();
    assert!(other.unwrap().success());
    let entry = scratch.read_json("x/index.json")["manifests"][0]["digest"].clone();
    let path = format!(
        "x/blobs/sha256/{}",
        entry.as_str().unwrap().trim_start_matches("sha256:")
    );
    let mut bytes = fs::read(scratch.path(&path)).unwrap();
    bytes[0] = b' ';
    scratch.write(&path, bytes);
    for line in ["validate --layout x", "validate --image x:a"] {
        let outcome = scratch.run(line);
        assert_eq!(outcome.code, 1, "{line}");
        assert!(outcome.stdout.lines().count() >= 1, "{}", outcome.stdout);
        let count = outcome.stdout.lines().count();
        assert!(
            outcome
                .stderr
                .starts_with(&format!("   ⨯ validation failed: {count} findings")),
            "{}",
            outcome.stderr
        );
        let json = scratch.run(&format!("{line} --json"));
        assert_eq!(json.code, 1);
        let report: Value = serde_json::from_str(&json.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        assert_eq!(findings.len(), count);
        assert!(findings[0]["code"].is_string() && findings[0]["place"].is_string());
    }
    assert_eq!(scratch.ok("validate --image x:b"), "");
}

#[test]
fn a_tag_that_is_missing_is_an_error() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let outcome = scratch.run("validate --image x:b");
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("tag not found: b") || outcome.stdout.contains("tag not found: b"),
        "{outcome:?}"
    );
}
