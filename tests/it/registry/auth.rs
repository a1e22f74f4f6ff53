//! Challenges, tokens, passwords.

use oci_bundle::transfer::registry::{AuthFile, Credentials, Registry};
use oci_bundle::{ErrorKind, Result};

use super::script::{Answer, Script, Seen, options};

const MANIFEST: &str = "{\"schemaVersion\":2,\"layers\":[]}";

/// `user:secret` as a header.
const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

fn password() -> Credentials {
    Credentials::Password {
        username: "user".to_owned(),
        password: "secret".to_owned(),
    }
}

fn pull(script: &Script, credentials: Option<Credentials>) -> Result<()> {
    let mut options = options();
    options.credentials = credentials;
    let client = Registry::new(options)?;
    let reader = client.reader(&script.name("a/b"))?;
    reader.manifest("1")?;
    reader.manifest("2").map(|_| ())
}

/// A registry that wants a token of `/token`, which `token` gives.
fn with_tokens(
    token: impl Fn(&Seen, usize) -> Answer + Send + 'static,
    good: &'static [&str],
) -> Script {
    Script::start(move |seen, number| {
        if seen.line.contains("/token") {
            return token(seen, number);
        }
        let authorization = seen.header("authorization").unwrap_or_default();
        if good.contains(&authorization) {
            return Answer::new(200, MANIFEST);
        }
        let host = seen.header("host").unwrap();
        Answer::new(401, "").header(
            "WWW-Authenticate",
            format!("Bearer realm=\"http://{host}/token\",service=\"reg x\",scope=\"repository:a/b:pull\""),
        )
    })
}

#[test]
fn a_password_is_sent_once_it_is_asked_for() {
    let script = Script::start(|seen, _| match seen.header("authorization") {
        Some(BASIC) => Answer::new(200, MANIFEST),
        _ => Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    pull(&script, Some(password())).unwrap();
    let sent: Vec<bool> = script
        .seen()
        .iter()
        .map(|seen| seen.header("authorization").is_some())
        .collect();
    assert_eq!(sent, [false, true, true]);
    let error = pull(&script, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.hints().iter().any(|hint| hint.contains("log in")));
}

#[test]
fn a_wrong_password_is_tried_once() {
    let script = Script::start(|_, _| {
        Answer::new(
            401,
            "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"who are you\"}]}",
        )
        .header("WWW-Authenticate", "Basic realm=\"x\"")
    });
    let error = pull(&script, Some(password())).unwrap_err();
    assert_eq!(script.lines().len(), 2);
    assert!(error.chain().contains("who are you"), "{error:?}");
    assert!(!error.chain().contains("secret"), "{error:?}");
}

#[test]
fn a_token_is_fetched_once_for_all_requests() {
    for name in ["token", "access_token"] {
        let script = with_tokens(
            move |_, _| Answer::new(200, format!("{{\"{name}\":\"t1\",\"expires_in\":1}}")),
            &["Bearer t1"],
        );
        pull(&script, None).unwrap();
        let lines = script.lines();
        assert_eq!(
            lines[1],
            "GET /token?service=reg%20x&scope=repository%3Aa%2Fb%3Apull"
        );
        assert_eq!(lines.len(), 4);
        assert_eq!(script.seen()[1].header("authorization"), None);
    }
}

#[test]
fn with_a_password_the_token_is_the_users() {
    let script = with_tokens(
        |_, _| Answer::new(200, "{\"token\":\"t1\"}"),
        &["Bearer t1"],
    );
    pull(&script, Some(password())).unwrap();
    let seen = &script.seen()[1];
    assert!(
        seen.line.starts_with("GET /token?account=user&"),
        "{}",
        seen.line
    );
    assert_eq!(seen.header("authorization"), Some(BASIC));
}

#[test]
fn a_refresh_token_is_posted() {
    let script = with_tokens(
        |_, _| Answer::new(200, "{\"access_token\":\"t1\"}"),
        &["Bearer t1"],
    );
    pull(&script, Some(Credentials::RefreshToken("r/1".to_owned()))).unwrap();
    let seen = &script.seen()[1];
    assert_eq!(seen.line, "POST /token");
    let body = String::from_utf8(seen.body.clone()).unwrap();
    assert!(
        body.starts_with("grant_type=refresh_token&refresh_token=r%2F1&"),
        "{body}"
    );
    assert!(body.contains("service=reg%20x"), "{body}");
}

#[test]
fn a_server_of_tokens_may_want_a_post() {
    let script = with_tokens(
        |seen, _| match seen.line.as_str() {
            "POST /token" => Answer::new(200, "{\"access_token\":\"t1\"}"),
            _ => Answer::new(405, ""),
        },
        &["Bearer t1"],
    );
    pull(&script, Some(password())).unwrap();
    let seen = script.seen();
    let post = seen.iter().find(|seen| seen.line == "POST /token").unwrap();
    let body = String::from_utf8(post.body.clone()).unwrap();
    assert!(
        body.contains("grant_type=password&username=user&password=secret"),
        "{body}"
    );
}

#[test]
fn a_token_that_has_expired_is_replaced_once() {
    // The first token is good for one request.
    let script = Script::start(|seen, number| {
        let host = seen.header("host").unwrap();
        let challenge = format!("Bearer realm=\"http://{host}/token\",error=\"invalid_token\"");
        match (seen.line.contains("/token"), seen.header("authorization")) {
            (true, _) => Answer::new(200, format!("{{\"token\":\"t{number}\"}}")),
            (_, Some("Bearer t1")) if number == 2 => Answer::new(200, MANIFEST),
            (_, Some("Bearer t4")) => Answer::new(200, MANIFEST),
            _ => Answer::new(401, "").header("WWW-Authenticate", challenge),
        }
    });
    pull(&script, None).unwrap();
    assert_eq!(script.lines().len(), 6);
    // None is good for anything.
    let never = with_tokens(|_, _| Answer::new(200, "{\"token\":\"bad\"}"), &[]);
    let error = pull(&never, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(never.lines().len(), 3);
}

#[test]
fn an_answer_without_a_token_is_not_shown() {
    for body in [
        "{\"tokens\":\"secret\"}",
        "secret",
        "{\"token\":\"a\\nsecret\"}",
    ] {
        let script = with_tokens(move |_, _| Answer::new(200, body), &[]);
        let error = pull(&script, None).unwrap_err();
        assert!(error.chain().contains("no token"), "{error:?}");
        assert!(!error.chain().contains("secret"), "{error:?}");
    }
}

#[test]
fn credentials_come_from_the_files_and_a_named_file_must_exist() {
    let script = Script::start(|seen, _| match seen.header("authorization") {
        Some(BASIC) => Answer::new(200, MANIFEST),
        _ => Answer::new(401, "").header("WWW-Authenticate", "Basic"),
    });
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("auth.json");
    let auth = BASIC.strip_prefix("Basic ").unwrap();
    let text = format!(
        "{{\"auths\":{{\"{}\":{{\"auth\":\"{auth}\"}}}}}}",
        script.address()
    );
    std::fs::write(&path, text).unwrap();
    let mut options = options();
    options.auth_files = vec![AuthFile {
        path: path.clone(),
        required: true,
    }];
    let client = Registry::new(options.clone()).unwrap();
    client
        .reader(&script.name("a/b"))
        .unwrap()
        .manifest("1")
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let error = Registry::new(options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.chain().contains("auth.json"), "{error:?}");
}
