//! Who keeps a mount busy: a look through `/proc`, which tells an ordinary user of its own processes only.
//!
//! The kernel refuses to unmount while anything refers to that very mount. Copies of it in other mount namespaces have
//! numbers of their own and do not count, so neither do their users.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::super::dir::escape_name;
use super::{id, table};

/// The most that is found: whoever asks wants a few names to act on.
const MAX_HOLDERS: usize = 32;

/// The most descriptors and mapped files that are looked at, over all processes.
const MAX_LOOKS: usize = 1 << 20;

/// Who uses a mount, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A process.
    Process {
        /// Its process id.
        pid: u32,
        /// The name of its program, at most 15 bytes.
        command: String,
        /// What it has there.
        hold: Hold,
    },
    /// Something else is mounted in it, here.
    Mounted(PathBuf),
}

/// What a process has in a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Its working directory.
    WorkingDirectory,
    /// Its root directory.
    Root,
    /// Its program.
    Program,
    /// An open file or directory: number and path.
    Descriptor(u32, PathBuf),
    /// A file mapped into its memory.
    Mapped(PathBuf),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, command, hold } => write!(f, "{command} (process {pid}: {hold})"),
            Self::Mounted(target) => {
                let target = escape_name(target.as_os_str().as_encoded_bytes());
                write!(f, "what is mounted at {target}")
            }
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkingDirectory => f.write_str("working directory"),
            Self::Root => f.write_str("root directory"),
            Self::Program => f.write_str("program"),
            Self::Descriptor(number, path) => write!(f, "open file {number} {}", path.display()),
            Self::Mapped(path) => write!(f, "mapped file {}", path.display()),
        }
    }
}

/// Who uses the mount that a path leads to: at most 32 holders, one for each process. Nobody, where that cannot be told.
pub fn holders(target: &Path) -> Vec<Holder> {
    let Ok(mount) = id::of_path(target) else {
        return Vec::new();
    };
    let mut found: Vec<Holder> = table::mounts()
        .unwrap_or_default()
        .into_iter()
        .filter(|entry| entry.parent == mount)
        .map(|entry| Holder::Mounted(entry.target))
        .take(MAX_HOLDERS)
        .collect();
    let mut looks = MAX_LOOKS;
    let processes: BTreeSet<u32> = numbers(Path::new("/proc")).collect();
    for pid in processes {
        if found.len() >= MAX_HOLDERS || looks == 0 {
            break;
        }
        let process = PathBuf::from(format!("/proc/{pid}"));
        if let Some(hold) = hold_of(&process, mount, &mut looks) {
            let command = std::fs::read(process.join("comm")).unwrap_or_default();
            let command = escape_name(command.trim_ascii_end());
            found.push(Holder::Process { pid, command, hold });
        }
    }
    found
}

/// What a process has in a mount, the most telling first.
fn hold_of(process: &Path, mount: u64, looks: &mut usize) -> Option<Hold> {
    let is_there = |path: &Path| id::of_path(path) == Ok(mount);
    for (name, hold) in [
        ("cwd", Hold::WorkingDirectory),
        ("root", Hold::Root),
        ("exe", Hold::Program),
    ] {
        if is_there(&process.join(name)) {
            return Some(hold);
        }
    }
    let shown = |link: &Path| {
        let target = std::fs::read_link(link).unwrap_or_default();
        PathBuf::from(escape_name(target.as_os_str().as_encoded_bytes()))
    };
    for number in numbers(&process.join("fd")) {
        *looks = looks.checked_sub(1)?;
        let link = process.join("fd").join(number.to_string());
        if is_there(&link) {
            return Some(Hold::Descriptor(number, shown(&link)));
        }
    }
    for entry in std::fs::read_dir(process.join("map_files")).ok()?.flatten() {
        *looks = looks.checked_sub(1)?;
        if is_there(&entry.path()) {
            return Some(Hold::Mapped(shown(&entry.path())));
        }
    }
    None
}

/// The names in a directory that are numbers.
fn numbers(directory: &Path) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
