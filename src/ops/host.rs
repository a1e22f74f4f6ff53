//! What operations have to know of the machine that they run on.

use std::io::Read;
use std::path::Path;

use crate::bundle::MountFlags;
use crate::fs::{Access, Root, probe};
use crate::mtree::OwnerNames;

/// Bytes of the host's user databases that are read at most.
const DATABASE_SIZE: u64 = 64 << 20;

/// The flags of the mount that the host's `/etc/resolv.conf` is on; `None` when the host has no such file.
pub(super) fn resolv_conf() -> Option<MountFlags> {
    probe::mount_flags(Path::new("/etc/resolv.conf")).map(MountFlags::from_statvfs)
}

/// The names of users and groups as the host's files have them. What cannot be read has no names, as on a host without
/// these files.
pub(super) fn owner_names() -> OwnerNames {
    let read = |path: &str| {
        let mut bytes = Vec::new();
        let root = Root::open(Path::new("/"), Access::Plain).ok()?;
        let file = root.open_file(Path::new(path)).ok()?;
        file.take(DATABASE_SIZE).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    let passwd = read("/etc/passwd").unwrap_or_default();
    let group = read("/etc/group").unwrap_or_default();
    OwnerNames::parse(&passwd, &group)
}
