//! Hand-made layers, with the marks that anybody may set.

use super::*;
use crate::fs::Access;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

pub(crate) const MARKS: XattrNamespace = XattrNamespace::User;

/// Directories that are layers, the topmost first.
pub(crate) struct Layers {
    directory: tempfile::TempDir,
    count: usize,
}

impl Layers {
    /// Makes layers of lines: `name/` is a directory, `name/ = y` an opaque one, `-name` a whiteout, `name -> target` a
    /// symbolic link, `name == other` a hard link, `name` a file with its path as content, `name = text` one with that.
    /// What lies above a name is made. All is of one second.
    pub(crate) fn new(layers: &[&[&str]]) -> Self {
        let made = Self {
            directory: tempfile::tempdir().unwrap(),
            count: layers.len(),
        };
        for (number, lines) in layers.iter().enumerate() {
            fs::create_dir(made.path(number, "")).unwrap();
            for line in *lines {
                made.line(number, line);
            }
            made.settle(number);
        }
        made
    }

    pub(crate) fn path(&self, layer: usize, path: &str) -> PathBuf {
        self.directory.path().join(layer.to_string()).join(path)
    }

    fn line(&self, layer: usize, line: &str) {
        let at = |name: &str| {
            let path = self.path(layer, name.trim_end_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        if let Some((name, target)) = line.split_once(" -> ") {
            symlink(target, at(name)).unwrap();
        } else if let Some((name, other)) = line.split_once(" == ") {
            fs::hard_link(at(other), at(name)).unwrap();
        } else if let Some((name, text)) = line.split_once(" = ") {
            if name.ends_with('/') {
                fs::create_dir_all(at(name)).unwrap();
                set_xattr(&at(name), "user.overlay.opaque", text);
            } else {
                fs::write(at(name), text).unwrap();
            }
        } else if let Some(name) = line.strip_suffix('/') {
            fs::create_dir_all(at(name)).unwrap();
        } else if let Some((above, name)) = line.split_once('-') {
            let path = at(&format!("{above}{name}"));
            let dir = Dir::open(path.parent().unwrap(), Access::Plain).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(dir.create_whiteout(name.as_bytes()).unwrap());
        } else {
            fs::write(at(line), line).unwrap();
        }
    }

    /// Gives everything in a layer the same time.
    pub(crate) fn settle(&self, layer: usize) {
        for entry in walkdir::WalkDir::new(self.path(layer, "")).contents_first(true) {
            let time = filetime::FileTime::from_unix_time(1_000_000_000, 0);
            filetime::set_symlink_file_times(entry.unwrap().path(), time, time).unwrap();
        }
    }

    pub(crate) fn dir(&self, layer: usize) -> Dir {
        Dir::open(&self.path(layer, ""), Access::Plain).unwrap()
    }

    /// The stack of the layers from `first` down.
    pub(crate) fn stack(&self, first: usize) -> Stack {
        let layers = (first..self.count).map(|layer| self.dir(layer)).collect();
        Stack::new(layers, MARKS)
    }
}

pub(crate) fn set_xattr(path: &Path, name: &str, value: &str) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(path, name, value.as_bytes(), flags).unwrap();
}

/// The whole tree as lines: path, a slash for directories, and the layer that a name comes from.
fn lines(stack: &Stack) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        for (name, found) in stack.read_dir(&path).unwrap().unwrap() {
            assert_eq!(found.path(), join(&path, &name));
            let alone = stack.lookup(found.path()).unwrap().unwrap();
            assert_eq!((alone.layer, alone.stat), (found.layer, found.stat.clone()));
            let slash = if found.stat.is_dir() { "/" } else { "" };
            let shown = String::from_utf8_lossy(found.path()).into_owned();
            lines.push(format!("{shown}{slash} {}", found.layer));
            if found.stat.is_dir() {
                pending.push(found.path().to_vec());
            }
        }
    }
    lines.sort_unstable();
    lines
}

#[test]
fn names_of_all_layers_are_merged_and_the_topmost_layer_wins() {
    let layers = Layers::new(&[&["d/a", "t"], &["d/a", "d/b"], &["d/b", "d/e/c", "l -> d"]]);
    let expected = ["d/ 0", "d/a 0", "d/b 1", "d/e/ 2", "d/e/c 2", "l 2", "t 0"];
    let stack = layers.stack(0);
    assert_eq!(lines(&stack), expected);
    let link = stack.lookup(b"l").unwrap().unwrap();
    assert_eq!(link.read_link().unwrap(), b"d");
    assert!(
        stack.lookup(b"l/b").unwrap().is_none(),
        "links are not followed"
    );
    assert!(stack.lookup(b"t/x").unwrap().is_none());
    assert!(stack.read_dir(b"t").unwrap().is_none());
    assert!(stack.read_dir(b"x/y").unwrap().is_none());
    assert_eq!(stack.lookup(b"").unwrap().unwrap().layer, 0);
}

