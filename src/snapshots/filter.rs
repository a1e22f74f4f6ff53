//! Which snapshots to tell of: containerd's filters.
//!
//! ```text
//! kind==active,labels."team/name"~=^core     both must hold
//! parent==""                                 it has none
//! name!=base                                 it is another
//! ```
//!
//! A list of filters takes what one of them takes. A value is a word or stands in double quotes, a pattern also between
//! slashes or bars; so does the name of a label
//! that has other characters than letters, digits and `_`.

use regex_lite::{Regex, RegexBuilder};

use super::contract::Info;
use crate::error::{Error, ErrorKind, Result};
use crate::store::names::Records;

/// How long a filter may be, in bytes.
const MAX_SIZE: usize = 64 << 10;
/// How large a pattern may become when it is compiled, in bytes.
const MAX_PATTERN: usize = 1 << 20;

/// A list of filters, of which one has to take a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Vec<Vec<Selector>>);

/// Calls `visit` for each snapshot that one of the filters takes and whose place begins with `prefix`. Nothing is locked
/// meanwhile.
pub(super) fn walk(
    records: &Records,
    prefix: &str,
    filters: &[&str],
    visit: &mut dyn FnMut(&Info) -> Result<()>,
) -> Result<()> {
    let filter = Filter::parse(filters)?;
    for snapshot in records.all()? {
        if snapshot.place.starts_with(prefix) && filter.matches(&snapshot.info) {
            visit(&snapshot.info)?;
        }
    }
    Ok(())
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Selector {
    field: Vec<String>,
    test: Test,
}

/// A regular expression, as `~=` takes it: of what RE2 knows, Unicode classes are left out.
#[derive(Clone, Debug)]
struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl Pattern {
    fn parse(text: &str) -> Result<Self> {
        let mut builder = RegexBuilder::new(text);
        let built = builder.size_limit(MAX_PATTERN).nest_limit(50).build();
        built.map(Self).map_err(|error| {
            let message = format!("pattern {text:?}: not a regular expression");
            Error::new(ErrorKind::InvalidInput, message).with_source(error)
        })
    }

    fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Pattern),
}

impl Filter {
    /// Reads filters. None at all take everything, as an empty one does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if one is malformed, [`ErrorKind::LimitExceeded`] if one has more than 64 KiB.
    pub fn parse(filters: &[&str]) -> Result<Self> {
        if filters.is_empty() {
            return Ok(Self(vec![Vec::new()]));
        }
        filters
            .iter()
            .map(|text| parse_one(text))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Whether one of the filters takes a snapshot.
    pub fn matches(&self, info: &Info) -> bool {
        let takes = |selectors: &Vec<Selector>| selectors.iter().all(|one| one.matches(info));
        self.0.iter().any(takes)
    }
}

fn parse_one(text: &str) -> Result<Vec<Selector>> {
    if text.len() > MAX_SIZE {
        let message = format!("a filter has more than {MAX_SIZE} bytes");
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    let mut selectors = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (selector, after) = selector(rest).ok_or_else(|| {
            let message = format!(
                "malformed filter {text:?} at byte {}",
                text.len() - rest.len()
            );
            Error::new(ErrorKind::InvalidInput, message)
        })?;
        selectors.push(selector?);
        rest = match after.strip_prefix(',') {
            None if after.is_empty() => "",
            Some(more) if !more.is_empty() => more,
            _ => {
                let message = format!(
                    "malformed filter {text:?} at byte {}",
                    text.len() - after.len()
                );
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        };
    }
    Ok(selectors)
}

/// Reads one selector, and what comes after it.
fn selector(filter: &str) -> Option<(Result<Selector>, &str)> {
    let mut field = Vec::new();
    let (first, mut rest) = part(filter)?;
    field.push(first);
    while let Some(more) = rest.strip_prefix('.') {
        let (next, after) = part(more)?;
        field.push(next);
        rest = after;
    }
    let operators = ["==", "!=", "~="];
    let Some(operator) = operators
        .into_iter()
        .find(|operator| rest.starts_with(operator))
    else {
        let test = Test::Present;
        return Some((Ok(Selector { field, test }), rest));
    };
    let (value, rest) = value(&rest[operator.len()..], operator == "~=")?;
    let test = match operator {
        "==" => Ok(Test::Equal(value)),
        "!=" => Ok(Test::NotEqual(value)),
        _ => Pattern::parse(&value).map(Test::Matches),
    };
    Some((test.map(|test| Selector { field, test }), rest))
}

/// Part of the name of a field.
fn part(text: &str) -> Option<(String, &str)> {
    if text.starts_with('"') {
        return quoted(text);
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let (part, rest) = text.split_at(end.unwrap_or(text.len()));
    (!part.is_empty()).then(|| (part.to_owned(), rest))
}

/// A value; a pattern may stand between slashes or bars as well.
fn value(text: &str, is_pattern: bool) -> Option<(String, &str)> {
    if text.starts_with('"') {
        return quoted(text);
    }
    if is_pattern && text.starts_with(['/', '|']) {
        return pattern(text);
    }
    let end = text.find(|c: char| c == ',' || c.is_whitespace());
    let (value, rest) = text.split_at(end.unwrap_or(text.len()));
    (!value.is_empty()).then(|| (value.to_owned(), rest))
}

/// A pattern between two of the same character, in which a backslash keeps that character in and is otherwise the pattern's.
fn pattern(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next()?;
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next()?.1 {
                next if next == quote => out.push(next),
                next => out.extend(['\\', next]),
            },
            end if end == quote => return Some((out, &text[at + 1..])),
            other => out.push(other),
        }
    }
    None
}

/// Text in double quotes, in which a backslash takes the next character as it is.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => out.push(characters.next()?.1),
            other => out.push(other),
        }
    }
    None
}

