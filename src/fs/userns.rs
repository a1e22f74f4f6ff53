//! Running a command of an ordinary user's as root of a user namespace, with a mount namespace of its own.
//!
//! `/etc/subuid` and `/etc/subgid` say which ids a user has beside its own (subuid(5)); the programs `newuidmap` and
//! `newgidmap` give them to a namespace of the user's. In there, 0 is the user and the ids from 1 are those of the first
//! ranges, one after the other, so that every owner of an image fits. Without ranges there is nothing but 0.

use std::fs::File;
use std::io::{PipeReader, Read as _, Write as _};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::dir::escape_name;
use super::idmap::{IdMap, IdRange, MapOptions};
use super::{probe, program, syscall, thread};
use crate::error::{Error, ErrorKind, Result, ResultExt as _};

/// How long `newuidmap` may take, which may have to ask a directory service for the user.
const MAPPING: Duration = Duration::from_secs(60);

/// The most that is read of a file below `/etc`.
const MAX_FILE: u64 = 16 << 20;

/// How a command gets the rights and the ids that mounting and unpacking need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// They are there already: the command just runs.
    Direct,
    /// A user namespace with these ids.
    Ranges(MapOptions),
    /// A user namespace in which the caller is 0 and there is no other id. Whoever unpacks an image there loses owners.
    OwnIdOnly {
        /// Why there are no more.
        reason: String,
    },
}

impl Entry {
    /// What is best for this process.
    pub fn for_caller() -> Self {
        if probe::is_superuser() && probe::may_mount() {
            return Self::Direct;
        }
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        let user = user_name(&read("/etc/passwd"), uid);
        let map = |own, file| {
            let ranges = ranges_of(&read(file), uid, user.as_deref());
            if ranges.is_empty() {
                return Err(format!("{file} has no ranges of ids for this user"));
            }
            Ok(with_own(own, &ranges))
        };
        match (map(uid, "/etc/subuid"), map(gid, "/etc/subgid")) {
            (Ok(uid), Ok(gid)) => Self::Ranges(MapOptions {
                uid,
                gid,
                rootless: false,
            }),
            (Err(reason), _) | (_, Err(reason)) => Self::OwnIdOnly { reason },
        }
    }

    /// Runs a command to its end. In a namespace it dies with the calling thread; what it mounts there is gone with it, and
    /// nobody outside sees it. Signals from the terminal reach it and the caller alike.
    ///
    /// # Errors
    ///
    /// Fails if the command cannot be started, and has not run then: [`ErrorKind::PermissionDenied`] if the kernel allows
    /// no user namespaces or `newuidmap` refuses the ids, [`ErrorKind::NotFound`] if there is no such program.
    pub fn run(&self, mut command: Command) -> Result<ExitStatus> {
        let program = escape_name(command.get_program().as_encoded_bytes());
        if *self == Self::Direct {
            return command.status().context(|| format!("run {program}"));
        }
        let pipe = || std::io::pipe().context(|| "make a pipe");
        let ((ready, child_ready), (child_go, mut go)) = (pipe()?, pipe()?);
        syscall::unshare_before_exec(&mut command, child_ready.into(), child_go.into());
        let (started, mapped) = std::thread::scope(|scope| {
            // `spawn` returns when the child runs the program: somebody else has to map its ids meanwhile.
            let thread = thread::spawn(scope, "map ids", move || {
                let mapped = child_pid(ready).and_then(|pid| self.map(pid));
                let answer = if mapped.is_ok() { syscall::GO } else { 0 };
                // A child that is gone has failed, and says so by itself.
                let _ = go.write_all(&[answer]);
                mapped
            })?;
            let started = command.spawn();
            // Without a child nobody else has the pipe that the mapper waits at.
            drop(command);
            Ok::<_, Error>((started, thread::join(thread)))
        })?;
        let mut child = match (started, mapped) {
            (Ok(child), _) => child,
            // The child gave up because there are no ids for it, and that is the reason.
            (Err(error), Err(cause)) if error.raw_os_error() == Some(libc::ECANCELED) => {
                return Err(cause);
            }
            // There was a namespace, and nothing to run in it.
            (Err(error), Ok(())) => return Err(Error::io("run", &program, error)),
            (Err(error), Err(_)) => {
                let error = Error::io("enter", "a user namespace", error);
                return Err(error.with_hint(
                    "user.max_user_namespaces, kernel.unprivileged_userns_clone or \
                     kernel.apparmor_restrict_unprivileged_userns (sysctl) may forbid it",
                ));
            }
        };
        child.wait().context(|| format!("wait for {program}"))
    }

    /// Gives a process in a new user namespace its ids.
    fn map(&self, pid: i32) -> Result<()> {
        if let Self::Ranges(maps) = self {
            give("newuidmap", pid, &maps.uid)?;
            return give("newgidmap", pid, &maps.gid);
        }
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        // Whoever may drop groups in there could get at files that a group is kept out of.
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("0 {} 1\n", uid.as_raw())),
            ("gid_map", format!("0 {} 1\n", gid.as_raw())),
        ] {
            let path = format!("/proc/{pid}/{file}");
            std::fs::write(&path, text).map_err(|error| Error::io("write", &path, error))?;
        }
        Ok(())
    }
}

