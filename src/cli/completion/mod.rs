//! `completion`, and the hidden `__complete` that its scripts call.
//!
//! ```text
//! shell -> script of `completion` -> bundle __complete -- WORD... -> candidates::of -> clap_complete's engine
//! ```
//!
//! The scripts are our own: a tag stands behind a colon, at which bash splits words, and that of `clap_complete` does not
//! join them again.

mod candidates;

use std::ffi::OsString;

use oci_bundle::Result;

use super::exit::Exit;
use super::ui::Ui;
pub use candidates::described;

/// What the scripts call the program by.
const PROGRAM: &str = "@PROGRAM@";
/// The program's name in names of functions.
const FUNCTION: &str = "@FUNCTION@";

/// prints the script by which a shell completes commands, flags, tags and names in the store
///
/// bash: eval "$(bundle completion bash)", or put the output into
/// ~/.local/share/bash-completion/completions/bundle. zsh: put it into a directory of $fpath, as _bundle. fish: put it
/// into ~/.config/fish/completions/bundle.fish. Called as umoci, it completes that name.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// the shell: bash, zsh or fish
    #[arg(required = true, value_name = "shell")]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// prints what may stand in the place of the last word
#[derive(Debug, clap::Args)]
pub struct CompleteArgs {
    /// the words behind the program's name, the last of which is completed
    #[arg(value_name = "word", num_args = 0..)]
    words: Vec<OsString>,
}

pub fn run(args: &Args, program: &str, ui: &Ui) -> Result<Exit> {
    let script = match args.shell {
        Shell::Bash => include_str!("bundle.bash"),
        Shell::Zsh => include_str!("bundle.zsh"),
        Shell::Fish => include_str!("bundle.fish"),
    };
    let function = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let function: String = program.chars().map(function).collect();
    ui.print(
        script
            .replace(PROGRAM, program)
            .replace(FUNCTION, &function),
    )?;
    Ok(Exit::Success)
}

/// Prints a candidate a line: the word, and behind a tab what it means.
pub fn complete(args: &CompleteArgs, ui: &Ui) -> Result<Exit> {
    let mut lines = String::new();
    for (word, help) in candidates::of(&args.words) {
        // What would be more than one line cannot be offered.
        if !word.contains(char::is_control) {
            lines.push_str(&word);
            lines.push('\t');
            lines.extend(help.chars().filter(|c| !c.is_control()));
            lines.push('\n');
        }
    }
    ui.print(lines)?;
    Ok(Exit::Success)
}
