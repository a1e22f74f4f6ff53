//! A scratch directory, and the program running in it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The built program.
const BINARY: &str = env!("CARGO_BIN_EXE_bundle");

/// A directory that goes away with the test.
pub struct Scratch {
    directory: tempfile::TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Scratch {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn read(&self, name: impl AsRef<Path>) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn read_json(&self, name: impl AsRef<Path>) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The program with an empty environment, in the scratch directory.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.program(Path::new(BINARY), args)
    }

    /// The program under another name.
    pub fn command_as<S: AsRef<OsStr>>(
        &self,
        name: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let link = self.path(name);
        std::os::unix::fs::symlink(BINARY, &link).unwrap();
        self.program(&link, args)
    }

    fn program<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program with the words of a line.
    pub fn run(&self, line: &str) -> Outcome {
        self.run_args(line.split_whitespace())
    }

    /// Runs the program.
    pub fn run_args<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        Outcome::of(&mut self.command(args))
    }

    /// Runs the program, which must succeed and say nothing on stderr, and returns what it says on stdout.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        let outcome = self.run(line);
        assert_eq!((outcome.code, &*outcome.stderr), (0, ""), "{line}");
        outcome.stdout
    }

    /// Runs the program, which must fail without a word on stdout, and returns what it says on stderr.
    #[track_caller]
    pub fn fails(&self, line: &str) -> String {
        let outcome = self.run(line);
        assert_eq!((outcome.code, &*outcome.stdout), (1, ""), "{line}");
        outcome.stderr
    }

    /// Runs the program several times at once, and returns how each run ended when all have.
    pub fn run_together<S: AsRef<str>>(&self, lines: &[S]) -> Vec<Outcome> {
        let start = |line: &S| {
            let mut command = self.command(line.as_ref().split_whitespace());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn()
        };
        // All are waited for before anything is asserted: the directory that they work in goes with a failing test.
        let children: Vec<_> = lines.iter().map(start).collect();
        let outputs: Vec<_> = children
            .into_iter()
            .map(|child| child.and_then(std::process::Child::wait_with_output))
            .collect();
        outputs
            .into_iter()
            .map(|output| output.unwrap().into())
            .collect()
    }

    /// The same, where every run must succeed.
    #[track_caller]
    pub fn ok_together<S: AsRef<str>>(&self, lines: &[S]) {
        let outcomes = self.run_together(lines);
        for (line, outcome) in lines.iter().zip(outcomes) {
            assert_eq!(outcome.code, 0, "{}: {}", line.as_ref(), outcome.stderr);
        }
    }

    /// Makes a layout with empty images under these tags.
    #[track_caller]
    pub fn layout(&self, name: &str, tags: &[&str]) {
        self.ok(&format!("init --layout {name}"));
        for tag in tags {
            self.ok(&format!("new --image {name}:{tag}"));
        }
    }
}

impl Outcome {
    pub fn of(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("ended by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
