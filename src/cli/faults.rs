//! Deaths that tests ask for. Builds without debug assertions, which releases are, have none of this.

use std::io::Write as _;

use oci_bundle::fs::failpoint;

/// Does what `BUNDLE_FAULT` asks for: to die at a place, which is the name of a point, or the name, a colon and how
/// many times it is passed before, where `*` is every point; or, as `log:FILE`, to append the names of all points that
/// are passed to a file. So a test finds the places by itself, and none has to be listed.
pub fn watch() {
    let Some(fault) = std::env::var_os("BUNDLE_FAULT").filter(|fault| !fault.is_empty()) else {
        return;
    };
    let fault = fault.to_string_lossy().into_owned();
    let (name, rest) = fault.split_once(':').unwrap_or((&fault, "0"));
    if name == "log" {
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(rest);
        // Without a log there is nothing to see in it, which a test will notice.
        let Ok(log) = log else { return };
        failpoint::set_hook(Box::new(move |point| {
            let _ = (&log).write_all(format!("{point}\n").as_bytes());
        }));
        return;
    }
    let (name, passes) = (name.to_owned(), rest.parse().unwrap_or(0));
    let left = std::sync::atomic::AtomicU64::new(passes);
    failpoint::set_hook(Box::new(move |point| {
        use std::sync::atomic::Ordering;
        let is_it = name == point || name == "*";
        if is_it
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_err()
        {
            failpoint::crash();
        }
    }));
}
