//! Two bundles of one image, one flat and one an overlay, to which the same is done.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::edit::{
    Tool, assert_unpacks_to, assert_valid, base, diff_ids, index_entry, name, settle, sh,
};
use crate::image::{Image, Layer, layers_of};
use crate::machine::{Bounded, Scratch};
use crate::tree::Tree;

/// `SOURCE_DATE_EPOCH` of the repacks: after all times of files.
const EPOCH: &str = "2000000000";

/// An image of several layers: files of every type, hard links within one layer and into a lower one, a directory of which
/// each layer has a part, what a layer has taken away and replaced.
pub fn image() -> Image {
    let third = Layer::new()
        .hard_link("d/h5", "h1")
        .directory("top/", 0o755)
        .file("top/one", 0o644, b"two names")
        .hard_link("top/two", "top/one")
        .xattr("user.colour", b"green")
        .file("top/coloured", 0o644, b"c")
        .directory("s/", 0o755)
        .file("s/gone", 0o644, b"g")
        .directory("s/e/", 0o750)
        .file("s/e/f", 0o644, b"f")
        .file("d/.wh.b", 0o644, b"");
    let fourth = Layer::new()
        .file("s/.wh.gone", 0o644, b"")
        .file("s/e/g", 0o644, b"g")
        .file("empty/.keep", 0o644, b"");
    base().layer(third).layer(fourth)
}

/// The two bundles.
pub struct Pair {
    pub scratch: Scratch,
    pub flat: PathBuf,
    pub overlay: PathBuf,
    flags: Vec<String>,
    /// Whether owners are mapped by copies of the layers, as where the kernel has no mounts that do it.
    copies: bool,
}

impl Pair {
    /// Unpacks an image twice.
    #[track_caller]
    pub fn new(image: Image, flags: &[&str]) -> Self {
        Self::of_layout(flags, |layout| image.write(layout))
    }

    /// Unpacks an image twice, without mounts that map owners.
    #[track_caller]
    pub fn with_copies(image: Image, flags: &[&str]) -> Self {
        Self::make(flags, true, |layout| image.write(layout))
    }

    /// Unpacks twice the image that `write` makes in a layout.
    #[track_caller]
    pub fn of_layout(flags: &[&str], write: impl FnOnce(&Path)) -> Self {
        Self::make(flags, false, write)
    }

    #[track_caller]
    fn make(flags: &[&str], copies: bool, write: impl FnOnce(&Path)) -> Self {
        let scratch = Scratch::new(&["setcap", "setfattr"]);
        write(&scratch.path("layout"));
        let pair = Self {
            flat: scratch.path("flat"),
            overlay: scratch.path("overlay"),
            scratch,
            flags: flags.iter().map(ToString::to_string).collect(),
            copies,
        };
        pair.unpack();
        pair
    }

    #[track_caller]
    fn unpack(&self) {
        let image = self.name("latest");
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let unpack = || {
            self.tool()
                .args(&["unpack", "--image", &image])
                .args(&flags)
        };
        unpack().arg(&self.flat).succeed();
        let overlay = unpack().args(&["--overlay", "--no-sync", "--store"]);
        let overlay = overlay.arg(self.scratch.path("store"));
        overlay.arg(&self.overlay).succeed();
    }

    /// Unpacks once more what has been edited.
    #[track_caller]
    pub fn renew(&self) {
        for bundle in [&self.flat, &self.overlay] {
            let remove = self.tool().args(&["remove-bundle"]);
            remove.arg(bundle).succeed();
        }
        self.unpack();
    }

    /// A command of the tested binary's.
    fn tool(&self) -> Bounded {
        self.tool_with("SOURCE_DATE_EPOCH=")
    }

    fn tool_with(&self, variable: &str) -> Bounded {
        let no_idmap = if self.copies { "1" } else { "" };
        Bounded::new("env", 60)
            .arg(variable)
            .arg(format!("BUNDLE_NO_IDMAP={no_idmap}"))
            .arg(self.scratch.binary())
    }

    /// The value of `--image` for a tag.
    pub fn name(&self, tag: &str) -> String {
        name(&self.scratch, "layout", tag)
    }

    /// The layout of the image.
    pub fn layout(&self) -> PathBuf {
        self.scratch.path("layout")
    }