impl Selector {
    fn matches(&self, info: &Info) -> bool {
        let value = self.value(info);
        let text = value.unwrap_or_default();
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(wanted) => value.is_some_and(|value| value == wanted),
            Test::NotEqual(other) => text != other,
            Test::Matches(pattern) => pattern.is_match(text),
        }
    }

    fn value<'i>(&self, info: &'i Info) -> Option<&'i str> {
        let (first, rest) = self.field.split_first()?;
        match (first.as_str(), rest) {
            ("kind", []) => Some(info.kind.word()),
            ("name", []) => Some(&info.name),
            // Without a parent it has an empty one: containerd asks for those by `parent==""`.
            ("parent", []) => Some(info.parent.as_deref().unwrap_or_default()),
            // A label's name may have dots without being quoted.
            ("labels", [_, ..]) => info.labels.get(&rest.join(".")).map(String::as_str),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{Kind, Labels};
    use super::*;
    use proptest::prelude::*;
    use std::time::UNIX_EPOCH;

    fn info(kind: Kind, name: &str, parent: Option<&str>, labels: &[(&str, &str)]) -> Info {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Info {
            kind,
            name: name.to_owned(),
            parent: parent.map(str::to_owned),
            labels: labels.collect::<Labels>(),
            created: UNIX_EPOCH,
            updated: UNIX_EPOCH,
        }
    }

    #[test]
    fn a_filter_takes_what_all_its_selectors_take() {
        let one = info(
            Kind::Active,
            "a b",
            Some("base"),
            &[("team/x", "core"), ("plain", "1"), ("a.b", "2")],
        );
        for (filters, expected) in [
            (&[][..], true),
            (&[""], true),
            (&["kind==active"], true),
            (&["kind==view"], false),
            (&["kind==view", "name==\"a b\""], true),
            (&["kind==active,name==other"], false),
            (&["parent"], true),
            (&["parent!=base"], false),
            (&["parent==base,labels.plain"], true),
            (&["labels.\"team/x\"==core"], true),
            (&["labels.\"team/x\"!=core"], false),
            (&["labels.missing!=core"], true),
            (&["labels.missing"], false),
            (&["labels.a.b==2"], true),
            (&["labels"], false),
            (&["name~=^a"], true),
            (&["name~=\"^[b-z]$\"", "labels.plain~=\"[0-9]+\""], true),
            (&["unknown==1"], false),
            (&["name~=/^a/,labels.plain"], true),
            (&["name~=|^b|"], false),
            (&["labels.\"team/x\"~=/^co[r]e$/"], true),
            (&["parent==\"\""], false),
        ] {
            assert_eq!(
                Filter::parse(filters).unwrap().matches(&one),
                expected,
                "{filters:?}"
            );
        }
        let alone = info(Kind::View, "a/b|c", None, &[]);
        for (filter, expected) in [
            // As containerd has it: the parent of one without is there, and empty.
            ("parent", true),
            ("parent==\"\"", true),
            ("parent!=base", true),
            (r"name~=/a\/b/", true),
            (r"name~=|b\|c|", true),
            (r"name~=|\w/\w|", true),
        ] {
            let filter_of = Filter::parse(&[filter]).unwrap();
            assert_eq!(filter_of.matches(&alone), expected, "{filter}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            ",",
            "a,",
            "==x",
            "name==",
            "name==\"x",
            "na me",
            "labels.",
            "name=x",
            "name~=(",
            "name==a b",
        ] {
            assert!(Filter::parse(&[text]).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = Filter::parse(&[&text]);
        }

        #[test]
        fn any_name_is_found_in_quotes(name: String) {
            let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
            let filter = Filter::parse(&[&format!("name==\"{quoted}\"")]).unwrap();
            prop_assert!(filter.matches(&info(Kind::Active, &name, None, &[])));
        }
    }

    #[test]
    fn patterns_match_as_those_of_the_field_do() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("b", "abc", true),
            ("^b", "abc", false),
            ("c$", "abc", true),
            ("^abc$", "abcd", false),
            ("a.c", "xabcx", true),
            ("a.c", "a\nc", false),
            ("^(foo|bar)+$", "foobarfoo", true),
            ("^(foo|bar|)$", "", true),
            ("^(foo|bar|baz)$", "baz", true),
            ("^(foo|bar)$", "foobar", false),
            ("^a*b+c?$", "aaabb", true),
            ("^a*b+c?$", "aaac", false),
            ("^[a-c0-9_-]+$", "a-9_b", true),
            ("^[^/]*$", "a/b", false),
            ("^[]x]$", "]", true),
            (r"\d+\.\d+", "v1.25", true),
            (r"^\w+$", "a b", false),
            (r"^[\w.]+$", "a.b", true),
            ("^(a*)*$", "aaaaab", false),
            ("\u{e9}+", "caf\u{e9}\u{e9}", true),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().is_match(text),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for pattern in [
            "(",
            ")",
            "a)",
            "[",
            "[a",
            "[z-a]",
            "*",
            "a|*",
            r"\",
            r"\q",
            "{",
            &"(".repeat(100),
        ] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn nested_repetition_takes_no_exponential_time() {
        let pattern = Pattern::parse("^((a*)*)*b$").unwrap();
        assert!(!pattern.is_match(&"a".repeat(10_000)));
    }
}
