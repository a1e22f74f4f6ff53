//! The built program: exit code, stdout and stderr of every command.

mod concurrent;
mod flags;
mod gc;
mod help;
mod layout;
mod log;
mod raw;
mod stat;
mod validate;
