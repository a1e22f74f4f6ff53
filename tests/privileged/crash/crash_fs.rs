//! A place to crash in: a file system in memory with layouts, a store and bundles, put back after each crash; and what has
//! to hold of a store whatever happened to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use oci_bundle::fs::{Access, Dir};
use oci_bundle::ops::store::check;
use oci_bundle::progress::Silent;
use oci_bundle::store::check::{CheckOptions, Level, Object, check_layer};
use oci_bundle::store::{GcOptions, GcReport, Store, StoreOptions};
use walkdir::WalkDir;

use crate::image::{Image, Layer};
use crate::machine::{Bounded, Scratch, Tmpfs, names_in, said};
use crate::tree::Tree;

/// Unpacks the image onto the store.
pub const UNPACK: [&str; 7] = [
    "unpack",
    "--overlay",
    "--store",
    "store",
    "--image",
    "image:latest",
    "b",
];

/// Seconds after which a command is ended: far more than it takes beside any other load.
pub const LONG: u32 = 600;

/// The bottom layer of all images here.
pub fn base() -> Layer {
    Layer::new()
        .directory("./", 0o755)
        .directory("data/", 0o750)
        .file("data/one", 0o640, b"one")
        .hard_link("data/uno", "data/one")
        .file("data/two", 0o4755, b"two")
        .owner(1000, 100)
        .xattr("user.kept", b"value")
        .file("data/three", 0o600, &[3; 5000])
        .symlink("shortcut", "data/three")
        .directory("etc/", 0o755)
        .file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n")
}

/// A layer that says nothing which would have to be looked up in those below.
pub fn addition() -> Layer {
    Layer::new()
        .file("etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\n")
        .file("data/.wh.two", 0o644, b"")
        .directory("new/", 0o1777)
        .file("new/file", 0o644, b"new")
}

/// Layers that overlayfs can stack as they are.
pub fn plain() -> Image {
    Image::new().layer(base()).layer(addition())
}

/// Layers of which the topmost reaches into those below: by a hard link, and by a path through a symbolic link.
pub fn reaching() -> Image {
    let link = Layer::new().symlink("alias", "data");
    let reaching =
        Layer::new()
            .hard_link("etc/linked", "data/one")
            .file("alias/through", 0o600, b"through");
    Image::new().layer(base()).layer(link).layer(reaching)
}

/// A directory in memory that can be put back as it was.
pub struct Ground {
    // Unmounted before the directory that it is in is removed.
    /// Where all of it is: in memory, or in `scratch`.
    home: PathBuf,
    _memory: Option<Tmpfs>,
    scratch: Scratch,
    /// What all commands have in their environment.
    environment: Vec<String>,
}

impl Ground {
    pub fn new() -> Self {
        let scratch = Scratch::new(&[]);
        let memory = Tmpfs::mount(scratch.path("memory"), "size=256m,mode=0755");
        Self::at(memory.path().to_owned(), Some(memory), scratch)
    }

    /// On a disk: files in memory are not mounted as images.
    pub fn on_disk() -> Self {
        let scratch = Scratch::new(&[]);
        let home = scratch.path("disk");
        fs::create_dir(&home).unwrap();
        Self::at(home, None, scratch)
    }

    fn at(home: PathBuf, memory: Option<Tmpfs>, scratch: Scratch) -> Self {
        let ground = Self {
            home,
            _memory: memory,
            scratch,
            environment: Vec::new(),
        };
        fs::create_dir(ground.work()).unwrap();
        ground
    }

    /// With the image in a layout `image`, and what a flat unpack makes of it.
    pub fn with_image(image: Image) -> (Self, Tree) {
        Self::new().holding(image)
    }

    /// The same, of another ground.
    pub fn holding(self, image: Image) -> (Self, Tree) {
        let ground = self;
        image.write(&ground.path("image"));
        let flat = ground.flat("image");
        (ground, flat)
    }

    /// What a flat unpack makes of the image in a layout.
    pub fn flat(&self, layout: &str) -> Tree {
        let image = format!("{layout}:latest");
        self.succeed(&["unpack", "--image", &image, "flat"]);
        let flat = Tree::read(&self.path("flat/rootfs"));
        fs::remove_dir_all(self.path("flat")).unwrap();
        flat
    }

