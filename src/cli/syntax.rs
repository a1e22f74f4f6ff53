//! umoci's flag syntax, which is that of Go's `flag` package with permutation.
//!
//! [`parse`] is a pure function from the user's words to words in one canonical form, `--name=value ... -- positional ...`,
//! which clap then gives types to. What flags there are, and which take values, it reads off clap's own description.
//!
//! - `-name` and `--name` are the same; `--name=value` and `--name value`, where the value may begin with `-`.
//! - A boolean takes a value only as `--name=true` (`1 t T TRUE true True 0 f F FALSE false False`).
//! - `--` ends the flags; a lone `-` is no flag; flags and positionals may be mixed.
//! - Of a repeated flag the last one wins; a list collects all, empty ones too, and splits none at commas.
//! - `--help` and `-h` are flags of every command, and count only when the syntax of all other words is right.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, ArgAction, Command};

/// What the words ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Run a command: the words for clap, the program's name first.
    Command(Vec<OsString>),
    /// Print the help of the command with this path of canonical names; empty for the program itself.
    Help(Vec<String>),
    /// Print the version.
    Version,
    /// There is no command or help topic of this name.
    UnknownTopic {
        /// Canonical names of the command that should have it.
        path: Vec<String>,
        /// As it was given.
        name: OsString,
    },
}

/// What is wrong with the words.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// They break the syntax. To be shown with the help of the command.
    Usage {
        /// Canonical names of the command.
        path: Vec<String>,
        /// Why, as Go's `flag` package would say it.
        reason: Reason,
    },
    /// A flag that the command cannot do without is not there.
    MissingFlag {
        /// Canonical names of the command.
        path: Vec<String>,
        /// With its dashes.
        flag: String,
    },
}

/// Why the syntax is broken.
#[derive(Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no such flag; its name without dashes.
    UnknownFlag(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFlag(name) => write!(f, "flag provided but not defined: -{name}"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl From<String> for Reason {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

/// Normalises the words after the program's name.
pub fn parse(tree: &Command, words: &[OsString]) -> Result<Parsed, Fault> {
    let mut path: Vec<String> = Vec::new();
    let mut argv = vec![OsString::from(tree.get_name())];
    let mut level = tree;
    let mut inherited: Vec<&Arg> = Vec::new();
    let mut words = words;
    loop {
        let flags = table(level, &inherited, path.is_empty());
        let is_group = level.has_subcommands();
        let usage = |reason| Fault::Usage {
            path: path.clone(),
            reason,
        };
        let scan = scan(&flags, words, is_group).map_err(usage)?;
        if scan.built_in(&flags, BuiltIn::Help) {
            return Ok(Parsed::Help(path));
        }
        if scan.built_in(&flags, BuiltIn::Version) {
            return Ok(Parsed::Version);
        }
        scan.emit(&flags, &mut argv)
            .map_err(|flag| Fault::MissingFlag {
                path: path.clone(),
                flag,
            })?;
        if !is_group {
            argv.push("--".into());
            argv.extend(scan.positionals);
            return Ok(Parsed::Command(argv));
        }
        let Some(name) = scan.positionals.first() else {
            return Ok(Parsed::Help(path));
        };
        if name == "help" || name == "h" {
            return topic(level, path, scan.rest);
        }
        let Some(next) = subcommand(level, name) else {
            let name = name.clone();
            return Ok(Parsed::UnknownTopic { path, name });
        };
        inherited.extend(level.get_arguments().filter(|arg| arg.is_global_set()));
        path.push(next.get_name().to_owned());
        argv.push(next.get_name().into());
        level = next;
        words = scan.rest;
    }
}

/// `help [TOPIC]`: only the first word counts.
fn topic(level: &Command, mut path: Vec<String>, words: &[OsString]) -> Result<Parsed, Fault> {
    let flags = [Flag::built_in(BuiltIn::Help)];
    let scan = scan(&flags, words, true).map_err(|reason| Fault::Usage {
        path: path.clone(),
        reason,
    })?;
    let Some(name) = scan.positionals.first() else {
        return Ok(Parsed::Help(path));
    };
    if name == "help" || name == "h" {
        return Ok(Parsed::Help(path));
    }
    if let Some(command) = subcommand(level, name) {
        path.push(command.get_name().to_owned());
        return Ok(Parsed::Help(path));
    }
    let name = name.clone();
    Ok(Parsed::UnknownTopic { path, name })
}

fn subcommand<'a>(level: &'a Command, name: &OsStr) -> Option<&'a Command> {
    level
        .get_subcommands()
        .find(|command| command.get_name() == name || command.get_all_aliases().any(|a| a == name))
}

/// Flags that every level has, and that clap is not told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BuiltIn {
    Help,
    Version,
}

