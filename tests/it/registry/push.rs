//! Uploads, answered oddly.

use std::io::{Cursor, Read};

use oci_bundle::image::{Descriptor, LAYER, MANIFEST};
use oci_bundle::transfer::registry::Uploaded;
use oci_bundle::{ErrorKind, Result};
use serde_json::json;

use super::script::{Answer, Script, Seen, client};
use super::sha256;

fn content() -> Vec<u8> {
    (0..20_000_000_u32).map(|i| (i % 251) as u8).collect()
}

fn push_from(script: &Script, source: Option<&str>, bytes: &[u8]) -> Result<Uploaded> {
    let client = client();
    let sources: Vec<String> = source.iter().map(|it| (*it).to_owned()).collect();
    let writer = client.writer(&script.name("a/b"), &sources)?;
    let descriptor = Descriptor::new(LAYER, sha256(bytes), bytes.len() as u64);
    writer.push_blob(&descriptor, source, &|| {
        Ok(Box::new(Cursor::new(bytes.to_vec())) as Box<dyn Read>)
    })
}

fn push(script: &Script, bytes: &[u8]) -> Result<Uploaded> {
    push_from(script, None, bytes)
}

/// The method of a request.
fn method(seen: &Seen) -> &str {
    seen.line.split(' ').next().unwrap()
}

#[test]
fn a_blob_that_is_there_is_not_sent() {
    let script = Script::start(|_, _| Answer::new(200, ""));
    assert_eq!(push(&script, b"x").unwrap(), Uploaded::Existing);
    assert_eq!(script.lines().len(), 1);
}

#[test]
fn a_blob_is_sent_in_one_put_to_the_location_whole() {
    for location in [
        "/up/1?_state=a%2Fb",
        "1?_state=a%2Fb",
        "http://HOST/up/1?_state=a%2Fb",
    ] {
        let script = Script::start(move |seen, _| match method(seen) {
            "HEAD" => Answer::new(404, ""),
            "POST" => {
                let host = seen.header("host").unwrap();
                Answer::new(202, "").header("Location", location.replace("HOST", host))
            }
            _ => Answer::new(201, ""),
        });
        assert_eq!(push(&script, b"content").unwrap(), Uploaded::Sent);
        let seen = script.seen();
        assert_eq!(seen[2].body, b"content");
        let query = format!("?_state=a%2Fb&digest={}", sha256(b"content"));
        assert!(seen[2].line.ends_with(&query), "{}", seen[2].line);
    }
}

#[test]
fn a_registry_without_head_is_sent_the_blob() {
    let script = Script::start(|seen, _| match method(seen) {
        "HEAD" => Answer::new(405, ""),
        "POST" => Answer::new(202, "").header("Location", "/up"),
        _ => Answer::new(201, ""),
    });
    assert_eq!(push(&script, b"x").unwrap(), Uploaded::Sent);
}

#[test]
fn an_upload_to_another_host_has_no_credentials() {
    let elsewhere = Script::start(|_, _| Answer::new(201, ""));
    let location = format!("http://{}/bucket?sig=1", elsewhere.address());
    let script = Script::start(move |seen, _| {
        if seen.header("authorization").is_none() {
            return Answer::new(401, "").header("WWW-Authenticate", "Basic");
        }
        match method(seen) {
            "HEAD" => Answer::new(404, ""),
            _ => Answer::new(202, "").header("Location", location.clone()),
        }
    });
    let mut options = super::script::options();
    options.credentials = Some(oci_bundle::transfer::registry::Credentials::Password {
        username: "u".to_owned(),
        password: "p".to_owned(),
    });
    let client = oci_bundle::transfer::registry::Registry::new(options).unwrap();
    let writer = client.writer(&script.name("a/b"), &[]).unwrap();
    let blob = Descriptor::new(LAYER, sha256(b"x"), 1);
    let open = || Ok(Box::new(&b"x"[..]) as Box<dyn Read>);
    writer.push_blob(&blob, None, &open).unwrap();
    assert_eq!(elsewhere.seen()[0].header("authorization"), None);
}

