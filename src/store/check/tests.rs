//! Layers that are sound, and layers that something has happened to.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use filetime::FileTime;
use rustix::fs::XattrFlags;
use sha2::{Digest, Sha256};

use super::*;
use crate::ErrorKind;
use crate::fs::tree::{Inode, NodeId, Tree};
use crate::fs::{Access, Dir, InodeKind, Stat, XattrNamespace};
use crate::store::record::Record;

/// A layer on disk, and the record of it.
struct Layer {
    scratch: tempfile::TempDir,
    record: Vec<u8>,
}

impl Layer {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        fs::create_dir_all(path("d/e/deep")).unwrap();
        fs::write(path("a"), "content of a").unwrap();
        fs::write(path("d/b"), "content of b").unwrap();
        fs::hard_link(path("d/b"), path("d/e/b2")).unwrap();
        fs::write(path("d/e/deep/file"), "x").unwrap();
        symlink("target", path("link")).unwrap();
        fs::set_permissions(path("a"), fs::Permissions::from_mode(0o644)).unwrap();
        set_xattr(&path("a"), "user.note", b"value");
        set_xattr(&path("d"), "user.overlay.opaque", b"y");
        let dir = Dir::open(scratch.path(), Access::Plain).unwrap();
        assert!(
            dir.open_dir(b"d")
                .unwrap()
                .create_whiteout(b"gone")
                .unwrap()
        );
        assert!(
            dir.create_node(b"pipe", InodeKind::Fifo, 0o600, (0, 0))
                .unwrap()
        );
        let time = FileTime::from_unix_time(1_000_000_000, 1);
        for name in ["a", "d/b", "d/e/deep/file", "d/e/deep", "d/e", "d", ""] {
            filetime::set_file_mtime(path(name), time).unwrap();
        }
        let record = record(&dir);
        Self { scratch, record }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn findings(&self, level: Level) -> Vec<Finding> {
        let dir = Dir::open(self.scratch.path(), Access::Plain).unwrap();
        check_layer(&dir, &self.record[..], level).unwrap()
    }

    /// What is found, quickly and in full, but for times of directories, which go with names in them.
    fn found(&self) -> [Vec<(String, FindingKind)>; 2] {
        [Level::Quick, Level::Full].map(|level| {
            let findings = self.findings(level).into_iter();
            let found = findings.filter(|finding| finding.what != FindingKind::Mtime);
            found
                .map(|found| (String::from_utf8(found.path).unwrap(), found.what))
                .collect()
        })
    }

    #[track_caller]
    fn assert_found(&self, expected: &[(&str, FindingKind)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|&(path, what)| (path.to_owned(), what))
            .collect();
        assert_eq!(self.found(), [expected.clone(), expected]);
    }
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// The record of what is there now, whiteouts as such.
fn record(dir: &Dir) -> Vec<u8> {
    let inode = |stat: &Stat, dir: &Dir, name: &[u8]| Inode {
        kind: stat.kind,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        size: stat.size,
        nlink: stat.nlink,
        mtime: stat.mtime,
        link: match stat.kind {
            InodeKind::Symlink => dir.read_link(name).unwrap().into(),
            _ => Box::default(),
        },
        sha256: (stat.kind == InodeKind::File)
            .then(|| Sha256::digest(dir.read_file(name, 1 << 20).unwrap()).into()),
        xattrs: match name {
            b"" => dir.xattrs_self().unwrap(),
            _ => dir.xattrs(name).unwrap(),
        },
        stat_stamp: None,
    };
    let mut tree = Tree::new(inode(&dir.stat_self().unwrap(), dir, b""));
    let (mut whiteouts, mut opaques) = (Vec::new(), Vec::new());
    let mut seen: Vec<(Stat, NodeId)> = Vec::new();
    let mut pending = vec![(dir.open_dir(b".").unwrap(), Tree::ROOT, Vec::new())];
    while let Some((dir, node, path)) = pending.pop() {
        if dir.is_opaque(XattrNamespace::User).unwrap() {
            opaques.push(path.clone());
        }
        for name in dir.names().unwrap() {
            let stat = dir.stat(&name).unwrap();
            let separator = if path.is_empty() { &b""[..] } else { b"/" };
            let path = [&path, separator, &name].concat();
            if stat.is_whiteout() {
                whiteouts.push(path);
                continue;
            }
            if let Some((_, first)) = seen.iter().find(|(seen, _)| seen.id == stat.id) {
                tree.insert_link(node, &name, *first);
                continue;
            }
            let child = tree.insert(node, &name, inode(&stat, &dir, &name));
            if stat.is_dir() {
                pending.push((dir.open_dir(&name).unwrap(), child, path));
            } else {
                seen.push((stat, child));
            }
        }
    }
    let mut out = Vec::new();
    let record = Record {
        tree: &tree,
        whiteouts: whiteouts.iter().map(Vec::as_slice).collect(),
        opaques: opaques.iter().map(Vec::as_slice).collect(),
        marks: XattrNamespace::User,
    };
    record.write(&mut out).unwrap();
    out
}

#[test]
fn a_layer_that_nobody_has_touched_is_sound() {
    let layer = Layer::new();
    assert_eq!(layer.findings(Level::Quick), []);
    assert_eq!(layer.findings(Level::Full), []);
}

#[test]
fn a_flipped_byte_is_found_by_reading() {
    let layer = Layer::new();
    let times = FileTime::from_unix_time(1_000_000_000, 1);
    fs::write(layer.path("d/b"), "contenT of b").unwrap();
    filetime::set_file_mtime(layer.path("d/b"), times).unwrap();
    assert_eq!(layer.findings(Level::Quick), []);
    let findings = layer.findings(Level::Full);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        (&findings[0].path[..], findings[0].what),
        (&b"d/b"[..], FindingKind::Content)
    );
}

