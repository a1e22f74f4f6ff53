//! Overlays that the kernel mounts: a stack of layers shows what they show, and the same edit of a flat tree and of an
//! overlay gives the same changes and the same layer.
//!
//! One long file: the tests share the mounts, the reading of trees and the steps of edits.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use oci_bundle::fs::{
    Access, Change, Dir, IdMap, IdRange, InodeKind, MapOptions, MarkNamespace, Root,
};
use oci_bundle::layer::{GenerateOptions, generate_layer, generate_linked_layer};
use oci_bundle::mtree::{self, Baseline, DiffOptions, Manifest, UMOCI_KEYWORDS, WalkOptions};
use oci_bundle::progress::Silent;
use oci_bundle::store::{Changes, ChangesOptions, Found, LinkGroups, Stack, changes};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};
use walkdir::WalkDir;

use crate::edit::set_mtime;
use crate::machine::{Bounded, Scratch};
use crate::tree;

const MARKS: MarkNamespace = MarkNamespace::Trusted;

/// When the layers are made, and when they are edited: seconds since 1970.
const BEFORE: i64 = 1_740_000_000;
const AFTER: i64 = 1_750_000_000;

/// A mounted overlay, unmounted on drop.
struct Overlay(PathBuf);

/// Who mounts what is edited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mounter {
    Kernel,
    Fuse,
}

impl Overlay {
    /// Mounts layers, the topmost first, to be looked at.
    fn view(at: PathBuf, layers: &[PathBuf]) -> Self {
        Self::mount(at, layers, None, Mounter::Kernel)
    }

    /// Mounts layers, the topmost first, writable with an upper directory.
    fn mount(
        at: PathBuf,
        layers: &[PathBuf],
        upper: Option<(&Path, &Path)>,
        mounter: Mounter,
    ) -> Self {
        fs::create_dir_all(&at).unwrap();
        let layers: Vec<_> = layers.iter().map(|it| it.to_str().unwrap()).collect();
        let mut options = format!("lowerdir={}", layers.join(":"));
        if let Some((upper, work)) = upper {
            let (upper, work) = (upper.display(), work.display());
            write!(options, ",upperdir={upper},workdir={work}").unwrap();
        }
        if mounter == Mounter::Fuse {
            Bounded::new("fuse-overlayfs", 10)
        } else {
            options += ",redirect_dir=off,metacopy=off,index=off";
            Bounded::new("mount", 10).args(&["-t", "overlay", "overlay"])
        }
        .args(&["-o", &options])
        .arg(&at)
        .succeed();
        Self(at)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // A command that another test starts at this moment has its files open until it runs.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn dir(path: &Path) -> Dir {
    Dir::open(path, Access::Plain).unwrap()
}

fn stack(layers: &[PathBuf]) -> Stack {
    Stack::new(layers.iter().map(|path| dir(path)).collect(), MARKS)
}

/// Attributes as an image has them, for people.
fn shown_xattrs<'a>(xattrs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> String {
    let shown = xattrs.into_iter().map(|(name, value)| {
        let (name, value) = (name.escape_ascii(), value.escape_ascii());
        format!("{name}={value}")
    });
    shown.collect::<Vec<_>>().join(",")
}

/// What a path is, as a mount shows it.
fn mounted(path: &Path) -> Option<String> {
    // The kernel lists dangling whiteouts, and does not find them.
    let metadata = fs::symlink_metadata(path).ok()?;
    let kind = metadata.file_type();
    let content = if kind.is_symlink() {
        fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()
    } else if kind.is_file() {
        fs::read(path).unwrap()
    } else {
        Vec::new()
    };
    let kind = match kind {
        kind if kind.is_file() => InodeKind::File,
        kind if kind.is_dir() => InodeKind::Directory,
        kind if kind.is_symlink() => InodeKind::Symlink,
        kind if kind.is_char_device() => InodeKind::CharDevice,
        _ => InodeKind::Fifo,
    };
    let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    let xattrs = tree::xattrs(path);
    let xattrs = xattrs
        .iter()
        .map(|(name, value)| (name.as_bytes(), &value[..]));
    Some(format!(
        "{kind:?} {mode:o} {uid}:{gid} {seconds}.{nanoseconds} {} {}",
        content.escape_ascii(),
        shown_xattrs(xattrs)
    ))
}

