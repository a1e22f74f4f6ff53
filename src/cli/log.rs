//! Log lines on stderr, in the form of umoci's.
//!
//! A line is a glyph right-aligned to four columns, a blank, and the message padded to 25 columns. Messages quote names
//! out of images, so control characters are shown as escapes: a layer must not be able to steer the user's terminal.

use std::io::{self, IsTerminal, Write};
use std::str::FromStr;

use oci_bundle::progress::Level;
use oci_bundle::{Error, ErrorKind, Result};

/// The least important kind of line that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Threshold {
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl FromStr for Threshold {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "error" => Ok(Self::Error),
            "fatal" => Ok(Self::Fatal),
            _ => {
                let message = format!("parsing log level: invalid level {text:?}");
                let hint = "the levels are debug, info, warn, error and fatal";
                Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint))
            }
        }
    }
}

impl From<Level> for Threshold {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
        }
    }
}

/// Writes log lines to stderr.
#[derive(Debug)]
pub struct Log {
    threshold: Threshold,
    colour: bool,
}

impl Log {
    /// Makes a log. Colours are used when stderr is a terminal that has some and the user did not object.
    // umoci asks whether *stdout* is a terminal, although its log goes to stderr as well.
    pub fn new(threshold: Threshold) -> Self {
        let colour = io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && !dumb_terminal();
        Self { threshold, colour }
    }

    /// Whether lines of this level are shown.
    pub fn shows(&self, level: Threshold) -> bool {
        level >= self.threshold
    }

    /// Writes one line, if its level is shown. A failure is ignored: there is nowhere to tell it.
    pub fn write(&self, level: Threshold, text: &str) {
        if self.shows(level) {
            let line = format_line(level, text, self.colour);
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
    }
}

/// Whether `TERM` names a terminal without cursor movement and colours.
pub fn dumb_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

fn format_line(level: Threshold, text: &str, colour: bool) -> String {
    let (glyph, code) = match level {
        Threshold::Debug => ('•', 37),
        Threshold::Info => ('•', 34),
        Threshold::Warn => ('•', 33),
        Threshold::Error | Threshold::Fatal => ('⨯', 31),
    };
    let text = printable(text);
    if colour {
        format!("\x1b[{code};1m{glyph:>4}\x1b[0m {text:<25}\n")
    } else {
        format!("{glyph:>4} {text:<25}\n")
    }
}

/// Replaces control characters, which could move the cursor or forge further lines, by their escapes.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_glyph_in_the_fourth_column_and_is_padded() {
        let line = format_line(Threshold::Fatal, "tag not found: x", false);
        assert_eq!(line, "   ⨯ tag not found: x         \n");
        let line = format_line(Threshold::Warn, "unpacking", false);
        assert_eq!(line, "   • unpacking                \n");
    }

    #[test]
    fn a_message_cannot_steer_the_terminal_or_forge_a_line() {
        let line = format_line(
            Threshold::Warn,
            "a\x1b[2Jb\n   ⨯ forged and longer than the padding",
            false,
        );
        assert_eq!(
            line,
            "   • a\\u{1b}[2Jb\\n   ⨯ forged and longer than the padding\n"
        );
    }

    #[test]
    fn levels_are_read_whatever_their_case() {
        assert_eq!("WaRnInG".parse::<Threshold>().unwrap(), Threshold::Warn);
        assert_eq!("FATAL".parse::<Threshold>().unwrap(), Threshold::Fatal);
        let error = "loud".parse::<Threshold>().unwrap_err();
        assert!(error.chain().starts_with("parsing log level"), "{error:?}");
    }
}
