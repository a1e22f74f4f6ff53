//! `--progress-fd`: progress for programs.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Layer, Scratch, schema, store_layers};

/// Runs a line by a shell, with its descriptor 3 a pipe; returns the exit code and what came through the pipe.
fn run(scratch: &Scratch, line: &str) -> (i32, Vec<Value>) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut child = Command::new("/bin/sh")
        .args(["-c", &format!("exec 3>&1 >/dev/null; exec \"$0\" {line}")])
        .arg(env!("CARGO_BIN_EXE_bundle"))
        .current_dir(scratch.path(""))
        .stdout(Stdio::from(OwnedFd::from(writer)))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let code = child.wait().unwrap().code().unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (code, lines.collect())
}

#[test]
fn progress_is_a_line_for_each_event_from_start_to_end() {
    let scratch = Scratch::new();
    scratch.ok("init --layout x");
    let layers = [
        Layer::default().file("a", "1"),
        Layer::default().file("b", "2"),
    ];
    store_layers(&scratch.path("x"), "t", &layers);
    let (code, lines) = run(&scratch, "--progress-fd 3 unpack --rootless --image x:t b");
    assert_eq!(code, 0, "{lines:?}");
    for line in &lines {
        schema::check("progress", line);
    }
    let events: Vec<&str> = lines
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        (events[0], events[events.len() - 1]),
        ("started", "finished")
    );
    let count = |name: &str| events.iter().filter(|event| **event == name).count();
    assert_eq!(
        (count("layer_started"), count("layer_finished")),
        (2, 2),
        "{events:?}"
    );
    // Also behind the command; and a failure is the last line.
    let (code, lines) = run(&scratch, "unpack --progress-fd=3 --image x:none c");
    assert_eq!(code, 1);
    let last = lines.last().unwrap();
    schema::check("progress", last);
    assert_eq!(last["event"], "failed");
    assert!(
        last["error"]
            .as_str()
            .unwrap()
            .contains("tag not found: none")
    );
}

#[test]
fn a_reader_of_progress_that_goes_away_ends_nothing() {
    let scratch = Scratch::new();
    scratch.layout("x", &["t"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new("/bin/sh")
        .args([
            "-c",
            "exec 3>&1 >/dev/null; exec \"$0\" --progress-fd 3 unpack --rootless --image x:t b",
        ])
        .arg(env!("CARGO_BIN_EXE_bundle"))
        .current_dir(scratch.path(""))
        .stdout(Stdio::from(OwnedFd::from(writer)))
        .status()
        .unwrap();
    assert!(status.success());
    assert!(scratch.path("b/rootfs").is_dir());
}
