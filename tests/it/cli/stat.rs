//! `stat`, as text and as JSON.

use serde_json::{Value, json};

use crate::support::{Image, Scratch, descriptor};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image in which every line of the text form occurs.
fn everything(scratch: &Scratch) -> Value {
    scratch.layout("x", &[]);
    let layout = scratch.path("x");
    let diff_id = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let mut image = Image::new(json!({
        "created": "2020-01-02T03:04:05.500Z",
        "author": "A U Thor",
        "architecture": "arm64", "variant": "v8", "os": "linux",
        "os.version": "5.0", "os.features": ["a", "b,c"],
        "config": {
            "User": "1000:1000",
            "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
            "Env": ["PATH=/bin", "TITLE=two words", "LIST=a,b"],
            "Entrypoint": ["/bin/sh", "-c"],
            "Cmd": ["echo \"hi\"", "", "tab\there"],
            "Volumes": {"/with, comma": {}, "/data": {}},
            "WorkingDir": "/srv",
            "Labels": {"b": "2", "a key": "1,5", "empty": ""},
            "StopSignal": "SIGTERM",
            "ArgsEscaped": true,
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id("1"), diff_id("2")]},
        "history": [
            {"created": "2020-01-01T00:00:00Z", "created_by": "ADD rootfs", "comment": "base"},
            {"created": "2020-01-01T00:00:01.250Z", "created_by": "ENV a\nb", "empty_layer": true},
            {"created_by": "RUN x", "author": "me"},
            {"created_by": "surplus"},
        ],
    }));
    let mut first = descriptor(&layout, LAYER, &[0; 135]);
    first["annotations"] = json!({"z": "last", "a": ""});
    first["urls"] = json!(["https://example.org/a b"]);
    let second = descriptor(&layout, LAYER, &[1; 1107]);
    image.layers = vec![first, second];
    let mut subject = descriptor(&layout, "application/vnd.oci.empty.v1+json", b"{}");
    subject["data"] = json!("e30=");
    subject["platform"] = json!({"os": "linux", "architecture": "arm", "variant": "v7"});
    image.members = vec![
        ("artifactType", json!("application/vnd.example")),
        ("subject", subject),
        ("annotations", json!({"note": "x, y"})),
    ];
    image.store(&layout, "a")
}

/// The text form of [`everything`], with the digests and sizes that it came to have.
fn expected_text(entry: &Value, manifest: &Value) -> String {
    let digest = |value: &Value| value["digest"].as_str().unwrap().to_owned();
    let [first, second] = [0, 1].map(|at| digest(&manifest["layers"][at]));
    let size = |value: &Value| match value["size"].as_u64().unwrap() {
        size @ 0..1000 => format!("{size}B"),
        size => {
            let digits = format!("{}.{:03}", size / 1000, size % 1000);
            let digits = digits.trim_end_matches('0').trim_end_matches('.');
            format!("{digits}kB")
        }
    };
    format!(
        "== MANIFEST ==
Schema Version: 2
Media Type: application/vnd.oci.image.manifest.v1+json
Artifact Type: application/vnd.example
Config:
\tDescriptor:
\t\tMedia Type: application/vnd.oci.image.config.v1+json
\t\tDigest: {config}
\t\tSize: {config_size}
Layers:
\tDescriptor:
\t\tMedia Type: application/vnd.oci.image.layer.v1.tar
\t\tDigest: {first}
\t\tSize: 135B
\t\tURLs:
\t\t\t\"https://example.org/a b\"
\t\tAnnotations:
\t\t\ta: \"\"
\t\t\tz: last
\tDescriptor:
\t\tMedia Type: application/vnd.oci.image.layer.v1.tar
\t\tDigest: {second}
\t\tSize: 1.107kB
Subject:
\tDescriptor:
\t\tMedia Type: application/vnd.oci.empty.v1+json
\t\tDigest: {subject}
\t\tSize: 2B
\t\tPlatform:
\t\t\tOS: linux
\t\t\tArchitecture: arm (v7)
\t\tData: (2 bytes)
\t\t\t0000: 7b7d{blanks}{{}}
Annotations:
\tnote: \"x, y\"
Descriptor:
\tMedia Type: application/vnd.oci.image.manifest.v1+json
\tDigest: {manifest}
\tSize: {manifest_size}
\tAnnotations:
\t\torg.opencontainers.image.ref.name: a

== CONFIG ==
Created: 2020-01-02T03:04:05.5Z
Author: \"A U Thor\"
Platform:
\tOS: linux
\tOS Version: 5.0
\tOS Features: a, \"b,c\"
\tArchitecture: arm64 (v8)
Image Config:
\tUser: 1000:1000
\tEntrypoint (escaped):
\t\t/bin/sh
\t\t-c
\tCommand (escaped):
\t\t\"echo \\\"hi\\\"\"
\t\t\"\"
\t\t\"tab\\there\"
\tWorking Directory: /srv
\tEnvironment:
\t\tPATH=/bin
\t\t\"TITLE=two words\"
\t\tLIST=a,b
\tStop Signal: SIGTERM
\tExposed Ports: 53/udp, 8080/tcp
\tVolumes: /data, \"/with, comma\"
\tLabels:
\t\t\"a key\": \"1,5\"
\t\tb: 2
\t\tempty: \"\"
Descriptor:
\tMedia Type: application/vnd.oci.image.config.v1+json
\tDigest: {config}
\tSize: {config_size}

== HISTORY ==
{layer:<72}CREATED                 CREATED BY SIZE    COMMENT
{first} 2020-01-01T00:00:00Z    ADD rootfs 135B    base
{none:<72}2020-01-01T00:00:01.25Z \"ENV a\\nb\" <none>  \n\
{second} <unknown>               RUN x      1.107kB \n\
{none:<72}<unknown>               surplus    <none>  \n",
        config = digest(&manifest["config"]),
        config_size = size(&manifest["config"]),
        subject = digest(&manifest["subject"]),
        blanks = " ".repeat(37),
        manifest = digest(entry),
        manifest_size = size(entry),
        layer = "LAYER",
        none = "<none>",
    )
}

