//! Exit codes, which are umoci's where it has the command.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done; also every form of help and `--version`.
    Success,
    /// 1: any error, in the arguments or in the work.
    Failure,
    /// 2: `store check` has found something wrong and repaired all of it.
    Repaired,
    /// 3: there is no such command or help topic.
    UnknownCommand,
    /// That of the program that `unshare` has run.
    Program(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Failure => Self::FAILURE,
            Exit::Repaired => Self::from(2),
            Exit::UnknownCommand => Self::from(3),
            Exit::Program(code) => Self::from(code),
        }
    }
}