#[test]
fn a_blob_is_mounted_or_else_sent() {
    for status in [201, 202] {
        let script = Script::start(move |seen, _| match method(seen) {
            "HEAD" => Answer::new(404, ""),
            "POST" => Answer::new(status, "").header("Location", "/up"),
            _ => Answer::new(201, ""),
        });
        let expected = if status == 201 {
            Uploaded::Mounted
        } else {
            Uploaded::Sent
        };
        assert_eq!(push_from(&script, Some("c/d"), b"x").unwrap(), expected);
        let mount = format!(
            "POST /v2/a/b/blobs/uploads/?mount={}&from=c%2Fd",
            sha256(b"x")
        );
        assert_eq!(script.lines()[1], mount);
    }
}

#[test]
fn a_dead_upload_is_begun_again_once() {
    for (deaths, ok) in [(1, true), (2, false)] {
        let script = Script::start(move |seen, number| match method(seen) {
            "HEAD" => Answer::new(404, ""),
            "POST" => Answer::new(202, "").header("Location", format!("/up/{number}")),
            _ if number <= 2 * deaths => {
                Answer::new(404, "{\"errors\":[{\"code\":\"BLOB_UPLOAD_INVALID\"}]}")
            }
            _ => Answer::new(201, ""),
        });
        assert_eq!(push(&script, b"x").is_ok(), ok, "{:?}", script.lines());
        let begun = script
            .seen()
            .iter()
            .filter(|seen| method(seen) == "POST")
            .count();
        assert_eq!(begun, 2);
    }
}

#[test]
fn a_registry_that_takes_no_whole_blob_gets_it_in_pieces() {
    let script = Script::start(|seen, number| match method(seen) {
        "HEAD" => Answer::new(404, ""),
        "POST" => Answer::new(202, "").header("Location", "/up/0"),
        // As a proxy in front of it may.
        _ if seen.body.len() > 10 << 20 => Answer::new(413, "too large"),
        "PATCH" => {
            let range = seen.header("content-range").unwrap();
            let form = if number % 2 == 0 { "bytes=0-" } else { "0-" };
            let end = range.split('-').nth(1).unwrap();
            Answer::new(202, "")
                .header("Location", format!("/up/{number}"))
                .header("Range", format!("{form}{end}"))
        }
        _ => Answer::new(201, ""),
    });
    assert_eq!(push(&script, &content()).unwrap(), Uploaded::Sent);
    let seen = script.seen();
    let pieces = seen
        .iter()
        .filter(|seen| method(seen) == "PATCH" && seen.body.len() <= 10 << 20);
    let sent: Vec<u8> = pieces.flat_map(|seen| seen.body.clone()).collect();
    assert!(sent == content());
    let last = seen.last().unwrap();
    let newest = format!("PUT /up/{}?digest=", seen.len() - 2);
    assert!(last.line.starts_with(&newest), "{} {newest}", last.line);
}

#[test]
fn what_the_registry_has_received_is_compared_with_what_was_sent() {
    let script = Script::start(|seen, _| match method(seen) {
        "HEAD" => Answer::new(404, ""),
        "POST" => Answer::new(202, "").header("Location", "/up"),
        "PUT" => Answer::new(405, ""),
        _ => Answer::new(202, "")
            .header("Location", "/up")
            .header("Range", "0-5"),
    });
    let error = push(&script, b"content").unwrap_err();
    assert!(
        error.chain().contains("received \"0-5\" of 7 bytes"),
        "{error:?}"
    );
}

#[test]
fn a_digest_that_the_registry_refuses_is_final() {
    let script = Script::start(|seen, _| match method(seen) {
        "HEAD" => Answer::new(404, ""),
        "POST" => Answer::new(202, "").header("Location", "/up"),
        _ => Answer::new(400, "{\"errors\":[{\"code\":\"DIGEST_INVALID\"}]}"),
    });
    let error = push(&script, b"content").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification);
    assert_eq!(script.lines().len(), 3);
}

