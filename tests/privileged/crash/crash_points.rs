//! An unpack that ends at any moment: killed, or by a signal that it hears.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::crash_fs::{Ground, UNPACK, addition, base, inventory};
use crate::image::{Image, Layer};
use crate::machine::names_in;
use crate::tree::Tree;

/// Layers of some megabytes.
fn some_megabytes() -> Image {
    let mut image = Image::new().layer(base());
    for number in 0..3_u8 {
        let mut layer = Layer::new().directory("many/", 0o755);
        for file in 0..200_u8 {
            let content: Vec<u8> = (0..8000_u32)
                .map(|at| (at.wrapping_mul(at) >> (file % 7)).to_le_bytes()[0] ^ number)
                .collect();
            layer = layer.file(&format!("many/{number}-{file}"), 0o644, &content);
        }
        image = image.layer(layer);
    }
    image.layer(addition())
}

fn start(ground: &Ground) -> Child {
    Command::new(ground.binary())
        .args(UNPACK)
        .current_dir(ground.path(""))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Signals an unpack at so many moments of its life, and has what is left looked at.
fn interrupt(signal: Signal, rounds: u32, check: impl Fn(&Ground)) {
    let (ground, flat) = Ground::with_image(some_megabytes());
    ground.keep();
    let started = Instant::now();
    assert!(start(&ground).wait().unwrap().success());
    let mut duration = started.elapsed();
    ground.gc();
    let expected = inventory(&ground.path("store"));
    let mut interrupted = 0;
    for round in 0..rounds {
        ground.restore();
        let mut child = start(&ground);
        thread::sleep(duration * round / rounds);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        if status.signal() == Some(signal.as_raw()) {
            interrupted += 1;
        } else {
            // The first one had to share the machine with more than this one.
            duration = duration * 3 / 4;
        }
        ground.assert_sound();
        check(&ground);
        if ground.path("b/rootfs").exists() {
            ground.succeed(&["mount", "b"]);
        } else {
            ground.succeed(&UNPACK);
        }
        let at = format!("unpacked after an interruption in round {round}");
        Tree::read(&ground.path("b/rootfs")).assert_same(&flat, &at);
        ground.assert_sound();
        ground.gc();
        assert_eq!(inventory(&ground.path("store")), expected, "{at}");
    }
    assert!(
        interrupted >= rounds / 3,
        "{interrupted} of {rounds} were interrupted"
    );
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_unpack_may_be_killed_at_any_moment() {
    interrupt(Signal::KILL, 30, |_| {});
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_unpack_that_hears_a_signal_leaves_nothing_in_the_making() {
    for signal in [Signal::INT, Signal::TERM] {
        interrupt(signal, 8, |ground| {
            let staging = ground.path("store/staging");
            if fs::exists(&staging).unwrap() {
                assert_eq!(names_in(&staging), [""; 0]);
            }
            let mut names = names_in(&ground.path(""));
            names.retain(|name| !matches!(&name[..], "b" | "image" | "store"));
            assert_eq!(names, [""; 0]);
        });
    }
}