/// What a path is, as a stack shows it.
fn stacked(found: &Found) -> String {
    let stat = &found.stat;
    let content = match stat.kind {
        InodeKind::Symlink => found.read_link().unwrap(),
        InodeKind::File => {
            let mut buffer = vec![0; 1 << 16];
            found
                .open_file()
                .unwrap()
                .read(&mut buffer)
                .unwrap()
                .to_vec()
        }
        _ => Vec::new(),
    };
    let xattrs = found.xattrs().unwrap();
    let xattrs = xattrs.iter().map(|(name, value)| (&name[..], &value[..]));
    format!(
        "{:?} {:o} {}:{} {}.{} {} {}",
        stat.kind,
        stat.mode,
        stat.uid,
        stat.gid,
        stat.mtime.unix_seconds(),
        stat.mtime.nanoseconds(),
        content.escape_ascii(),
        shown_xattrs(xattrs)
    )
}

type Tree = BTreeMap<Vec<u8>, String>;

fn read_mount(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let Some(shown) = mounted(&path) else {
                continue;
            };
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
            tree.insert(name.to_vec(), shown);
            if !path.is_symlink() && path.is_dir() {
                pending.push(path);
            }
        }
    }
    tree
}

fn read_stack(stack: &Stack) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![Vec::new()];
    while let Some(directory) = pending.pop() {
        for found in stack.read_dir(&directory).unwrap().unwrap().into_values() {
            let path = found.path().to_vec();
            tree.insert(path.clone(), stacked(&found));
            let alone = stack.lookup(&path).unwrap().unwrap();
            assert_eq!(stacked(&alone), tree[&path]);
            if found.stat.is_dir() {
                pending.push(path);
            }
        }
    }
    tree
}

#[track_caller]
fn assert_same_view(at: PathBuf, layers: &[PathBuf]) {
    let overlay = Overlay::view(at, layers);
    assert_eq!(read_stack(&stack(layers)), read_mount(&overlay.0));
}

/// What a layer says of a path, marks and all.
#[derive(Clone, Debug)]
enum Entry {
    File(u8),
    Directory(u32),
    Opaque(&'static str),
    Symlink,
    Whiteout,
    AttributeWhiteout,
    Escaped,
}

fn put(root: &Path, path: &Path, entry: &Entry) {
    let at = root.join(path);
    // What is in the way, or has no way to it, stays as it is.
    if fs::create_dir_all(at.parent().unwrap()).is_err() {
        return;
    }
    let set = |name: &str, value: &str| {
        let _ = lsetxattr(&at, name, value.as_bytes(), XattrFlags::empty());
    };
    match entry {
        Entry::File(byte) => drop(fs::write(&at, [*byte])),
        Entry::Directory(mode) => {
            if fs::create_dir(&at).is_ok() {
                fs::set_permissions(&at, PermissionsExt::from_mode(*mode)).unwrap();
            }
        }
        Entry::Opaque(value) => {
            if at.is_dir() || fs::create_dir(&at).is_ok() {
                set("trusted.overlay.opaque", value);
            }
        }
        Entry::Symlink => drop(symlink("a/b", &at)),
        Entry::Whiteout => drop(device(&at, (0, 0))),
        Entry::AttributeWhiteout => {
            if !at.exists() && fs::write(&at, "").is_ok() {
                set("trusted.overlay.whiteout", "y");
            }
        }
        Entry::Escaped => {
            if at.exists() {
                set("trusted.overlay.overlay.opaque", "y");
                set("user.x", "1");
            }
        }
    }
}

fn device(path: &Path, (major, minor): (u32, u32)) -> std::io::Result<()> {
    let mode = Mode::from_raw_mode(0o600);
    let number = makedev(major, minor);
    mknodat(CWD, path, FileType::CharacterDevice, mode, number).map_err(Into::into)
}

fn path() -> impl Strategy<Value = PathBuf> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    vec(name, 1..4).prop_map(|names| names.iter().collect())
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        3 => any::<u8>().prop_map(Entry::File),
        3 => prop::sample::select(vec![0o755, 0o700, 0o1777]).prop_map(Entry::Directory),
        2 => prop::sample::select(vec!["y", "x"]).prop_map(Entry::Opaque),
        1 => Just(Entry::Symlink),
        3 => Just(Entry::Whiteout),
        1 => Just(Entry::AttributeWhiteout),
        1 => Just(Entry::Escaped),
    ]
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_stack_shows_what_the_kernel_shows() {
    let layers = vec(vec((path(), entry()), 0..12), 2..5);
    let check = |layers: Vec<Vec<(PathBuf, Entry)>>| {
        let scratch = Scratch::new(&[]);
        let mut roots = Vec::new();
        for (number, entries) in layers.iter().enumerate() {
            let root = scratch.path(&format!("layer{number}"));
            fs::create_dir(&root).unwrap();
            for (path, entry) in entries {
                put(&root, path, entry);
            }
            roots.push(root);
        }
        assert_same_view(scratch.path("mount"), &roots);
        Ok(())
    };
    runner(48).run(&layers, check).unwrap();
}

