//! Signals that end the command: what it has in the making is removed first.
//!
//! A thread waits for them and, while the others still work, removes the staging directories; then the process dies of
//! the signal, as its parent expects. A second signal does not wait for that. What the process was started to ignore
//! (`nohup`) stays ignored.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use oci_bundle::fs::probe::ignores_signal;
use oci_bundle::fs::staging::remove_all_live;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

/// Leaves the signals of the terminal to a program that this one runs and waits for: that gets them too, as what they are by
/// default. (Ignored ones it would inherit, handled ones it does not.) Others end the process at once.
pub fn leave_to_others() -> io::Result<()> {
    for signal in [SIGINT, SIGQUIT] {
        if !ignores_signal(signal) {
            flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
    }
    Ok(())
}

/// Watches for signals from here on.
pub fn watch() -> io::Result<()> {
    let watched = [SIGHUP, SIGINT, SIGTERM].map(|signal| (signal, ignores_signal(signal)));
    let watched = watched.iter().filter(|(_, ignored)| !ignored);
    let watched: Vec<i32> = watched.map(|(signal, _)| *signal).collect();
    let mut signals = Signals::new(&watched)?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let Some(signal) = signals.forever().next() else {
                return;
            };
            let _stopped = remove_all_live();
            // Returns only for a signal that it does not know; of these there is none here.
            let _ = low_level::emulate_default_handler(signal);
        })?;
    // In this order, so that the first signal passes the first of the two.
    let again = Arc::new(AtomicBool::new(false));
    for signal in watched {
        flag::register_conditional_default(signal, Arc::clone(&again))?;
        flag::register(signal, Arc::clone(&again))?;
    }
    Ok(())
}
