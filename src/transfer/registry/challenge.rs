//! `WWW-Authenticate`: what a registry wants to see before it answers.

use std::collections::BTreeMap;

/// Longest header that is read.
const LENGTH: usize = 8 << 10;

/// A way to authenticate that a registry offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token that another server gives out.
    Bearer {
        /// The URL of that server.
        realm: String,
        service: Option<String>,
        /// What the token must be good for, as the registry sees it.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The challenges of all headers of an answer, in order. What is malformed or unknown is left out.
    pub(super) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Self> {
        headers
            .filter(|header| header.len() <= LENGTH)
            .flat_map(schemes)
            .filter_map(|(scheme, mut parameters)| match scheme.as_str() {
                "basic" => Some(Self::Basic),
                "bearer" => Some(Self::Bearer {
                    realm: parameters.remove("realm")?,
                    service: parameters.remove("service"),
                    scope: parameters.remove("scope"),
                }),
                _ => None,
            })
            .collect()
    }
}

/// Splits a header at its schemes; names are in small letters.
fn schemes(header: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest
            .find(|c: char| c == '=' || c == ',' || c.is_ascii_whitespace())
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            return found;
        }
        let word = word.to_ascii_lowercase();
        match (after.trim_start().strip_prefix('='), found.last_mut()) {
            (Some(value), Some((_, parameters))) => {
                let (value, after) = take_value(value.trim_start());
                parameters.insert(word, value);
                rest = after;
            }
            // A parameter before any scheme.
            (Some(_), None) => return found,
            (None, _) => {
                found.push((word, BTreeMap::new()));
                rest = after;
            }
        }
    }
}

/// A token or a quoted string, and what follows it.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| c == ',' || c.is_ascii_whitespace())
            .unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[place + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_are_read_whatever_their_spelling() {
        for (header, expected) in [
            ("Basic realm=\"x\"", vec![Challenge::Basic]),
            ("BASIC", vec![Challenge::Basic]),
            (
                "Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x:pull,push\"",
                vec![bearer(
                    "https://a/t",
                    Some("s"),
                    Some("repository:x:pull,push"),
                )],
            ),
            (
                "bearer Realm = https://a/t , error=\"a \\\" b\"",
                vec![bearer("https://a/t", None, None)],
            ),
            (
                "Negotiate, Basic realm=x, Bearer realm=\"https://a\"",
                vec![Challenge::Basic, bearer("https://a", None, None)],
            ),
            ("Bearer service=\"x\"", vec![]),
            ("realm=\"x\"", vec![]),
            (
                "Bearer realm=\"https://a",
                vec![bearer("https://a", None, None)],
            ),
            ("", vec![]),
            (",,", vec![]),
        ] {
            assert_eq!(Challenge::parse([header].into_iter()), expected, "{header}");
        }
    }
}
