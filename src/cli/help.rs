//! Help pages and the version, in the sections and the order of umoci's.
//!
//! Everything is read off clap's description, which comes from the doc comments of the argument structs.

use std::fmt::Write;

use clap::{Arg, Command};

use super::app::CATEGORIES;

/// Columns of running text.
const WIDTH: usize = 80;
/// Versions of the specifications that this program implements.
const IMAGE_SPEC: &str = "1.1.1";
const RUNTIME_SPEC: &str = "1.3.0";

/// The page of the command with this path of canonical names; of the program itself when it is empty.
pub fn render(program: &str, tree: &Command, path: &[String]) -> String {
    let command = find(tree, path);
    let name = path
        .iter()
        .fold(program.to_owned(), |name, part| name + " " + part);
    // Writing to a string cannot fail.
    let mut page = String::new();
    let about = about(command);
    if path.is_empty() {
        let _ = write!(page, "NAME:\n   {name} - {program} {about}\n\nUSAGE:\n");
        let _ = write!(
            page,
            "   {name} [global options] command [command options] [arguments...]\n\n"
        );
        let _ = write!(page, "VERSION:\n   {}\n\n", env!("CARGO_PKG_VERSION"));
        page.push_str("AUTHOR:\n   the oci-bundle authors\n\n");
    } else {
        let _ = write!(page, "NAME:\n   {name} - {about}\n\nUSAGE:\n");
        let _ = write!(page, "   {name}{}\n\n", usage(command));
        describe(&mut page, command);
    }
    if command.has_subcommands() {
        commands(&mut page, command, path);
    } else if let Some(category) = category(path) {
        let _ = write!(page, "CATEGORY:\n   {category}\n\n");
    }
    options(&mut page, command, path.is_empty());
    page
}

/// The text of `--version`.
pub fn version(program: &str) -> String {
    format!(
        "{program} version {}\nimage spec: {IMAGE_SPEC}\nruntime spec: {RUNTIME_SPEC}\n\
         go: go1.x (none: written in Rust)\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Whether the path names something with commands of its own.
pub fn is_application(tree: &Command, path: &[String]) -> bool {
    find(tree, path).has_subcommands()
}

/// The command with this path of canonical names.
pub fn find<'a>(tree: &'a Command, path: &[String]) -> &'a Command {
    path.iter().fold(tree, |command, name| {
        command.find_subcommand(name).unwrap_or(command)
    })
}

fn about(command: &Command) -> String {
    command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// The paragraphs of the doc comment behind the first one.
fn describe(page: &mut String, command: &Command) {
    let Some(text) = command.get_long_about() else {
        return;
    };
    for paragraph in text.to_string().split("\n\n").skip(1) {
        wrap(page, paragraph);
        page.push('\n');
    }
}

fn wrap(page: &mut String, paragraph: &str) {
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            page.push('\n');
            column = 0;
        } else if column > 0 {
            page.push(' ');
            column += 1;
        }
        page.push_str(word);
        column += width;
    }
    page.push('\n');
}

/// What stands behind the command's name in its usage line.
pub fn usage(command: &Command) -> String {
    if command.has_subcommands() {
        return " command [command options] [arguments...]".to_owned();
    }
    let mut text = " [command options]".to_owned();
    let said = |arg: &&Arg| arg.is_required_set() || arg.is_positional();
    for arg in command.get_arguments().filter(said) {
        let value = value_name(arg);
        let several = arg
            .get_num_args()
            .is_some_and(|count| count.max_values() > 1);
        let more = if several { "..." } else { "" };
        let _ = match arg.get_long() {
            Some(long) => write!(text, " --{long} {value}"),
            None if arg.is_required_set() => write!(text, " {value}{more}"),
            None => write!(text, " [{value}]{more}"),
        };
    }
    text
}

/// `<source> <target>`: what stands for the values of one round.
pub fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let names: Vec<_> = names.iter().map(|name| format!("<{name}>")).collect();
    if names.is_empty() {
        "<value>".to_owned()
    } else {
        names.join(" ")
    }
}

/// The group of a command, by the path of its names.
fn category(path: &[String]) -> Option<&'static str> {
    let (name, parents) = path.split_last()?;
    // Commands on the store have names that others have, too.
    if parents.first().is_some_and(|parent| parent == "store") {
        return None;
    }
    let mut groups = CATEGORIES.iter();
    groups
        .find(|(_, names)| names.contains(&name.as_str()))
        .map(|(group, _)| *group)
}

/// The commands: those of no group first, then group by group.
fn commands(page: &mut String, parent: &Command, path: &[String]) {
    let group_of = |command: &Command| {
        let name = command.get_name().to_owned();
        category(&[path, &[name]].concat())
    };
    let row = |command: &Command| {
        let aliases = command.get_visible_aliases();
        let names = aliases.fold(command.get_name().to_owned(), |names, alias| {
            names + ", " + alias
        });
        (names, about(command))
    };
    let visible: Vec<&Command> = parent
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .collect();
    page.push_str("COMMANDS:\n");
    let ungrouped = visible.iter().filter(|command| group_of(command).is_none());
    let mut rows: Vec<_> = ungrouped.map(|command| row(command)).collect();
    let help = "shows a list of commands or help for one command";
    rows.push(("help, h".to_owned(), help.to_owned()));
    table(page, 3, &rows);
    for (group, names) in CATEGORIES {
        let members = names.iter().filter_map(|name| {
            let mut visible = visible.iter();
            let member = visible.find(|command| command.get_name() == *name)?;
            (group_of(member) == Some(*group)).then_some(member)
        });
        let rows: Vec<_> = members.map(|command| row(command)).collect();
        if !rows.is_empty() {
            let _ = write!(page, "\n   {group}:\n");
            table(page, 5, &rows);
        }
    }
    page.push('\n');
}

fn options(page: &mut String, command: &Command, is_root: bool) {
    page.push_str(if is_root {
        "GLOBAL OPTIONS:\n"
    } else {
        "OPTIONS:\n"
    });
    let mut rows: Vec<_> = command
        .get_arguments()
        .filter(|arg| !arg.is_positional() && !arg.is_hide_set())
        .map(option)
        .collect();
    rows.push(("--help, -h".to_owned(), "show help".to_owned()));
    if is_root {
        let print = "print the version";
        rows.push(("--version, -v".to_owned(), print.to_owned()));
    }
    table(page, 3, &rows);
}

fn option(arg: &Arg) -> (String, String) {
    let mut names: Vec<String> = Vec::new();
    let long = arg.get_long_and_visible_aliases().unwrap_or_default();
    names.extend(long.iter().map(|name| format!("--{name}")));
    let short = arg.get_short_and_visible_aliases().unwrap_or_default();
    names.extend(short.iter().map(|name| format!("-{name}")));
    let mut left = names.join(", ");
    if arg.get_action().takes_values() {
        left.push_str(" value");
    }
    let right = arg.get_help().map(ToString::to_string).unwrap_or_default();
    // The one default that is no clap default: a level that was given must be told from one that was not.
    let default = (arg.get_id() == "log").then_some(" (default: \"warn\")");
    (left, right + default.unwrap_or_default())
}

fn table(page: &mut String, indent: usize, rows: &[(String, String)]) {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    for (left, right) in rows {
        let _ = writeln!(page, "{:indent$}{left:width$}  {right}", "");
    }
}
