//! What a registry says when it says no.

use serde_json::Value;

use super::http::{Reply, Request};
use crate::fs::escape_name;
use crate::image::parse_json;
use crate::{Error, ErrorKind};

/// Most bytes of an answer that are looked at.
const BODY_SIZE: u64 = 64 << 10;

/// Errors of one answer that are shown.
const SHOWN_COUNT: usize = 3;

/// The error that an answer means, with the registry's own words.
pub(super) fn of(request: &Request<'_>, reply: Reply) -> Error {
    let (method, url, status) = (request.method.clone(), reply.url.clone(), reply.status());
    // The body of a 416 is shorter than it says: waiting for it takes long.
    let body = match status {
        416 => Vec::new(),
        _ => reply.read(BODY_SIZE).unwrap_or_default(),
    };
    let said = words(&body);
    let mut message = format!("{method} {url}: {status}");
    if !said.is_empty() {
        message = format!("{message}: {said}");
    }
    let error = Error::new(kind(status, &said), message);
    match status {
        401 | 403 => error.with_hint("log in with podman login, skopeo login or docker login"),
        429 => error.with_hint("the registry limits the number of requests: try again later"),
        _ => error,
    }
}

fn kind(status: u16, said: &str) -> ErrorKind {
    match status {
        // The image is there, in a form that was not asked for.
        404 if said.contains("accept header") => ErrorKind::Unsupported,
        404 | 410 => ErrorKind::NotFound,
        401 | 403 => ErrorKind::PermissionDenied,
        400 if said.contains("DIGEST_INVALID") => ErrorKind::Verification,
        405 | 501 => ErrorKind::Unsupported,
        413 => ErrorKind::LimitExceeded,
        _ => ErrorKind::Io,
    }
}

/// The registry's words: `code: message` of each error, or the first line of whatever it is.
fn words(body: &[u8]) -> String {
    let json = parse_json(body).unwrap_or_default();
    let errors = json.get("errors").and_then(Value::as_array);
    let said: Vec<String> = errors
        .into_iter()
        .flatten()
        .take(SHOWN_COUNT)
        .map(|error| {
            let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
            let detail = match error.get("detail") {
                Some(Value::String(detail)) => detail.as_str(),
                _ => "",
            };
            let parts = [text("code"), text("message"), detail];
            let parts = parts.iter().filter(|part| !part.is_empty());
            parts.copied().collect::<Vec<_>>().join(": ")
        })
        .collect();
    let said = if said.is_empty() {
        let text = String::from_utf8_lossy(body);
        let line = text.lines().find(|line| !line.trim().is_empty());
        line.unwrap_or_default().trim().to_owned()
    } else {
        said.join("; ")
    };
    escape_name(said.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_are_found_in_json_and_in_text() {
        let json = br#"{"errors":[{"code":"DENIED","message":"no","detail":{"x":1}},{"code":"X","detail":"y"}]}"#;
        assert_eq!(words(json), "DENIED: no; X: y");
        assert_eq!(words(b"\n 404 page not found\n"), "404 page not found");
        assert_eq!(words(b"<html>\x1b[31m"), "<html>\\u{1b}[31m");
        assert_eq!(words(b"{}"), "{}");
        assert_eq!(words(b""), "");
    }

    #[test]
    fn a_type_that_was_not_accepted_is_told_from_a_missing_image() {
        let said = "MANIFEST_UNKNOWN: OCI manifest found, but accept header does not support OCI manifests";
        assert_eq!(kind(404, said), ErrorKind::Unsupported);
        assert_eq!(kind(404, "MANIFEST_UNKNOWN"), ErrorKind::NotFound);
    }
}