/// One step of an edit. What is impossible is not done.
#[derive(Clone, Debug)]
enum Step {
    Write(PathBuf, u8, usize),
    /// Opens a file for writing, and writes nothing.
    Open(PathBuf),
    Directory(PathBuf),
    Symlink(PathBuf),
    Device(PathBuf),
    Link(PathBuf, PathBuf),
    /// With `mv`, which copies what the kernel does not rename.
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Mode(PathBuf, u32),
    /// Changes the mode and changes it back.
    ModeAndBack(PathBuf),
    Owner(PathBuf, u32),
    Time(PathBuf, i64),
    Attribute(PathBuf, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (path(), any::<u8>(), 0..3_usize).prop_map(|(path, byte, size)| Step::Write(path, byte, size)),
        2 => path().prop_map(Step::Open),
        5 => path().prop_map(Step::Directory),
        1 => path().prop_map(Step::Symlink),
        1 => path().prop_map(Step::Device),
        5 => (path(), path()).prop_map(|(from, to)| Step::Link(from, to)),
        4 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        4 => path().prop_map(Step::Remove),
        1 => (path(), 0o100..0o1000_u32).prop_map(|(path, mode)| Step::Mode(path, mode)),
        2 => path().prop_map(Step::ModeAndBack),
        1 => (path(), 0..3_u32).prop_map(|(path, id)| Step::Owner(path, id)),
        1 => (path(), 0..1_600_000_000_i64).prop_map(|(path, time)| Step::Time(path, time)),
        1 => (path(), any::<u8>()).prop_map(|(path, byte)| Step::Attribute(path, byte)),
    ]
}

impl Step {
    /// Whether a flat tree and an overlay are to be the same afterwards: not if a file that has several names is changed
    /// under one of them, nor if one of its names is renamed to another, which does nothing.
    fn is_alike(&self, root: &Path) -> bool {
        let at = |path: &PathBuf| fs::symlink_metadata(root.join(path)).ok();
        let is_alone = |path| at(path).is_none_or(|it| it.is_dir() || it.nlink() == 1);
        let is_inside = |path: &PathBuf| {
            let mut above = path.ancestors().skip(1);
            above.all(|it| fs::symlink_metadata(root.join(it)).is_ok_and(|it| it.is_dir()))
        };
        match self {
            Self::Write(path, ..)
            | Self::Mode(path, _)
            | Self::Owner(path, _)
            | Self::Time(path, _)
            | Self::Attribute(path, _) => is_inside(path) && is_alone(path),
            Self::Rename(from, to) => {
                is_inside(from)
                    && is_inside(to)
                    && match (at(from), at(to)) {
                        (Some(_), None) => !to.starts_with(from),
                        (Some(from), Some(to)) => {
                            !from.is_dir() && !to.is_dir() && from.ino() != to.ino()
                        }
                        _ => false,
                    }
            }
            Self::Link(from, to) => is_inside(from) && is_inside(to),
            Self::Open(path)
            | Self::Directory(path)
            | Self::Symlink(path)
            | Self::Device(path)
            | Self::Remove(path)
            | Self::ModeAndBack(path) => is_inside(path),
        }
    }