    fn work(&self) -> PathBuf {
        self.home.join("work")
    }

    /// The path of a name in the directory that commands run in.
    pub fn path(&self, name: &str) -> PathBuf {
        self.work().join(name)
    }

    pub fn binary(&self) -> PathBuf {
        self.scratch.binary()
    }

    /// Sets a variable in the environment of all commands.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push(format!("{name}={value}"));
    }

    fn described(&self, fault: &str, arguments: &[&str]) -> Bounded {
        let environment: Vec<&str> = self.environment.iter().map(String::as_str).collect();
        Bounded::new("env", LONG)
            .args(&environment)
            .arg(format!("BUNDLE_FAULT={fault}"))
            .arg(self.binary())
            .args(arguments)
            .current_dir(&self.work())
    }

    /// A command of the tested binary; its paths are relative to the directory.
    pub fn tool(&self, arguments: &[&str]) -> Bounded {
        self.described("", arguments)
    }

    #[track_caller]
    pub fn succeed(&self, arguments: &[&str]) -> String {
        self.tool(arguments).succeed()
    }

    /// The names of the points that a command passes.
    #[track_caller]
    pub fn points(&self, arguments: &[&str]) -> Vec<String> {
        let log = self.scratch.path("points");
        let _ = fs::remove_file(&log);
        self.described(&format!("log:{}", log.display()), arguments)
            .succeed();
        let log = fs::read_to_string(&log).unwrap();
        log.lines().map(str::to_owned).collect()
    }

    /// Runs a command that dies at a point, so many others passed. `false` if it came to its end before.
    #[track_caller]
    pub fn dies(&self, passed: usize, arguments: &[&str]) -> bool {
        let output = self.described(&format!("*:{passed}"), arguments).output();
        let killed = was_killed(&output);
        assert!(
            killed || output.status.success(),
            "{arguments:?}, to die after {passed} points: {}\n{}",
            output.status,
            said(&output)
        );
        killed
    }

    /// Remembers the directory as it is. Nothing may be mounted in it.
    pub fn keep(&self) {
        assert_eq!(self.mounted(), BTreeSet::new());
        let kept = self.home.join("kept");
        Bounded::new("cp", LONG)
            .arg("-a")
            .arg(self.work())
            .arg(kept)
            .succeed();
    }

    /// Puts the directory back as it was.
    pub fn restore(&self) {
        self.unmount_all();
        fs::remove_dir_all(self.work()).unwrap();
        Bounded::new("cp", LONG)
            .arg("-a")
            .arg(self.home.join("kept"))
            .arg(self.work())
            .succeed();
    }

    /// What is mounted below the directory.
    pub fn mounted(&self) -> BTreeSet<PathBuf> {
        mounted_below(&self.work())
    }

    pub fn unmount_all(&self) {
        for mount in self.mounted().iter().rev() {
            unmount(mount);
        }
    }

    pub fn store(&self) -> Store {
        opened(&self.path("store"))
    }

    /// Takes what nothing needs, and fails the test if anything is left that was only in the making.
    #[track_caller]
    pub fn gc(&self) -> GcReport {
        gc(&self.path("store"))
    }

    /// Fails the test unless the store, if it is one already, is whole, and what is mounted is known to it.
    #[track_caller]
    pub fn assert_sound(&self) {
        let path = self.path("store");
        let mut known = BTreeSet::new();
        if path.join("store.json").exists() {
            assert_sound(&path);
            for mount in self.store().mounts().unwrap() {
                if mount.is_live().unwrap() {
                    known.insert(mount.target);
                }
            }
        }
        let mut mounted = self.mounted();
        // Where something is for a moment that cannot be mounted without a name. These are for `gc`, or the next mount.
        mounted.retain(|mount| !mount.starts_with(path.join("staging")));
        // Mounted as long as something needs them, and a killed process leaves that to the next one.
        mounted.retain(|mount| !mount.starts_with(path.join("layers/erofs")));
        assert_eq!(mounted, known, "what is mounted, and what is known");
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.unmount_all();
        }
    }
}

