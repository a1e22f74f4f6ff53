//! Who uses the mount of a layer: processes, and names that stay until they are put.
//!
//! The record says who has asked; the kernel says what is mounted. A process counts as long as it lives: it is known by
//! its number, the time at which it was started, and the boot.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::fs::names::unique_name;
use crate::fs::{Access, Dir, probe};
use crate::store::MountOptions;
use crate::store::json;

const NAME: &str = "users.json";

/// The largest `/proc/<pid>/stat`.
const MAX_STAT: u64 = 4096;

/// Who uses a mount, and how it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Users {
    options: String,
    users: Vec<User>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct User {
    token: String,
    /// None for a name that stays.
    process: Option<Process>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: u32,
    /// Clock ticks between the start of the machine and that of the process.
    started: u64,
    boot: String,
}

impl Users {
    /// Those that are still there.
    pub(super) fn read(dir: &Dir) -> Result<Self> {
        let mut users: Self = json::try_read(dir, NAME)?.unwrap_or_default();
        users.users.retain(User::lives);
        Ok(users)
    }

    pub(super) fn write(&self, dir: &Dir) -> Result<()> {
        json::replace(dir, NAME, self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.users.len()
    }

    /// Whether they have asked for a mount like this one.
    pub(super) fn agree(&self, options: &MountOptions) -> bool {
        self.users.is_empty() || self.options == text(options)
    }

    /// One user more, and the token by which it goes.
    pub(super) fn add(&mut self, options: &MountOptions, hold: Option<&str>) -> String {
        self.options = text(options);
        let Some(name) = hold else {
            let token = unique_name("u-");
            // Without it, the user counts until it says that it is gone.
            let process = Process::own().ok();
            let user = User {
                token: token.clone(),
                process,
            };
            self.users.push(user);
            return token;
        };
        let token = held(name);
        if !self.users.iter().any(|user| user.token == token) {
            self.users.push(User {
                token: token.clone(),
                process: None,
            });
        }
        token
    }

    /// One user less; `false` if there is none of that token.
    pub(super) fn remove(&mut self, token: &str) -> bool {
        let before = self.users.len();
        self.users.retain(|user| user.token != token);
        self.users.len() < before
    }

    /// Who they are, for people.
    pub(super) fn describe(&self) -> String {
        let names: Vec<String> = self.users.iter().map(User::describe).collect();
        names.join(", ")
    }
}

/// The token of a name that stays.
pub(super) fn held(name: &str) -> String {
    format!("h-{name}")
}

/// All that makes two mounts different.
fn text(options: &MountOptions) -> String {
    let MountOptions {
        read_only,
        volatile,
        attributes,
        selinux_context,
        // Says whether to mount, not how.
        accept_dirty: _,
    } = options;
    format!("read_only={read_only} volatile={volatile} {attributes:?} context={selinux_context:?}")
}

impl User {
    fn lives(&self) -> bool {
        self.process.as_ref().is_none_or(Process::lives)
    }

    fn describe(&self) -> String {
        match &self.process {
            Some(process) => format!("process {}", process.pid),
            None => format!("{:?}", self.token.strip_prefix("h-").unwrap_or(&self.token)),
        }
    }
}

impl Process {
    fn own() -> Result<Self> {
        let pid = std::process::id();
        Ok(Self {
            pid,
            started: start_of(pid).unwrap_or_default(),
            boot: probe::boot_id()?,
        })
    }

    fn lives(&self) -> bool {
        // Where `/proc` tells nothing, there is no reason to take a user for dead.
        probe::boot_id().map_or(true, |boot| boot == self.boot)
            && match Dir::open(Path::new("/proc/self"), Access::Plain) {
                Ok(_) => start_of(self.pid) == Some(self.started),
                Err(_) => true,
            }
    }
}

/// When a process was started; `None` if there is none.
fn start_of(pid: u32) -> Option<u64> {
    let dir = Dir::open(Path::new(&format!("/proc/{pid}")), Access::Plain).ok()?;
    let stat = dir.read_file(b"stat", MAX_STAT).ok()?;
    // The second field is the name of the program in parentheses, and may have any of the separators in it.
    let text = String::from_utf8_lossy(&stat);
    let (_, fields) = text.rsplit_once(')')?;
    // State is the third field, the start the twenty-second.
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, Dir) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open(scratch.path(), Access::Plain).unwrap();
        (scratch, dir)
    }

    #[test]
    fn users_of_dead_processes_and_other_boots_do_not_count() {
        let (_scratch, dir) = scratch();
        let options = MountOptions::default();
        let mut users = Users::default();
        let own = users.add(&options, None);
        let held = users.add(&options, Some("build"));
        users.add(&options, Some("build"));
        let process = |pid, started, boot: &str| {
            Some(Process {
                pid,
                started,
                boot: boot.to_owned(),
            })
        };
        let start = start_of(std::process::id()).unwrap();
        for dead in [
            process(std::process::id(), start, "another"),
            process(std::process::id(), start + 1, &probe::boot_id().unwrap()),
            process(u32::MAX, start, &probe::boot_id().unwrap()),
        ] {
            let token = unique_name("u-");
            users.users.push(User {
                token,
                process: dead,
            });
        }
        users.write(&dir).unwrap();
        let mut users = Users::read(&dir).unwrap();
        assert_eq!(users.count(), 2);
        let who = format!("process {}, \"build\"", std::process::id());
        assert_eq!(users.describe(), who);
        assert!(users.remove(&own) && !users.remove(&own));
        assert!(users.remove(&held) && users.is_empty());
    }

    #[test]
    fn only_who_asks_for_another_mount_disagrees() {
        let (plain, mut other) = (MountOptions::default(), MountOptions::default());
        let mut users = Users::default();
        other.read_only = true;
        assert!(users.agree(&other), "nobody is there yet");
        users.add(&plain, None);
        assert!(users.agree(&plain) && !users.agree(&other));
        other.read_only = false;
        other.accept_dirty = true;
        assert!(users.agree(&other));
        other.attributes.nodev = true;
        assert!(!users.agree(&other));
    }
}