    fn apply(&self, root: &Path) {
        let at = |path: &PathBuf| root.join(path);
        let kind = |path: &PathBuf| fs::symlink_metadata(at(path)).map(|it| it.file_type());
        let is_file = |path| kind(path).is_ok_and(|kind| kind.is_file());
        let is_dir = |path| kind(path).is_ok_and(|kind| kind.is_dir());
        let is_plain = |path| is_file(path) || is_dir(path);
        let chmod = |path: &PathBuf, mode| {
            fs::set_permissions(at(path), PermissionsExt::from_mode(mode)).unwrap();
        };
        // What fails changes nothing, in either tree.
        match self {
            Self::Write(path, byte, size) if is_file(path) || kind(path).is_err() => {
                let _ = fs::write(at(path), vec![*byte; *size]);
            }
            Self::Open(path) if is_file(path) => {
                fs::File::options().write(true).open(at(path)).unwrap();
            }
            Self::Directory(path) => drop(fs::create_dir(at(path))),
            Self::Symlink(path) => drop(symlink("a/b", at(path))),
            // With one number: a record has none.
            Self::Device(path) => drop(device(&at(path), (1, 3))),
            Self::Link(from, to) => drop(fs::hard_link(at(from), at(to))),
            Self::Rename(from, to) => {
                Bounded::new("mv", 10)
                    .args(&["--force", "--no-target-directory"])
                    .arg(at(from))
                    .arg(at(to))
                    .succeed();
            }
            Self::Remove(path) if is_dir(path) => fs::remove_dir_all(at(path)).unwrap(),
            Self::Remove(path) => drop(fs::remove_file(at(path))),
            Self::Mode(path, mode) if is_plain(path) => chmod(path, *mode),
            Self::ModeAndBack(path) if is_plain(path) => {
                let mode = fs::metadata(at(path)).unwrap().mode();
                chmod(path, mode ^ 0o100);
                chmod(path, mode);
            }
            Self::Owner(path, id) if is_plain(path) => chown(at(path), Some(*id), None).unwrap(),
            Self::Time(path, seconds) if kind(path).is_ok() => set_mtime(&at(path), *seconds, 0),
            Self::Attribute(path, byte) if is_plain(path) => {
                lsetxattr(at(path), "user.x", &[*byte], XattrFlags::empty()).unwrap();
            }
            _ => {}
        }
    }
}

/// Gives what has been changed just now an earlier time, to which its number is added in nanoseconds.
fn settle(root: &Path, seconds: i64) {
    let entries = WalkDir::new(root).sort_by_file_name();
    for (entry, number) in entries.into_iter().zip(0..) {
        let path = entry.unwrap().into_path();
        if fs::symlink_metadata(&path).unwrap().mtime() > 1_760_000_000 {
            set_mtime(&path, seconds, number);
        }
    }
}

/// The hard links in a layer.
fn link_groups(layer: &Path) -> LinkGroups {
    let mut groups = HashMap::<u64, Vec<Vec<u8>>>::new();
    for entry in WalkDir::new(layer) {
        let entry = entry.unwrap();
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        if !metadata.is_dir() && metadata.nlink() > 1 {
            let path = entry.path().strip_prefix(layer).unwrap();
            let path = path.as_os_str().as_bytes().to_vec();
            groups.entry(metadata.ino()).or_default().push(path);
        }
    }
    groups.into_values().collect()
}

/// A tree that lies flat in one directory and in layers.
struct Twins {
    scratch: Scratch,
    flat: PathBuf,
    /// The topmost first.
    layers: Vec<PathBuf>,
}

impl Twins {
    /// Makes a layer of each edit: the first of an empty directory, each other of an overlay.
    fn new(edits: &[Vec<Step>]) -> Self {
        let scratch = Scratch::new(&["fuse-overlayfs"]);
        let flat = scratch.path("flat");
        let empty = scratch.path("empty");
        fs::create_dir(&empty).unwrap();
        let mut twins = Self {
            scratch,
            flat,
            layers: vec![empty],
        };
        for steps in edits {
            drop(twins.edit(None, steps, BEFORE, Mounter::Kernel));
        }
        let view = Overlay::view(twins.scratch.path("mount"), &twins.layers);
        Bounded::new("cp", 10)
            .arg("-a")
            .arg(&view.0)
            .arg(&twins.flat)
            .succeed();
        drop(view);
        twins
    }

