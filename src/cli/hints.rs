//! What a user who mistyped something can do: the nearest name, the usage, the right form of a value.
//!
//! Everything is read off clap's description of the commands, so that no command has to be listed here. Hints are shown
//! behind the error, which stays as umoci has it.

use std::ffi::OsString;

use clap::{Arg, Command};

use super::help;

/// Names that other tools have for what a command here does. Only commands that exist are suggested.
const OTHER_TOOLS: &[(&str, &str)] = &[
    ("add", "insert"),
    ("build", "repack"),
    ("check", "validate"),
    ("commit", "repack"),
    ("convert", "copy"),
    ("create", "new"),
    ("delete", "remove"),
    ("edit", "config"),
    ("export", "copy"),
    ("extract", "unpack"),
    ("flatten", "squash"),
    ("fsck", "validate"),
    ("history", "stat"),
    ("images", "list"),
    ("import", "copy"),
    ("inspect", "stat"),
    ("load", "copy"),
    ("pack", "repack"),
    ("prune", "gc"),
    ("pull", "copy"),
    ("push", "copy"),
    ("rmi", "remove"),
    ("save", "copy"),
    ("set", "config"),
    ("show", "stat"),
    ("tags", "list"),
    ("tree", "files"),
    ("unmount", "umount"),
    ("untag", "remove"),
    ("verify", "validate"),
];

/// For a command or help topic that is not there.
pub fn command(program: &str, tree: &Command, path: &[String], name: &str) -> Option<String> {
    let level = help::find(tree, path);
    let visible: Vec<&Command> = level
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .collect();
    let exists = |wanted: &str| visible.iter().any(|command| command.get_name() == wanted);
    let known = visible.iter().flat_map(|command| {
        let aliases = command.get_visible_aliases();
        std::iter::once(command.get_name()).chain(aliases)
    });
    let full = |name: &str| format!("did you mean '{}'?", join(program, path, name));
    if let Some(near) = nearest(name, known) {
        return Some(full(near));
    }
    let mut others = OTHER_TOOLS.iter();
    if let Some((_, ours)) = others.find(|(theirs, ours)| *theirs == name && exists(ours)) {
        return Some(full(ours));
    }
    // A command of a group, without the group.
    let mut groups = visible.iter().filter(|command| command.has_subcommands());
    let group = groups.find(|group| group.find_subcommand(name).is_some())?;
    let path = [path, &[group.get_name().to_owned()]].concat();
    Some(format!("did you mean '{}'?", join(program, &path, name)))
}

/// For a flag that the command has not.
pub fn flag(program: &str, tree: &Command, path: &[String], name: &str) -> Option<String> {
    let level = help::find(tree, path);
    let mut names = longs(level);
    if !path.is_empty() {
        names.extend(longs_of(
            tree.get_arguments().filter(|arg| arg.is_global_set()),
        ));
    }
    if let Some(near) = nearest(name, names.iter().copied()) {
        return Some(format!("did you mean --{near}?"));
    }
    if !path.is_empty() && longs(tree).contains(&name) {
        return Some(format!(
            "--{name} stands before the command: {program} --{name} {}",
            path.join(" ")
        ));
    }
    let instead = match name {
        "layout" if names.contains(&"image") => "image",
        "image" if names.contains(&"layout") => "layout",
        _ => "",
    };
    if let Some(arg) = level.get_arguments().find(|arg| is(arg, instead)) {
        let value = help::value_name(arg);
        return Some(format!(
            "'{}' takes --{instead} {value}",
            join(program, path, "")
        ));
    }
    if level.has_subcommands() && takers(level).any(|command| longs(command).contains(&name)) {
        let before = join(program, path, "COMMAND");
        return Some(format!(
            "flags of a command stand behind it: {before} --{name}"
        ));
    }
    None
}

