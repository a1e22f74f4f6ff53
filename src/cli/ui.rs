//! The one printer: data on stdout, talk on stderr.

use std::cell::Cell;
use std::error::Error as StdError;
use std::io::{self, Write};

use oci_bundle::{Error, ErrorKind, Result};

use super::exit::Exit;
use super::log::{Log, Threshold};
use super::progress::Terminal;
use super::progress_lines::Lines;

/// Where a command writes to.
#[derive(Debug)]
pub struct Ui {
    log: Log,
    quiet: bool,
    /// Progress for programs.
    lines: Option<Lines>,
    /// Whoever read our stdout has gone away: say nothing more there, and don't complain.
    reader_gone: Cell<bool>,
}

impl Ui {
    /// Makes a printer.
    pub fn new(threshold: Threshold, quiet: bool, lines: Option<Lines>) -> Self {
        Self {
            log: Log::new(threshold),
            quiet,
            lines,
            reader_gone: Cell::new(false),
        }
    }

    /// Writes data to stdout. A reader that has gone away (`bundle ls | head -1`) is no error.
    pub fn print(&self, data: impl AsRef<[u8]>) -> Result<()> {
        if self.reader_gone.get() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        match out.write_all(data.as_ref()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reader_gone.set(true);
                Ok(())
            }
            Err(error) => Err(Error::io("write to", "standard output", error)),
            Ok(()) => Ok(()),
        }
    }

    /// Lets `work` write data to stdout, which is buffered. When whoever reads it has gone away, the work is ended, and
    /// that is no error.
    pub fn stream(&self, work: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let mut out = io::BufWriter::with_capacity(1 << 16, Output(self));
        let result = work(&mut out).and_then(|()| {
            let flushed = out.flush();
            flushed.map_err(|error| Error::io("write to", "standard output", error))
        });
        if self.reader_gone.get() {
            return Ok(());
        }
        result
    }

    /// Writes a warning.
    pub fn warn(&self, text: &str) {
        self.log.write(Threshold::Warn, text);
    }

    /// What an operation reports its progress and its messages to. Bars vanish when it is dropped.
    pub fn progress(&self) -> Terminal<'_> {
        Terminal::new(&self.log, self.quiet, self.lines.as_ref())
    }

    /// Ends the progress for programs: with what went wrong, if anything did.
    pub fn finish(&self, result: &Result<Exit>) {
        if let Some(lines) = &self.lines {
            lines.finish(result.as_ref().err());
        }
    }

    /// Writes the error that ends the process: its chain, and the hints that came with it.
    pub fn error(&self, error: &Error) {
        // The one hint that umoci has, for errors that have none of their own.
        if is_permission_error(error) && error.hints().is_empty() {
            self.warn("permission denied by the operating system: maybe --rootless will help");
        }
        self.log.write(Threshold::Fatal, &error.chain());
        for hint in error.hints() {
            self.hint(hint);
        }
    }

    /// Writes what the user can do about what went wrong.
    pub fn hint(&self, hint: &str) {
        self.log.write(Threshold::Error, &format!("hint: {hint}"));
    }

    /// Writes a bare line to stderr: the one message that umoci prints without its log format.
    pub fn complain(line: &str) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// Stdout as a writer.
struct Output<'a>(&'a Ui);

impl Write for Output<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.print(data)?;
        if self.0.reader_gone.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether `EPERM` or `EACCES` is anywhere in the chain.
fn is_permission_error(error: &Error) -> bool {
    let mut source = error.source();
    while let Some(current) = source {
        let refused = match current.downcast_ref::<io::Error>() {
            Some(error) => error.kind() == io::ErrorKind::PermissionDenied,
            None => current
                .downcast_ref::<Error>()
                .is_some_and(|error| error.kind() == ErrorKind::PermissionDenied),
        };
        if refused {
            return true;
        }
        source = current.source();
    }
    error.kind() == ErrorKind::PermissionDenied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_however_deep_it_is() {
        let refused = io::Error::from_raw_os_error(1);
        let wrapped = Error::new(ErrorKind::InvalidData, "read layer").with_source(refused);
        assert!(is_permission_error(&wrapped.context("unpack")));
        let missing = Error::io("open", "/x", io::Error::from_raw_os_error(2));
        assert!(!is_permission_error(&missing));
    }
}
