//! URLs, as far as registries need them: taken apart, joined, and shown without their query, which may hold a secret.

use std::fmt::{self, Write as _};

use crate::{Error, ErrorKind, Result};

/// Longest URL that is followed.
const LENGTH: usize = 16 << 10;

/// An absolute URL of HTTP or HTTPS, without a fragment.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Url {
    secure: bool,
    /// Host, and port where one is given.
    authority: String,
    /// Path with its leading slash, and the query with its question mark.
    rest: String,
}

impl Url {
    pub(super) fn new(secure: bool, authority: &str, rest: &str) -> Self {
        Self {
            secure,
            authority: authority.to_owned(),
            rest: rest.to_owned(),
        }
    }

    /// Reads an absolute URL.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let scheme = text.split_once("://").map(|(scheme, rest)| {
            let secure = scheme.eq_ignore_ascii_case("https");
            (secure, secure || scheme.eq_ignore_ascii_case("http"), rest)
        });
        let Some((secure, true, rest)) = scheme else {
            return Err(malformed("a URL that is neither http:// nor https://"));
        };
        if text.len() > LENGTH || text.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
            return Err(malformed("a URL that is too long or has odd characters"));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(split);
        if authority.is_empty() || authority.contains('@') {
            return Err(malformed("a URL without a host, or with a user in it"));
        }
        let rest = match rest.chars().next() {
            Some('/') => rest.to_owned(),
            _ => format!("/{rest}"),
        };
        Ok(Self {
            secure,
            authority: authority.to_ascii_lowercase(),
            rest,
        })
    }

    /// Reads what an answer to this URL refers to: an absolute URL, or one relative to this.
    pub(super) fn join(&self, text: &str) -> Result<Self> {
        if text
            .split(['/', '?', '#'])
            .next()
            .is_some_and(|first| first.contains(':'))
        {
            return Self::parse(text);
        }
        let scheme = if self.secure { "https" } else { "http" };
        if text.starts_with("//") {
            return Self::parse(&format!("{scheme}:{text}"));
        }
        let path = self.rest.split('?').next().unwrap_or_default();
        let joined = match text.chars().next() {
            Some('/') => text.to_owned(),
            Some('?') => format!("{path}{text}"),
            None => self.rest.clone(),
            Some(_) => {
                let directory = &path[..=path.rfind('/').unwrap_or(0)];
                format!("{directory}{text}")
            }
        };
        Self::parse(&format!("{scheme}://{}{joined}", self.authority))
    }

    /// Adds a parameter; the query that is there stays as it is. The value must need no escaping.
    pub(super) fn with_query(mut self, name: &str, value: &str) -> Self {
        self.rest
            .push(if self.rest.contains('?') { '&' } else { '?' });
        // Writing to a string cannot fail.
        let _ = write!(self.rest, "{name}={value}");
        self
    }

    pub(super) fn is_secure(&self) -> bool {
        self.secure
    }

    /// Host and port as the URL has them.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether scheme, host and port are the same.
    pub(super) fn is_same_origin(&self, other: &Self) -> bool {
        let with_port = |url: &Self| {
            let port = if url.secure { ":443" } else { ":80" };
            url.authority
                .strip_suffix(port)
                .unwrap_or(&url.authority)
                .to_owned()
        };
        self.secure == other.secure && with_port(self) == with_port(other)
    }

    /// The whole URL, to be requested and not to be shown.
    pub(super) fn to_request(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.rest)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        let path = self.rest.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Escapes a value for a query.
pub(super) fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn malformed(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("the registry gives {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_joined_as_browsers_do() {
        let base = Url::parse("https://h.org:5000/v2/a/blobs/uploads/1?_state=x").unwrap();
        for (text, whole) in [
            ("https://o.org/x?y=z#f", "https://o.org/x?y=z"),
            ("//o.org/x", "https://o.org/x"),
            ("/x?y", "https://h.org:5000/x?y"),
            ("2?s=/:", "https://h.org:5000/v2/a/blobs/uploads/2?s=/:"),
            ("?s=2", "https://h.org:5000/v2/a/blobs/uploads/1?s=2"),
            ("", "https://h.org:5000/v2/a/blobs/uploads/1?_state=x"),
            ("HTTP://O.org", "http://o.org/"),
        ] {
            assert_eq!(base.join(text).unwrap().to_request(), whole, "{text}");
        }
        for text in [
            "ftp://x/",
            "https://",
            "https://u:p@h/",
            "https://h/a b",
            "x:y",
        ] {
            assert!(base.join(text).is_err(), "{text}");
        }
        let more = base.clone().with_query("digest", "sha256:1");
        assert!(more.to_request().ends_with("?_state=x&digest=sha256:1"));
        assert!(!format!("{more} {more:?}").contains("_state"));
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let url = |text| Url::parse(text).unwrap();
        assert!(url("https://h/a").is_same_origin(&url("https://H:443/b")));
        assert!(!url("https://h/a").is_same_origin(&url("http://h/a")));
        assert!(!url("https://h/a").is_same_origin(&url("https://h:80/a")));
        assert!(!url("https://h/a").is_same_origin(&url("https://h.org/a")));
    }
}
