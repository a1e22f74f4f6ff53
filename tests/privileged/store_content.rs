//! The content of layers with all that only root can make: copied, copied with other owners, checked against its
//! record, and limited by quotas.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use oci_bundle::ErrorKind;
use oci_bundle::fs::copy::{CopyOptions, copy_tree};
use oci_bundle::fs::lock::{LockFile, LockMode};
use oci_bundle::fs::quota::{self, Limits};
use oci_bundle::fs::usage::usage;
use oci_bundle::fs::{Access, Dir, IdMap, IdRange, InodeKind, MapOptions, XattrNamespace};
use oci_bundle::store::check::{FindingKind, Level, check_layer};
use oci_bundle::store::record::{Content, Entry, RecordWriter};
use oci_bundle::store::remap::{remap_layer, remap_record};
use rustix::fs::XattrFlags;

use crate::machine::{Bounded, Scratch, Tmpfs};
use crate::tree::{Tree, xattrs};

const ACL: &str = "system.posix_acl_access";
const DEFAULT_ACL: &str = "system.posix_acl_default";
const CAPABILITY: &str = "security.capability";

fn open(path: &Path) -> Dir {
    Dir::open(path, Access::Plain).unwrap()
}

fn make_dir(path: &Path) -> Dir {
    fs::create_dir(path).unwrap();
    open(path)
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// An ACL that lets in a user and a group beside the owners (`linux/posix_acl_xattr.h`).
fn acl(user: u32, group: u32) -> Vec<u8> {
    let none = u32::MAX;
    let entries: [(u16, u32); 6] = [
        (0x01, none),
        (0x02, user),
        (0x04, none),
        (0x08, group),
        (0x10, none),
        (0x20, none),
    ];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&5_u16.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

/// `cap_net_raw+ep`, version 2 (`linux/capability.h`).
fn capability() -> Vec<u8> {
    let words: [u32; 5] = [0x0200_0001, 1 << 13, 0, 0, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A layer with everything; its ids are below 100.
fn layer(path: &Path) -> Dir {
    let root = make_dir(path);
    let at = |name: &str| path.join(name);
    let dir = make_dir(&at("dir"));
    fs::write(at("dir/program"), vec![1; 100_000]).unwrap();
    chown(at("dir/program"), Some(33), Some(44)).unwrap();
    fs::set_permissions(at("dir/program"), fs::Permissions::from_mode(0o6755)).unwrap();
    set_xattr(&at("dir/program"), CAPABILITY, &capability());
    set_xattr(&at("dir/program"), ACL, &acl(55, 66));
    fs::hard_link(at("dir/program"), at("again")).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 20 << 20).unwrap();
    symlink("/etc/passwd", at("link")).unwrap();
    lchown(at("link"), Some(7), Some(8)).unwrap();
    set_xattr(&at("link"), "trusted.note", b"on a link");
    assert!(dir.create_whiteout(b"gone").unwrap());
    assert!(
        root.create_node(b"disk", InodeKind::BlockDevice, 0o640, (250, 7))
            .unwrap()
    );
    chown(at("disk"), Some(0), Some(6)).unwrap();
    assert!(
        root.create_node(b"pipe", InodeKind::Fifo, 0o622, (0, 0))
            .unwrap()
    );
    dir.set_opaque(XattrNamespace::Trusted).unwrap();
    set_xattr(&at("dir"), DEFAULT_ACL, &acl(55, 66));
    chown(at("dir"), Some(1), Some(2)).unwrap();
    fs::set_permissions(at("dir"), fs::Permissions::from_mode(0o3751)).unwrap();
    let time = filetime::FileTime::from_unix_time(1_234_567_890, 987_654_321);
    for name in [
        "link",
        "dir/gone",
        "dir/program",
        "disk",
        "pipe",
        "sparse",
        "dir",
        "",
    ] {
        filetime::set_symlink_file_times(at(name), time, time).unwrap();
    }
    root
}

/// The record of the layer, written by hand: what is expected, not what is there.
fn record(path: &Path) -> Vec<u8> {
    let mtime = filetime::FileTime::from_unix_time(1_234_567_890, 987_654_321);
    let entry = |name: &str, content| {
        let found = path.join(name).symlink_metadata().unwrap();
        let opaque = XattrNamespace::Trusted.opaque();
        let xattrs = xattrs(&path.join(name)).into_iter();
        let xattrs = xattrs.map(|(name, value)| (name.into_bytes(), value));
        Entry {
            path: name.into(),
            content,
            mode: found.mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
            mtime,
            xattrs: xattrs.filter(|(name, _)| name != opaque).collect(),
            links: (found.nlink() > 1 && !found.is_dir())
                .then_some(oci_bundle::store::record::LinkSet { set: 0, count: 2 }),
        }
    };
    let file = |name: &str| {
        let content = fs::read(path.join(name)).unwrap();
        Content::File {
            size: content.len() as u64,
            sha256: Some(<sha2::Sha256 as sha2::Digest>::digest(content).into()),
        }
    };
    let mut out = Vec::new();
    let mut writer = RecordWriter::new(&mut out, XattrNamespace::Trusted).unwrap();
    let number = Some((250, 7));
    for entry in [
        entry("", Content::Directory { opaque: false }),
        entry("again", file("again")),
        entry("dir", Content::Directory { opaque: true }),
        Entry::whiteout(b"dir/gone".to_vec()),
        entry("dir/program", file("dir/program")),
        entry(
            "disk",
            Content::Device {
                block: true,
                number,
            },
        ),
        entry(
            "link",
            Content::Symlink {
                target: b"/etc/passwd".to_vec(),
            },
        ),
        entry("pipe", Content::Fifo),
        entry("sparse", file("sparse")),
    ] {
        writer.append(&entry).unwrap();
    }
    writer.finish().unwrap();
    out
}

#[test]
#[ignore = "needs root: owners, devices, capabilities"]
fn a_copy_is_the_layer_again() {
    let scratch = Scratch::new(&[]);
    let from = layer(&scratch.path("layer"));
    let to = make_dir(&scratch.path("copy"));
    let report = copy_tree(&from, &to, CopyOptions::default()).unwrap();
    assert_eq!(report.inodes, 8);
    let copy = Tree::read(&scratch.path("copy"));
    copy.assert_same(
        &Tree::read(&scratch.path("layer")),
        "the copy and the layer",
    );
    let both = [&from, &to].map(|dir| usage(dir).unwrap());
    assert_eq!(both[0].apparent, both[1].apparent);
    assert!(both[1].bytes < 2 << 20, "{both:?}");
}

#[test]
#[ignore = "needs root: mounts"]
fn a_copy_to_another_file_system_is_the_layer_again() {
    let scratch = Scratch::new(&[]);
    let from = layer(&scratch.path("layer"));
    let other = Tmpfs::mount(scratch.path("other"), "size=16m");
    let to = make_dir(&other.path().join("copy"));
    let report = copy_tree(&from, &to, CopyOptions::default()).unwrap();
    assert_eq!(report.shared_bytes, 0);
    let copy = Tree::read(&other.path().join("copy"));
    copy.assert_same(
        &Tree::read(&scratch.path("layer")),
        "the copy and the layer",
    );
}

#[test]
#[ignore = "needs root: default ACLs of others"]
fn a_copy_gets_nothing_from_the_directory_it_is_made_in() {
    let scratch = Scratch::new(&[]);
    let from = layer(&scratch.path("layer"));
    let to = make_dir(&scratch.path("copy"));
    set_xattr(&scratch.path("copy"), DEFAULT_ACL, &acl(1, 2));
    fs::set_permissions(scratch.path("copy"), fs::Permissions::from_mode(0o2777)).unwrap();
    copy_tree(&from, &to, CopyOptions::default()).unwrap();
    let copy = Tree::read(&scratch.path("copy"));
    copy.assert_same(
        &Tree::read(&scratch.path("layer")),
        "the copy and the layer",
    );
}

#[test]
#[ignore = "needs root: mounts"]
fn what_is_mounted_in_a_layer_is_not_copied() {
    let scratch = Scratch::new(&[]);
    let from = layer(&scratch.path("layer"));
    let _mounted = Tmpfs::mount(scratch.path("layer/mounted"), "size=1m");
    let to = make_dir(&scratch.path("copy"));
    let error = copy_tree(&from, &to, CopyOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error
            .chain()
            .contains("another file system is mounted there")
    );
}

#[test]
#[ignore = "needs root: owners"]
fn a_layer_with_other_owners_is_the_same_but_for_them() {
    let scratch = Scratch::new(&[]);
    let from = layer(&scratch.path("layer"));
    let to = make_dir(&scratch.path("remapped"));
    let ids = |host| {
        IdMap(vec![IdRange {
            container: 0,
            host,
            size: 100,
        }])
    };
    let maps = MapOptions {
        uid: ids(100_000),
        gid: ids(200_000),
        rootless: false,
    };
    remap_layer(&from, &to, &maps).unwrap();
    let at = |name: &str| scratch.path("remapped").join(name);
    let owner = |name: &str| {
        let found = at(name).symlink_metadata().unwrap();
        (found.uid(), found.gid())
    };
    assert_eq!(owner(""), (100_000, 200_000));
    assert_eq!(owner("dir"), (100_001, 200_002));
    assert_eq!(owner("link"), (100_007, 200_008));
    assert_eq!(owner("again"), (100_033, 200_044));
    let attributes = xattrs(&at("again"));
    assert_eq!(attributes[ACL], acl(100_055, 200_066));
    // That of the root in the namespace, as an id-mapped mount shows it: revision 3, with its id on disk.
    let mut of_namespace = capability();
    of_namespace[3] = 3;
    of_namespace.extend(100_000_u32.to_le_bytes());
    assert_eq!(attributes[CAPABILITY], of_namespace);
    assert_eq!(xattrs(&at("dir"))[DEFAULT_ACL], acl(100_055, 200_066));
    // The owner's permissions are those of the ACL.
    assert_eq!(at("again").metadata().unwrap().mode() & 0o7777, 0o6555);

    let mut record_of_copy = Vec::new();
    let record = record(&scratch.path("layer"));
    remap_record(&record[..], &mut record_of_copy, &maps).unwrap();
    assert_eq!(
        check_layer(&to, &record_of_copy[..], Level::Full).unwrap(),
        []
    );
    let findings = check_layer(&to, &record[..], Level::Quick).unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.what == FindingKind::Owner)
    );

    let narrow = MapOptions {
        uid: IdMap(vec!["0:1000:5".parse().unwrap()]),
        ..maps
    };
    let to = make_dir(&scratch.path("narrow"));
    let error = remap_layer(&from, &to, &narrow).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
#[ignore = "needs root: owners, devices, trusted attributes"]
fn changes_that_only_root_can_make_are_found() {
    let scratch = Scratch::new(&[]);
    let root = layer(&scratch.path("layer"));
    let record = record(&scratch.path("layer"));
    let found = || {
        let findings = check_layer(&root, &record[..], Level::Full).unwrap();
        let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
        let mut found: Vec<_> = findings
            .iter()
            .map(|finding| (text(&finding.path), finding.what))
            .collect();
        // Those of directories come with new names in them.
        found.retain(|(path, what)| path != "." || *what != FindingKind::Mtime);
        found
    };
    assert_eq!(found(), []);
    let at = |name: &str| scratch.path("layer").join(name);
    let time = filetime::FileTime::from_unix_time(1_234_567_890, 987_654_321);
    lchown(at("link"), Some(7), Some(9)).unwrap();
    fs::remove_file(at("disk")).unwrap();
    assert!(
        root.create_node(b"disk", InodeKind::BlockDevice, 0o640, (250, 8))
            .unwrap()
    );
    chown(at("disk"), Some(0), Some(6)).unwrap();
    filetime::set_symlink_file_times(at("disk"), time, time).unwrap();
    rustix::fs::removexattr(at("again"), CAPABILITY).unwrap();
    rustix::fs::removexattr(at("dir"), "trusted.overlay.opaque").unwrap();
    set_xattr(&at("pipe"), "trusted.new", b"x");
    let expected = [
        ("again", FindingKind::Xattr),
        ("dir", FindingKind::Opaque),
        ("dir/program", FindingKind::Xattr),
        ("disk", FindingKind::Device),
        ("link", FindingKind::Owner),
        ("pipe", FindingKind::Xattr),
    ];
    assert_eq!(
        found(),
        expected.map(|(path, what)| (path.to_owned(), what))
    );
}

#[test]
#[ignore = "needs root: mounts"]
fn a_lock_on_a_read_only_file_system_can_be_shared() {
    let scratch = Scratch::new(&[]);
    let store = Tmpfs::mount(scratch.path("store"), "size=1m");
    let dir = open(store.path());
    drop(LockFile::acquire(&dir, b"lock", LockMode::Exclusive, None).unwrap());
    Bounded::new("mount", 10)
        .args(&["-o", "remount,ro"])
        .arg(store.path())
        .succeed();
    let first = LockFile::try_acquire(&dir, b"lock", LockMode::Shared).unwrap();
    let second = LockFile::try_acquire(&dir, b"lock", LockMode::Shared).unwrap();
    assert!(first.is_some() && second.is_some());
    assert!(LockFile::try_acquire(&dir, b"lock", LockMode::Exclusive).is_err());
}

/// An ext4 with project quotas in a file, unmounted on drop.
struct QuotaFs<'a>(&'a Path);

impl<'a> QuotaFs<'a> {
    /// Mounts one at `path`. `None` if the kernel was built without quotas.
    fn mount(scratch: &Scratch, path: &'a Path) -> Option<Self> {
        let image = scratch.path("image");
        fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
        Bounded::new("mkfs.ext4", 30)
            .args(&["-q", "-O", "project,quota"])
            .arg(&image)
            .succeed();
        fs::create_dir(path).unwrap();
        let mount = Bounded::new("mount", 30).args(&["-o", "loop,prjquota"]);
        let mounted = mount.arg(&image).arg(path).output().status.success();
        mounted.then(|| Self(path))
    }
}

impl Drop for QuotaFs<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0).status();
    }
}

