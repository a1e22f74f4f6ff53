//! The staging directories that this process has in the making, for a command that ends before they are done.
//!
//! The library handles no signals. A command that does calls [`remove_all_live`] and then ends the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::dir::Dir;
use crate::error::Result;

/// Parent and name of each, by number.
static LIVE: Mutex<Register> = Mutex::new(Register {
    next: 0,
    entries: BTreeMap::new(),
});

/// How often a directory is tried: other threads may still be writing to it.
const TRIES: u32 = 1000;

#[derive(Debug)]
struct Register {
    next: u64,
    entries: BTreeMap<u64, (Dir, String)>,
}

fn register_lock() -> MutexGuard<'static, Register> {
    // A panic while it was held leaves at most an entry whose directory is gone, which is fine.
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place in the register.
#[derive(Debug)]
pub(super) struct Live(u64);

/// Enters a name in a directory.
pub(super) fn register(parent: &Dir, name: &str) -> Result<Live> {
    let parent = parent.open_dir(b".")?;
    let mut register = register_lock();
    let number = register.next;
    register.next += 1;
    register.entries.insert(number, (parent, name.to_owned()));
    Ok(Live(number))
}

/// Makes a registered directory something else, in one go as [`remove_all_live`] sees it: all of it, or nothing of it.
pub(super) fn publish(rename: impl FnOnce() -> Result<()>) -> Result<()> {
    let _whole = register_lock();
    rename()
}

impl Drop for Live {
    fn drop(&mut self) {
        register_lock().entries.remove(&self.0);
    }
}

/// Holds back every thread that would publish a staging directory or clean one up. The process is meant to end with it.
#[derive(Debug)]
#[must_use = "the process should end while this is held"]
pub struct Stopped {
    _register: MutexGuard<'static, Register>,
}

/// Removes all staging directories that this process has in the making, as far as that is possible, for a command that
/// is about to end the process: at a signal, from a thread of its own (not from a signal handler). What is being published at
/// that moment is published first.
///
/// As long as the result lives, threads that come to publish or to clean up wait: a command that ends the process while
/// it holds the result leaves nothing behind and says nothing of errors that only come from the removal.
pub fn remove_all_live() -> Stopped {
    let register = register_lock();
    for (parent, name) in register.entries.values() {
        for _ in 0..TRIES {
            if parent.remove_all(name.as_bytes()).is_ok() {
                break;
            }
        }
    }
    Stopped {
        _register: register,
    }
}
