//! Manifests and blobs, answered oddly.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use oci_bundle::cas::{Algorithm, Digest, VerifyingReader};
use oci_bundle::image::{CONFIG, Descriptor, INDEX, LAYER, MANIFEST};
use oci_bundle::transfer::registry::Registry;
use oci_bundle::{ErrorKind, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::script::{Answer, Script, Seen, client, options};
use super::sha256;
use crate::support::Scratch;

fn manifest() -> Vec<u8> {
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": []});
    serde_json::to_vec(&manifest).unwrap()
}

/// The manifest that the registry gives for a reference.
fn pulled(script: &Script, reference: &str) -> Result<(Descriptor, Vec<u8>)> {
    let client = client();
    client.reader(&script.name("a/b"))?.manifest(reference)
}

fn content() -> Vec<u8> {
    (0..3_000_000_u32).map(|i| (i * 7 % 251) as u8).collect()
}

/// Reads the blob of [`content`], verified.
fn read_blob(script: &Script) -> std::io::Result<Vec<u8>> {
    let content = content();
    read_blob_of(script, sha256(&content), content.len() as u64)
}

fn read_blob_of(script: &Script, digest: Digest, size: u64) -> std::io::Result<Vec<u8>> {
    let client = client();
    let reader = client.reader(&script.name("a/b")).unwrap();
    let descriptor = Descriptor::new(LAYER, digest.clone(), size);
    let blob = reader.blob(&descriptor)?;
    let mut bytes = Vec::new();
    VerifyingReader::new(blob, digest, size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn range_of(seen: &Seen) -> Option<usize> {
    let range = seen.header("range")?.strip_prefix("bytes=")?;
    range.strip_suffix('-')?.parse().ok()
}

#[test]
fn a_manifest_is_asked_for_with_all_types_and_hashed() {
    let script =
        Script::start(|_, _| Answer::new(200, manifest()).header("Content-Type", MANIFEST));
    let (descriptor, bytes) = pulled(&script, "latest").unwrap();
    assert_eq!(bytes, manifest());
    assert_eq!(
        descriptor,
        Descriptor::new(MANIFEST, sha256(&bytes), bytes.len() as u64)
    );
    let (by_digest, _) = pulled(&script, &sha256(&bytes).to_string()).unwrap();
    assert_eq!(by_digest, descriptor);
    for seen in script.seen() {
        let accept = seen.header("accept").unwrap();
        for word in [
            "oci.image.manifest.v1",
            "oci.image.index.v1",
            "manifest.v2",
            "manifest.list.v2",
        ] {
            assert!(accept.contains(word), "{accept}");
        }
    }
    let other = sha256(b"other").to_string();
    let error = pulled(&script, &other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification);
}

#[test]
fn the_digest_header_may_be_missing_or_of_another_algorithm_but_not_wrong() {
    let sha512 = Digest::of(Algorithm::Sha512, &manifest());
    let right = sha256(&manifest()).to_string();
    for (header, by_tag) in [
        (None, Ok(right.clone())),
        (Some(sha512.to_string()), Ok(sha512.to_string())),
        (Some(sha256(b"x").to_string()), Err(ErrorKind::Verification)),
        (Some("nonsense".to_owned()), Ok(right.clone())),
    ] {
        let script = Script::start(move |_, _| {
            let answer = Answer::new(200, manifest());
            match &header {
                Some(header) => answer.header("Docker-Content-Digest", header),
                None => answer,
            }
        });
        let found = pulled(&script, "latest");
        let found = found.map(|(descriptor, _)| descriptor.digest().to_string());
        assert_eq!(found.map_err(|error| error.kind()), by_tag);
        // Asked for by digest, the content speaks for itself.
        assert!(pulled(&script, &right).is_ok());
    }
}

#[test]
fn what_is_no_manifest_is_refused_by_name() {
    let big = vec![b' '; (4 << 20) + 1];
    for (body, kind, text) in [
        (
            b"{\"schemaVersion\":1}".to_vec(),
            ErrorKind::Unsupported,
            "schema 1",
        ),
        (b"<html>".to_vec(), ErrorKind::InvalidData, ""),
        (big, ErrorKind::LimitExceeded, "4194304"),
    ] {
        let script = Script::start(move |_, _| Answer::new(200, body.clone()));
        let error = pulled(&script, "latest").unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.chain().contains(text), "{error:?}");
    }
}

#[test]
fn a_404_may_mean_that_the_type_was_not_accepted() {
    for (said, kind) in [
        ("manifest unknown", ErrorKind::NotFound),
        (
            "OCI index found, but accept header does not support OCI indexes",
            ErrorKind::Unsupported,
        ),
    ] {
        let body = json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": said}]}).to_string();
        let script = Script::start(move |_, _| Answer::new(404, body.clone()));
        let error = pulled(&script, "latest").unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.chain().contains(said), "{error:?}");
    }
}

#[test]
fn later_is_tried_again_and_500_is_final() {
    for (status, requests) in [(429, 3), (502, 3), (503, 3), (504, 3), (500, 1)] {
        let script = Script::start(move |_, number| match number {
            0 | 1 => Answer::new(status, "wait").header("Retry-After", "0"),
            _ => Answer::new(200, manifest()),
        });
        let found = pulled(&script, "latest");
        assert_eq!(found.is_ok(), status != 500, "{status}");
        assert_eq!(script.lines().len(), requests, "{status}");
    }
    let script = Script::start(|_, _| Answer::new(429, "never").header("Retry-After", "0"));
    let error = pulled(&script, "latest").unwrap_err();
    assert!(error.chain().contains("429: never"), "{error:?}");
    assert_eq!(script.lines().len(), 5);
}

#[test]
fn a_blob_that_was_cut_is_resumed_where_it_was() {
    let script = Script::start(|seen, number| {
        let all = content();
        let start = range_of(seen).unwrap_or(0);
        let end = (start + 1_000_000).min(all.len());
        let part = all[start..end].to_vec();
        let answer = if number == 0 {
            Answer::new(200, part).header("ETag", "\"x\"")
        } else {
            assert_eq!(seen.header("if-range"), Some("\"x\""));
            let range = format!("bytes {start}-{}/{}", all.len() - 1, all.len());
            Answer::new(206, part).header("Content-Range", range)
        };
        answer.length(all.len() - start)
    });
    assert!(read_blob(&script).unwrap() == content());
    assert_eq!(script.lines().len(), 3);
}

#[test]
fn a_range_that_is_ignored_is_skipped() {
    let script = Script::start(|_, number| {
        let all = content();
        let sent = if number == 0 { 1_500_000 } else { all.len() };
        Answer::new(200, all[..sent].to_vec()).length(all.len())
    });
    assert!(read_blob(&script).unwrap() == content());
    assert_eq!(script.lines().len(), 2);
}

#[test]
fn an_answer_without_a_length_is_resumed_as_well() {
    let script = Script::start(|seen, _| {
        let all = content();
        match range_of(seen) {
            None => Answer::new(200, all[..1_000_000].to_vec()).no_length(),
            Some(start) => Answer::new(206, all[start..].to_vec())
                .header("Content-Range", format!("bytes {start}-2999999/3000000")),
        }
    });
    assert!(read_blob(&script).unwrap() == content());
}

#[test]
fn a_part_that_was_not_asked_for_is_refused() {
    for range in ["bytes 5-2999999/3000000", ""] {
        let script = Script::start(move |seen, _| {
            let all = content();
            match range_of(seen) {
                None => Answer::new(200, all[..1000].to_vec()).length(all.len()),
                Some(_) if range.is_empty() => Answer::new(206, "--x")
                    .header("Content-Type", "multipart/byteranges; boundary=x"),
                Some(_) => Answer::new(206, all[5..].to_vec()).header("Content-Range", range),
            }
        });
        let error = read_blob(&script).unwrap_err();
        assert!(error.to_string().contains("another part"), "{error}");
    }
}

#[test]
fn the_body_of_a_416_is_not_waited_for() {
    let script = Script::start(|seen, _| match range_of(seen) {
        None => Answer::new(200, content()[..1000].to_vec()).length(content().len()),
        Some(_) => Answer::new(416, "no").length(3_000_000),
    });
    let started = Instant::now();
    let error = read_blob(&script).unwrap_err();
    assert!(error.to_string().contains("416"), "{error}");
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
fn a_blob_that_is_cut_again_and_again_fails_in_the_end() {
    let script = Script::start(|seen, _| {
        let start = range_of(seen).unwrap_or(0);
        let part = content()[start..start + 10].to_vec();
        Answer::new(if start > 0 { 206 } else { 200 }, part)
            .header("Content-Range", format!("bytes {start}-2999999/3000000"))
            .length(3_000_000 - start)
    });
    assert!(read_blob(&script).is_err());
    assert_eq!(script.lines().len(), 6);
}

#[test]
fn a_body_of_another_size_or_content_is_never_taken() {
    let all = content();
    let (digest, size) = (sha256(&all), all.len() as u64);
    for body in [
        all[..all.len() - 1].to_vec(),
        [&all[..], b"x"].concat(),
        vec![7; all.len()],
        Vec::new(),
    ] {
        let script = Script::start(move |_, _| Answer::new(200, body.clone()));
        let error = read_blob_of(&script, digest.clone(), size).unwrap_err();
        assert!(error.to_string().contains("mismatch"), "{error}");
        assert_eq!(script.lines().len(), 1);
    }
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_origin() {
    let elsewhere = Script::start(|_, _| Answer::new(200, content()));
    let target = format!("http://{}/signed?secret=1", elsewhere.address());
    let script = Script::start(move |seen, _| {
        if seen.header("authorization").is_none() {
            return Answer::new(401, "").header("WWW-Authenticate", "Basic realm=x");
        }
        Answer::new(307, "").header("Location", target.clone())
    });
    let mut with = options();
    with.credentials = Some(oci_bundle::transfer::registry::Credentials::Password {
        username: "u".to_owned(),
        password: "p".to_owned(),
    });
    let client = Registry::new(with).unwrap();
    let reader = client.reader(&script.name("a/b")).unwrap();
    let all = content();
    let descriptor = Descriptor::new(LAYER, sha256(&all), all.len() as u64);
    let mut bytes = Vec::new();
    reader
        .blob(&descriptor)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert!(bytes == all);
    assert_eq!(elsewhere.seen()[0].header("authorization"), None);
    assert_eq!(elsewhere.lines(), ["GET /signed?secret=1"]);
}

#[test]
fn redirects_end() {
    let script = Script::start(|seen, number| {
        let line = seen.line.split(' ').nth(1).unwrap();
        Answer::new(302, "").header("Location", format!("{line}{number}"))
    });
    let error = pulled(&script, "latest").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error:?}");
}

#[test]
fn mirrors_are_asked_first_and_passed_over() {
    let mirror = Script::start(|_, _| Answer::new(404, "no such thing"));
    let script = Script::start(|_, _| Answer::new(200, manifest()));
    let scratch = tempfile::tempdir().unwrap();
    let conf = scratch.path().join("registries.conf");
    let text = format!(
        "[[registry]]\nprefix = \"x.example/team\"\nlocation = \"{}/own\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"{}/copy\"\ninsecure = true\n",
        script.address(),
        mirror.address()
    );
    std::fs::write(&conf, text).unwrap();
    let mut with = options();
    with.insecure = false;
    with.registries_conf = vec![conf];
    let client = Registry::new(with).unwrap();
    let reader = client
        .reader(&"x.example/team/app:1".parse().unwrap())
        .unwrap();
    reader.manifest("1").unwrap();
    assert_eq!(mirror.lines(), ["GET /v2/copy/app/manifests/1"]);
    assert_eq!(script.lines(), ["GET /v2/own/app/manifests/1"]);
}

#[test]
fn plain_http_is_spoken_only_when_asked_for() {
    let script = Script::start(|_, _| Answer::new(200, manifest()));
    let mut with = options();
    with.insecure = false;
    let client = Registry::new(with).unwrap();
    let reader = client.reader(&script.name("a/b")).unwrap();
    assert!(reader.manifest("latest").is_err());
    assert!(script.lines().is_empty());
}

#[test]
fn referrers_come_from_the_registry_or_from_the_tag_that_stands_for_them() {
    let digest = sha256(b"subject");
    let entry = |name: &str, kind: &str| json!({"mediaType": MANIFEST, "digest": sha256(name.as_bytes()).to_string(), "size": 1, "artifactType": kind});
    let index = |entries: Vec<serde_json::Value>| {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string()
    };
    let (one, two) = (
        index(vec![entry("a", "x"), entry("b", "y")]),
        index(vec![entry("c", "x")]),
    );
    for supported in [true, false] {
        let (one, two) = (one.clone(), two.clone());
        let script = Script::start(move |seen, _| match seen.line.as_str() {
            line if line.contains("/referrers/") && !supported => {
                Answer::new(404, "404 page not found")
            }
            line if line.contains("page=2") => Answer::new(200, two.clone()),
            line if line.contains("/referrers/") => {
                Answer::new(200, one.clone()).header("Link", "<?page=2>; rel=\"next\"")
            }
            _ => Answer::new(200, one.clone()).header("Content-Type", INDEX),
        });
        let client = client();
        let reader = client.reader(&script.name("a/b")).unwrap();
        let found = reader.referrers(&digest, Some("x")).unwrap();
        assert_eq!(found.len(), if supported { 2 } else { 1 });
        let tag = format!("GET /v2/a/b/manifests/sha256-{}", digest.encoded());
        assert_eq!(script.lines().contains(&tag), !supported);
    }
}

#[test]
fn tags_are_listed_whole_sorted_and_once() {
    let script = Script::start(|seen, _| match seen.line.as_str() {
        line if line.contains("last=b") => Answer::new(200, "{\"tags\":[\"a\",\"b\"]}"),
        _ => Answer::new(200, "{\"name\":\"a/b\",\"tags\":[\"c\",\"b\"]}")
            .header("Link", "</v2/a/b/tags/list?last=b>; rel=\"next\""),
    });
    let client = client();
    let tags = client.reader(&script.name("a/b")).unwrap().tags().unwrap();
    assert_eq!(tags, ["a", "b", "c"]);
    let none = Script::start(|_, _| Answer::new(200, "{\"tags\":null}"));
    assert!(
        client
            .reader(&none.name("a/b"))
            .unwrap()
            .tags()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_download_that_is_interrupted_leaves_no_half_blob_and_works_when_repeated() {
    // An empty archive of a size that is on its way for a while.
    let layer = vec![0; 3_000_000];
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [sha256(&layer).to_string()]},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let part = |media_type: &str, bytes: &[u8]| {
        Descriptor::new(media_type, sha256(bytes), bytes.len() as u64).to_value()
    };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": part(CONFIG, &config), "layers": [part(LAYER, &layer)],
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let blob = format!("GET /v2/a/b/blobs/{}", sha256(&layer));
    let of_layer = blob.clone();
    let mut is_first = true;
    let script = Script::start(move |seen, _| {
        if seen.line.contains("/manifests/") {
            return Answer::new(200, manifest.clone()).header("Content-Type", MANIFEST);
        }
        if seen.line != of_layer {
            return Answer::new(200, config.clone());
        }
        if std::mem::take(&mut is_first) {
            return Answer::new(200, &layer[..1_000_000]).held(layer.len());
        }
        Answer::new(200, layer.clone())
    });
    let scratch = Scratch::new();
    let image = format!("docker://{}", script.name("a/b:1"));
    let copy = || {
        let mut command = scratch.command(["copy", "--tls-verify=false", &image, "y:b"]);
        command.env("TMPDIR", scratch.path("")).stdin(Stdio::null());
        command
    };
    let mut child = copy().stderr(Stdio::piped()).spawn().unwrap();
    let (start, patience) = (Instant::now(), Duration::from_secs(20));
    while !script.lines().contains(&blob) {
        assert!(start.elapsed() < patience, "it asks for no blob");
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    // What is there of the blob is on its way into the layout.
    std::thread::sleep(Duration::from_millis(100));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < patience, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!child.wait().unwrap().success());
    let names = |path: &str| -> Vec<String> {
        let entries = std::fs::read_dir(scratch.path(path)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    };
    for name in names("y/blobs/sha256") {
        let bytes = std::fs::read(scratch.path(format!("y/blobs/sha256/{name}"))).unwrap();
        assert_eq!(sha256(&bytes).encoded(), name);
    }
    assert_eq!(names(""), ["y"]);
    let tags = scratch.ok("ls --layout y");
    assert!(!tags.lines().any(|tag| tag == "b"), "{tags}");

    assert!(copy().status().unwrap().success());
    assert_eq!(scratch.ok("validate --layout y"), "");
    // What the layout's own scratch directory had of the blob goes as for umoci.
    scratch.ok("gc --layout y");
    let is_temporary = |name: &String| name.starts_with('.');
    assert!(!names("y").iter().any(is_temporary), "{:?}", names("y"));
}
