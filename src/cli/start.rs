//! From `main` to the command and back: parse, build the printer, run, report.

use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind as ClapKind};
use clap::{CommandFactory, FromArgMatches};
use oci_bundle::{Error, ErrorKind, Result};

use super::app::App;
use super::exit::Exit;
use super::help;
use super::hints;
use super::log::{Threshold, printable};
use super::signals;
use super::syntax::{self, Fault, Parsed, Reason};
use super::ui::Ui;

/// Runs the command that `argv` asks for, the program's name first.
pub fn main(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut argv = argv.into_iter();
    let program = program_name(argv.next().as_deref());
    let words: Vec<OsString> = argv.collect();
    // Until the log level is known.
    let ui = Ui::new(Threshold::Warn, false, None);
    let exit = start(&program, &words, &ui).unwrap_or_else(|error| {
        ui.error(&error);
        Exit::Failure
    });
    exit.into()
}

/// The name that the program was called by, which help and errors use.
fn program_name(argv0: Option<&OsStr>) -> String {
    argv0
        .and_then(|path| Path::new(path).file_name())
        .map_or_else(
            || "bundle".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
}

fn start(program: &str, words: &[OsString], ui: &Ui) -> Result<Exit> {
    let tree = App::command();
    match syntax::parse(&tree, words) {
        Ok(Parsed::Command(argv)) => run(program, &tree, argv),
        Ok(Parsed::Help(path)) => {
            ui.print(help::render(program, &tree, &path))?;
            Ok(Exit::Success)
        }
        Ok(Parsed::Version) => {
            ui.print(help::version(program))?;
            Ok(Exit::Success)
        }
        Ok(Parsed::UnknownTopic { path, name }) => {
            let name = printable(&name.to_string_lossy());
            Ui::complain(&format!("No help topic for '{name}'"));
            if let Some(hint) = hints::command(program, &tree, &path, &name) {
                ui.hint(&hint);
            }
            Ok(Exit::UnknownCommand)
        }
        Err(Fault::Usage { path, reason }) => {
            // umoci's own punctuation: applications (the program, `raw`) and commands differ.
            let mark = if help::is_application(&tree, &path) {
                '.'
            } else {
                ':'
            };
            let page = help::render(program, &tree, &path);
            ui.print(format!("Incorrect Usage{mark} {reason}\n\n{page}"))?;
            let error = Error::new(ErrorKind::InvalidInput, reason.to_string());
            Err(match &reason {
                Reason::UnknownFlag(name) => hints::flag(program, &tree, &path, name)
                    .into_iter()
                    .fold(error, Error::with_hint),
                Reason::Other(_) => error,
            })
        }
        Err(Fault::MissingFlag { path, flag }) => {
            Err(missing(&flag).with_hint(hints::usage(program, &tree, &path)))
        }
    }
}

/// Runs a command whose words are in canonical form.
fn run(program: &str, tree: &clap::Command, argv: Vec<OsString>) -> Result<Exit> {
    let path = hints::path_of(&argv);
    let app = tree
        .clone()
        .try_get_matches_from(argv)
        .and_then(|matches| App::from_arg_matches(&matches))
        .map_err(|error| {
            let is_count = is_about_count(&error);
            let error = explain(&error);
            if is_count {
                error.with_hint(hints::usage(program, tree, &path))
            } else {
                error
            }
        })?;
    let globals = &app.globals;
    let lines = globals.progress_lines()?;
    let ui = Ui::new(globals.threshold()?, globals.quiet(), lines);
    let profile = globals.cpu_profile.as_ref();
    if let Some(file) = profile.filter(|file| !file.is_empty()) {
        ui.warn(&format!(
            "--cpu-profile is not supported: nothing is written to {}",
            file.to_string_lossy()
        ));
    }
    // Without it, a signal leaves what the next run sweeps up.
    let watched = if app.takes_signals() {
        Ok(())
    } else if app.leaves_signals() {
        signals::leave_to_others()
    } else {
        signals::watch()
    };
    if let Err(error) = watched {
        ui.warn(&format!("signals are not handled: {error}"));
    }
    let result = app.run(program, &ui);
    ui.finish(&result);
    Ok(result.unwrap_or_else(|error| {
        ui.error(&error);
        Exit::Failure
    }))
}

/// Whether an argument is missing or one too many is there.
fn is_about_count(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ClapKind::MissingRequiredArgument
            | ClapKind::UnknownArgument
            | ClapKind::WrongNumberOfValues
            | ClapKind::TooFewValues
            | ClapKind::TooManyValues
    )
}

fn missing(argument: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("missing mandatory argument: {argument}"),
    )
}

/// Says in our words what clap found wrong: it prints a page, where umoci prints one line.
fn explain(error: &clap::Error) -> Error {
    let argument = context(error, ContextKind::InvalidArg);
    let message = match error.kind() {
        ClapKind::MissingRequiredArgument if argument.starts_with("--") => {
            return missing(flag(&argument));
        }
        ClapKind::MissingRequiredArgument => {
            format!("invalid number of positional arguments: expected {argument}")
        }
        ClapKind::UnknownArgument => {
            format!("invalid number of positional arguments: unexpected {argument:?}")
        }
        ClapKind::ArgumentConflict => {
            let other = context(error, ContextKind::PriorArg);
            format!(
                "{} and {} are mutually exclusive",
                flag(&argument),
                flag(&other)
            )
        }
        ClapKind::ValueValidation => return invalid_value(error, flag(&argument)),
        ClapKind::InvalidUtf8 => "an argument is not valid UTF-8".to_owned(),
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    };
    Error::new(ErrorKind::InvalidInput, message)
}

/// A value that our own parser refused: its error says why, and what would be right.
fn invalid_value(error: &clap::Error, flag: &str) -> Error {
    let refusal = |cause: String| {
        let message = format!("invalid {flag}: {cause}");
        Error::new(ErrorKind::InvalidInput, message)
    };
    let Some(source) = error.source() else {
        return refusal(context(error, ContextKind::InvalidValue));
    };
    match source.downcast_ref::<Error>() {
        Some(ours) => ours
            .hints()
            .into_iter()
            .fold(refusal(ours.chain()), Error::with_hint),
        // What the standard library says of a number does not name it.
        None if source.is::<std::num::ParseIntError>() => {
            let value = context(error, ContextKind::InvalidValue);
            refusal(format!("{value:?}: {source}"))
        }
        None => refusal(source.to_string()),
    }
}

/// What clap knows of an error, as words.
fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    }
}

/// `--image` of `--image <IMAGE>`.
fn flag(argument: &str) -> &str {
    argument.split(' ').next().unwrap_or(argument)
}