/// For arguments that are missing or too many: what the command takes.
pub fn usage(program: &str, tree: &Command, path: &[String]) -> String {
    let command = help::find(tree, path);
    format!("usage: {}{}", join(program, path, ""), help::usage(command))
}

/// The command that words in canonical form name: what stands before `--` and is not a flag.
pub fn path_of(argv: &[OsString]) -> Vec<String> {
    argv.iter()
        .skip(1)
        .take_while(|word| *word != "--")
        .map(|word| word.to_string_lossy().into_owned())
        .filter(|word| !word.starts_with('-'))
        .collect()
}

/// The known name that is most like the given one, if any is like it at all.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong: more, and the suggestion is a guess.
    let most = (given.chars().count() / 3).max(1);
    let distances = known.into_iter().map(|name| {
        let distance = strsim::damerau_levenshtein(given, name);
        // Part of a name is nearer to it than its length says.
        let is_part = given.chars().count() >= 4 && name.starts_with(given);
        (if is_part { 0 } else { distance }, name)
    });
    let found = distances.filter(|(distance, _)| *distance <= most);
    found
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn join(program: &str, path: &[String], name: &str) -> String {
    let words = path.iter().map(String::as_str).chain([name]);
    let words = words.filter(|word| !word.is_empty());
    words.fold(program.to_owned(), |line, word| line + " " + word)
}

fn is(arg: &Arg, long: &str) -> bool {
    arg.get_long() == Some(long)
}

fn longs(command: &Command) -> Vec<&str> {
    longs_of(command.get_arguments())
}

fn longs_of<'a>(args: impl Iterator<Item = &'a Arg>) -> Vec<&'a str> {
    args.filter(|arg| !arg.is_hide_set())
        .filter_map(Arg::get_long)
        .collect()
}

/// The commands below a level, two levels deep.
fn takers(level: &Command) -> impl Iterator<Item = &Command> {
    let commands = level.get_subcommands();
    commands.flat_map(|command| std::iter::once(command).chain(command.get_subcommands()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::app::App;
    use super::*;

    #[test]
    fn the_nearest_name_is_like_the_given_one() {
        let known = ["unpack", "repack", "remove", "remove-bundle", "gc"];
        for (given, near) in [
            ("unpak", Some("unpack")),
            ("unapck", Some("unpack")),
            ("rempve", Some("remove")),
            ("remo", Some("remove")),
            ("cg", Some("gc")),
            ("x", None),
            ("publish", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, known), near, "{given}");
        }
    }

    #[test]
    fn no_name_of_another_tool_hides_a_command() {
        let tree = App::command();
        for (theirs, ours) in OTHER_TOOLS {
            assert_ne!(theirs, ours);
        }
        let said = command("bundle", &tree, &[], "extract");
        assert_eq!(said.as_deref(), Some("did you mean 'bundle unpack'?"));
        let said = command("bundle", &tree, &[], "probe");
        assert_eq!(said.as_deref(), Some("did you mean 'bundle store probe'?"));
        assert_eq!(command("bundle", &tree, &[], "bogus"), None);
    }

    #[test]
    fn a_flag_is_looked_for_here_then_elsewhere() {
        let tree = App::command();
        let said = |path: &str, name: &str| {
            let path: Vec<String> = path.split_whitespace().map(str::to_owned).collect();
            flag("bundle", &tree, &path, name).unwrap_or_default()
        };
        assert_eq!(said("unpack", "overlya"), "did you mean --overlay?");
        assert_eq!(said("unpack", "quite"), "did you mean --quiet?");
        assert!(said("unpack", "log").starts_with("--log stands before the command"));
        assert_eq!(
            said("unpack", "layout"),
            "'bundle unpack' takes --image <image>"
        );
        assert!(said("", "image").ends_with("bundle COMMAND --image"));
        assert!(said("store", "json").ends_with("bundle store COMMAND --json"));
        assert_eq!(said("unpack", "zz"), "");
    }
}
