//! Commands when the system refuses something: no panic, no hang, no half state, and a second attempt works.
//!
//! - `calls`: one system call fails once
//! - `full`: a disk that becomes full
//! - `limits`: threads, descriptors and memory at their limits
//! - `programs`: other programs that are started, or not

mod calls;
mod full;
mod limits;
mod programs;

use std::path::PathBuf;
use std::process::Output;

use crate::image::{Image, Layer};
use crate::machine::{Scratch, said};

/// A layout `layout` with an image of two layers, a file `file`, and an archive `one.tar`.
struct Ground {
    scratch: Scratch,
}

impl Ground {
    fn new(peers: &[&str]) -> Self {
        let scratch = Scratch::new(peers);
        let base = Layer::new()
            .directory("etc/", 0o755)
            .file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\n")
            .file("data", 0o640, &vec![7; 300_000]);
        let top = Layer::new().file("etc/hosts", 0o644, b"127.0.0.1 localhost\n");
        let image = Image::new().layer(base).layer(top);
        image.write(&scratch.path("layout"));
        std::fs::write(scratch.path("file"), vec![8; 70_000]).unwrap();
        std::fs::write(scratch.path("one.tar"), archive()).unwrap();
        Self { scratch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// Runs the tool with the words of a line in the directory, as the user wants it.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let tool = self.scratch.tool(&words);
        tool.current_dir(&self.path("")).succeed()
    }
}

/// The archive of one file.
fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(70_000);
    header.set_mode(0o644);
    let content = vec![9; 70_000];
    archive
        .append_data(&mut header, "one", &content[..])
        .unwrap();
    archive.into_inner().unwrap()
}

/// A command may fail, in a way that a user can read.
#[track_caller]
fn assert_orderly(what: &str, output: &Output) {
    let text = said(output);
    assert!(!text.contains("panicked"), "{what}: {text}");
    // 127 is the dynamic loader's, which needs its files and memory like everyone.
    let code = output.status.code();
    assert!(
        matches!(code, Some(0 | 1 | 127)),
        "{what}: {code:?}: {text}"
    );
}
