//! Directories, roots, staging: as whoever runs the tests.

use std::fmt::Write;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;

use super::staging::{MadeDirs, Staging};
use super::*;
use crate::error::ErrorKind;

fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(dir: &TempDir) -> Dir {
    Dir::open(dir.path(), Access::Plain).unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let name =
        |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(path).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn only_regular_files_are_opened_and_nothing_is_waited_for() {
    let scratch = scratch();
    fs::write(scratch.path().join("file"), "12345").unwrap();
    fs::create_dir(scratch.path().join("dir")).unwrap();
    symlink("file", scratch.path().join("link")).unwrap();
    let dir = open(&scratch);
    rustix::fs::mkfifoat(&dir, "fifo", rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(dir.read_file(b"file", 5).unwrap(), b"12345");
    assert_eq!(
        dir.read_file(b"file", 4).unwrap_err().kind(),
        ErrorKind::LimitExceeded
    );
    assert_eq!(
        dir.open_file(b"none").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    for name in ["dir", "fifo"] {
        assert_eq!(
            dir.open_file(name.as_bytes()).unwrap_err().kind(),
            ErrorKind::InvalidData,
            "{name}"
        );
    }
    assert!(dir.open_file(b"link").is_err());
    let root = Root::open(scratch.path(), Access::Plain).unwrap();
    assert!(root.open_file(Path::new("/link")).is_ok());
    assert!(root.open_file(Path::new("fifo")).is_err());
}

#[test]
fn paths_resolve_inside_the_root() {
    let scratch = scratch();
    let make = |path: &str| fs::create_dir_all(scratch.path().join(path)).unwrap();
    make("a/b");
    make("etc");
    for (link, target) in [
        ("abs", "/a"),
        ("up", "../../../a/b"),
        ("a/rel", "b"),
        ("loop", "loop"),
        ("chain", "abs/rel"),
    ] {
        symlink(target, scratch.path().join(link)).unwrap();
    }
    fs::write(scratch.path().join("file"), "").unwrap();
    let root = Root::open(scratch.path(), Access::Plain).unwrap();
    let resolve = |path: &str| root.resolve(path.as_bytes(), &mut |_| Ok(false));
    for (path, found) in [
        ("", ""),
        ("a/b", "a/b"),
        ("abs", "a"),
        ("up", "a/b"),
        ("a/rel", "a/b"),
        ("chain", "a/b"),
        ("abs/../etc", "etc"),
    ] {
        let resolved = resolve(path).unwrap().expect(path);
        assert_eq!(resolved.path, found.as_bytes(), "{path}");
        let ino = fs::metadata(scratch.path().join(found)).unwrap().ino();
        assert_eq!(resolved.dir.stat_self().unwrap().id.ino, ino, "{path}");
    }
    assert!(resolve("none").unwrap().is_none());
    assert!(resolve("file").unwrap().is_none());
    assert_eq!(resolve("loop").unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn a_missing_component_is_asked_about_where_it_is_missing() {
    let scratch = scratch();
    symlink("x/y", scratch.path().join("dangling")).unwrap();
    let root = Root::open(scratch.path(), Access::Plain).unwrap();
    let mut asked = Vec::new();
    let resolved = root.resolve(b"dangling/z", &mut |obstacle| {
        asked.push((obstacle.parent_path.to_vec(), obstacle.name.to_vec()));
        Ok(obstacle.parent.create_dir(obstacle.name, 0o700)?.is_some())
    });
    assert_eq!(resolved.unwrap().unwrap().path, b"x/y/z");
    let expected =
        [("", "x"), ("x", "y"), ("x/y", "z")].map(|(dir, name)| (dir.into(), name.into()));
    assert_eq!(asked, expected);
}

#[test]
fn a_tree_is_removed_whole_and_links_in_it_are_not_followed() {
    let (scratch, outside) = (scratch(), scratch());
    fs::write(outside.path().join("kept"), "").unwrap();
    let mut deep = scratch.path().join("t");
    for _ in 0..200 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("f"), "").unwrap();
    symlink(outside.path(), scratch.path().join("t/link")).unwrap();
    let dir = open(&scratch);
    dir.remove_all(b"t").unwrap();
    dir.remove_all(b"t").unwrap();
    assert!(names(scratch.path()).is_empty());
    assert_eq!(names(outside.path()), ["kept"]);
}

#[test]
fn metadata_is_applied_to_links_and_not_through_them() {
    let scratch = scratch();
    fs::write(scratch.path().join("target"), "").unwrap();
    symlink("target", scratch.path().join("link")).unwrap();
    let before = fs::metadata(scratch.path().join("target")).unwrap();
    let dir = open(&scratch);
    let when = filetime::FileTime::from_unix_time(-2, 500_000_000);
    let metadata = Metadata {
        owner: None,
        mode: None,
        xattrs: Vec::new(),
        clear_xattrs: false,
        times: Times {
            atime: when,
            mtime: when,
        },
    };
    let link = Inode::Named(&dir, b"link");
    link.apply(&metadata, Rules::default(), &mut |_| {})
        .unwrap();
    assert_eq!(dir.stat(b"link").unwrap().mtime, when);
    let closed = Metadata {
        mode: Some(0),
        ..metadata
    };
    assert!(
        link.apply(&closed, Rules::default(), &mut |_| {}).is_err(),
        "a link has no mode"
    );
    let after = fs::metadata(scratch.path().join("target")).unwrap();
    assert_eq!(
        (before.mtime(), before.mode()),
        (after.mtime(), after.mode())
    );
}

#[test]
fn what_is_staged_appears_at_the_end_or_not_at_all() {
    let scratch = scratch();
    let staging = Staging::create(scratch.path(), ".s-", Access::Plain).unwrap();
    fs::create_dir(staging.path().join("a")).unwrap();
    let (name, mode) = (
        names(scratch.path()).remove(0),
        fs::metadata(staging.path()).unwrap().permissions().mode(),
    );
    assert!(
        name.starts_with(".s-") && mode & 0o777 == 0o700,
        "{name} {mode:o}"
    );
    drop(staging);
    assert!(names(scratch.path()).is_empty());

    let staging = Staging::create(scratch.path(), ".s-", Access::Plain).unwrap();
    fs::create_dir(staging.path().join("a")).unwrap();
    staging.publish_as(b"new").unwrap();
    assert_eq!(names(&scratch.path().join("new")), ["a"]);
    let staging = Staging::create(scratch.path(), ".s-", Access::Plain).unwrap();
    assert_eq!(
        staging.publish_as(b"new").unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    assert_eq!(names(scratch.path()), ["new"]);
}

#[test]
fn entries_are_published_together_or_taken_back() {
    let scratch = scratch();
    let stage = || {
        let staging = Staging::create(scratch.path(), ".s-", Access::Plain).unwrap();
        for name in ["a", "b", "c"] {
            fs::write(staging.path().join(name), name).unwrap();
        }
        staging
    };
    fs::write(scratch.path().join("c"), "in the way").unwrap();
    let refused = stage().publish_entries(&[b"a", b"b", b"c"]);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(names(scratch.path()), ["c"]);
    fs::remove_file(scratch.path().join("c")).unwrap();
    stage().publish_entries(&[b"a", b"b", b"c"]).unwrap();
    assert_eq!(names(scratch.path()), ["a", "b", "c"]);
}

/// A directory as a staging process that died leaves it, but for its mode.
fn stale(scratch: &TempDir, name: &str, mode: u32) -> std::path::PathBuf {
    let path = scratch.path().join(name);
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

const STALE: &str = ".s-0123456789abcdef";

/// The line of a journal for what is at a path now.
fn journal_line(path: &Path, name: &str) -> String {
    let parent = Dir::open(path.parent().unwrap(), Access::Plain).unwrap();
    let id = parent
        .stat(path.file_name().unwrap().as_encoded_bytes())
        .unwrap()
        .id;
    format!("{} {} {name}\0", id.dev, id.ino)
}

#[test]
fn only_directories_of_ones_own_with_mode_0700_are_swept_up() {
    for mode in [0o755, 0o770, 0o1700, 0o500] {
        let scratch = scratch();
        let path = stale(&scratch, STALE, mode);
        drop(Staging::create(scratch.path(), ".s-", Access::Plain).unwrap());
        assert_eq!(names(scratch.path()), [STALE], "{mode:o}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        if probe::is_superuser() {
            std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
            drop(Staging::create(scratch.path(), ".s-", Access::Plain).unwrap());
            assert_eq!(names(scratch.path()), [STALE], "somebody else's");
            std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
        }
        drop(Staging::create(scratch.path(), ".s-", Access::Plain).unwrap());
        assert!(names(scratch.path()).is_empty());
    }
}

/// Somebody else could have given the name to a directory of one's own.
#[test]
fn nothing_is_swept_up_where_others_may_rename_it() {
    let scratch = scratch();
    let set_mode = |mode| {
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(mode)).unwrap();
    };
    stale(&scratch, STALE, 0o700);
    for mode in [0o777, 0o770] {
        set_mode(mode);
        drop(Staging::create(scratch.path(), ".s-", Access::Plain).unwrap());
        assert_eq!(names(scratch.path()), [STALE], "{mode:o}");
    }
    set_mode(0o1777);
    drop(Staging::create(scratch.path(), ".s-", Access::Plain).unwrap());
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn a_journal_that_leads_elsewhere_moves_nothing() {
    let scratch = scratch();
    let place = scratch.path().join("place");
    let (sub, victim) = (place.join("sub"), scratch.path().join("victim"));
    for name in ["../victim", "sub/planted"] {
        fs::create_dir_all(&sub).unwrap();
        fs::write(&victim, "").unwrap();
        fs::write(sub.join("planted"), "").unwrap();
        fs::write(place.join("neighbour"), "").unwrap();
        let path = place.join(STALE);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        // Where the names would lead from the staging directory.
        fs::create_dir(scratch.path().join("out")).unwrap();
        symlink(scratch.path().join("out"), path.join("sub")).unwrap();
        fs::write(path.join("last"), "").unwrap();
        let journal = journal_line(&place.join("neighbour"), "neighbour")
            + &journal_line(&place.join(name), name)
            + "0 0 last\0";
        fs::write(path.join(".journal"), journal).unwrap();
        drop(Staging::create(&place, ".s-", Access::Plain).unwrap());
        assert_eq!(names(&place), ["neighbour", "sub"], "{name}");
        assert_eq!(names(&sub), ["planted"], "{name}");
        assert!(names(&scratch.path().join("out")).is_empty(), "{name}");
        assert!(victim.exists(), "{name}");
        fs::remove_dir_all(scratch.path().join("out")).unwrap();
    }
}

#[test]
fn a_journal_is_not_believed_where_others_may_write() {
    let scratch = scratch();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(scratch.path().join("a"), "").unwrap();
    let path = stale(&scratch, STALE, 0o700);
    fs::write(path.join("b"), "").unwrap();
    let journal = journal_line(&scratch.path().join("a"), "a") + "0 0 b\0";
    fs::write(path.join(".journal"), journal).unwrap();
    drop(Staging::create(scratch.path(), ".s-", Access::Plain).unwrap());
    assert_eq!(names(scratch.path()), ["a"]);
}

#[test]
fn what_cannot_be_swept_up_keeps_nobody_from_staging() {
    let scratch = scratch();
    let path = stale(&scratch, STALE, 0o700);
    // No journal can be read from there, nor can a name be moved to one that is taken.
    fs::create_dir(path.join(".journal")).unwrap();
    let other = stale(&scratch, ".s-fedcba9876543210", 0o700);
    fs::create_dir(other.join("a")).unwrap();
    fs::write(scratch.path().join("a"), "").unwrap();
    let journal = journal_line(&scratch.path().join("a"), "a") + "0 0 a\0";
    fs::write(other.join(".journal"), journal).unwrap();
    drop(Staging::create(scratch.path(), ".s-", Access::Plain).unwrap());
    assert_eq!(names(scratch.path()), ["a"]);
}

/// Makes `d/d/d/…`, deeper than any path can say.
fn make_deep(dir: &Dir, depth: usize) -> Dir {
    let mut here = dir.open_dir(b".").unwrap();
    for _ in 0..depth {
        here = here.create_dir(b"d", 0o700).unwrap().unwrap();
    }
    here
}

/// How many descriptors of this process lead to something below a directory.
fn open_below(directory: &Path) -> usize {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets
        .filter(|target| target.starts_with(directory))
        .count()
}

#[test]
fn a_tree_deeper_than_there_are_descriptors_is_removed() {
    let scratch = scratch();
    let dir = open(&scratch);
    let bottom = make_deep(&dir, 3000);
    assert!(bottom.create_file(b"f", 0o600).unwrap().is_some());
    drop(bottom);
    dir.remove_all(b"d").unwrap();
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn walking_down_and_up_by_hand_keeps_one_directory_open() {
    const DEPTH: usize = 1500;
    let scratch = scratch();
    drop(make_deep(&open(&scratch), DEPTH));
    symlink("d", scratch.path().join("l")).unwrap();
    fs::create_dir(scratch.path().join("d/d/side")).unwrap();
    for access in [Access::Plain, Access::Unprivileged] {
        let root = Root::open(scratch.path(), access).unwrap();
        let before = open_below(scratch.path());
        let mut asked = None;
        let path = format!("l/{}missing", "d/".repeat(DEPTH - 1));
        let missing = root.resolve(path.as_bytes(), &mut |_| {
            asked = Some(open_below(scratch.path()));
            Ok(false)
        });
        assert!(missing.unwrap().is_none());
        let asked = asked.unwrap();
        assert!(asked <= before + 3, "{asked}, {before} before");
        let up = "../".repeat(DEPTH - 2);
        let path = format!("l/{}{up}side", "d/".repeat(DEPTH - 1));
        let found = root.resolve(path.as_bytes(), &mut |_| Ok(false));
        assert_eq!(found.unwrap().unwrap().path, b"d/d/side");
        let above = format!("l/{}../{up}../../../l/d", "d/".repeat(DEPTH - 1));
        let found = root.resolve(above.as_bytes(), &mut |_| Ok(false));
        assert_eq!(found.unwrap().unwrap().path, b"d/d");
    }
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_walked() {
    let scratch = scratch();
    let bottom = make_deep(&open(&scratch), 2500);
    let root = Root::open(scratch.path(), Access::Plain).unwrap();
    let path = vec!["d"; 2500].join("/");
    let found = root.resolve(path.as_bytes(), &mut |_| Ok(false));
    let found = found.unwrap().unwrap();
    assert_eq!(found.path, path.as_bytes());
    assert_eq!(
        found.dir.stat_self().unwrap().id,
        bottom.stat_self().unwrap().id
    );
    root.dir().remove_all(b"d").unwrap();
}

/// A process that dies between two renames leaves its staging directory, unlocked, with a journal.
#[test]
fn what_a_dead_process_had_half_published_is_taken_back() {
    let scratch = scratch();
    let (half, done) = (".s-0000000000000001", ".s-0000000000000002");
    for (staging, moved, left) in [(half, "a", "b"), (done, "c", "")] {
        let path = stale(&scratch, staging, 0o700);
        let mut journal = String::new();
        for name in [moved, left].into_iter().filter(|name| !name.is_empty()) {
            let place = if name == moved {
                scratch.path().join(name)
            } else {
                path.join(name)
            };
            fs::write(&place, name).unwrap();
            let stat = open(&scratch).stat(moved.as_bytes()).unwrap();
            let ino = fs::metadata(&place).unwrap().ino();
            write!(journal, "{} {ino} {name}\0", stat.id.dev).unwrap();
        }
        fs::write(path.join(".journal"), journal).unwrap();
    }
    // Not what was moved: somebody else's, under a name that the journal of a dead process has.
    fs::write(scratch.path().join(half).join("other"), "").unwrap();
    let live = Staging::create(scratch.path(), ".s-", Access::Plain).unwrap();
    let live_name = live
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        names(scratch.path()),
        [live_name, "c".to_owned()],
        "`a` went, `c` had been complete"
    );
}

#[test]
fn staging_directories_of_living_processes_are_left_alone() {
    let scratch = scratch();
    let first = Staging::create(scratch.path(), ".s-", Access::Plain).unwrap();
    let _second = Staging::create(scratch.path(), ".s-", Access::Plain).unwrap();
    assert!(first.path().is_dir());
    assert_eq!(names(scratch.path()).len(), 2);
}

#[test]
fn directories_made_on_the_way_go_again_unless_they_are_kept() {
    let scratch = scratch();
    let path = scratch.path().join("a/b/c");
    drop(MadeDirs::make(&path).unwrap());
    assert!(names(scratch.path()).is_empty());
    MadeDirs::make(&path).unwrap().keep();
    assert!(path.is_dir());
    drop(MadeDirs::make(&path.join("d")).unwrap());
    assert!(path.is_dir(), "what was there before stays");
}

#[test]
fn a_file_is_replaced_whole_and_links_to_it_stay() {
    let scratch = scratch();
    let (file, link) = (scratch.path().join("f"), scratch.path().join("l"));
    symlink("f", &link).unwrap();
    atomic::replace(&file, 0o644, b"one").unwrap();
    atomic::replace(&link, 0o644, b"two").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"two");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(names(scratch.path()), ["f", "l"]);
    assert!(atomic::replace(&scratch.path().join("none/f"), 0o644, b"").is_err());
    let error = atomic::create(&open(&scratch), "f", 0o644, b"").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

/// As an ordinary user: root passes through everything anyway.
#[test]
fn closed_directories_are_opened_for_as_long_as_it_takes() {
    let scratch = scratch();
    let closed = scratch.path().join("closed");
    fs::create_dir_all(closed.join("in/deep")).unwrap();
    fs::write(closed.join("in/f"), "content").unwrap();
    let close = |path: &str, mode| {
        fs::set_permissions(scratch.path().join(path), fs::Permissions::from_mode(mode))
    };
    close("closed/in/f", 0).unwrap();
    close("closed/in", 0o500).unwrap();
    close("closed", 0).unwrap();
    {
        let root = Root::open(scratch.path(), Access::Unprivileged).unwrap();
        let resolved = root
            .resolve(b"closed/in", &mut |_| Ok(false))
            .unwrap()
            .unwrap();
        assert_eq!(
            resolved.dir.stat_self().unwrap().mode,
            0o500,
            "the mode that it is going to have again"
        );
        assert_eq!(resolved.dir.read_file(b"f", 100).unwrap(), b"content");
        assert!(resolved.dir.xattrs(b"f").is_ok());
        assert!(resolved.dir.create_file(b"new", 0o600).unwrap().is_some());
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&closed), 0);
    let dir = Dir::open(scratch.path(), Access::Unprivileged).unwrap();
    let inner = dir.open_dir(b"closed").unwrap();
    assert_eq!(inner.stat(b"in").unwrap().mode, 0o500);
    assert_eq!(inner.open_dir(b"in").unwrap().stat(b"f").unwrap().mode, 0);
    drop(inner);
    dir.remove_all(b"closed").unwrap();
    assert!(names(scratch.path()).is_empty());
    assert!(dir.as_fd().try_clone_to_owned().is_ok());
}

/// Its copies of descriptors kept pipes open, and locks of files.
#[test]
fn the_holder_of_a_namespace_keeps_no_descriptor() {
    // A system may forbid user namespaces.
    let Ok(holder) = syscall::NamespaceHolder::start() else {
        return;
    };
    let descriptors = format!("/proc/{}/fd", holder.pid());
    let count = || fs::read_dir(&descriptors).unwrap().count();
    for _ in 0..1000 {
        if count() == 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("it has {} descriptors", count());
}