/// Unmounts what nobody uses any more. What a killed process had open is let go of by whoever was just looking at it, such as
/// a reader of `/proc`, and that may be after the process is gone: so it may be busy for a moment.
#[track_caller]
fn unmount(mount: &Path) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let output = Bounded::new("umount", LONG).arg(mount).output();
        if output.status.success() {
            return;
        }
        let is_busy = said(&output).contains("busy");
        assert!(is_busy && Instant::now() < end, "{}", said(&output));
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a command died of the signal that nobody can handle.
pub fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(9) || output.status.code() == Some(128 + 9)
}

pub fn mounted_below(path: &Path) -> BTreeSet<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mounts = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let below = |mount: &PathBuf| mount != path && mount.starts_with(path);
    mounts.map(PathBuf::from).filter(below).collect()
}

pub fn opened(store: &Path) -> Store {
    let mut options = StoreOptions::new(store);
    options.create = false;
    Store::open(options).unwrap()
}

/// Takes what nothing needs, and fails the test if anything is left that was only in the making.
#[track_caller]
pub fn gc(store: &Path) -> GcReport {
    let report = opened(store).gc(GcOptions::default()).unwrap();
    for name in ["staging", "trash", "locks"] {
        let mut left = names_in(&store.join(name));
        // What those who mount by name share.
        left.retain(|name| name != ".mount-lock");
        assert_eq!(left, [""; 0], "{name} after gc");
    }
    for entry in WalkDir::new(store).max_depth(3) {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy();
        assert!(
            !name.starts_with(".bundle-tmp-"),
            "{} after gc",
            entry.path().display()
        );
    }
    report
}

/// Fails the test unless everything that has a name in a store is complete, and what it needs is there.
#[track_caller]
pub fn assert_sound(path: &Path) {
    let store = opened(path);
    let layers = store.layers().unwrap();
    if layers.iter().any(|id| id.is_tar() || id.is_erofs()) {
        let report = check(&store, CheckOptions::default(), &Silent).unwrap();
        let mut problems = report.problems;
        problems.retain(|problem| matches!(problem.object, Object::Layer(_)));
        assert!(problems.is_empty(), "{problems:#?}");
    }
    for id in layers {
        if id.is_tar() || id.is_erofs() {
            continue;
        }
        let layer = path.join("layers").join(id.to_string());
        let content = Dir::open(&layer.join("fs"), Access::Plain).unwrap();
        let record = File::open(layer.join("record")).unwrap();
        let findings = check_layer(&content, record, Level::Full).unwrap();
        assert!(findings.is_empty(), "layer {id}: {findings:?}");
        store.layer(&id).unwrap().meta().unwrap();
    }
    for id in store.chains().unwrap() {
        let found = store.find_chain(id.as_ref()).unwrap();
        assert!(found.is_some(), "chain {id:?} lacks something");
    }
    for image in store.images().unwrap() {
        let found = store.find_chain(image.chain_id().as_ref()).unwrap();
        assert!(found.is_some(), "image {} has no chain", image.digest());
    }
    for (name, digest) in store.names().unwrap() {
        let image = store.find_image(&digest).unwrap();
        assert!(image.is_some(), "name {name} of no image");
    }
    for container in store.containers().unwrap() {
        let (key, chain) = (container.key(), &container.meta().chain);
        container.upper().unwrap();
        let found = store.find_chain(chain.as_ref()).unwrap();
        assert!(found.is_some(), "container {key} has no chain");
    }
}

/// What is in a store, without what is named at random.
pub fn inventory(path: &Path) -> BTreeMap<&'static str, Vec<String>> {
    let store = opened(path);
    let mut layers: Vec<_> = store.layers().unwrap();
    layers.sort();
    let layers = layers.iter().map(ToString::to_string).collect();
    let containers = store.containers().unwrap().into_iter();
    let chains = containers.map(|container| format!("{:?}", container.meta().chain));
    let mut chains: Vec<_> = chains.collect();
    chains.sort();
    let mut found = BTreeMap::from([("layers", layers), ("containers", chains)]);
    for name in ["chains", "patches", "images", "names", "blobs"] {
        found.insert(name, names_in(&path.join(name)));
    }
    let snapshots = store.snapshots().unwrap().into_iter();
    let snapshots = snapshots.map(|snapshot| snapshot.name);
    found.insert("snapshots", snapshots.collect());
    found.insert(
        "mounts",
        vec![names_in(&path.join("mounts")).len().to_string()],
    );
    found
}