/// Runs a command in a user namespace as [`Entry::for_caller`] finds best, and tells how it was run.
///
/// # Errors
///
/// As [`Entry::run`].
pub fn run_in_user_namespace(command: Command) -> Result<(ExitStatus, Entry)> {
    let entry = Entry::for_caller();
    let status = entry.run(command)?;
    Ok((status, entry))
}

/// The number that the child has written.
fn child_pid(mut ready: PipeReader) -> Result<i32> {
    let mut pid = [0; 4];
    ready
        .read_exact(&mut pid)
        .context(|| "wait for a process in a user namespace")?;
    Ok(i32::from_ne_bytes(pid))
}

/// Runs `newuidmap` or `newgidmap`.
fn give(program: &str, pid: i32, map: &IdMap) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.to_string());
    for range in &map.0 {
        let fields = [range.container, range.host, range.size];
        command.args(fields.map(|field| field.to_string()));
    }
    let ended = program::run(command, MAPPING).map_err(|error| match error.kind() {
        ErrorKind::NotFound => error.with_hint("Debian's package uidmap has it"),
        _ => error,
    })?;
    if ended.status.success() {
        return Ok(());
    }
    let message = format!("{program}: {} ({})", ended.said, ended.status);
    Err(Error::new(ErrorKind::PermissionDenied, message))
}

/// A file of the system's; one that cannot be read says nothing.
fn read(path: &str) -> Vec<u8> {
    let mut content = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(MAX_FILE).read_to_end(&mut content);
    }
    content
}

/// The name of a user in the format of passwd(5).
fn user_name(passwd: &[u8], uid: u32) -> Option<Vec<u8>> {
    passwd.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (number(fields.nth(1)?)? == uid).then(|| name.to_vec())
    })
}

/// The ranges (first id, number of ids) of a user in the format of subuid(5), in which a user stands by name or by
/// number. Lines that make no sense are passed over, as `newuidmap` does.
fn ranges_of(file: &[u8], uid: u32, name: Option<&[u8]>) -> Vec<(u32, u32)> {
    let lines = file.split(|&byte| byte == b'\n');
    let range = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        let [owner, first, count] = fields[..] else {
            return None;
        };
        if Some(owner) != name && number(owner) != Some(uid) {
            return None;
        }
        let (first, count) = (number(first)?, number(count)?);
        first.checked_add(count)?;
        (count > 0).then_some((first, count))
    };
    lines.filter_map(range).collect()
}

fn number(field: &[u8]) -> Option<u32> {
    let digits = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(field).ok().filter(|_| digits)?;
    text.parse().ok()
}

/// 0 is one's own id, then come the ranges. The last id means "none" to the kernel: the ranges are cut before it.
fn with_own(own: u32, ranges: &[(u32, u32)]) -> IdMap {
    let mut map = vec![IdRange {
        container: 0,
        host: own,
        size: 1,
    }];
    let mut container = 1u32;
    for &(host, size) in ranges {
        let size = size.min(u32::MAX - container);
        if size == 0 {
            break;
        }
        map.push(IdRange {
            container,
            host,
            size,
        });
        container += size;
    }
    IdMap(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let file = b"alice:100000:65536\nbob:165536:65536\n1000:300000:10\nalice:400000:5\n";
        assert_eq!(
            ranges_of(file, 1000, Some(b"alice")),
            [(100_000, 65536), (300_000, 10), (400_000, 5)]
        );
        assert_eq!(ranges_of(file, 1001, Some(b"bob")), [(165_536, 65536)]);
        assert_eq!(ranges_of(file, 1000, None), [(300_000, 10)]);
        assert_eq!(ranges_of(file, 7, None), []);
    }

    #[test]
    fn malformed_lines_give_no_ranges() {
        for line in [
            "",
            "a",
            "a:1",
            "a:1:2:3",
            "a::2",
            "a:1:",
            "a:-1:2",
            "a:+1:2",
            "a:1:0",
            "a:4294967295:2",
            "a:1:4294967296",
            "a: 1:2",
            "#a:1:2",
            ":1:2",
        ] {
            assert_eq!(ranges_of(line.as_bytes(), 1, Some(b"a")), [], "{line:?}");
        }
        assert_eq!(ranges_of(b"a:1:2", 1, Some(b"a")), [(1, 2)]);
    }

    #[test]
    fn names_come_from_the_third_field() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\n:x:5:5::/:\nbad\nalice:x:1000:100::/:\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some(&b"alice"[..]));
        assert_eq!(user_name(passwd, 5), None);
        assert_eq!(user_name(passwd, 100), None);
    }

    #[test]
    fn ids_inside_follow_one_another_and_end_before_the_last() {
        let map = with_own(1000, &[(100_000, 10), (500, 5)]);
        assert_eq!(map.to_host(0).unwrap(), 1000);
        assert_eq!(map.to_host(1).unwrap(), 100_000);
        assert_eq!(map.to_host(11).unwrap(), 500);
        assert!(map.to_host(16).is_err());
        let all = with_own(0, &[(1, u32::MAX - 1), (1, 5)]);
        assert_eq!(all.0.len(), 2);
        assert_eq!(all.0[1].size, u32::MAX - 1);
    }
}
