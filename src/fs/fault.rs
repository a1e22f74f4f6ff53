//! Places at which a process may be made to die, so that tests can see what it leaves behind.
//!
//! Each step that changes what others see, or what a later process has to clean up, names itself ([`point`]). Whoever wants
//! to know what a death there leaves sets a hook; without one, a point costs one load.

use std::sync::OnceLock;

/// What is called at every point, with its name.
pub type Hook = Box<dyn Fn(&'static str) + Send + Sync>;

static HOOK: OnceLock<Hook> = OnceLock::new();

/// Sets the hook, once a process. `false` if there is one already.
pub fn set_hook(hook: Hook) -> bool {
    HOOK.set(hook).is_ok()
}

/// A place where a process may die.
pub fn point(name: &'static str) {
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
}

/// Ends the process as a crash does: at once, with nothing cleaned up.
pub fn die() {
    let own = rustix::process::getpid();
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}