#[test]
fn more_rights_are_asked_for_in_the_middle_of_a_push() {
    let script = Script::start(|seen, _| {
        let host = seen.header("host").unwrap();
        let challenge = |scope: &str| {
            let value = format!("Bearer realm=\"http://{host}/token\",scope=\"{scope}\"");
            Answer::new(401, "").header("WWW-Authenticate", value)
        };
        if seen.line.contains("/token") {
            let token = if seen.line.contains("delete") {
                "more"
            } else {
                "some"
            };
            return Answer::new(200, format!("{{\"token\":\"{token}\"}}"));
        }
        match (method(seen), seen.header("authorization")) {
            (_, None) => challenge("repository:a/b:pull"),
            ("HEAD", _) => Answer::new(404, ""),
            (_, Some("Bearer some")) => challenge("repository:a/b:pull,push,delete"),
            ("POST", _) => Answer::new(202, "").header("Location", "/up"),
            _ => Answer::new(201, ""),
        }
    });
    assert_eq!(push(&script, b"x").unwrap(), Uploaded::Sent);
    let lines = script.lines();
    let tokens: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains("/token"))
        .collect();
    assert_eq!(tokens.len(), 2);
    assert!(
        tokens[0].ends_with("scope=repository%3Aa%2Fb%3Apull%2Cpush"),
        "{tokens:?}"
    );
}

#[test]
fn a_manifest_that_is_too_large_is_not_sent() {
    let script = Script::start(|_, _| Answer::new(201, ""));
    let client = client();
    let writer = client.writer(&script.name("a/b"), &[]).unwrap();
    let large = vec![b' '; (4 << 20) + 1];
    let error = writer.push_manifest("1", MANIFEST, &large).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(script.lines().is_empty());
}

#[test]
fn a_manifest_has_its_own_type_and_the_registry_must_store_just_it() {
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST}).to_string();
    let other = sha256(b"other").to_string();
    let script = Script::start(move |seen, _| {
        let answer = Answer::new(201, "");
        if seen.line.ends_with("/wrong") {
            answer.header("Docker-Content-Digest", other.clone())
        } else {
            answer
        }
    });
    let client = client();
    let writer = client.writer(&script.name("a/b"), &[]).unwrap();
    writer
        .push_manifest("1", MANIFEST, manifest.as_bytes())
        .unwrap();
    let seen = &script.seen()[0];
    assert_eq!(seen.line, "PUT /v2/a/b/manifests/1");
    assert_eq!(seen.header("content-type"), Some(MANIFEST));
    let error = writer
        .push_manifest("wrong", MANIFEST, manifest.as_bytes())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification);
}

#[test]
fn the_tag_of_referrers_is_kept_where_the_registry_does_not() {
    let subject = sha256(b"subject");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "a/sig",
        "subject": {"mediaType": MANIFEST, "digest": subject.to_string(), "size": 7},
    })
    .to_string();
    for supported in [true, false] {
        let script = Script::start(move |seen, _| match method(seen) {
            "PUT" if supported => Answer::new(201, "").header("OCI-Subject", "x"),
            "PUT" => Answer::new(201, ""),
            _ => Answer::new(404, "{}"),
        });
        let client = client();
        let writer = client.writer(&script.name("a/b"), &[]).unwrap();
        writer
            .push_manifest("1", MANIFEST, manifest.as_bytes())
            .unwrap();
        let seen = script.seen();
        assert_eq!(seen.len(), if supported { 1 } else { 3 });
        if !supported {
            let tag = format!("PUT /v2/a/b/manifests/sha256-{}", subject.encoded());
            assert_eq!(seen[2].line, tag);
            let body = String::from_utf8(seen[2].body.clone()).unwrap();
            assert!(body.contains("\"artifactType\":\"a/sig\""), "{body}");
        }
    }
}
