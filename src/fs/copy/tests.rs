//! Copies, compared with what was copied.

use super::*;
use crate::fs::Access;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn dirs() -> (tempfile::TempDir, Dir, Dir) {
    let scratch = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let path = scratch.path().join(name);
        fs::create_dir(&path).unwrap();
        Dir::open(&path, Access::Plain).unwrap()
    };
    let (from, to) = (open("from"), open("to"));
    (scratch, from, to)
}

fn copy(from: &Dir, to: &Dir) -> Result<CopyReport> {
    copy_tree(from, to, CopyOptions::default())
}

#[test]
fn types_modes_times_links_and_content_are_kept() {
    let (scratch, from, to) = dirs();
    let path = |name: &str| scratch.path().join("from").join(name);
    fs::create_dir_all(path("d/e")).unwrap();
    fs::write(path("d/file"), "content").unwrap();
    fs::hard_link(path("d/file"), path("d/e/again")).unwrap();
    fs::hard_link(path("d/file"), path("third")).unwrap();
    symlink("/nowhere/at all", path("link")).unwrap();
    fs::hard_link(path("link"), path("link2")).unwrap();
    assert!(
        from.create_node(b"pipe", InodeKind::Fifo, 0o640, (0, 0))
            .unwrap()
    );
    rustix::fs::setxattr(
        path("d/file"),
        "user.note",
        b"kept",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    fs::set_permissions(path("d/file"), fs::Permissions::from_mode(0o4510)).unwrap();
    let time = filetime::FileTime::from_unix_time(1_000_000_001, 123_456_789);
    for name in ["d/file", "d/e", "d", ""] {
        filetime::set_file_times(path(name), time, time).unwrap();
    }
    filetime::set_symlink_file_times(path("link"), time, time).unwrap();
    let report = copy(&from, &to).unwrap();
    assert_eq!((report.inodes, report.bytes), (6, 7));

    let copied = |name: &str| scratch.path().join("to").join(name);
    let look = |path: &Path| {
        let found = path.symlink_metadata().unwrap();
        let mtime = (found.mtime(), found.mtime_nsec());
        (found.mode(), found.uid(), found.gid(), found.nlink(), mtime)
    };
    for name in [
        "",
        "d",
        "d/e",
        "d/file",
        "d/e/again",
        "third",
        "link",
        "link2",
        "pipe",
    ] {
        assert_eq!(look(&copied(name)), look(&path(name)), "{name}");
    }
    let ino = |name: &str| copied(name).symlink_metadata().unwrap().ino();
    assert_eq!(ino("third"), ino("d/e/again"));
    assert_eq!(ino("third"), ino("d/file"));
    assert_eq!(ino("link"), ino("link2"));
    assert_eq!(fs::read(copied("third")).unwrap(), b"content");
    assert_eq!(
        fs::read_link(copied("link")).unwrap(),
        Path::new("/nowhere/at all")
    );
    let xattrs = to.open_dir(b"d").unwrap().xattrs(b"file").unwrap();
    assert!(xattrs.contains(&(b"user.note".to_vec(), b"kept".to_vec())));
}

#[test]
fn attributes_that_are_not_wanted_stay_behind() {
    let (scratch, from, to) = dirs();
    let path = scratch.path().join("from/file");
    fs::write(&path, "").unwrap();
    for name in ["user.one", "user.two"] {
        rustix::fs::setxattr(&path, name, b"x", rustix::fs::XattrFlags::empty()).unwrap();
    }
    let wanted = |name: &[u8]| name != b"user.one";
    let options = CopyOptions {
        xattrs: Some(&wanted),
        ..CopyOptions::default()
    };
    copy_tree(&from, &to, options).unwrap();
    let mut names = to
        .xattrs(b"file")
        .unwrap()
        .into_iter()
        .map(|(name, _)| name);
    assert!(!names.any(|name| name == b"user.one"));
    assert_eq!(
        to.xattrs(b"file").unwrap().len(),
        from.xattrs(b"file").unwrap().len() - 1
    );
}

#[test]
fn sockets_are_told_and_what_is_in_the_way_is_refused() {
    let (scratch, from, to) = dirs();
    fs::create_dir(scratch.path().join("from/d")).unwrap();
    let socket = scratch.path().join("from/d/socket");
    let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let report = copy(&from, &to).unwrap();
    assert_eq!(report.sockets, [b"d/socket".to_vec()]);
    assert_eq!(
        to.open_dir(b"d").unwrap().names().unwrap(),
        Vec::<Vec<u8>>::new()
    );
    assert_eq!(
        copy(&from, &to).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
}

#[test]
fn a_tree_deeper_than_descriptors_is_copied_with_its_links() {
    let (scratch, from, to) = dirs();
    fs::write(scratch.path().join("from/file"), "x").unwrap();
    let mut dir = from.open_dir(b".").unwrap();
    for _ in 0..1500 {
        dir = dir.create_dir(b"d", 0o755).unwrap().unwrap();
    }
    assert!(dir.create_link(b"linked", &from, b"file").unwrap());
    assert_eq!(copy(&from, &to).unwrap().inodes, 1502);
    assert_eq!(to.stat(b"file").unwrap().nlink, 2);
}

#[test]
fn what_changes_while_it_is_copied_is_refused() {
    let (scratch, from, to) = dirs();
    fs::write(scratch.path().join("from/a"), "x").unwrap();
    let grow = |id| {
        fs::write(scratch.path().join("from/z"), "x").unwrap();
        Ok(id)
    };
    let keep = Ok;
    let options = CopyOptions {
        owners: Some(Owners {
            user: &grow,
            group: &keep,
        }),
        ..CopyOptions::default()
    };
    // Beyond the granularity of the kernel's clock.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let error = copy_tree(&from, &to, options).unwrap_err();
    assert!(
        error.chain().ends_with("it changed while it was copied"),
        "{error:?}"
    );
}