/// A flag as the syntax sees it.
#[derive(Debug)]
struct Flag {
    /// Without dashes; the first one is the canonical name.
    names: Vec<String>,
    takes_value: bool,
    list: bool,
    required: bool,
    built_in: Option<BuiltIn>,
}

impl Flag {
    fn of(arg: &Arg) -> Self {
        let mut names: Vec<String> = Vec::new();
        names.extend(arg.get_long().map(str::to_owned));
        names.extend(arg.get_short().map(String::from));
        let aliases = arg.get_all_aliases().unwrap_or_default();
        names.extend(aliases.into_iter().map(str::to_owned));
        let aliases = arg.get_all_short_aliases().unwrap_or_default();
        names.extend(aliases.into_iter().map(String::from));
        Self {
            names,
            takes_value: arg.get_action().takes_values(),
            list: matches!(arg.get_action(), ArgAction::Append),
            required: arg.is_required_set(),
            built_in: None,
        }
    }

    fn built_in(kind: BuiltIn) -> Self {
        let names = match kind {
            BuiltIn::Help => ["help", "h"],
            BuiltIn::Version => ["version", "v"],
        };
        Self {
            names: names.map(str::to_owned).to_vec(),
            takes_value: false,
            list: false,
            required: false,
            built_in: Some(kind),
        }
    }
}

/// The flags of one level, in the order of their declaration.
fn table(level: &Command, inherited: &[&Arg], is_root: bool) -> Vec<Flag> {
    let own = level.get_arguments().filter(|arg| !arg.is_positional());
    let mut flags: Vec<Flag> = own.chain(inherited.iter().copied()).map(Flag::of).collect();
    flags.push(Flag::built_in(BuiltIn::Help));
    if is_root {
        flags.push(Flag::built_in(BuiltIn::Version));
    }
    flags
}

/// The words of one level, sorted out.
#[derive(Debug)]
struct Scan<'a> {
    /// For each flag of the table: its values in order (for a boolean, `true` or `false`), and the name it went by.
    given: Vec<(Vec<OsString>, Option<String>)>,
    positionals: Vec<OsString>,
    rest: &'a [OsString],
}

/// Sorts words into flags and positionals; with `stop`, only up to the first positional.
fn scan<'a>(flags: &[Flag], words: &'a [OsString], stop: bool) -> Result<Scan<'a>, Reason> {
    let mut scan = Scan {
        given: flags.iter().map(|_| (Vec::new(), None)).collect(),
        positionals: Vec::new(),
        rest: words,
    };
    let mut flags_ended = false;
    while let Some((word, rest)) = scan.rest.split_first() {
        scan.rest = rest;
        let is_flag = !flags_ended && word.len() > 1 && word.as_bytes().starts_with(b"-");
        if is_flag && word == "--" {
            flags_ended = true;
        } else if is_flag {
            scan.flag(flags, word)?;
        } else {
            scan.positionals.push(word.clone());
            if stop {
                break;
            }
        }
    }
    Ok(scan)
}

