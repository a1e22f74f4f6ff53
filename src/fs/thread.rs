//! Threads, which the system may refuse: limits of processes (`ulimit -u`, `pids.max`) count them too.
//!
//! What needs a thread fails with an error that says so; what is only faster with more of them does with fewer.

use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::error::{Result, ResultExt};

/// Starts a thread with a name, by which a debugger or a profiler shows it.
///
/// # Errors
///
/// Fails if the system refuses another thread.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, work)
        .context(|| format!("start thread {name}"))
        .map_err(|error| {
            error.with_hint("the processes of this user are limited, maybe (ulimit -u, pids.max)")
        })
}

/// Waits for a thread. Its panic goes on here.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Does the same work in this thread and in others beside it, `count` of them together, or as many as the system allows.
pub(crate) fn side_by_side<T: Send>(
    count: usize,
    name: &str,
    work: &(impl Fn() -> T + Sync),
) -> Vec<T> {
    std::thread::scope(|scope| {
        let others = (1..count).map_while(|_| spawn(scope, name, work).ok());
        let others: Vec<_> = others.collect();
        let mut results = vec![work()];
        results.extend(others.into_iter().map(join));
        results
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_does_the_work_once_and_this_one_too() {
        for count in [0, 1, 4] {
            assert_eq!(side_by_side(count, "work", &|| 7), vec![7; count.max(1)]);
        }
    }
}
