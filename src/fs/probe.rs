//! What this process and this file system can do.

use std::path::Path;

use super::dir::Dir;
use crate::error::{Error, Result};

/// Whether the process runs in a user namespace: whether the ids it sees are not all the ids there are.
///
/// Where `/proc` is missing, the answer is "no".
pub fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| {
        let fields: Vec<&str> = map.split_whitespace().collect();
        fields != ["0", "0", "4294967295"]
    })
}

/// Whether the process is the superuser of its namespace.
pub fn is_superuser() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether the process was started to ignore a signal, as `nohup` does.
///
/// Where `/proc` is missing, the answer is "no".
pub fn ignores_signal(signal: i32) -> bool {
    let ignored = std::fs::read_to_string("/proc/self/status").ok();
    let ignored = ignored.as_deref().and_then(|status| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        u64::from_str_radix(mask?.trim(), 16).ok()
    });
    let bit = u32::try_from(signal - 1)
        .ok()
        .and_then(|bit| 1u64.checked_shl(bit));
    ignored.unwrap_or(0) & bit.unwrap_or(0) != 0
}

/// Whether new files in a directory are born with extended attributes: labels of a security module.
///
/// Makes and removes a file named `.probe`.
///
/// # Errors
///
/// Fails if the file cannot be made or looked at.
pub fn newborns_have_xattrs(dir: &Dir) -> Result<bool> {
    const NAME: &[u8] = b".probe";
    dir.remove_all(NAME)?;
    drop(dir.create_file(NAME, 0o600)?);
    let found = dir.xattrs(NAME);
    dir.remove_all(NAME)?;
    Ok(!found?.is_empty())
}

/// The name of this machine, where `/proc` tells it.
pub fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim_end().to_owned()).filter(|name| !name.is_empty())
}

/// The flags of the mount that a file is on, as `statvfs` counts them. `None` if there is no such file.
pub fn mount_flags(path: &Path) -> Option<u64> {
    rustix::fs::statvfs(path)
        .ok()
        .map(|statvfs| statvfs.f_flag.bits())
}

/// What identifies the time since the machine was started: another one after a reboot. Empty where `/proc` is missing.
///
/// # Errors
///
/// Fails if it is there and cannot be read: whoever took that for another boot would take what is mounted for gone.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    match std::fs::read_to_string(path) {
        Ok(id) => Ok(id.trim_end().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// How many files the process may have open at once.
pub fn max_open_files() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// Whether the process may mount: has the capability for it in its user namespace.
///
/// Where `/proc` is missing, the answer is "no".
pub fn may_mount() -> bool {
    /// `CAP_SYS_ADMIN`.
    const BIT: u64 = 1 << 21;
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    effective.unwrap_or(0) & BIT != 0
}

/// Whether there is a directory at a path, the last link followed.
#[cfg(feature = "compat")]
pub(crate) fn is_dir(path: &Path) -> bool {
    path.is_dir()
}
