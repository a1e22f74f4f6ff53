//! A tree that lies flat in one directory and in layers, and is edited in both shapes.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci_bundle::fs::{Access, Change, IdMap, IdRange, MapOptions, Root};
use oci_bundle::layer::{GenerateOptions, generate_layer, generate_linked_layer};
use oci_bundle::mtree::{self, Baseline, DiffOptions, Manifest, UMOCI_KEYWORDS, WalkOptions};
use oci_bundle::overlay::{Changes, ChangesOptions, LinkGroups, changes};
use oci_bundle::progress::Silent;
use rustix::fs::lgetxattr;
use tempfile::TempDir;
use walkdir::WalkDir;

use super::model::Step;
use super::view::{Mounter, Overlay, dir, read_mount, read_stack, stack};
use crate::edit::set_mtime;
use crate::machine::{Bounded, Scratch};
use crate::tree;

/// When the layers are made, and when they are edited: seconds since 1970.
pub const BEFORE: i64 = 1_740_000_000;
pub const AFTER: i64 = 1_750_000_000;

/// Gives what has been changed just now an earlier time, to which a number from this one on is added in nanoseconds.
fn settle(root: &Path, seconds: i64, first: i64) {
    let entries = WalkDir::new(root).sort_by_file_name();
    for (entry, number) in entries.into_iter().zip(first..) {
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

/// What a record has of an inode but its number of links, and the part of a second that its time has.
#[derive(PartialEq, Eq)]
struct Kept {
    mode: u32,
    owner: (u32, u32),
    seconds: i64,
    content: Vec<u8>,
    xattrs: BTreeMap<String, Vec<u8>>,
}

/// A name of an inode that is no directory.
struct Name {
    path: PathBuf,
    inode: u64,
    is_linked: bool,
    nanoseconds: i64,
    kept: Kept,
}

/// The names in a tree that are no directories.
fn names(root: &Path) -> Vec<Name> {
    let entries = WalkDir::new(root).into_iter().map(Result::unwrap);
    let leaves = entries.filter(|entry| !entry.file_type().is_dir());
    let name = |path: &Path| {
        let found = fs::symlink_metadata(path).unwrap();
        let content = if found.is_symlink() {
            fs::read_link(path).unwrap().into_os_string().into_vec()
        } else if found.is_file() {
            fs::read(path).unwrap()
        } else {
            Vec::new()
        };
        Name {
            path: path.strip_prefix(root).unwrap().to_owned(),
            inode: found.ino(),
            is_linked: found.nlink() > 1,
            nanoseconds: found.mtime_nsec(),
            kept: Kept {
                mode: found.mode(),
                owner: (found.uid(), found.gid()),
                seconds: found.mtime(),
                content,
                xattrs: tree::xattrs(path),
            },
        }
    };
    leaves.map(|entry| name(entry.path())).collect()
}

/// Whether an upper directory does not tell what was done: something that is equal to hard links came in the place of one
/// of them, equal to the nanosecond under another name, and the kernel does not note that it was not one of them.
fn is_ambiguous(before: &[Name], flat: &Path, upper: &Path) -> bool {
    names(flat).iter().any(|now| {
        let is_taken_for = |link: &&Name| {
            now.inode != link.inode
                && now.kept == link.kept
                && (now.path == link.path || now.nanoseconds == link.nanoseconds)
        };
        let mut links = before.iter().filter(|it| it.is_linked);
        let at = upper.join(&now.path);
        links.any(|link| is_taken_for(&link))
            && fs::symlink_metadata(&at).is_ok()
            && lgetxattr(&at, "trusted.overlay.origin", &mut [0; 256]).is_err()
    })
}

/// A tree that lies flat in one directory and in layers.
pub struct FlatAndOverlay {
    place: TempDir,
    flat: PathBuf,
    /// The topmost first.
    layers: Vec<PathBuf>,
}

impl FlatAndOverlay {
    /// Makes a layer of each edit: the first of an empty directory, each other of an overlay.
    pub fn new(scratch: &Scratch, edits: &[Vec<Step>]) -> Self {
        let place = scratch.place();
        let flat = place.path().join("flat");
        let empty = place.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let mut trees = Self {
            place,
            flat,
            layers: vec![empty],
        };
        for steps in edits {
            drop(trees.edit(None, steps, BEFORE, Mounter::Kernel));
        }
        let view = Overlay::view(trees.path("mount"), &trees.layers);
        Bounded::new("cp", 10)
            .arg("-a")
            .arg(&view.0)
            .arg(&trees.flat)
            .succeed();
        drop(view);
        trees
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
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
        let upper = self.path(&format!("upper{number}"));
        let work = self.path(&format!("work{number}"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let at = self.path("mount");
        // The root of the upper directory is as that of the layers.
        let top = fs::metadata(&self.layers[0]).unwrap();
        fs::set_permissions(&upper, top.permissions()).unwrap();
        set_mtime(&upper, top.mtime(), top.mtime_nsec());
        let overlay = Overlay::mount(at, &self.layers, Some((&upper, &work)), mounter);
        for step in steps {
            let is_alike = flat.is_none_or(|flat| step.is_alike(flat, &upper));
            if is_alike
                && step.is_possible(flat.unwrap_or(&overlay.0))
                && step.apply(&overlay.0)
                && let Some(flat) = flat
            {
                assert!(step.apply(flat), "{step:?}");
            }
        }
        let first = 1000 * i64::try_from(number).unwrap();
        for root in flat.into_iter().chain([overlay.0.as_path()]) {
            settle(root, time, first);
        }
        self.layers.insert(0, upper);
        overlay
    }

    /// Edits both, and compares the changes and the layers. `None` if the upper directory does not tell what was done.
    #[track_caller]
    pub fn check(mut self, steps: &[Step], time: i64, mounter: Mounter) -> Option<Vec<Change>> {
        let mut record =
            mtree::Writer::new(Vec::new(), UMOCI_KEYWORDS, &mtree::Header::default()).unwrap();
        let options = WalkOptions {
            keywords: UMOCI_KEYWORDS,
            owners: None,
        };
        mtree::walk(&dir(&self.flat), &options, &mut record).unwrap();
        let manifest = Manifest::parse(&record.finish().unwrap()[..]).unwrap();

        let flat = self.flat.clone();
        let before = names(&flat);
        let edited = self.edit(Some(&flat), steps, time, mounter);
        if mounter == Mounter::Kernel && is_ambiguous(&before, &flat, &self.layers[0]) {
            return None;
        }
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
            let view = Overlay::view(self.path("mount"), &self.layers);
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
        Some(found.changes)
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
    let Changes { changes, links, .. } = changes;
    let packed = &mut |_| {};
    if links.is_empty() {
        generate_layer(&mut layer, &root, changes, &options, &Silent, packed).unwrap();
    } else {
        generate_linked_layer(&mut layer, &root, changes, links, &options, &Silent, packed)
            .unwrap();
    }
    layer
}
