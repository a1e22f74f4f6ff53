//! Many processes on one store: each layer is unpacked once, nobody loses what he relies on, and nobody waits for ever.
//!
//! - `unpacking`: many unpack at once
//! - `collecting`: somebody collects meanwhile
//! - `commands`: each command on the store, while others add, remove and collect
//! - `mounting`: many mount, unmount, remove and repack one bundle

mod collecting;
mod commands;
mod mounting;
mod unpacking;

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::crash::crash_fs::Ground;
use crate::machine::said;

/// How many processes do the same at once.
const CROWD: usize = 8;

/// Starts a command of the tested binary, as soon after the others as can be.
fn start(ground: &Ground, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    Command::new(ground.binary())
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(ground.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for all of them, ten minutes at most.
#[track_caller]
fn outputs(mut children: Vec<Child>) -> Vec<Output> {
    let end = Instant::now() + Duration::from_secs(600);
    // None says so much that it would have to wait for somebody to read it.
    while children
        .iter_mut()
        .any(|child| child.try_wait().unwrap().is_none())
    {
        if Instant::now() > end {
            for child in &mut children {
                child.kill().unwrap();
            }
            panic!("after ten minutes, not all have come to their ends");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = |child: Child| child.wait_with_output().unwrap();
    children.into_iter().map(output).collect()
}

#[track_caller]
fn assert_all_succeed(children: Vec<Child>) {
    for output in outputs(children) {
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// The arguments that unpack an image of a layout onto the store.
fn unpack<'a>(image: &'a str, bundle: &'a str) -> [&'a str; 7] {
    let store = "store";
    [
        "unpack",
        "--overlay",
        "--store",
        store,
        "--image",
        image,
        bundle,
    ]
}
