//! Other programs, run for a moment: none is waited for longer than it may take.
//!
//! What a program says goes to a file in memory, not to a pipe: whatever it leaves behind may keep that open, and nobody
//! waits for its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal};

use super::dir::escape_name;
use crate::error::{Error, ErrorKind, Result, ResultExt as _};

/// The first and the longest time between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(20));

/// How long a killed program is waited for. One that the kernel holds fast stays behind.
const KILLED: Duration = Duration::from_secs(2);

/// The most of what a program says that is repeated.
const MAX_SAID: usize = 4096;

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub status: ExitStatus,
    /// What it said on stderr, in one printable line.
    pub said: String,
}

/// Runs a program without input, in a process group of its own, and waits for its end for at most `limit`; then the
/// group is killed.
///
/// # Errors
///
/// That of starting it: [`ErrorKind::NotFound`] if there is no such program; [`ErrorKind::Busy`] if it took too long.
pub(super) fn run(mut command: Command, limit: Duration) -> Result<Ended> {
    let program = escape_name(command.get_program().as_encoded_bytes());
    let running = || format!("run {program}");
    let said = rustix::fs::memfd_create("stderr", MemfdFlags::CLOEXEC).context(running)?;
    let said = File::from(said);
    let stderr = said.try_clone().context(running)?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .process_group(0);
    let mut child = command.spawn().context(running)?;
    let status = wait(&mut child, limit).context(|| format!("wait for {program}"))?;
    let said = repeat(&said);
    if let Some(status) = status {
        return Ok(Ended { status, said });
    }
    kill(&mut child);
    let separator = if said.is_empty() { "" } else { ": " };
    let message =
        format!("{program} has not ended after {limit:?} and was killed{separator}{said}");
    Err(Error::new(ErrorKind::Busy, message))
}

/// Waits for at most `limit`; `None` if that is over.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    let (mut pause, longest) = PAUSES;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(longest);
    }
}

/// Kills a program and what it has started in its group.
fn kill(child: &mut Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // What is left of it is reported by the caller already.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    let _ = wait(child, KILLED);
}

fn repeat(said: &File) -> String {
    let mut content = vec![0; MAX_SAID];
    let count = said.read_at(&mut content, 0).unwrap_or(0);
    escape_name(content[..count].trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Ended> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, limit)
    }

    #[test]
    fn a_program_that_ends_is_heard() {
        let ended = shell("echo loud; echo no >&2; exit 3", Duration::from_secs(60)).unwrap();
        assert_eq!((ended.status.code(), &*ended.said), (Some(3), "no"));
        let error = run(Command::new("/none"), Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_what_it_has_started() {
        let start = Instant::now();
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("pid");
        let script = format!(
            "sleep 1000 & echo $! > {}; echo so far >&2; wait",
            file.display()
        );
        let error = shell(&script, Duration::from_millis(500)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().ends_with("was killed: so far"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(30));
        let pid = std::fs::read_to_string(file).unwrap();
        let state = format!("/proc/{}/stat", pid.trim());
        // Gone, or dead and not waited for yet.
        while std::fs::read_to_string(&state).is_ok_and(|text| !text.contains(") Z ")) {
            assert!(start.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_a_program_leaves_running_is_not_waited_for() {
        let start = Instant::now();
        let ended = shell("sleep 20 & exit 0", Duration::from_secs(60)).unwrap();
        assert!(ended.status.success());
        assert!(start.elapsed() < Duration::from_secs(15));
    }
}
