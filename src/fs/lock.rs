//! Locks between processes that tell who holds them.
//!
//! A lock is one of an open file description (`F_OFD_SETLK`): two in one process exclude each other too, the kernel frees
//! it when its holder dies, however that happens, and closing another descriptor of the file does not lose it. Who holds
//! it exclusively writes a process number into the file, for the error of those that it keeps out; that is talk, and
//! nothing depends on it.
//!
//! The file stays. Who wants to remove it, together with what it guards, holds it exclusively meanwhile: a lock on a file
//! that has lost its name is noticed and taken anew.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::dir::{Dir, escape_name, regular, stat_of};
use super::syscall::lock_description;
use crate::error::{Error, ErrorKind, Result};

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// By any number at once.
    Shared,
    /// By one alone.
    Exclusive,
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
    mode: LockMode,
}

/// The longest process number, with its line break.
const NOTE_SIZE: u64 = 16;

/// The first and the longest time between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

impl LockFile {
    /// Takes a lock on a file in a directory, which is made with mode 0600 if need be. If others hold it, waits for at
    /// most `timeout`, or for as long as it takes.
    ///
    /// A shared lock on a file that may not be written, as in a store on a read-only file system, is fine if the file
    /// is there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] if others still hold it, with the process where that is known; [`ErrorKind::Unsupported`] if
    /// the file system has no such locks; [`ErrorKind::InvalidData`] if the name is no regular file; and if the file can
    /// be neither opened nor made.
    pub fn acquire(
        dir: &Dir,
        name: &[u8],
        mode: LockMode,
        timeout: Option<Duration>,
    ) -> Result<Self> {
        let deadline = timeout.map(|timeout| Instant::now().checked_add(timeout));
        let (mut pause, longest) = PAUSES;
        loop {
            let file = open(dir, name, mode)?;
            // A time that no clock will show is as good as none.
            let wait = matches!(deadline, None | Some(None));
            match lock_description(file.as_fd(), kind_of(mode), wait) {
                Ok(()) if is_named(dir, name, &file)? => {
                    return Ok(Self::held(file, dir.path_of(name), mode));
                }
                Ok(()) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => {
                    let left = deadline.flatten().map_or(Duration::ZERO, |deadline| {
                        deadline.saturating_duration_since(Instant::now())
                    });
                    if left.is_zero() {
                        return Err(held_by_others(&dir.path_of(name), &file));
                    }
                    std::thread::sleep(pause.min(left));
                    pause = (pause * 2).min(longest);
                }
                Err(errno) => return Err(refused(&dir.path_of(name), errno)),
            }
        }
    }

    /// Takes a lock if nobody is in the way: as [`acquire`](Self::acquire), but `None` where that would wait.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), but for [`ErrorKind::Busy`].
    pub fn try_acquire(dir: &Dir, name: &[u8], mode: LockMode) -> Result<Option<Self>> {
        match Self::acquire(dir, name, mode, Some(Duration::ZERO)) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == ErrorKind::Busy => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn held(file: File, path: PathBuf, mode: LockMode) -> Self {
        // Without a note, or with the one that a dead process left, the error of others says less: no more than that.
        let _ = file.set_len(0);
        if mode == LockMode::Exclusive {
            let note = format!("{}\n", std::process::id());
            let _ = file.write_all_at(note.as_bytes(), 0);
        }
        Self { file, path, mode }
    }

    /// How the lock is held.
    pub fn mode(&self) -> LockMode {
        self.mode
    }

    /// The path of the file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if self.mode == LockMode::Exclusive {
            let _ = self.file.set_len(0);
        }
        // Closing would free it too, but not while a child that was just forked still has a copy of the descriptor.
        let _ = lock_description(self.file.as_fd(), libc::F_UNLCK, false);
    }
}

fn kind_of(mode: LockMode) -> i32 {
    match mode {
        LockMode::Shared => libc::F_RDLCK,
        LockMode::Exclusive => libc::F_WRLCK,
    }
}

fn open(dir: &Dir, name: &[u8], mode: LockMode) -> Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = |flags| rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR);
    let opened = match open(flags | OFlags::RDWR | OFlags::CREATE) {
        Err(Errno::ROFS | Errno::ACCESS) if mode == LockMode::Shared => {
            open(flags | OFlags::RDONLY)
        }
        other => other,
    };
    regular(opened.map_err(dir.fail("open lock", name))?, || {
        dir.path_of(name)
    })
}

/// Whether the file that was locked is still the one of that name.
fn is_named(dir: &Dir, name: &[u8], file: &File) -> Result<bool> {
    let locked = stat_of(file.as_fd()).map_err(dir.fail("stat", name))?;
    Ok(dir
        .try_stat(name)?
        .is_some_and(|named| named.id == locked.id))
}

fn held_by_others(path: &Path, file: &File) -> Error {
    let holder = holder(file).unwrap_or_else(|| "another process".to_owned());
    let message = format!("lock {}: held by {holder}", path.display());
    Error::new(ErrorKind::Busy, message)
}

