//! A server of the tested binary, and programs beside it, ended with the test.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::client::Client;
use crate::machine::Scratch;

/// How long a program may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that is ended with the test.
pub struct Program {
    pub child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it, with what it says in a file.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Waits until somebody listens on a socket.
    pub fn wait_for(&mut self, socket: &Path) {
        let start = Instant::now();
        while UnixStream::connect(socket).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < PATIENCE,
                "{ended:?}\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it has said.
    pub fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Asks it to end; how it has ended.
    pub fn end(&mut self) -> std::process::ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may end by itself meanwhile.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if start.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                return self.child.wait().unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.end();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.said());
        }
    }
}

/// A server and its places.
pub struct Server {
    pub program: Program,
    pub socket: PathBuf,
    pub store: PathBuf,
}

impl Server {
    /// Starts one, whose containerd has its socket in the scratch directory.
    pub fn start(scratch: &Scratch) -> Self {
        Self::start_with(scratch, &[], &[])
    }

    pub fn start_with(scratch: &Scratch, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let (socket, store) = (scratch.path("run/bundle.sock"), scratch.path("store"));
        let mut command = Command::new(scratch.binary());
        command
            .args(["--log=debug", "serve", "--no-sync", "--socket"])
            .arg(&socket)
            .arg("--store")
            .arg(&store)
            .arg("--containerd")
            .arg(scratch.path("containerd.sock"))
            .args(arguments)
            .envs(environment.iter().copied());
        let mut program = Program::start(&mut command, scratch.path("serve.log"));
        program.wait_for(&socket);
        Self {
            program,
            socket,
            store,
        }
    }

    pub fn client(&self) -> Client {
        Client::new(&self.socket)
    }
}