#[test]
fn whiteouts_hide_what_is_beneath_and_are_invisible_themselves() {
    let layers = Layers::new(&[
        &["d/-a", "dangling/-x", "-e"],
        &["d/a", "d/b", "e/f"],
        &["d/a", "e/g"],
    ]);
    assert_eq!(lines(&layers.stack(0)), ["d/ 0", "d/b 1", "dangling/ 0"]);
    assert!(layers.stack(0).lookup(b"e/g").unwrap().is_none());
}

#[test]
fn a_whiteout_in_a_lower_layer_ends_the_merge_of_a_directory() {
    let layers = Layers::new(&[&["d/a"], &["-d"], &["d/b"]]);
    assert_eq!(lines(&layers.stack(0)), ["d/ 0", "d/a 0"]);
}

#[test]
fn opaque_directories_hide_what_is_beneath_but_not_what_is_above() {
    let layers = Layers::new(&[&["d/a"], &["d/ = y", "d/b"], &["d/b", "d/c"]]);
    assert_eq!(lines(&layers.stack(0)), ["d/ 0", "d/a 0", "d/b 1"]);
    let layers = Layers::new(&[&["d/ = x", "d/b"], &["d/b", "d/c"]]);
    assert_eq!(lines(&layers.stack(0)), ["d/ 0", "d/b 0", "d/c 1"]);
}

#[test]
fn the_roots_of_layers_are_merged_whatever_marks_they_have() {
    let layers = Layers::new(&[&["a"], &["b"]]);
    set_xattr(&layers.path(0, ""), "user.overlay.opaque", "y");
    assert_eq!(lines(&layers.stack(0)), ["a 0", "b 1"]);
}

#[test]
fn only_directories_are_merged_with_directories() {
    let layers = Layers::new(&[
        &["d/a", "f", "g/a"],
        &["d", "f/b", "g -> d"],
        &["d/c", "f/d", "g/c"],
    ]);
    assert_eq!(
        lines(&layers.stack(0)),
        ["d/ 0", "d/a 0", "f 0", "g/ 0", "g/a 0"]
    );
}

#[test]
fn an_empty_file_with_the_attribute_of_whiteouts_is_one() {
    let layers = Layers::new(&[&["d/a = ", "d/b = ", "d/c = x"], &["d/a", "d/b", "d/c"]]);
    for name in ["d/a", "d/c"] {
        set_xattr(&layers.path(0, name), "user.overlay.whiteout", "");
    }
    set_xattr(&layers.path(0, "d/b"), "user.overlay.overlay.whiteout", "");
    assert_eq!(lines(&layers.stack(0)), ["d/ 0", "d/b 0", "d/c 0"]);
}

#[test]
fn attributes_come_without_marks_and_with_their_own_names() {
    let layers = Layers::new(&[&["d/a"]]);
    let path = layers.path(0, "d/a");
    for name in [
        "user.overlay.origin",
        "user.overlay.overlay.opaque",
        "user.b",
    ] {
        set_xattr(&path, name, "v");
    }
    let found = layers.stack(0).lookup(b"d/a").unwrap().unwrap();
    let value = |name: &str| (name.as_bytes().to_vec(), b"v".to_vec());
    let expected = [value("user.b"), value("user.overlay.opaque")];
    assert_eq!(found.xattrs().unwrap(), expected);
    let mut buffer = [0; 8];
    let mut file = found.open_file().unwrap();
    assert_eq!(file.read(&mut buffer).unwrap(), b"d/a");
}

#[test]
fn content_that_lies_elsewhere_is_refused_with_the_reason() {
    for (mark, path) in [("redirect", "d"), ("metacopy", "d/f")] {
        let layers = Layers::new(&[&["d/f"], &["d/g"]]);
        let name = format!("user.overlay.{mark}");
        set_xattr(&layers.path(0, path), &name, "");
        let error = layers.stack(0).lookup(path.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.chain().contains(&name), "{error}");
        assert_eq!(error.hints().len(), 1);
    }
}

#[test]
fn a_tree_deeper_than_any_limit_of_open_files_is_looked_into() {
    let deep = ["d"; 700].join("/");
    let file = format!("{deep}/f");
    let layers = Layers::new(&[&[&file], &[&format!("{deep}/g")]]);
    let stack = layers.stack(0);
    for _ in 0..2 {
        let names = stack.read_dir(deep.as_bytes()).unwrap().unwrap();
        assert_eq!(names.len(), 2);
        assert!(stack.lookup(b"d/d").unwrap().is_some());
        for found in names.values() {
            found.open_file().unwrap();
        }
    }
    assert!(stack.shared.open.borrow().len() <= OPEN_DIRS);
}

#[test]
fn paths_that_are_not_clean_are_refused_and_an_empty_stack_has_nothing() {
    let layers = Layers::new(&[&["d/a"]]);
    for path in ["/d", "d/", "d//a", "../0/d", "d/../d", "."] {
        let error = layers.stack(0).lookup(path.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}");
    }
    let empty = Stack::new(Vec::new(), MARKS);
    assert!(empty.lookup(b"").unwrap().is_none());
    assert!(empty.lookup(b"a").unwrap().is_none());
    assert!(empty.read_dir(b"").unwrap().is_none());
}
