//! How roots are made.

use crate::error::{Error, ErrorKind, Result};

/// How a root is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RootfsMode {
    /// An overlay over the prototype: all of it can be written to, and nothing is copied beforehand.
    Overlay,
    /// A read-only bind mount of the prototype, on which copies of some of its directories are mounted.
    Quilt,
}

impl RootfsMode {
    /// Its word in records.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Quilt => "quilt",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Self> {
        [Self::Overlay, Self::Quilt]
            .into_iter()
            .find(|mode| mode.word() == word)
    }
}

/// How roots are made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GeneratorOptions {
    /// The one mode to use. `None` takes an overlay and, where that is not supported, a quilt.
    pub mode: Option<RootfsMode>,
    /// Names of directories of the root that begin empty, mode 0777.
    pub empty: Vec<String>,
    /// Names of directories of the root that can be written to in a quilt, beside the empty ones. Each must be in the
    /// prototype: a directory, or a symbolic link to one in it.
    pub writable: Vec<String>,
}

impl Default for GeneratorOptions {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Self {
            mode: None,
            empty: names(&["tmp"]),
            writable: names(&["proc", "dev", "etc", "home", "sbin", "var"]),
        }
    }
}

impl GeneratorOptions {
    /// Makes sure that each name is one, and named once.
    pub(super) fn check(&self) -> Result<()> {
        let names: Vec<&String> = self.empty.iter().chain(&self.writable).collect();
        for (place, name) in names.iter().enumerate() {
            let is_name = !matches!(name.as_str(), "" | "." | "..");
            let why = if !is_name || name.contains(['/', '\0']) {
                "is not the name of a directory"
            } else if names[..place].contains(name) {
                "is named twice"
            } else {
                continue;
            };
            let message = format!("directories of a root: {name:?} {why}");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(())
    }
}