const LIMITS: Limits = Limits {
    bytes: Some(1 << 20),
    inodes: Some(20),
};

#[test]
#[ignore = "needs root: mounts"]
fn a_quota_stops_who_writes_more_or_is_refused_with_the_reason() {
    let scratch = Scratch::new(&["mkfs.ext4"]);
    let mount_point = scratch.path("limited");
    let Some(_mounted) = QuotaFs::mount(&scratch, &mount_point) else {
        let dir = make_dir(&scratch.path("unlimited"));
        let error = quota::set(&dir, 7, LIMITS).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        assert!(error.chain().contains("project quotas"), "{error:?}");
        assert_eq!(error.hints().len(), 1);
        // Nothing has been changed.
        assert!(quota::get(&dir).is_ok_and(|quota| quota.is_none()));
        return;
    };
    let dir = make_dir(&mount_point.join("dir"));
    assert_eq!(quota::get(&dir).unwrap(), None);
    quota::set(&dir, 7, LIMITS).unwrap();
    fs::set_permissions(mount_point.join("dir"), fs::Permissions::from_mode(0o777)).unwrap();
    // Root may write beyond the limits.
    let write = |name: &str, kibibytes: &str| {
        let of = format!("of={}", mount_point.join("dir").join(name).display());
        let count = format!("count={kibibytes}");
        let write = Bounded::new("dd", 30).args(&["if=/dev/zero", "bs=1k", &of, &count]);
        write.run_by_nobody(&scratch.path("")).output()
    };
    assert!(write("small", "512").status.success());
    let refused = write("large", "1024");
    assert!(!refused.status.success());
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("quota"),
        "{refused:?}"
    );
    let found = quota::get(&dir).unwrap().unwrap();
    assert_eq!((found.project, found.limits, found.inodes), (7, LIMITS, 3));
    assert!((512 << 10..=1 << 20).contains(&found.bytes), "{found:?}");
    let more = Limits {
        bytes: Some(4 << 20),
        inodes: None,
    };
    quota::set(&dir, 7, more).unwrap();
    assert!(write("large", "1024").status.success());
    assert_eq!(quota::get(&dir).unwrap().unwrap().limits, more);
    let error = quota::set(&dir, 8, LIMITS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "not empty");
}
