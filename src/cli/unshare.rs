//! `unshare`

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use oci_bundle::Result;
use oci_bundle::fs::userns::Entry;

use super::exit::Exit;
use super::ui::Ui;

/// The program that runs if none is given and `$SHELL` is not set.
const SHELL: &str = "/bin/sh";

/// runs a command in a user namespace in which an ordinary user can unpack and mount images
///
/// Inside, the user is root with the ids of /etc/subuid and /etc/subgid, so files keep their owners, and 'store',
/// 'mount' and 'unpack --overlay' work. Mounts are private and go away when the command ends; its exit code is
/// returned. Without a command, a shell is started. Separate the command's flags with '--': 'unshare -- ls -l'. As
/// root, the command is run without a namespace.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// command and its arguments (default: $SHELL)
    #[arg(value_name = "command", num_args = 0..)]
    command: Vec<OsString>,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let entry = Entry::for_caller();
    if let Entry::OwnIdOnly { reason } = &entry {
        ui.warn(&format!(
            "only your own id can be used, so owners of files will be lost: {reason}"
        ));
    }
    let status = entry.run(command(&args.command))?;
    Ok(Exit::Program(code(status)))
}

fn command(words: &[OsString]) -> Command {
    let Some((program, arguments)) = words.split_first() else {
        let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
        return Command::new(shell.unwrap_or_else(|| SHELL.into()));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The exit code, as shells have it: 128 and the number of the signal for a program that died of one.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
    }
}
