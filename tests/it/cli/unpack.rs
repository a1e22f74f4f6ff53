//! `unpack`: what it refuses, and with how little it does.

use std::fs;
use std::process::Command;

use crate::support::{Layer, Scratch, store_layers};

#[test]
fn the_root_directory_does_not_become_a_bundle() {
    let scratch = Scratch::new();
    scratch.layout("x", &["a"]);
    for target in ["/", "/.", "/../", "//"] {
        let said = scratch.fails(&format!("unpack --rootless --image x:a {target}"));
        assert!(
            said.contains("the root directory cannot become a bundle"),
            "{said}"
        );
    }
}

/// A layer of 800 nested directories, in pieces that symbolic links lead to: the names in a plain header are short.
fn deep_layer() -> Layer {
    let piece = "d/".repeat(40);
    let mut layer = Layer::default();
    for number in 0..20_u32 {
        let above = number.checked_sub(1).map(|above| format!("l{above}/"));
        let path = above.unwrap_or_default() + &piece;
        layer = layer.dir(&path).symlink(&format!("l{number}"), &path);
    }
    layer
}

#[test]
fn a_deep_tree_is_unpacked_and_removed_again_with_few_descriptors() {
    let scratch = Scratch::new();
    scratch.layout("x", &[]);
    let layout = scratch.path("x");
    let missing = deep_layer().link("f", "missing");
    store_layers(&layout, "bad", &[missing]);
    store_layers(
        &layout,
        "good",
        &[deep_layer(), Layer::default().file(".wh.d", "")],
    );
    fs::create_dir(scratch.path("parent")).unwrap();
    for (tag, done) in [("bad", false), ("good", true)] {
        let program = scratch.command([""]).get_program().to_owned();
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", "ulimit -n 200; exec \"$@\"", "sh"])
            .arg(program);
        shell.args([
            "unpack",
            "--rootless",
            "--image",
            &format!("x:{tag}"),
            "parent/b",
        ]);
        let output = shell.current_dir(scratch.path("")).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), done, "{said}");
        assert!(!said.contains("Too many open files"), "{said}");
        let left = fs::read_dir(scratch.path("parent")).unwrap().count();
        assert_eq!(left, usize::from(done), "{tag}");
    }
    assert!(!scratch.path("parent/b/rootfs/d").exists());
    assert!(scratch.path("parent/b/rootfs/l19").is_symlink());
}
