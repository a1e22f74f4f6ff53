//! The environment of the container's process: defaults, replaced and extended by the image's entries.
//!
//! An entry keeps the place of the one it replaces, so that the order is that of first appearance.

use std::collections::HashMap;

use crate::progress::Progress;

/// What every process gets unless the image says otherwise.
const DEFAULTS: [(&str, &str); 2] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("TERM", "xterm"),
];

/// `NAME=value` entries with unique names.
pub(super) struct Environment {
    entries: Vec<String>,
    positions: HashMap<String, usize>,
}

impl Environment {
    /// Makes the environment of an image: the defaults, then the image's entries in their order. As in Docker and
    /// containerd, an entry without `=` takes the variable away. One without a name cannot be set at all, and is left out
    /// with a warning.
    pub(super) fn of_image(entries: &[String], progress: &dyn Progress) -> Self {
        let mut environment = Self {
            entries: Vec::new(),
            positions: HashMap::new(),
        };
        for (name, value) in DEFAULTS {
            environment.set(name, value);
        }
        for entry in entries {
            match entry.split_once('=') {
                Some(("", _)) => progress.warn(format_args!(
                    "the entry {entry:?} of the image's environment has no name: it is left out"
                )),
                Some((name, value)) => environment.set(name, value),
                None => environment.unset(entry),
            }
        }
        environment
    }

    fn unset(&mut self, name: &str) {
        let Some(position) = self.positions.remove(name) else {
            return;
        };
        self.entries.remove(position);
        for later in self.positions.values_mut().filter(|it| **it > position) {
            *later -= 1;
        }
    }

    /// Sets a variable that has no value yet; leaves any other alone.
    pub(super) fn set_if_missing(&mut self, name: &str, value: &str) {
        if !self.positions.contains_key(name) {
            self.set(name, value);
        }
    }

    /// Returns the entries in order of first appearance.
    pub(super) fn into_entries(self) -> Vec<String> {
        self.entries
    }

    fn set(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        if let Some(&position) = self.positions.get(name) {
            self.entries[position] = entry;
        } else {
            self.positions.insert(name.to_owned(), self.entries.len());
            self.entries.push(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    fn entries(image: &[&str]) -> Vec<String> {
        let image: Vec<String> = image.iter().map(|&entry| entry.to_owned()).collect();
        Environment::of_image(&image, &Silent).into_entries()
    }

    #[test]
    fn an_entry_of_the_image_takes_the_place_of_the_one_it_replaces() {
        assert_eq!(entries(&[]), [PATH, "TERM=xterm"]);
        assert_eq!(
            entries(&["A=1", "PATH=/bin", "B=", "A=2=3", "PATHS=x"]),
            ["PATH=/bin", "TERM=xterm", "A=2=3", "B=", "PATHS=x"]
        );
    }

    #[test]
    fn an_entry_without_equals_sign_takes_the_variable_away() {
        assert_eq!(
            entries(&["A=1", "B=2", "A", "TERM", "", "never", "B=3"]),
            [PATH, "B=3"]
        );
        assert_eq!(entries(&["TERM", "A=1", "TERM=x"]), [PATH, "A=1", "TERM=x"]);
        assert_eq!(entries(&["=", "=x"]), [PATH, "TERM=xterm"]);
    }

    #[test]
    fn a_variable_that_is_set_even_to_nothing_is_not_missing() {
        let mut environment = Environment::of_image(&["HOME=".to_owned()], &Silent);
        environment.set_if_missing("HOME", "/root");
        environment.set_if_missing("SHELL", " a b ");
        assert_eq!(
            environment.into_entries(),
            [PATH, "TERM=xterm", "HOME=", "SHELL= a b "]
        );
    }
}
