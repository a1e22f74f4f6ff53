//! Quotas of layers that are written to: one project for the upper directory and for the one that the kernel works in,
//! because nothing can be renamed from one project to another.
//!
//! The numbers are the store's own as far as it can tell: a range that depends on the store's inode, and in it the first
//! number that no layer has. Whether something else on the file system uses that range cannot be known.

use std::collections::BTreeSet;

use super::overlay::OverlayDriver;
use super::state::{Project, State};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::quota::{self, Limits};
use crate::fs::{Dir, failpoint};
use crate::store::{Reason, Store};

/// The first number of the first range.
const FIRST: u32 = 1 << 30;
/// How many numbers a range has.
const RANGE: u32 = 1 << 16;
/// How many ranges there are.
const RANGES: u64 = 1 << 14;

/// Makes sure that the file system of a store has quotas.
pub(super) fn check(store: &Store) -> Result<()> {
    let staging = store.staging()?;
    let project = FIRST - 1;
    quota::set(staging.dir(), project, Limits::default())
        .and_then(|()| quota::get(staging.dir()))
        .map(drop)
        .map_err(refused)
}

/// A project that nothing in the store has.
pub(super) fn allocate(driver: &OverlayDriver, limits: Limits) -> Result<Project> {
    let mut taken = BTreeSet::new();
    for container in driver.store.containers()? {
        let project = State::of(&container)?.and_then(|state| state.project);
        taken.extend(project.map(|project| project.number));
    }
    let first = first_of(driver.store.dir().stat_self()?.id.ino);
    let free = (first..first + RANGE).find(|number| !taken.contains(number));
    let number = free.ok_or_else(|| {
        let message = format!("find a project for a quota: all {RANGE} of the store are taken");
        Error::new(ErrorKind::LimitExceeded, message)
    })?;
    Ok(Project { number, limits })
}

fn first_of(inode: u64) -> u32 {
    // Less than the number of ranges, so it fits.
    let range = u32::try_from(inode % RANGES).unwrap_or_default();
    FIRST + range * RANGE
}

/// Gives the directories of a layer, which are empty, their project.
pub(super) fn apply(upper: &Dir, work: &Dir, project: &Project) -> Result<()> {
    join(upper, project)?;
    join(work, project)?;
    failpoint::hit("driver-quota");
    Ok(())
}

/// Makes an empty directory one more of a project.
pub(super) fn join(dir: &Dir, project: &Project) -> Result<()> {
    quota::set(dir, project.number, project.limits).map_err(refused)
}

/// Takes the limits of a project away that has no directory any more.
pub(super) fn forget(store: &Store, project: &Project) {
    // What stays of it limits nobody: whoever gets the number next sets limits of its own.
    if let Ok(staging) = store.staging() {
        let _ = quota::set(staging.dir(), project.number, Limits::default());
    }
}

fn refused(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unsupported => Reason::QuotaUnsupported.of_error(error),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_stores_do_not_overlap_and_numbers_fit() {
        assert_eq!(first_of(RANGES), FIRST);
        assert_eq!(first_of(7) - first_of(6), RANGE);
        assert!(first_of(RANGES - 1).checked_add(RANGE).is_some());
    }
}