#[test]
fn the_text_form_is_umocis() {
    let scratch = Scratch::new();
    let entry = everything(&scratch);
    let stat: Value = serde_json::from_str(&scratch.ok("stat --json --image x:a")).unwrap();
    let manifest = &stat["manifest"]["blob"];
    let expected = expected_text(&entry, manifest);
    assert_eq!(scratch.ok("stat --image x:a"), expected);
}

#[test]
fn an_empty_image_has_a_command_line_and_a_table_head() {
    let scratch = Scratch::new();
    scratch.layout("x", &["latest"]);
    let text = scratch.ok("stat --image x");
    assert!(!text.contains("Layers:"), "{text}");
    assert!(
        text.contains("\nAuthor: \"\"\nPlatform:\n\tOS: linux\n"),
        "{text}"
    );
    assert!(
        text.contains("\nImage Config:\n\tUser: \"\"\n\tCommand: (empty)\nDescriptor:\n"),
        "{text}"
    );
    assert!(
        text.ends_with("\n\n== HISTORY ==\nLAYER CREATED CREATED BY SIZE COMMENT\n"),
        "{text}"
    );
    let json: Value = serde_json::from_str(&scratch.ok("stat --json --image x")).unwrap();
    assert_eq!(json["history"], json!([]));
}

#[test]
fn json_shows_documents_as_they_are_stored() {
    let scratch = Scratch::new();
    let entry = everything(&scratch);
    let text = scratch.ok("stat --image x:a --json");
    assert_eq!(text.lines().count(), 1);
    let stat: Value = serde_json::from_str(&text).unwrap();
    let members: Vec<&String> = stat.as_object().unwrap().keys().collect();
    assert_eq!(members, ["manifest", "config", "history"]);
    assert_eq!(stat["manifest"]["descriptor"], entry);
    assert_eq!(
        stat["config"]["descriptor"],
        stat["manifest"]["blob"]["config"]
    );
    // As it is stored, although the same time is shorter in the text form.
    assert_eq!(
        stat["config"]["blob"]["created"],
        json!("2020-01-02T03:04:05.500Z")
    );
    let layers = &stat["manifest"]["blob"]["layers"];
    assert_eq!(
        stat["history"],
        json!([
            {"layer": layers[0], "diff_id": format!("sha256:{}", "1".repeat(64)),
             "created": "2020-01-01T00:00:00Z", "created_by": "ADD rootfs", "comment": "base"},
            {"layer": null, "diff_id": "", "created": "2020-01-01T00:00:01.25Z",
             "created_by": "ENV a\nb", "empty_layer": true},
            {"layer": layers[1], "diff_id": format!("sha256:{}", "2".repeat(64)),
             "created_by": "RUN x", "author": "me"},
            {"layer": null, "diff_id": "", "created_by": "surplus"},
        ])
    );
}

#[test]
fn an_artifact_has_the_sections_that_its_config_allows() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let layout = scratch.path("x");
    let mut image = Image::new(json!({}));
    image.config_type = "application/vnd.oci.empty.v1+json";
    image.store(&layout, "empty");
    image.config_type = "application/vnd.example.config";
    image.store(&layout, "other");
    let text = scratch.ok("stat --image x:empty");
    assert!(
        text.contains(
            "\n\n== CONFIG ==\nDescriptor:\n\tMedia Type: application/vnd.oci.empty.v1+json\n"
        ),
        "{text}"
    );
    assert!(!text.contains("HISTORY"), "{text}");
    let json: Value = serde_json::from_str(&scratch.ok("stat --json --image x:empty")).unwrap();
    assert_eq!(json["config"]["blob"], json!({}));
    assert!(json.get("history").is_none());
    let text = scratch.ok("stat --image x:other");
    assert!(!text.contains("CONFIG"), "{text}");
    let json: Value = serde_json::from_str(&scratch.ok("stat --json --image x:other")).unwrap();
    assert!(json.get("config").is_none() && json.get("history").is_none());
}

#[test]
fn what_is_no_single_manifest_is_an_error_and_prints_nothing() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    let said = scratch.fails("stat --image x:b");
    assert!(said.starts_with("   ⨯ tag not found: b"), "{said}");
    let mut index = scratch.read_json("x/index.json");
    index["manifests"][0]["mediaType"] = json!("application/vnd.example.thing");
    scratch.write("x/index.json", index.to_string());
    scratch.fails("stat --image x:a");
    scratch.fails("stat --json --image x:a");
}