/// Who holds it exclusively, if that process has said so and is alive.
fn holder(file: &File) -> Option<String> {
    // The position is this descriptor's own, and at the beginning.
    let mut note = String::new();
    file.take(NOTE_SIZE).read_to_string(&mut note).ok()?;
    let pid: u32 = note.trim_ascii_end().parse().ok()?;
    if pid == std::process::id() {
        return Some("this process".to_owned());
    }
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = escape_name(name.trim_ascii_end());
    Some(format!("process {pid} ({name})"))
}

fn refused(path: &Path, errno: Errno) -> Error {
    let error = Error::io("lock", path, errno);
    match errno {
        Errno::NOLCK | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP => {
            let message = format!("lock {}: the file system has no locks", path.display());
            Error::new(ErrorKind::Unsupported, message)
                .with_source(errno)
                .with_hint("use a directory on a local file system")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Access;
    use LockMode::{Exclusive, Shared};

    fn fixture() -> (tempfile::TempDir, Dir) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open(scratch.path(), Access::Plain).unwrap();
        (scratch, dir)
    }

    fn attempt(dir: &Dir, mode: LockMode) -> Option<LockFile> {
        LockFile::try_acquire(dir, b"lock", mode).unwrap()
    }

    #[test]
    fn many_share_a_lock_and_one_holds_it_alone() {
        let (_scratch, dir) = fixture();
        let first = attempt(&dir, Shared).unwrap();
        let second = attempt(&dir, Shared).unwrap();
        assert!(attempt(&dir, Exclusive).is_none());
        drop(first);
        assert!(attempt(&dir, Exclusive).is_none());
        drop(second);
        let alone = attempt(&dir, Exclusive).unwrap();
        assert!(attempt(&dir, Shared).is_none() && attempt(&dir, Exclusive).is_none());
        drop(alone);
        assert!(attempt(&dir, Shared).is_some());
    }

    #[test]
    fn the_error_says_who_holds_the_lock() {
        let (scratch, dir) = fixture();
        let busy = || {
            let short = Some(Duration::from_millis(5));
            LockFile::acquire(&dir, b"lock", Shared, short).unwrap_err()
        };
        let _lock = attempt(&dir, Exclusive).unwrap();
        assert_eq!(busy().kind(), ErrorKind::Busy);
        assert!(busy().chain().ends_with("lock: held by this process"));
        let note = |text: &str| std::fs::write(scratch.path().join("lock"), text).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        note(&format!("{}\n", child.id()));
        let told = busy().chain();
        child.kill().unwrap();
        child.wait().unwrap();
        let (pid, name) = told
            .split_once("held by process ")
            .unwrap()
            .1
            .split_once(' ')
            .unwrap();
        assert_eq!(pid, child.id().to_string());
        assert!(name.starts_with('(') && name.ends_with(')'), "{told}");
        for odd in [
            "",
            "x",
            "4294967295",
            "99999999999999999999\n",
            "-1\n",
            &format!("{}\n", child.id()),
        ] {
            note(odd);
            assert!(
                busy().chain().ends_with("held by another process"),
                "{odd:?}"
            );
        }
    }

    #[test]
    fn who_waits_gets_the_lock_when_it_is_free() {
        let (_scratch, dir) = fixture();
        for timeout in [None, Some(Duration::from_secs(60)), Some(Duration::MAX)] {
            let lock = attempt(&dir, Exclusive).unwrap();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| LockFile::acquire(&dir, b"lock", Exclusive, timeout));
                std::thread::sleep(Duration::from_millis(10));
                assert!(!waiting.is_finished());
                drop(lock);
                waiting.join().unwrap().unwrap();
            });
        }
    }

    #[test]
    fn a_lock_on_a_file_that_was_removed_is_taken_anew() {
        let (scratch, dir) = fixture();
        let path = scratch.path().join("lock");
        let first = attempt(&dir, Exclusive).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| LockFile::acquire(&dir, b"lock", Exclusive, None));
            std::thread::sleep(Duration::from_millis(10));
            std::fs::remove_file(&path).unwrap();
            drop(first);
            let lock = waiting.join().unwrap().unwrap();
            assert!(is_named(&dir, b"lock", &lock.file).unwrap());
        });
    }

    #[test]
    fn the_note_goes_with_its_holder() {
        let (scratch, dir) = fixture();
        let note = || std::fs::read_to_string(scratch.path().join("lock")).unwrap();
        let lock = attempt(&dir, Exclusive).unwrap();
        assert_eq!(note(), format!("{}\n", std::process::id()));
        drop(lock);
        assert_eq!(note(), "");
        std::fs::write(scratch.path().join("lock"), "1\n").unwrap();
        let _shared = attempt(&dir, Shared).unwrap();
        assert_eq!(note(), "", "that of a dead process");
    }

    #[test]
    fn links_and_directories_are_no_lock_files() {
        let (scratch, dir) = fixture();
        std::os::unix::fs::symlink("elsewhere", scratch.path().join("link")).unwrap();
        std::fs::create_dir(scratch.path().join("dir")).unwrap();
        for name in [&b"link"[..], b"dir"] {
            assert!(LockFile::try_acquire(&dir, name, Exclusive).is_err());
        }
        assert!(!scratch.path().join("elsewhere").exists());
    }
}
