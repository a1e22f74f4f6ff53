//! Exit codes, which are umoci's.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done; also every form of help and `--version`.
    Success,
    /// 1: any error, in the arguments or in the work.
    Failure,
    /// 3: there is no such command or help topic.
    UnknownCommand,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Failure => Self::FAILURE,
            Exit::UnknownCommand => Self::from(3),
        }
    }
}