#[test]
fn truncated_and_emptied_files_are_found_without_reading() {
    let layer = Layer::new();
    for size in [5, 0] {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(layer.path("a"))
            .unwrap();
        file.set_len(size).unwrap();
        layer.assert_found(&[("a", FindingKind::Size)]);
    }
    let finding = &layer.findings(Level::Quick)[0];
    assert_eq!(
        finding.to_string(),
        "a: size: expected 12 bytes, found 0 bytes"
    );
}

#[test]
fn what_is_gone_and_what_is_new_is_found_once_with_all_below_it() {
    let layer = Layer::new();
    fs::remove_dir_all(layer.path("d/e/deep")).unwrap();
    fs::create_dir_all(layer.path("d/new/below")).unwrap();
    fs::write(layer.path("zz"), "").unwrap();
    fs::write(layer.path("d/0"), "").unwrap();
    layer.assert_found(&[
        ("d/0", FindingKind::Extra),
        ("d/e/deep", FindingKind::Missing),
        ("d/new", FindingKind::Extra),
        ("zz", FindingKind::Extra),
    ]);
}

#[test]
fn whiteouts_that_are_gone_or_new_are_found() {
    let layer = Layer::new();
    fs::remove_file(layer.path("d/gone")).unwrap();
    let dir = Dir::open(layer.scratch.path(), Access::Plain).unwrap();
    dir.create_whiteout(b"hidden").unwrap();
    fs::remove_file(layer.path("pipe")).unwrap();
    dir.create_whiteout(b"pipe").unwrap();
    layer.assert_found(&[
        ("d/gone", FindingKind::WhiteoutMissing),
        ("hidden", FindingKind::WhiteoutExtra),
        ("pipe", FindingKind::Type),
    ]);
    fs::write(layer.path("d/gone"), "").unwrap();
    assert!(layer.found()[0].contains(&("d/gone".to_owned(), FindingKind::Type)));
}

