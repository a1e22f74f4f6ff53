//! What may stand in the place of a word: `clap_complete`'s engine on clap's description of the commands, to which the
//! values are added that only a layout or the store knows.
//!
//! A candidate that cannot be found out, because a layout is damaged or there is no store, is none: nothing fails here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};
use oci_bundle::ops;
use oci_bundle::store::Store;

use crate::cli::app::App;
use crate::cli::store_args::StoreArgs;

/// Candidates for the last of the words behind the program's name, each with what it means.
pub fn of(words: &[OsString]) -> Vec<(String, String)> {
    let mut line = vec![OsString::from("bundle")];
    line.extend(words.iter().map(|word| two_dashes(word)));
    if words.is_empty() {
        line.push(OsString::new());
    }
    let context = Arc::new(Context::of(&line));
    let mut tree = with_values(described(), &context, false);
    let last = line.len() - 1;
    let found = complete(&mut tree, line, last, Some(Path::new("."))).unwrap_or_default();
    let pairs = found.into_iter().map(|candidate| {
        let help = candidate.get_help().map(ToString::to_string);
        let word = candidate.get_value().to_string_lossy().into_owned();
        (word, help.unwrap_or_default())
    });
    pairs.collect()
}

/// The commands, with the flags that clap is not told about when it parses.
pub fn described() -> Command {
    App::command()
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(false)
        .disable_version_flag(false)
}

/// `--flag` of `-flag`, which is the same here.
fn two_dashes(word: &OsStr) -> OsString {
    match word.as_bytes() {
        [b'-', second, _, ..] if *second != b'-' => {
            let mut long = OsString::from("-");
            long.push(word);
            long
        }
        _ => word.to_owned(),
    }
}

/// What other words say that the values of a word depend on.
#[derive(Debug, Default)]
struct Context {
    store: Option<PathBuf>,
    layout: Option<PathBuf>,
}

impl Context {
    fn of(words: &[OsString]) -> Self {
        let mut context = Self::default();
        for (index, word) in words.iter().enumerate() {
            let value_of = |flag: &str| {
                let rest = word.as_bytes().strip_prefix(flag.as_bytes())?;
                match rest {
                    [] => words.get(index + 1).cloned(),
                    [b'=', value @ ..] => Some(OsStr::from_bytes(value).to_owned()),
                    _ => None,
                }
            };
            if let Some(store) = value_of("--store") {
                context.store = Some(store.into());
            }
            if let Some(image) = value_of("--image").or_else(|| value_of("--layout")) {
                let bytes = image.as_bytes();
                let end = bytes.iter().position(|byte| *byte == b':');
                let layout = &bytes[..end.unwrap_or(bytes.len())];
                context.layout = Some(OsStr::from_bytes(layout).into());
            }
        }
        context
    }

    fn tags(&self) -> Vec<String> {
        self.layout.as_deref().map(tags_of).unwrap_or_default()
    }

    /// Names of images and snapshots, and keys of containers.
    fn names(&self) -> Vec<String> {
        let args = StoreArgs::default();
        let options = match &self.store {
            Some(path) => args.options_at(path),
            None => args.options(),
        };
        let store = options.and_then(|mut options| {
            options.create = false;
            Store::open(options)
        });
        let Ok(store) = store else {
            return Vec::new();
        };
        let images = store.names().unwrap_or_default();
        let mut names: Vec<String> = images.into_iter().map(|(name, _)| name).collect();
        let containers = store.containers().unwrap_or_default();
        let keys = containers.iter().map(|found| found.key().as_str());
        names.extend(keys.map(str::to_owned));
        names
    }
}

/// Tells the engine of each argument what its values are: by its name, so that a new command needs nothing here.
fn with_values(command: Command, context: &Arc<Context>, in_store: bool) -> Command {
    let in_store = in_store || command.get_name() == "store";
    let command = command.mut_args(|arg| with_value(arg, context, in_store));
    command.mut_subcommands(|command| with_values(command, context, in_store))
}

