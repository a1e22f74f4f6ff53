//! What dead processes left: staging directories, and entries moved half-way out of them.
//!
//! Anybody may make a directory with such a name where others stage too. So a directory counts only if this user has
//! made it, for itself alone, and where nobody else can have put it in place of another; and its journal is believed
//! only where nobody else can have touched what it speaks of. Nothing here fails: what cannot be swept up stays.

use std::io::Read;
use std::os::fd::AsFd;

use rustix::fs::FlockOperation;

use super::atomic::rename_new;
use super::dir::{Dir, stat_of};
use super::stat::{InodeId, InodeKind, Stat};

/// The file in a staging directory that lists what is being moved out of it: for each entry its inode and its name,
/// ended by a zero byte.
pub(super) const JOURNAL: &str = ".journal";

/// The most that a journal may have: it comes from disk.
const MAX_JOURNAL: u64 = 64 << 10;

/// An entry that is being moved, and its name.
pub(super) type Moved = (InodeId, Vec<u8>);

/// The content of a journal.
pub(super) fn journal(moved: &[Moved]) -> Vec<u8> {
    let mut journal = Vec::new();
    for (id, name) in moved {
        journal.extend_from_slice(format!("{} {} ", id.dev, id.ino).as_bytes());
        journal.extend_from_slice(name);
        journal.push(0);
    }
    journal
}

/// Removes the staging directories of this prefix that dead processes of this user left.
pub(super) fn sweep(parent: &Dir, prefix: &str) {
    let Ok(place) = parent.stat_self() else {
        return;
    };
    // Whoever may rename what is ours could have us remove anything of ours.
    if others_may_write(&place) && place.mode & 0o1000 == 0 {
        return;
    }
    for name in parent.names().unwrap_or_default() {
        let digits = name.strip_prefix(prefix.as_bytes()).unwrap_or_default();
        if digits.len() != 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
            continue;
        }
        let Some(dir) = open_own(parent, &name) else {
            continue;
        };
        if rustix::fs::flock(dir.as_fd(), FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        if place.uid == own_user() && !others_may_write(&place) {
            roll_back(parent, &dir);
        }
        // What cannot be removed is left to the next one.
        let _ = parent.remove_all(&name);
    }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn others_may_write(stat: &Stat) -> bool {
    stat.mode & 0o022 != 0
}

/// Opens a directory that this user has made for itself alone. Of others not even the mode is touched.
fn open_own(parent: &Dir, name: &[u8]) -> Option<Dir> {
    let own = |stat: &Stat| stat.is_dir() && stat.uid == own_user() && stat.mode == 0o700;
    let seen = parent.try_stat(name).ok().flatten().filter(own)?;
    let dir = parent.open_dir(name).ok()?;
    let opened = dir.stat_self().ok().filter(own)?;
    (opened.id == seen.id).then_some(dir)
}

/// Takes back what was moved out of a staging directory, unless all of it was.
fn roll_back(parent: &Dir, staging: &Dir) {
    let moved = read_journal(staging).unwrap_or_default();
    let Some((_, last)) = moved.last() else {
        return;
    };
    if matches!(staging.try_stat(last), Ok(Some(_))) {
        take_back(parent, staging, &moved);
    }
}

/// Moves entries back into a staging directory.
pub(super) fn take_back(parent: &Dir, staging: &Dir, moved: &[Moved]) {
    for (id, name) in moved {
        // Only what is still what was moved: somebody may have put something else there since.
        if matches!(parent.try_stat(name), Ok(Some(stat)) if stat.id == *id) {
            // What cannot be moved back stays; the failure that led here is the one to tell.
            let _ = rename_new(parent, name, staging, name);
        }
    }
}

/// Reads a journal. `None` if there is none, or if any of it is not what this user's process would have written.
fn read_journal(staging: &Dir) -> Option<Vec<Moved>> {
    let file = staging.open_file(JOURNAL.as_bytes()).ok()?;
    let stat = stat_of(file.as_fd()).ok()?;
    if stat.kind != InodeKind::File || stat.uid != own_user() {
        return None;
    }
    let mut content = Vec::new();
    let read = file.take(MAX_JOURNAL + 1).read_to_end(&mut content).ok()?;
    // A journal is whole or worthless: it is synced before anything is moved.
    if read as u64 > MAX_JOURNAL || content.pop() != Some(0) {
        return None;
    }
    content
        .split(|&byte| byte == 0)
        .map(journal_entry)
        .collect()
}

fn journal_entry(line: &[u8]) -> Option<Moved> {
    let mut fields = line.splitn(3, |&byte| byte == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let id = InodeId {
        dev: number()?,
        ino: number()?,
    };
    let name = fields.next()?;
    let single = !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/');
    single.then(|| (id, name.to_vec()))
}
