//! Bundles under edit: what the tests of repack and insert do again and again, with either tool.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};
use serde_json::Value;
use walkdir::WalkDir;

use crate::image::{Image, Layer, layers_of};
use crate::machine::{Bounded, Scratch};
use crate::tree::Tree;

/// Time of all that [`settle`] finds changed.
const CHANGED: i64 = 1_700_000_000;

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The tested binary.
    Ours,
    /// Debian's umoci.
    Umoci,
}

impl Tool {
    /// A command of this tool.
    pub fn command(self, scratch: &Scratch, arguments: &[&str]) -> Bounded {
        match self {
            Self::Ours => scratch.tool(arguments),
            Self::Umoci => Bounded::new("umoci", 60).args(arguments),
        }
    }

    /// Unpacks `image`, as [`name`] makes it, into the bundle of this name.
    #[track_caller]
    pub fn unpack(self, scratch: &Scratch, image: &str, bundle: &str) -> PathBuf {
        let path = scratch.path(bundle);
        self.command(scratch, &["unpack", "--image", image])
            .arg(&path)
            .succeed();
        path
    }

    /// Repacks a bundle.
    #[track_caller]
    pub fn repack(self, scratch: &Scratch, image: &str, bundle: &Path, flags: &[&str]) {
        self.command(scratch, &["repack", "--image", image])
            .args(flags)
            .arg(bundle)
            .succeed();
    }
}

/// The value of `--image` for a tag in a layout of the scratch directory.
pub fn name(scratch: &Scratch, layout: &str, tag: &str) -> String {
    format!("{}:{tag}", scratch.path(layout).display())
}

/// An image with files of every type, of which each directory has its own entry, so that no tool has a choice.
pub fn base() -> Image {
    let first = Layer::new()
        .directory("./", 0o755)
        .file("f", 0o644, b"content")
        .file("g", 0o600, b"other content")
        .directory("d/", 0o755)
        .file("d/a", 0o644, b"a")
        .file("d/b", 0o644, b"b")
        .directory("d/sub/", 0o755)
        .file("d/sub/deep", 0o644, b"deep")
        .directory("d/sub/empty/", 0o700)
        .file("d-x", 0o644, b"sorts between d and d/a")
        .directory("empty/", 0o755)
        .symlink("link", "f")
        .symlink("dirlink", "d")
        .fifo("fifo")
        .null_device("null")
        .file("h1", 0o644, b"three names")
        .hard_link("h2", "h1")
        .hard_link("d/h3", "h1")
        .xattr("user.colour", b"blue")
        .file("coloured", 0o644, b"c")
        .xattr("user.colour", b"red")
        .directory("coloured.d/", 0o755)
        .file("setuid", 0o4755, b"s")
        .file("na\u{ef}ve", 0o644, b"n")
        .file("od d*[#\\\n", 0o644, b"o")
        .file(&"l".repeat(180), 0o644, b"long")
        .owner(1000, 100)
        .file("owned", 0o640, b"o")
        .owner(3_000_000, 3_000_001)
        .file("owned by a big id", 0o640, b"o");
    let second = Layer::new().file("d/later", 0o644, b"l");
    Image::new().layer(first).layer(second)
}

/// Runs a shell script, stopped by its first error, in a directory.
#[track_caller]
pub fn sh(directory: &Path, script: &str) {
    Bounded::new("sh", 60)
        .args(&["-e", "-c", script])
        .current_dir(directory)
        .succeed();
}

/// Sets an extended attribute.
#[track_caller]
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// Gives all files whose time is no whole second, as the time of what was just changed, a time that is one.
///
/// tar has whole seconds, to which Debian's umoci rounds and newer ones cut.
pub fn settle(root: &Path) {
    for entry in WalkDir::new(root) {
        let entry = entry.unwrap();
        if fs::symlink_metadata(entry.path()).unwrap().mtime_nsec() != 0 {
            set_mtime(entry.path(), CHANGED, 0);
        }
    }
}

/// Sets the time of a file, of symbolic links that of the link.
pub fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// The blob that a descriptor tells of, as JSON.
pub fn document(layout: &Path, descriptor: &Value) -> Value {
    serde_json::from_slice(&fs::read(blob_path(layout, descriptor)).unwrap()).unwrap()
}

/// Where the blob is that a descriptor tells of.
pub fn blob_path(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
    layout.join("blobs").join(digest)
}

/// The only entry of the index with this tag.
#[track_caller]
pub fn index_entry(layout: &Path, tag: &str) -> Value {
    let index: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let mut entries = entries
        .iter()
        .filter(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == tag);
    let entry = entries.next().unwrap_or_else(|| panic!("no tag {tag}"));
    assert!(entries.next().is_none(), "two entries of {tag}");
    entry.clone()
}

/// The configuration of an image.
#[track_caller]
pub fn config(layout: &Path, tag: &str) -> Value {
    let manifest = document(layout, &index_entry(layout, tag));
    document(layout, &manifest["config"])
}

/// The diff IDs of an image, bottom first.
#[track_caller]
pub fn diff_ids(layout: &Path, tag: &str) -> Vec<String> {
    let config = config(layout, tag);
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
    let layers = layers_of(layout, tag);
    assert_eq!(diff_ids.len(), layers.len(), "{tag}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    diff_ids.iter().map(text).collect()
}

/// The archive of the topmost layer of an image.
#[track_caller]
pub fn top_archive(layout: &Path, tag: &str) -> Vec<u8> {
    let layers = layers_of(layout, tag);
    let layer = layers.last().unwrap();
    let bytes = fs::read(blob_path(layout, layer)).unwrap();
    let media_type = layer["mediaType"].as_str().unwrap();
    let mut archive = Vec::new();
    match media_type.rsplit_once('+') {
        None => return bytes,
        Some((_, "gzip")) => MultiGzDecoder::new(&bytes[..]).read_to_end(&mut archive),
        Some((_, "zstd")) => zstd::stream::read::Decoder::new(&bytes[..])
            .unwrap()
            .read_to_end(&mut archive),
        Some(_) => panic!("{media_type}"),
    }
    .unwrap();
    archive
}

/// The names of the entries in the topmost layer of an image, in their order.
#[track_caller]
pub fn top_names(layout: &Path, tag: &str) -> Vec<String> {
    let archive = top_archive(layout, tag);
    let mut archive = tar::Archive::new(&archive[..]);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| String::from_utf8_lossy(&entry.unwrap().path_bytes()).into_owned())
        .collect()
}

/// Fails the test when there is anything to say against a layout. Always our validator, whatever binary is tested.
#[track_caller]
pub fn assert_valid(layout: &Path) {
    Bounded::new(env!("CARGO_BIN_EXE_bundle"), 60)
        .args(&["validate", "--layout"])
        .arg(layout)
        .succeed();
}

/// Fails the test unless the image, unpacked by this tool, is the tree.
#[track_caller]
pub fn assert_unpacks_to(scratch: &Scratch, tool: Tool, image: &str, tree: &Tree, what: &str) {
    let bundle = tool.unpack(scratch, image, "compared");
    Tree::read(&bundle.join("rootfs")).assert_same(tree, what);
    fs::remove_dir_all(bundle).unwrap();
}
