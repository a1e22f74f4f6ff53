//! The `bundle` command: a drop-in for umoci on top of the library `oci_bundle`.
//!
//! Everything is in [`cli`]; this file only hands over the arguments and the exit code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os())
}