#[test]
fn changed_metadata_is_found() {
    let layer = Layer::new();
    let mode = |name: &str, mode| {
        fs::set_permissions(layer.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("a", 0o4755);
    mode("", 0o711);
    set_xattr(&layer.path("a"), "user.note", b"other");
    set_xattr(&layer.path("d/b"), "user.new", b"\0");
    rustix::fs::removexattr(layer.path("d"), "user.overlay.opaque").unwrap();
    fs::remove_file(layer.path("link")).unwrap();
    symlink("elsewhere", layer.path("link")).unwrap();
    layer.assert_found(&[
        (".", FindingKind::Mode),
        ("a", FindingKind::Mode),
        ("a", FindingKind::Xattr),
        ("d", FindingKind::Opaque),
        ("d/b", FindingKind::Xattr),
        ("d/e/b2", FindingKind::Xattr),
        ("link", FindingKind::Target),
    ]);
    let told: Vec<_> = layer
        .findings(Level::Quick)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        told.contains(&"a: mode: expected 0644, found 4755".to_owned()),
        "{told:?}"
    );
    let xattr = "a: xattr: expected user.note=value, found user.note=other".to_owned();
    assert!(told.contains(&xattr), "{told:?}");
    let xattr = "d/b: xattr: expected no user.new, found user.new=0x00".to_owned();
    assert!(told.contains(&xattr), "{told:?}");
}

#[test]
fn times_count_to_the_nanosecond() {
    let layer = Layer::new();
    let time = FileTime::from_unix_time(1_000_000_000, 2);
    filetime::set_file_mtime(layer.path("d/e"), time).unwrap();
    let findings = layer.findings(Level::Quick);
    assert_eq!(findings.len(), 1);
    let told = "d/e: mtime: expected 1000000000.000000001, found 1000000000.000000002";
    assert_eq!(findings[0].to_string(), told);
}

#[test]
fn hard_links_that_are_cut_or_new_are_found() {
    let layer = Layer::new();
    let time = FileTime::from_unix_time(1_000_000_000, 1);
    fs::remove_file(layer.path("d/e/b2")).unwrap();
    fs::write(layer.path("d/e/b2"), "content of b").unwrap();
    filetime::set_file_mtime(layer.path("d/e/b2"), time).unwrap();
    let elsewhere = tempfile::tempdir_in(layer.scratch.path().parent().unwrap()).unwrap();
    fs::hard_link(layer.path("a"), elsewhere.path().join("a")).unwrap();
    layer.assert_found(&[
        ("a", FindingKind::Links),
        ("d/b", FindingKind::Links),
        ("d/e/b2", FindingKind::Links),
    ]);
}

#[test]
fn another_type_is_found_and_not_looked_into() {
    let layer = Layer::new();
    fs::remove_dir_all(layer.path("d/e")).unwrap();
    symlink("/", layer.path("d/e")).unwrap();
    fs::remove_file(layer.path("a")).unwrap();
    fs::create_dir(layer.path("a")).unwrap();
    layer.assert_found(&[
        ("a", FindingKind::Type),
        ("d/b", FindingKind::Links),
        ("d/e", FindingKind::Type),
    ]);
}

#[test]
fn a_damaged_record_is_an_error_and_no_finding() {
    let mut layer = Layer::new();
    let middle = layer.record.len() / 2;
    layer.record[middle] ^= 1;
    let dir = Dir::open(layer.scratch.path(), Access::Plain).unwrap();
    for level in [Level::Quick, Level::Full] {
        let error = check_layer(&dir, &layer.record[..], level).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn a_layer_beyond_repair_has_an_end() {
    let layer = Layer::new();
    fs::create_dir(layer.path("many")).unwrap();
    for number in 0..MAX_FINDINGS + 10 {
        symlink("x", layer.path(&format!("zz{number}"))).unwrap();
    }
    assert_eq!(layer.findings(Level::Full).len(), MAX_FINDINGS);
}

#[test]
fn a_layer_deeper_than_descriptors_is_checked() {
    let scratch = tempfile::tempdir().unwrap();
    let root = Dir::open(scratch.path(), Access::Plain).unwrap();
    let mut dir = root.open_dir(b".").unwrap();
    for _ in 0..1500 {
        dir = dir.create_dir(b"d", 0o755).unwrap().unwrap();
    }
    let record = record(&root);
    assert_eq!(check_layer(&root, &record[..], Level::Full).unwrap(), []);
    dir.create_dir(b"new", 0o755).unwrap().unwrap();
    let findings = check_layer(&root, &record[..], Level::Full).unwrap();
    let kinds: Vec<_> = findings.iter().map(|finding| finding.what).collect();
    assert_eq!(kinds, [FindingKind::Mtime, FindingKind::Extra]);
}