impl Scan<'_> {
    /// Takes one flag, and the next word where that is its value.
    fn flag(&mut self, flags: &[Flag], word: &OsStr) -> Result<(), Reason> {
        let bytes = word.as_bytes();
        let text = bytes
            .strip_prefix(b"--")
            .unwrap_or_else(|| bytes.get(1..).unwrap_or_default());
        if text.is_empty() || text.starts_with(b"-") || text.starts_with(b"=") {
            return Err(format!("bad flag syntax: {}", word.to_string_lossy()).into());
        }
        let (name, value) = match text.iter().position(|byte| *byte == b'=') {
            Some(at) => (&text[..at], Some(OsStr::from_bytes(&text[at + 1..]))),
            None => (text, None),
        };
        let name = String::from_utf8_lossy(name);
        let found = flags
            .iter()
            .zip(&mut self.given)
            .find(|(flag, _)| flag.names.iter().any(|known| **known == *name));
        let Some((flag, (values, spelled))) = found else {
            return Err(Reason::UnknownFlag(name.into_owned()));
        };
        match spelled {
            Some(other) if *other != name => {
                let reason = format!("Cannot use two forms of the same flag: {other} {name}");
                return Err(reason.into());
            }
            _ => *spelled = Some(name.clone().into_owned()),
        }
        let value = match value {
            Some(value) if flag.takes_value => value.to_owned(),
            Some(value) => boolean(&name, value)?.into(),
            None if !flag.takes_value => "true".into(),
            None => {
                let Some((next, rest)) = self.rest.split_first() else {
                    return Err(format!("flag needs an argument: -{name}").into());
                };
                self.rest = rest;
                next.clone()
            }
        };
        if !flag.list {
            values.clear();
        }
        values.push(value);
        Ok(())
    }

    /// Whether a built-in flag is set.
    fn built_in(&self, flags: &[Flag], kind: BuiltIn) -> bool {
        let mut pairs = flags.iter().zip(&self.given);
        pairs.any(|(flag, (values, _))| {
            flag.built_in == Some(kind) && values.iter().any(|value| value == "true")
        })
    }

    /// Appends the flags in canonical form, in the order of their declaration.
    /// Fails with the name of a flag that is required and was not given.
    fn emit(&self, flags: &[Flag], argv: &mut Vec<OsString>) -> Result<(), String> {
        for (flag, (values, _)) in flags.iter().zip(&self.given) {
            let Some(name) = flag.names.first() else {
                continue;
            };
            if flag.required && values.is_empty() {
                return Err(format!("--{name}"));
            }
            for value in values {
                if flag.takes_value {
                    let mut word = format!("--{name}=").into_bytes();
                    word.extend_from_slice(value.as_bytes());
                    argv.push(OsString::from_vec(word));
                } else if value == "true" && flag.built_in.is_none() {
                    argv.push(format!("--{name}").into());
                }
            }
        }
        Ok(())
    }
}

