//! Archives of other writers: GNU tar, bsdtar where it is there, and the `tar` crate's builder.

use crate::Result;
use crate::archive::fixture::{Item, read_chunked};
use crate::archive::{EntryKind, Limits};
use filetime::FileTime;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// A tree with something of every kind that an ordinary user can make. V7 knows no long names and no pipes.
fn make_tree(root: &Path, simple: bool) {
    fs::create_dir(root.join("dir")).unwrap();
    fs::write(root.join("dir/file"), b"content").unwrap();
    fs::set_permissions(root.join("dir/file"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::hard_link(root.join("empty"), root.join("linked")).unwrap();
    symlink("dir/file", root.join("symlink")).unwrap();
    filetime::set_file_mtime(
        root.join("dir/file"),
        FileTime::from_unix_time(1_234_567_890, 0),
    )
    .unwrap();

    let mut sparse = fs::File::create(root.join("sparse")).unwrap();
    for i in 0..40u64 {
        sparse.seek(SeekFrom::Start(i * 65536)).unwrap();
        sparse.write_all(&[b'a'; 5000]).unwrap();
    }
    sparse.set_len(3 << 20).unwrap();
    if !simple {
        let deep = root.join("d".repeat(60)).join("e".repeat(60));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("n".repeat(90)), b"deep").unwrap();
        symlink("t".repeat(90), root.join("long")).unwrap();
        let made = Command::new("mkfifo")
            .arg(root.join("pipe"))
            .status()
            .unwrap();
        assert!(made.success());
    }
}

fn run(program: &str, arguments: &[&str], root: &Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .arg("-cf")
        .arg("-")
        .arg(".")
        .current_dir(root)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Reads in chunks like a pipeline's; megabytes byte by byte would take too long.
fn read(archive: &[u8]) -> Result<Vec<Item>> {
    let (items, result) = read_chunked(archive, &[10_000, 70_000], Limits::default());
    result.map(|()| items)
}

/// Compares what was read with what is on disk.
fn assert_same(items: &[Item], root: &Path, fractions: bool, what: &str) {
    let count = walkdir::WalkDir::new(root).into_iter().count();
    assert_eq!(items.len(), count, "{what}");
    for item in items {
        let (path, entry) = (root.join(item.path()), &item.entry);
        let stat = fs::symlink_metadata(&path).unwrap();
        let what = format!("{what}: {}", item.path());
        if entry.kind == EntryKind::HardLink {
            let target = root.join(std::str::from_utf8(&entry.link).unwrap());
            assert_eq!(fs::metadata(target).unwrap().ino(), stat.ino(), "{what}");
            continue;
        }
        assert_eq!((entry.uid, entry.gid), (stat.uid(), stat.gid()), "{what}");
        assert_eq!(entry.mode, stat.mode() & 0o7777, "{what}");
        let nanos = if fractions {
            u32::try_from(stat.mtime_nsec()).unwrap()
        } else {
            0
        };
        assert_eq!(
            entry.mtime,
            FileTime::from_unix_time(stat.mtime(), nanos),
            "{what}"
        );
        match entry.kind {
            EntryKind::Symlink => {
                let target = fs::read_link(&path).unwrap();
                assert_eq!(entry.link, target.as_os_str().as_encoded_bytes(), "{what}");
            }
            EntryKind::File => assert!(item.content() == fs::read(&path).unwrap(), "{what}"),
            EntryKind::Directory => assert!(stat.is_dir(), "{what}"),
            other => assert_eq!(other, EntryKind::Fifo, "{what}"),
        }
    }
}

#[test]
fn archives_of_gnu_tar_are_read() {
    for format in ["v7", "ustar", "oldgnu", "gnu", "posix"] {
        let root = tempfile::tempdir().unwrap();
        make_tree(root.path(), format == "v7");
        let archive = run("tar", &["--format", format], root.path());
        assert_same(
            &read(&archive).unwrap(),
            root.path(),
            format == "posix",
            format,
        );
    }
}

#[test]
fn sparse_archives_of_gnu_tar_are_read() {
    for arguments in [
        &["--format=gnu"][..],
        &["--format=oldgnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let root = tempfile::tempdir().unwrap();
        make_tree(root.path(), false);
        // The holes are found by reading, so it does not matter whether the file system has made any.
        let arguments = [arguments, &["--sparse", "--hole-detection=raw"]].concat();
        let items = read(&run("tar", &arguments, root.path())).unwrap();
        let what = arguments.join(" ");
        assert_same(&items, root.path(), what.contains("posix"), &what);
        let sparse: Vec<_> = items
            .iter()
            .filter(|item| item.entry.pieces.is_some())
            .collect();
        assert_eq!(
            (sparse.len(), sparse[0].path(), sparse[0].data.len()),
            (1, "./sparse", 40),
            "{what}"
        );
    }
}

#[test]
fn incremental_archives_of_gnu_tar_are_read() {
    let root = tempfile::tempdir().unwrap();
    make_tree(root.path(), false);
    let state = tempfile::NamedTempFile::new().unwrap();
    let snapshot = format!("--listed-incremental={}", state.path().display());
    let archive = run("tar", &["--format=gnu", &snapshot], root.path());
    assert_same(&read(&archive).unwrap(), root.path(), false, "incremental");
}

#[test]
fn archives_of_bsdtar_are_read_where_there_is_one() {
    if Command::new("bsdtar").arg("--version").output().is_err() {
        return;
    }
    for format in ["ustar", "gnutar", "pax"] {
        let root = tempfile::tempdir().unwrap();
        make_tree(root.path(), false);
        let archive = run("bsdtar", &["--format", format], root.path());
        assert_same(
            &read(&archive).unwrap(),
            root.path(),
            format == "pax",
            format,
        );
    }
}

#[test]
fn archives_of_the_tar_crate_are_read() {
    let mut builder = tar::Builder::new(Vec::new());
    let long = "long/".repeat(60) + "name";
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o640);
    header.set_uid(3_000_000);
    header.set_mtime(1 << 34);
    builder
        .append_data(&mut header, &long, &b"data"[..])
        .unwrap();
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Symlink);
    builder.append_link(&mut header, "link", &long).unwrap();
    let items = read(&builder.into_inner().unwrap()).unwrap();
    let (file, link) = (&items[0], &items[1]);
    assert_eq!(
        (file.path(), file.content()),
        (long.as_str(), b"data".to_vec())
    );
    assert_eq!((file.entry.mode, file.entry.uid), (0o640, 3_000_000));
    assert_eq!(file.entry.mtime, FileTime::from_unix_time(1 << 34, 0));
    assert_eq!(
        (link.entry.kind, &link.entry.link[..]),
        (EntryKind::Symlink, long.as_bytes())
    );
}

/// What reads archives and must make the file again, with its holes: GNU tar, Python and, where it is there, bsdtar. Go's
/// reader is that of the tools in `tests/privileged`.
#[test]
fn files_with_holes_are_expanded_by_other_readers() {
    const SIZE: u64 = (40 << 20) - 1;
    let pieces = [(0, 512), (7 << 20, 70_144), (SIZE - 511, 511)];
    let names = [
        "d/sparse",
        "all holes",
        &format!("{}/{}", "l".repeat(99), "n".repeat(99)),
    ];
    let mut writer = crate::archive::Writer::new(Vec::new());
    for name in names {
        let pieces = if name == "all holes" {
            &[][..]
        } else {
            &pieces
        };
        let entry = crate::archive::Entry {
            path: name.into(),
            kind: EntryKind::File,
            mode: 0o640,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            size: SIZE,
            mtime: FileTime::from_unix_time(1_234_567_890, 0),
            atime: None,
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            pieces: None,
        };
        writer.sparse_entry(&entry, pieces).unwrap();
        for (_, length) in pieces {
            writer
                .data(&vec![7; usize::try_from(*length).unwrap()])
                .unwrap();
        }
    }
    let archive = writer.finish().unwrap();
    assert!(archive.len() < 300_000, "{}", archive.len());
    let mut expected = vec![0; usize::try_from(SIZE).unwrap()];
    for (offset, length) in pieces {
        let offset = usize::try_from(offset).unwrap();
        expected[offset..][..usize::try_from(length).unwrap()].fill(7);
    }
    let script = "import sys, tarfile; tarfile.open(sys.argv[1]).extractall('.')";
    for command in [
        &["tar", "-xf", "archive"][..],
        &["python3", "-c", script, "archive"],
        &["bsdtar", "-xf", "archive"],
    ] {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("archive"), &archive).unwrap();
        let output = Command::new(command[0])
            .args(&command[1..])
            .current_dir(root.path())
            .output();
        let Ok(output) = output else {
            assert_ne!(command[0], "tar");
            continue;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        for name in names {
            let path = root.path().join(name);
            let stat = fs::metadata(&path).unwrap();
            let content = fs::read(&path).unwrap();
            if name == "all holes" {
                assert!(content == vec![0; expected.len()], "{command:?}");
            } else {
                assert!(content == expected, "{command:?} {name}");
            }
            assert!(
                stat.blocks() < 1000,
                "{command:?} {name}: {}",
                stat.blocks()
            );
        }
    }
}
