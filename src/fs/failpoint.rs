//! Failpoints: places where tests make a process crash, to see what it leaves behind.
//!
//! Each step that changes what others see, or what a later process has to clean up, has a name ([`hit`]). A test sets a hook;
//! without one, a failpoint costs one load. All of it is for builds with debug assertions, which tests have: in a release a
//! failpoint is nothing.

#[cfg(debug_assertions)]
use std::sync::OnceLock;

/// What is called at every failpoint, with its name.
#[cfg(debug_assertions)]
pub type Hook = Box<dyn Fn(&'static str) + Send + Sync>;

#[cfg(debug_assertions)]
static HOOK: OnceLock<Hook> = OnceLock::new();

/// Sets the hook, once a process. `false` if there is one already.
#[cfg(debug_assertions)]
pub fn set_hook(hook: Hook) -> bool {
    HOOK.set(hook).is_ok()
}

/// A failpoint.
#[cfg_attr(
    not(debug_assertions),
    expect(unused_variables, reason = "failpoints are for tests")
)]
pub fn hit(name: &'static str) {
    #[cfg(debug_assertions)]
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
}

/// Ends the process as a crash does: at once, with nothing cleaned up.
#[cfg(debug_assertions)]
pub fn crash() {
    let own = rustix::process::getpid();
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}