    /// Both root file systems.
    pub fn rootfs(&self) -> [PathBuf; 2] {
        [self.flat.join("rootfs"), self.overlay.join("rootfs")]
    }

    /// Runs a shell script in both root file systems, and gives what it changed a time that is a whole second.
    #[track_caller]
    pub fn edit(&self, script: &str) {
        for rootfs in self.rootfs() {
            sh(&rootfs, script);
            settle(&rootfs);
        }
    }

    /// Repacks a bundle, as if it were done at [`EPOCH`].
    pub fn run_repack(&self, bundle: &Path, tag: &str, flags: &[&str], epoch: &str) -> Output {
        self.tool_with(&format!("SOURCE_DATE_EPOCH={epoch}"))
            .args(&["repack", "--image", &self.name(tag)])
            .args(flags)
            .arg(bundle)
            .output()
    }

    /// Repacks both, compares what comes out, and returns the tag of it.
    #[track_caller]
    pub fn repack(&self, what: &str, flags: &[&str]) -> String {
        self.repack_at(what, flags, EPOCH)
    }

    /// The same at another time.
    #[track_caller]
    pub fn repack_at(&self, what: &str, flags: &[&str], epoch: &str) -> String {
        for (bundle, tag) in [(&self.flat, "flat"), (&self.overlay, "overlay")] {
            let output = self.run_repack(bundle, tag, flags, epoch);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{what}: {tag}: {said}");
        }
        let layout = self.layout();
        let entries = |tag: &str| {
            let archive = crate::edit::top_archive(&layout, tag);
            let mut archive = tar::Archive::new(&archive[..]);
            let entries = archive.entries().unwrap().map(|entry| {
                let entry = entry.unwrap();
                let (path, header) = (entry.path_bytes().into_owned(), entry.header());
                let link = header.link_name_bytes().unwrap_or_default().into_owned();
                let (mode, mtime) = (header.mode().unwrap(), header.mtime().unwrap());
                format!(
                    "{} {:?} {mode:o} {mtime} -> {}",
                    path.escape_ascii(),
                    header.entry_type(),
                    link.escape_ascii()
                )
            });
            entries.collect::<Vec<_>>()
        };
        let of = |tag: &str| (diff_ids(&layout, tag), layers_of(&layout, tag));
        if of("flat") != of("overlay") {
            assert_eq!(entries("flat"), entries("overlay"), "{what}");
            panic!("{what}: other bytes of the same entries");
        }
        let digest = |tag: &str| -> Value { index_entry(&layout, tag)["digest"].clone() };
        assert_eq!(digest("flat"), digest("overlay"), "{what}: the manifests");
        assert_valid(&layout);
        "overlay".to_owned()
    }

    /// How many layers a repack has added to an image.
    pub fn added(&self, tag: &str) -> usize {
        let count = |tag: &str| diff_ids(&self.layout(), tag).len();
        count(tag) - count("latest")
    }

    /// Makes sure that the result of a repack unpacks to what was edited.
    #[track_caller]
    pub fn assert_unpacks(&self, tag: &str, what: &str) {
        let edited = Tree::read(&self.rootfs()[0]);
        assert_unpacks_to(&self.scratch, Tool::Ours, &self.name(tag), &edited, what);
    }

    /// Unmounts the overlay bundle, or mounts it.
    #[track_caller]
    pub fn set_mounted(&self, mounted: bool) {
        let command = if mounted { "mount" } else { "umount" };
        let tool = self.tool().args(&[command]);
        tool.arg(&self.overlay).succeed();
        let rootfs = self.overlay.join("rootfs").display().to_string();
        let table = fs::read_to_string("/proc/self/mounts").unwrap();
        let is_mounted = table.contains(&format!(" {rootfs} "));
        assert_eq!(is_mounted, mounted, "{command}");
    }

    /// The upper directory of the overlay bundle.
    pub fn upper(&self) -> PathBuf {
        let text = fs::read(self.overlay.join("overlay.json")).unwrap();
        let metadata: Value = serde_json::from_slice(&text).unwrap();
        let key = metadata["key"].as_str().unwrap();
        self.scratch.path("store/active").join(key).join("fs")
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let mut umount = Command::new(self.scratch.binary());
        let _ = umount.arg("umount").arg(&self.overlay).output();
    }
}
