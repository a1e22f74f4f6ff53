//! Signals in the middle of the work.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Layer, Scratch, store_layers};

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// A scratch directory with an image that takes a while to unpack.
fn slow_image() -> Scratch {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let mut layer = Layer::default();
    for directory in 0..50 {
        layer = layer.dir(&format!("d{directory}/"));
        for file in 0..1000 {
            layer = layer.file(&format!("d{directory}/f{file}"), "content");
        }
    }
    store_layers(&scratch.path("x"), "slow", &[layer]);
    scratch
}

/// Starts to unpack, and returns when files are being made.
fn start(scratch: &Scratch, parent: &str, target: &str, ignored: Option<&str>) -> Child {
    let mut command = match ignored {
        None => scratch.command(["unpack", "--rootless", "--image", "x:slow", target]),
        Some(signals) => {
            let program = scratch.command([""]).get_program().to_owned();
            let mut shell = std::process::Command::new("/bin/sh");
            let script = format!("trap '' {signals}; exec \"$@\"");
            shell.args(["-c", &script, "sh"]).arg(program);
            shell.args(["unpack", "--rootless", "--image", "x:slow", target]);
            shell.current_dir(scratch.path(""));
            shell
        }
    };
    command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn().unwrap();
    let parent = scratch.path(parent);
    let at_work = |name: &String| {
        name.starts_with(".bundle-unpack-") && parent.join(name).join("rootfs/d1").exists()
    };
    while !names(&parent).iter().any(at_work) {
        assert!(child.try_wait().unwrap().is_none(), "it was done too soon");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_signal_during_unpack_leaves_nothing_and_is_what_the_process_dies_of() {
    let scratch = slow_image();
    fs::create_dir(scratch.path("parent")).unwrap();
    fs::create_dir(scratch.path("parent/old")).unwrap();
    for (signal, target, staged_in) in [
        (Signal::TERM, "parent/new", "parent"),
        (Signal::INT, "parent/old", "parent/old"),
        (Signal::HUP, "parent/new", "parent"),
    ] {
        let child = start(&scratch, staged_in, target, None);
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(signal.as_raw()), "{output:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{target}");
        assert_eq!(names(&scratch.path("parent")), ["old"]);
        assert!(names(&scratch.path("parent/old")).is_empty());
    }
}

#[test]
fn a_signal_that_the_process_was_started_to_ignore_is_ignored() {
    let scratch = slow_image();
    fs::create_dir(scratch.path("parent")).unwrap();
    let child = start(&scratch, "parent", "parent/new", Some("HUP"));
    send(&child, Signal::HUP);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(names(&scratch.path("parent")), ["new"]);
}