fn with_value(arg: Arg, context: &Arc<Context>, in_store: bool) -> Arg {
    if !arg.get_action().takes_values() || !arg.get_possible_values().is_empty() {
        return arg;
    }
    let value = arg.get_value_names().and_then(|names| names.first());
    let value = value.map(ToString::to_string).unwrap_or_default();
    let context = Arc::clone(context);
    let completer = match (arg.get_long(), &*value) {
        (None, "name" | "image" | "key" | "other") if in_store => {
            ArgValueCompleter::new(move |current: &OsStr| starting(context.names(), "", current))
        }
        (Some("image"), _) | (None, "other-image" | "image") => ArgValueCompleter::new(images),
        (Some("tag"), _) => {
            ArgValueCompleter::new(move |current: &OsStr| starting(context.tags(), "", current))
        }
        (Some("layout"), _) | (_, "dir" | "bundle") => return arg.value_hint(ValueHint::DirPath),
        (None, _) | (_, "file" | "path") => return arg.value_hint(ValueHint::AnyPath),
        _ => return arg,
    };
    arg.add(completer)
}

/// The tags in a layout; none where it cannot be read.
fn tags_of(layout: &Path) -> Vec<String> {
    let entries = ops::list(layout).unwrap_or_default();
    entries.into_iter().filter_map(|entry| entry.tag).collect()
}

/// `path[:tag]`: directories, and behind a colon the tags of a layout. A layout is offered with its colon.
fn images(current: &OsStr) -> Vec<CompletionCandidate> {
    let text = current.to_string_lossy();
    if let Some((layout, _)) = text.split_once(':') {
        let tags = tags_of(Path::new(layout));
        return starting(tags, &format!("{layout}:"), current);
    }
    let paths = clap_complete::PathCompleter::dir();
    let found = clap_complete::engine::ValueCompleter::complete(&paths, current);
    let mut candidates = Vec::new();
    for candidate in found {
        let path = candidate.get_value().to_string_lossy().into_owned();
        let layout = path.trim_end_matches('/');
        if ops::list(Path::new(layout)).is_ok() {
            candidates.push(CompletionCandidate::new(format!("{layout}:")));
        } else {
            candidates.push(candidate);
        }
    }
    candidates
}

/// The names that, behind the prefix, begin as the word does.
fn starting(names: Vec<String>, prefix: &str, current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let words = names.into_iter().map(|name| format!("{prefix}{name}"));
    let fitting = words.filter(|word| word.starts_with(&*current));
    fitting.map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_for(line: &str) -> Vec<String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        of(&words).into_iter().map(|(word, _)| word).collect()
    }

    /// Every command and every flag that help shows can be completed.
    #[test]
    fn every_command_and_flag_is_a_candidate() {
        fn check(command: &Command, line: &str) {
            let offered = words_for(&format!("{line}--"));
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                if let Some(long) = arg.get_long() {
                    assert!(offered.contains(&format!("--{long}")), "{line}--{long}");
                }
            }
            assert!(offered.contains(&"--help".to_owned()), "{line}--help");
            let commands = words_for(line);
            for command in command.get_subcommands() {
                let name = command.get_name();
                // Of a name and its aliases, one is offered.
                let mut names = command.get_visible_aliases().chain([name]);
                let is_offered = names.any(|name| commands.iter().any(|word| word == name));
                assert_eq!(is_offered, !command.is_hide_set(), "{line}{name}");
                check(command, &format!("{line}{name} "));
            }
        }
        check(&App::command(), "");
    }

    #[test]
    fn tags_are_found_behind_a_colon_and_in_the_layout_of_the_image() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("layout");
        let layout = oci_bundle::layout::Layout::create(&path).unwrap();
        for tag in ["one", "other", "two"] {
            let tag = oci_bundle::image::Tag::new(tag).unwrap();
            layout.new_image(&tag, "2020-01-01T00:00:00Z").unwrap();
        }
        let path = path.display();
        let full = |tag: &str| format!("{path}:{tag}");
        let both = [full("one"), full("other")];
        assert_eq!(words_for(&format!("unpack --image {path}:o")), both);
        let joined = [format!("--image={}", full("two"))];
        assert_eq!(words_for(&format!("stat --image={path}:t")), joined);
        assert_eq!(words_for(&format!("stat -image {path}")), [full("")]);
        let line = format!("config --image {path}:one --tag ot");
        assert_eq!(words_for(&line), ["other"]);
        assert!(words_for(&format!("stat --image {path}/none:")).is_empty());
    }

    #[test]
    fn values_that_are_words_are_offered() {
        assert_eq!(words_for("completion ")[..3], ["bash", "zsh", "fish"]);
        assert!(words_for("store ls ").contains(&"snapshots".to_owned()));
    }
}