/// Go's `ParseBool`.
fn boolean(name: &str, value: &OsStr) -> Result<&'static str, String> {
    match value.as_bytes() {
        b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => Ok("true"),
        b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => Ok("false"),
        other => Err(format!(
            "invalid boolean value {} for -{name}: parse error",
            super::quote::quote(other)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Command {
        let value = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Set);
        let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        Command::new("app")
            .arg(value("log"))
            .arg(switch("quiet").global(true))
            .subcommand(
                Command::new("work")
                    .alias("w")
                    .arg(value("image").required(true).short('i').alias("picture"))
                    .arg(switch("fast"))
                    .arg(value("env").action(ArgAction::Append))
                    .arg(Arg::new("place")),
            )
            .subcommand(Command::new("raw").subcommand(Command::new("dig").arg(switch("deep"))))
    }

    fn words(line: &str) -> Vec<OsString> {
        // `''` stands for an empty word.
        line.split_whitespace()
            .map(|word| word.replace("''", "").into())
            .collect()
    }

    fn parsed(line: &str) -> Result<Parsed, Fault> {
        parse(&tree(), &words(line))
    }

    #[track_caller]
    fn becomes(line: &str, canonical: &str) {
        let expected = words(&format!("app {canonical}"));
        assert_eq!(parsed(line), Ok(Parsed::Command(expected)), "{line}");
    }

    #[track_caller]
    fn fails(line: &str, path: &str, reason: &str) {
        match parsed(line) {
            Err(Fault::Usage {
                path: found,
                reason: said,
            }) => assert_eq!((&*found.join(" "), &*said.to_string()), (path, reason)),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_spelling_of_a_flag_becomes_the_same_words() {
        for line in [
            "work --image=x p",
            "work -image=x p",
            "work --image x p",
            "work -image x p",
            "work p --image x",
            "work p -i x",
            "w --picture=x -- p",
            "work --image=y --image=x p",
        ] {
            becomes(line, "work --image=x -- p");
        }
    }

    #[test]
    fn values_may_begin_with_a_dash_or_hold_an_equals_sign_or_be_empty() {
        becomes("work --image -x p", "work --image=-x -- p");
        becomes("work --image -- p", "work --image=-- -- p");
        becomes("work --image --help p", "work --image=--help -- p");
        becomes("work --image=a=b p", "work --image=a=b -- p");
        becomes("work --image= p", "work --image= -- p");
        becomes("work --image '' p", "work --image= -- p");
    }

    #[test]
    fn booleans_take_values_only_behind_an_equals_sign() {
        for yes in [
            "--fast",
            "-fast",
            "--fast=1",
            "--fast=t",
            "--fast=T",
            "--fast=TRUE",
            "--fast=True",
        ] {
            becomes(&format!("work -i x {yes} p"), "work --image=x --fast -- p");
        }
        for no in [
            "--fast=0",
            "--fast=f",
            "--fast=F",
            "--fast=FALSE",
            "--fast=False",
            "--fast --fast=false",
        ] {
            becomes(&format!("work -i x {no} p"), "work --image=x -- p");
        }
        becomes(
            "work -i x --fast true",
            "work --image=x --fast -- true", // a positional
        );
        fails(
            "work --fast=yes",
            "work",
            "invalid boolean value \"yes\" for -fast: parse error",
        );
        fails(
            "work --fast=",
            "work",
            "invalid boolean value \"\" for -fast: parse error",
        );
    }

    #[test]
    fn a_boolean_between_positional_and_flags_is_in_order() {
        becomes("work --fast p --image x", "work --image=x --fast -- p");
    }

    #[test]
    fn two_dashes_end_the_flags_and_one_is_a_positional() {
        becomes("work -i x -- --fast -", "work --image=x -- --fast -");
        becomes("work -i x -", "work --image=x -- -");
        becomes("-- work -i x", "work --image=x --");
    }

    #[test]
    fn lists_keep_every_element() {
        becomes(
            "work -i x --env a --env '' --env=b,c --env ''",
            "work --image=x --env=a --env= --env=b,c --env= --",
        );
    }

    #[test]
    fn global_flags_stand_before_the_command_and_some_behind_it() {
        becomes("--log debug work -i x", "--log=debug work --image=x --");
        becomes("work -i x --quiet", "work --image=x --quiet --");
        fails(
            "work -i x --log debug",
            "work",
            "flag provided but not defined: -log",
        );
    }

    #[test]
    fn reasons_are_those_of_gos_flag_package() {
        fails("--zz", "", "flag provided but not defined: -zz");
        fails("work -zz=3", "work", "flag provided but not defined: -zz");
        fails(
            "raw dig --zz",
            "raw dig",
            "flag provided but not defined: -zz",
        );
        fails("work --image", "work", "flag needs an argument: -image");
        fails("work -i", "work", "flag needs an argument: -i");
        fails("work ---image", "work", "bad flag syntax: ---image");
        fails("work -=x", "work", "bad flag syntax: -=x");
        fails("work --=x", "work", "bad flag syntax: --=x");
        fails(
            "work -i x --picture y",
            "work",
            "Cannot use two forms of the same flag: i picture",
        );
    }

    #[test]
    fn a_mandatory_flag_is_asked_for_once_the_syntax_is_right() {
        assert_eq!(
            parsed("work p"),
            Err(Fault::MissingFlag {
                path: vec!["work".to_owned()],
                flag: "--image".to_owned()
            })
        );
        fails("work p --zz", "work", "flag provided but not defined: -zz");
    }

    #[test]
    fn help_is_found_anywhere_and_names_the_canonical_command() {
        for line in [
            "work --help",
            "w -h",
            "work p --fast -h",
            "help work",
            "h w",
            "help work dig",
        ] {
            assert_eq!(parsed(line), Ok(Parsed::Help(vec!["work".to_owned()])));
        }
        for line in ["", "help", "h", "--help", "-h", "help help", "help -h"] {
            assert_eq!(parsed(line), Ok(Parsed::Help(Vec::new())));
        }
        let dig = vec!["raw".to_owned(), "dig".to_owned()];
        assert_eq!(parsed("raw help dig"), Ok(Parsed::Help(dig.clone())));
        assert_eq!(parsed("raw dig -h"), Ok(Parsed::Help(dig)));
        let raw = Parsed::Help(vec!["raw".to_owned()]);
        assert_eq!(parsed("raw"), Ok(raw));
        fails("work -h --zz", "work", "flag provided but not defined: -zz");
    }

    #[test]
    fn unknown_commands_and_topics_are_told_apart_from_usage_errors() {
        for line in [
            "bogus",
            "help bogus",
            "raw bogus",
            "raw help bogus",
            "bogus --zz",
        ] {
            match parsed(line) {
                Ok(Parsed::UnknownTopic { path, name }) => {
                    assert_eq!(name, "bogus");
                    assert_eq!(path.is_empty(), !line.starts_with("raw"), "{line}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn version_is_a_flag_of_the_program_only() {
        assert_eq!(parsed("--version"), Ok(Parsed::Version));
        assert_eq!(parsed("-v work"), Ok(Parsed::Version));
        fails("work -v", "work", "flag provided but not defined: -v");
    }

    #[test]
    fn bytes_that_are_no_text_pass_through() {
        let odd = OsString::from_vec(b"--image=\xff".to_vec());
        let place = OsString::from_vec(b"\xfe".to_vec());
        let words = ["work".into(), odd.clone(), place.clone()];
        let expected = ["app".into(), "work".into(), odd, "--".into(), place];
        assert_eq!(
            parse(&tree(), &words),
            Ok(Parsed::Command(expected.to_vec()))
        );
    }
}
