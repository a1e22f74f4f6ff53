//! The commands on the layer store: what they print, what they refuse, what they repair.
//!
//! - `listing`: what is there, containers and names
//! - `content`: what containers have changed, as lists, layers, images and archives
//! - `json`: every document is as its schema says
//! - `repair`: what a check finds, and what a repair puts right
//! - `unshare`: commands in a user namespace

mod content;
mod json;
mod listing;
mod repair;
mod unshare;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::image::{Image, Layer};
use crate::machine::{Bounded, Scratch, names_in, said};

/// A store, and a layout with an image that has a plain layer, one that needs a variant, and one with implied directories.
struct Fixture {
    scratch: Scratch,
    image: String,
}

impl Fixture {
    fn new() -> Self {
        let scratch = Scratch::new(&[]);
        let base = Layer::new()
            .directory("etc/", 0o750)
            .file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\n")
            .file("data", 0o640, &[7; 10_000]);
        let link = Layer::new()
            .hard_link("again", "data")
            .file("etc/group", 0o644, b"root:x:0:\n");
        let top = Layer::new().file("etc/hosts", 0o644, b"127.0.0.1 localhost\n");
        let image = Image::new().layer(base).layer(link).layer(top);
        image.write(&scratch.path("layout"));
        let image = format!("{}:latest", scratch.path("layout").display());
        Self { scratch, image }
    }

    /// The same, with the image in the store.
    fn filled() -> Self {
        let fixture = Self::new();
        let target = fixture.directory("view");
        fixture
            .tool(&["mount", "--image", &fixture.image])
            .arg(&target)
            .succeed();
        fixture.tool(&["umount"]).arg(&target).succeed();
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// A command with the flag for the store behind its other arguments so far.
    fn tool(&self, arguments: &[&str]) -> Bounded {
        let store = self.path("store").display().to_string();
        self.scratch.tool(arguments).args(&["--store", &store])
    }

    /// What a command prints as JSON.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.tool(arguments).args(&["--json"]).succeed();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Runs a check; its exit code and what it prints.
    fn check(&self, arguments: &[&str]) -> (i32, Value) {
        let words = [&["store", "check", "--json"], arguments].concat();
        let output = self.tool(&words).output();
        let text = said(&output);
        let value = serde_json::from_slice(&output.stdout);
        let value = value.unwrap_or_else(|error| panic!("{error}: {text}"));
        (output.status.code().unwrap(), value)
    }

    /// The error of a command that fails, as JSON.
    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> Value {
        let output = self.tool(arguments).args(&["--json"]).output();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(!output.stderr.is_empty());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The directories of the plain layers of the image, bottom first.
    fn layers(&self) -> Vec<PathBuf> {
        let image = self.json(&["store", "inspect", &self.image]);
        let ids = image["chain"]["diff_ids"].as_array().unwrap().iter();
        let path = |id: &Value| {
            self.path("store/layers")
                .join(id.as_str().unwrap().replace(':', "/"))
        };
        ids.map(path).collect()
    }

    /// What is wrong, as `kind what action`, in the order of the report.
    fn problems(report: &Value) -> Vec<String> {
        let problems = report["problems"].as_array().unwrap().iter();
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        problems
            .map(|problem| {
                let kind = word(&problem["object"]["kind"]);
                format!(
                    "{kind} {} {}",
                    word(&problem["what"]),
                    word(&problem["action"])
                )
            })
            .collect()
    }

    /// Asserts that the image is seen as it was made.
    #[track_caller]
    fn assert_sound(&self) {
        let (code, report) = self.check(&[]);
        assert_eq!((code, Self::problems(&report)), (0, vec![]));
        let target = self.path("sound");
        let _ = fs::create_dir(&target);
        self.tool(&["store", "mount", &self.image])
            .arg(&target)
            .succeed();
        assert_eq!(fs::read(target.join("again")).unwrap(), [7; 10_000]);
        assert_eq!(names_in(&target), ["again", "data", "etc"]);
        assert_eq!(names_in(&target.join("etc")), ["group", "hosts", "passwd"]);
        let mode = fs::metadata(target.join("etc"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o750);
        self.tool(&["store", "umount"]).arg(&target).succeed();
    }

    /// A container `box` on the image, mounted; where it is.
    fn mount_box(&self) -> PathBuf {
        let target = self.directory("root");
        self.tool(&["store", "prepare", "--key", "box", &self.image])
            .succeed();
        self.tool(&["store", "mount", "box"]).arg(&target).succeed();
        target
    }
}