    /// Edits an overlay of the layers, and a flat tree likewise; the upper directory becomes the topmost layer.
    fn edit(
        &mut self,
        flat: Option<&Path>,
        steps: &[Step],
        time: i64,
        mounter: Mounter,
    ) -> Overlay {
        let number = self.layers.len();
        let upper = self.scratch.path(&format!("upper{number}"));
        let work = self.scratch.path(&format!("work{number}"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let at = self.scratch.path("mount");
        // The root of the upper directory is as that of the layers.
        let top = fs::metadata(&self.layers[0]).unwrap();
        fs::set_permissions(&upper, top.permissions()).unwrap();
        set_mtime(&upper, top.mtime(), top.mtime_nsec());
        let overlay = Overlay::mount(at, &self.layers, Some((&upper, &work)), mounter);
        for step in steps {
            if step.is_alike(flat.unwrap_or(&overlay.0)) {
                if let Some(flat) = flat {
                    step.apply(flat);
                }
                step.apply(&overlay.0);
            }
        }
        settle(&overlay.0, time);
        if let Some(flat) = flat {
            settle(flat, time);
        }
        self.layers.insert(0, upper);
        overlay
    }

    /// Edits both, and compares the changes and the layers.
    #[track_caller]
    fn check(mut self, steps: &[Step], time: i64, mounter: Mounter) -> Vec<Change> {
        let mut record =
            mtree::Writer::new(Vec::new(), UMOCI_KEYWORDS, &mtree::Header::default()).unwrap();
        let options = WalkOptions {
            keywords: UMOCI_KEYWORDS,
            owners: None,
        };
        mtree::walk(&dir(&self.flat), &options, &mut record).unwrap();
        let manifest = Manifest::parse(&record.finish().unwrap()[..]).unwrap();

        let flat = self.flat.clone();
        let edited = self.edit(Some(&flat), steps, time, mounter);
        let lower = stack(&self.layers[1..]);
        let options = ChangesOptions {
            masks: &[],
            link_groups: &|layer| Ok(link_groups(&self.layers[layer + 1])),
            fuse: mounter == Mounter::Fuse,
        };
        let found = changes(&dir(&self.layers[0]), &lower, &options).unwrap();
        let expected = mtree::diff(
            &dir(&flat),
            &DiffOptions {
                baseline: Baseline::Manifest(&manifest),
                masks: &[],
                record: None,
            },
        );
        let expected = expected.unwrap().changes;
        assert_eq!(shown(&found.changes), shown(&expected));
        let view = if mounter == Mounter::Fuse {
            // To the kernel, its marks are files.
            edited
        } else {
            drop(edited);
            let view = Overlay::view(self.scratch.path("mount"), &self.layers);
            assert_eq!(read_stack(&stack(&self.layers)), read_mount(&view.0));
            view
        };
        let layer = pack(&view.0, &found);
        let flat_layer = pack(
            &flat,
            &Changes {
                changes: expected,
                ..Changes::default()
            },
        );
        assert!(
            layer == flat_layer,
            "the layers differ: {}",
            shown(&found.changes)
        );
        found.changes
    }
}

fn shown(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        writeln!(text, "{:?} {}", change.kind, change.path.escape_ascii()).unwrap();
    }
    text
}

fn pack(root: &Path, changes: &Changes) -> Vec<u8> {
    let whole = || {
        IdMap(vec![IdRange {
            container: 0,
            host: 0,
            size: u32::MAX,
        }])
    };
    let options = GenerateOptions {
        map_options: MapOptions {
            uid: whole(),
            gid: whole(),
            rootless: false,
        },
        source_date_epoch: None,
    };
    let root = Root::open(root, Access::Plain).unwrap();
    let mut layer = Vec::new();
    let Changes { changes, links } = changes;
    let packed = &mut |_| {};
    if links.is_empty() {
        generate_layer(&mut layer, &root, changes, &options, &Silent, packed).unwrap();
    } else {
        generate_linked_layer(&mut layer, &root, changes, links, &options, &Silent, packed)
            .unwrap();
    }
    layer
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn any_edit_of_an_overlay_gives_the_layer_of_a_flat_tree() {
    let edits = vec(vec(step(), 0..15), 0..3);
    // In one second, changes may not show in times.
    let time = prop::sample::select(vec![BEFORE, AFTER]);
    let strategy = (edits, vec(step(), 1..15), time);
    let check = |(mut edits, steps, time): (Vec<Vec<Step>>, Vec<Step>, i64)| {
        edits.insert(0, links());
        Twins::new(&edits).check(&steps, time, Mounter::Kernel);
        Ok(())
    };
    runner(48).run(&strategy, check).unwrap();
}

/// Links that random steps are likely to meet.
fn links() -> Vec<Step> {
    let link = |from: &str, to: &str| Step::Link(from.into(), to.into());
    vec![
        Step::Directory("a".into()),
        Step::Directory("a/a".into()),
        Step::Write("b".into(), b'b', 2),
        link("b", "c"),
        link("b", "a/b"),
        Step::Write("a/a/a".into(), b'a', 2),
        link("a/a/a", "a/c"),
    ]
}

/// Directories, files and links in two layers.
fn two_layers() -> Vec<Vec<Step>> {
    let text = |name: &str, byte| Step::Write(name.into(), byte, 2);
    let make = |name: &str| Step::Directory(name.into());
    let link = |from: &str, to: &str| Step::Link(from.into(), to.into());
    let lower = vec![
        make("d"),
        make("d/e"),
        text("d/e/f", b'f'),
        text("d/g", b'g'),
        text("one", b'1'),
        link("one", "two"),
        link("one", "d/three"),
        make("k"),
    ];
    let upper = vec![
        text("d/h", b'h'),
        text("alone", b'a'),
        link("alone", "k/other"),
        Step::Remove("two".into()),
    ];
    vec![lower, upper]
}

/// Edits by name, and whether they change anything.
fn with_known_edits(check: impl Fn(&str, &[Step], bool)) {
    let rename = |from: &str, to: &str| Step::Rename(from.into(), to.into());
    let link = |from: &str, to: &str| Step::Link(from.into(), to.into());
    let remove = |name: &str| Step::Remove(name.into());
    let make = |name: &str| Step::Directory(name.into());
    let text = |name: &str, byte| Step::Write(name.into(), byte, 2);
    let edits: &[(&str, &[Step], bool)] = &[
        ("nothing", &[], false),
        ("a directory renamed", &[rename("d", "moved")], true),
        (
            "there and back",
            &[rename("d", "x"), rename("x", "d")],
            true,
        ),
        (
            "mode and back",
            &[
                Step::ModeAndBack("d/g".into()),
                Step::ModeAndBack("one".into()),
            ],
            false,
        ),
        (
            "opened",
            &[Step::Open("d/e/f".into()), Step::Open("one".into())],
            false,
        ),
        (
            "deleted and made again",
            &[remove("d"), make("d"), text("d/g", b'g')],
            true,
        ),
        (
            "a file deleted and made again",
            &[remove("d/g"), text("d/g", b'G')],
            true,
        ),
        ("a tree deleted", &[remove("d")], true),
        ("a link added", &[link("one", "k/four")], true),
        ("a link removed", &[remove("one")], true),
        ("a link renamed", &[rename("one", "k/five")], true),
        (
            "links of both layers",
            &[link("alone", "d/six"), remove("k"), remove("d/three")],
            true,
        ),
        (
            "a directory becomes a file",
            &[remove("d"), text("d", b'd')],
            true,
        ),
        (
            "a file becomes a directory",
            &[remove("one"), make("one"), text("one/x", b'x')],
            true,
        ),
        (
            "copied up, then linked",
            &[Step::Open("one".into()), link("d/three", "y")],
            true,
        ),
    ];
    for (what, steps, is_change) in edits {
        println!("{what}");
        check(what, steps, *is_change);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_edits_that_overlays_are_known_to_get_wrong_give_the_layer_of_a_flat_tree() {
    with_known_edits(|what, steps, is_change| {
        let found = Twins::new(&two_layers()).check(steps, AFTER, Mounter::Kernel);
        assert_eq!(!found.is_empty(), is_change, "{what}");
    });
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn an_overlay_of_fuse_overlayfs_gives_the_layer_of_a_flat_tree() {
    // Where it copies a file up it gives the directory a new time: not these edits, which do so themselves.
    let edits = [
        "nothing",
        "a directory renamed",
        "there and back",
        "deleted and made again",
        "a tree deleted",
        "a link removed",
        "a directory becomes a file",
        "a file becomes a directory",
    ];
    with_known_edits(|what, steps, is_change| {
        if edits.contains(&what) {
            let found = Twins::new(&two_layers()).check(steps, AFTER, Mounter::Fuse);
            assert_eq!(!found.is_empty(), is_change, "{what}");
        }
    });
}
