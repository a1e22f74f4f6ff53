//! Regular expressions, as far as filters need them: literals, `.`, classes, `*`, `+`, `?`, groups, `|`, `^` and `$`.
//!
//! A pattern is a small machine whose states are run side by side, so that time grows with the text and the pattern only, never
//! exponentially, whatever either is.

use crate::error::{Error, ErrorKind, Result};

/// How deep groups may lie in each other.
const MAX_DEPTH: usize = 50;

/// A pattern that may match anywhere in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// One character.
    Take(Set),
    Start,
    End,
    /// Go on at both.
    Fork(usize, usize),
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    ranges: Vec<(char, char)>,
    negated: bool,
}

impl Set {
    fn of(character: char) -> Self {
        Self {
            ranges: vec![(character, character)],
            negated: false,
        }
    }

    fn has(&self, character: char) -> bool {
        let within = |&(from, to): &(char, char)| (from..=to).contains(&character);
        self.ranges.iter().any(within) != self.negated
    }
}

/// A part of the machine whose jumps are relative to its beginning, so that it can be put anywhere.
type Part = Vec<Step>;

impl Pattern {
    /// Reads a pattern.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut parser = Parser {
            rest: text.chars().collect::<Vec<_>>().into_iter().peekable(),
            depth: 0,
        };
        let parsed = parser.alternatives();
        let mut steps = parsed
            .filter(|_| parser.rest.peek().is_none())
            .ok_or_else(|| {
                let message = format!("{text:?} is no pattern that filters know");
                Error::new(ErrorKind::InvalidInput, message)
            })?;
        steps.push(Step::Done);
        Ok(Self(steps))
    }

    /// Whether it matches somewhere.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let mut states = States::new(self.0.len());
        let mut characters = text.chars();
        let mut at_start = true;
        loop {
            let next = characters.clone().next();
            states.reach(0, &self.0, at_start, next.is_none());
            if states.done {
                return true;
            }
            let Some(character) = characters.next() else {
                return false;
            };
            at_start = false;
            let after = characters.clone().next().is_none();
            let mut following = States::new(self.0.len());
            for &state in &states.active {
                if matches!(&self.0[state], Step::Take(set) if set.has(character)) {
                    following.reach(state + 1, &self.0, false, after);
                }
            }
            states = following;
        }
    }
}

/// The states that the machine is in at once.
struct States {
    seen: Vec<bool>,
    active: Vec<usize>,
    done: bool,
}

impl States {
    fn new(count: usize) -> Self {
        Self {
            seen: vec![false; count],
            active: Vec::new(),
            done: false,
        }
    }

    fn reach(&mut self, state: usize, steps: &[Step], at_start: bool, at_end: bool) {
        let mut pending = vec![state];
        while let Some(state) = pending.pop() {
            if std::mem::replace(&mut self.seen[state], true) {
                continue;
            }
            match &steps[state] {
                Step::Take(_) => self.active.push(state),
                Step::Start if at_start => pending.push(state + 1),
                Step::End if at_end => pending.push(state + 1),
                Step::Start | Step::End => {}
                Step::Fork(first, second) => {
                    pending.extend([state + first, state.wrapping_add(*second)]);
                }
                Step::Done => self.done = true,
            }
        }
    }
}

struct Parser {
    rest: std::iter::Peekable<std::vec::IntoIter<char>>,
    depth: usize,
}

impl Parser {
    fn take(&mut self, wanted: char) -> bool {
        self.rest.next_if_eq(&wanted).is_some()
    }

    fn alternatives(&mut self) -> Option<Part> {
        let mut part = self.sequence()?;
        while self.take('|') {
            let other = self.sequence()?;
            // fork(first, second) first jump(end) second
            let mut both = vec![Step::Fork(1, part.len() + 2)];
            both.append(&mut part);
            both.push(Step::Fork(other.len() + 1, other.len() + 1));
            both.extend(other);
            part = both;
        }
        Some(part)
    }

    fn sequence(&mut self) -> Option<Part> {
        let mut part = Part::new();
        while let Some(&next) = self.rest.peek() {
            if next == '|' || next == ')' {
                break;
            }
            let one = self.one()?;
            part.extend(self.repeated(one));
        }
        Some(part)
    }

    fn repeated(&mut self, mut part: Part) -> Part {
        while let Some(sign) = self.rest.next_if(|next| matches!(next, '*' | '+' | '?')) {
            let size = part.len();
            if sign != '+' {
                let end = if sign == '*' { size + 2 } else { size + 1 };
                part.insert(0, Step::Fork(1, end));
            }
            if sign != '?' {
                let back = if sign == '*' { size + 1 } else { size };
                part.push(Step::Fork(1, 0usize.wrapping_sub(back)));
            }
        }
        part
    }

    fn one(&mut self) -> Option<Part> {
        let set = match self.rest.next()? {
            '^' => return Some(vec![Step::Start]),
            '$' => return Some(vec![Step::End]),
            '(' => return self.group(),
            '[' => self.class()?,
            '.' => Set {
                ranges: vec![('\n', '\n')],
                negated: true,
            },
            '\\' => self.escape()?,
            '*' | '+' | '?' | '{' => return None,
            other => Set::of(other),
        };
        Some(vec![Step::Take(set)])
    }

    fn group(&mut self) -> Option<Part> {
        self.depth += 1;
        if self.depth > MAX_DEPTH || self.rest.peek() == Some(&'?') {
            return None;
        }
        let part = self.alternatives()?;
        self.depth -= 1;
        self.take(')').then_some(part)
    }

    fn escape(&mut self) -> Option<Set> {
        let (ranges, negated) = match self.rest.next()? {
            'd' => (vec![('0', '9')], false),
            'D' => (vec![('0', '9')], true),
            'w' => (word(), false),
            'W' => (word(), true),
            's' => (vec![('\t', '\n'), ('\x0c', '\r'), (' ', ' ')], false),
            other if other.is_ascii_punctuation() => (vec![(other, other)], false),
            _ => return None,
        };
        Some(Set { ranges, negated })
    }

    fn class(&mut self) -> Option<Set> {
        let negated = self.take('^');
        let mut ranges = Vec::new();
        loop {
            let from = match self.rest.next()? {
                ']' if !ranges.is_empty() => return Some(Set { ranges, negated }),
                '\\' => {
                    let set = self.escape().filter(|set| !set.negated)?;
                    match set.ranges[..] {
                        [(one, other)] if one == other => one,
                        _ => {
                            ranges.extend(set.ranges);
                            continue;
                        }
                    }
                }
                other => other,
            };
            let mut ahead = self.rest.clone();
            let is_range =
                ahead.next() == Some('-') && ahead.next().is_some_and(|next| next != ']');
            let to = if is_range {
                self.rest.next();
                match self.rest.next()? {
                    '\\' => self.rest.next()?,
                    to => to,
                }
            } else {
                from
            };
            if from > to {
                return None;
            }
            ranges.push((from, to));
        }
    }
}

fn word() -> Vec<(char, char)> {
    vec![('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            ("x**", "", true),
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
            "(?i)a",
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

    proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in "[a-c()|*+?.^$\\[\\]\\\\-]{0,24}", text in "[a-c]{0,12}") {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                let _ = pattern.is_match(&text);
            }
        }
    }
}
