//! The directory store on a directory that a stranger has prepared, and what it leaves there itself.

use oci_cas::dir::{SCRATCH_PREFIX, Swept};
use oci_cas::{Algorithm, Digest, DirStore, Error, ErrorKind, Store, StoreExt};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn open(path: &Path) -> DirStore {
    DirStore::create(File::open(path).unwrap().into()).unwrap()
}

fn fresh() -> (TempDir, DirStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    (directory, store)
}

fn scratch(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with(SCRATCH_PREFIX))
        .collect()
}

fn blob_path(directory: &Path, digest: &Digest) -> PathBuf {
    directory
        .join("blobs")
        .join(digest.algorithm().name())
        .join(digest.encoded())
}

fn live(digests: &[&Digest]) -> BTreeSet<Digest> {
    digests.iter().map(|digest| (*digest).clone()).collect()
}

/// Marks the given digests and sweeps the rest.
fn sweep(store: &DirStore, digests: &[&Digest]) -> Result<Swept, Error> {
    store.mark_and_sweep(false, || Ok(live(digests)))
}

fn dry_sweep(store: &DirStore, digests: &[&Digest]) -> Result<Swept, Error> {
    store.mark_and_sweep(true, || Ok(live(digests)))
}

#[test]
fn a_stale_scratch_tree_is_removed_whatever_its_depth_without_following_links() {
    let (directory, store) = fresh();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), b"x").unwrap();
    let top = directory.path().join(".umoci-12345678");
    fs::create_dir_all(top.join("lifted-0/lifted-1")).unwrap();
    fs::write(top.join("lifted-2"), b"").unwrap();
    fs::create_dir_all(top.join("lifted-3/a/b/c")).unwrap();
    symlink(outside.path(), top.join("lifted-3/a/link")).unwrap();
    symlink(outside.path(), top.join("link")).unwrap();
    // Deeper than a path can say or a process has descriptors: two chains, one hung below the other.
    let chain = vec!["deep"; 600].join("/");
    fs::create_dir_all(top.join("upper").join(&chain)).unwrap();
    fs::create_dir_all(top.join("lower").join(&chain)).unwrap();
    fs::rename(
        top.join("lower"),
        top.join("upper").join(&chain).join("lower"),
    )
    .unwrap();
    fs::write(directory.path().join(".umoci-file"), b"").unwrap();

    let swept = sweep(&store, &[]).unwrap();
    assert_eq!(swept.scratch, [".umoci-12345678", ".umoci-file"]);
    assert_eq!(scratch(directory.path()), [""; 0]);
    assert!(outside.path().join("precious").exists());
}

#[test]
fn a_scratch_name_that_is_a_link_or_a_socket_is_left_alone() {
    let (directory, store) = fresh();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), directory.path().join(".umoci-link")).unwrap();
    std::os::unix::net::UnixListener::bind(directory.path().join(".umoci-socket")).unwrap();
    assert_eq!(sweep(&store, &[]).unwrap().scratch, [""; 0]);
    assert_eq!(scratch(directory.path()).len(), 2);
    assert!(outside.path().exists());
}

#[test]
fn entries_that_are_not_the_stores_are_never_touched() {
    let (directory, store) = fresh();
    for name in ["oci-layout", "umoci-1", ".umoci", "blobs/md5"] {
        fs::write(directory.path().join(name), b"x").unwrap();
    }
    fs::create_dir(directory.path().join("blobs/blake3")).unwrap();
    fs::write(directory.path().join("blobs/blake3/whatever"), b"x").unwrap();
    let expected = Swept {
        foreign: vec!["blobs/blake3".into(), "blobs/md5".into()],
        ..Swept::default()
    };
    assert_eq!(sweep(&store, &[]).unwrap(), expected);
    for name in [
        "oci-layout",
        "umoci-1",
        ".umoci",
        "blobs/md5",
        "blobs/blake3/whatever",
    ] {
        assert!(directory.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_foreign_name_among_the_blobs_is_told_and_left_alone() {
    let (directory, store) = fresh();
    let digest = store.put(Algorithm::Sha256, b"dead").unwrap();
    let upper = digest.encoded().to_uppercase();
    fs::create_dir(directory.path().join("blobs/sha512")).unwrap();
    let mut foreign = vec![
        "blobs/sha256/note.txt".to_owned(),
        format!("blobs/sha256/{upper}"),
        format!("blobs/sha256/{}", &digest.encoded()[1..]),
        "blobs/sha512/x".to_owned(),
    ];
    foreign.sort();
    for name in &foreign {
        fs::write(directory.path().join(name), b"").unwrap();
    }
    assert_eq!(store.list().unwrap(), std::slice::from_ref(&digest));
    assert_eq!(store.foreign().unwrap(), foreign);
    let swept = sweep(&store, &[]).unwrap();
    assert_eq!(swept.blobs, [(digest, 4)]);
    assert_eq!(swept.foreign, foreign);
    for name in &foreign {
        assert!(directory.path().join(name).exists(), "{name}");
    }
}

#[test]
fn what_is_not_a_regular_file_is_no_blob() {
    let (directory, store) = fresh();
    let digest = Digest::of(Algorithm::Sha256, b"secret");
    let path = blob_path(directory.path(), &digest);
    let invalid = |what: &str| {
        assert_eq!(
            store.open(&digest).unwrap_err().kind(),
            ErrorKind::Invalid,
            "{what}"
        );
        assert_eq!(
            store.read_verified(&digest, 6).unwrap_err().kind(),
            ErrorKind::Invalid,
            "{what}"
        );
        assert_eq!(
            store.stat(&digest).unwrap_err().kind(),
            ErrorKind::Invalid,
            "{what}"
        );
    };

    for target in [path.as_path(), directory.path()] {
        symlink(target, &path).unwrap();
        invalid(&format!("symbolic link to {}", target.display()));
        fs::remove_file(&path).unwrap();
    }

    std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
    fs::rename(directory.path().join("socket"), &path).unwrap();
    invalid("socket");
    assert_eq!(store.put(Algorithm::Sha256, b"secret").unwrap(), digest);
    assert_eq!(
        store.read_verified(&digest, 6).unwrap(),
        b"secret",
        "a commit replaces what is in the way"
    );
    store.remove(&digest).unwrap();

    fs::create_dir(&path).unwrap();
    invalid("directory");
    assert_eq!(
        store.remove(&digest).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    let swept = sweep(&store, &[]).unwrap();
    assert_eq!(
        swept.foreign,
        [format!("blobs/sha256/{}", digest.encoded())]
    );
    assert!(swept.blobs.is_empty() && path.exists());
    store.put(Algorithm::Sha256, b"secret").unwrap_err();
    assert_eq!(
        fs::read_dir(directory.path().join(&scratch(directory.path())[0]))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_blob_that_is_a_link_is_read_and_verified_and_the_link_is_what_goes() {
    let (directory, store) = fresh();
    let target = directory.path().join("target");
    fs::write(&target, b"content").unwrap();
    let digest = Digest::of(Algorithm::Sha256, b"content");
    let path = blob_path(directory.path(), &digest);
    symlink("../../target", &path).unwrap();
    assert_eq!(store.stat(&digest).unwrap(), Some(7));
    assert_eq!(store.read_verified(&digest, 7).unwrap(), b"content");
    assert_eq!(store.list().unwrap(), std::slice::from_ref(&digest));

    fs::write(&target, b"another").unwrap();
    let error = store.read_verified(&digest, 7).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    store.put(Algorithm::Sha256, b"content").unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(fs::read(&target).unwrap(), b"another");
    drop(store);

    let store = open(directory.path());
    fs::remove_file(&path).unwrap();
    symlink("../../target", &path).unwrap();
    assert_eq!(sweep(&store, &[&digest]).unwrap(), Swept::default());
    assert_eq!(sweep(&store, &[]).unwrap().blobs.len(), 1);
    assert!(target.exists(), "the link was removed, not its target");

    symlink("nowhere", &path).unwrap();
    assert_eq!(store.stat(&digest).unwrap(), None);
    assert_eq!(store.open(&digest).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn linked_directories_of_blobs_are_read_and_written_but_never_swept() {
    for place in ["blobs", "blobs/sha256"] {
        let shared = tempfile::tempdir().unwrap();
        let (directory, store) = fresh();
        let dead = store.put(Algorithm::Sha256, b"dead").unwrap();
        drop(store);
        let moved = shared.path().join("moved");
        fs::rename(directory.path().join(place), &moved).unwrap();
        symlink(&moved, directory.path().join(place)).unwrap();

        let store = open(directory.path());
        assert_eq!(store.read_verified(&dead, 4).unwrap(), b"dead");
        let added = store.put(Algorithm::Sha256, b"added").unwrap();
        assert_eq!(store.list().unwrap().len(), 2);
        drop(store.lock().unwrap());
        store.replace_file("names", b"x").unwrap();
        let stale = directory.path().join(".umoci-stale");
        fs::create_dir(&stale).unwrap();
        for refused in [
            sweep(&store, &[]).map(drop),
            dry_sweep(&store, &[]).map(drop),
            store.sweep(&BTreeSet::new(), false).map(drop),
            store.remove(&dead).map(drop),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let says = format!("{place} is a symbolic link");
            assert!(error.message().contains(&says), "{error:?}");
        }
        assert_eq!(store.stat(&dead).unwrap(), Some(4));
        assert_eq!(store.stat(&added).unwrap(), Some(5));
        assert!(stale.exists());
    }
}

#[test]
fn a_file_is_read_through_a_link_and_what_is_no_file_is_refused() {
    let (directory, store) = fresh();
    let place = directory.path().join("names");
    let kind = || store.open_file("names").unwrap_err().kind();
    assert_eq!(kind(), ErrorKind::NotFound);
    fs::write(directory.path().join("target"), b"x").unwrap();
    symlink("target", &place).unwrap();
    let mut text = String::new();
    let mut file = store.open_file("names").unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "x");
    for target in ["names", "blobs"] {
        fs::remove_file(&place).unwrap();
        symlink(target, &place).unwrap();
        assert_eq!(kind(), ErrorKind::Invalid, "{target}");
    }
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    assert_eq!(kind(), ErrorKind::Invalid);
    for name in ["blobs", "../names", ".umoci-1"] {
        let error = store.open_file(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
    }
}

#[test]
fn what_is_no_directory_of_blobs_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let handle = || File::open(directory.path()).unwrap().into();
    assert_eq!(
        DirStore::open(handle()).unwrap_err().kind(),
        ErrorKind::NotFound
    );

    let blobs = directory.path().join("blobs");
    for target in [Path::new("nowhere"), Path::new("blobs"), file.path()] {
        symlink(target, &blobs).unwrap();
        DirStore::open(handle()).unwrap_err();
        DirStore::create(handle()).unwrap_err();
        fs::remove_file(&blobs).unwrap();
    }
    fs::write(&blobs, b"").unwrap();
    assert_eq!(
        DirStore::open(handle()).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    fs::remove_file(&blobs).unwrap();

    fs::create_dir(&blobs).unwrap();
    let store = DirStore::open(handle()).unwrap();
    assert_eq!(store.list().unwrap(), []);
    symlink(file.path(), blobs.join("sha256")).unwrap();
    assert_eq!(
        store.put(Algorithm::Sha256, b"x").unwrap_err().kind(),
        ErrorKind::Invalid
    );
    assert_eq!(store.list().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(fs::read(file.path()).unwrap(), b"");
}

#[test]
fn reading_changes_nothing_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("blobs")).unwrap();
    let store = DirStore::open(File::open(directory.path()).unwrap().into()).unwrap();
    let digest = Digest::of(Algorithm::Sha512, b"");
    assert_eq!(store.open(&digest).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.stat(&digest).unwrap(), None);
    assert!(!store.remove(&digest).unwrap());
    dry_sweep(&store, &[]).unwrap();
    drop(store);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    assert_eq!(
        fs::read_dir(directory.path().join("blobs"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_replaced_file_is_a_new_file_and_readers_of_the_old_one_read_on() {
    let (directory, store) = fresh();
    let path = directory.path().join("names");
    fs::write(&path, b"old").unwrap();
    let mut reader = File::open(&path).unwrap();
    store.replace_file("names", b"new").unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old");
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
}

#[test]
fn a_file_is_replaced_by_a_plain_name_only() {
    let (directory, store) = fresh();
    for name in [
        "", ".", "..", "../x", "/x", "a/b", "a/", "blobs", ".umoci-x", "a\0b",
    ] {
        let error = store.replace_file(name, b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_and_not_written_through() {
    let (directory, store) = fresh();
    let outside = tempfile::NamedTempFile::new().unwrap();
    symlink(outside.path(), directory.path().join("names")).unwrap();
    store.replace_file("names", b"new").unwrap();
    assert_eq!(fs::read(outside.path()).unwrap(), b"");
    assert!(
        fs::symlink_metadata(directory.path().join("names"))
            .unwrap()
            .is_file()
    );
}

#[test]
fn blobs_are_private_and_everything_belongs_to_the_owner_of_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    // Only root can give a directory away; anyone else finds it his own, and so must be what the store makes.
    let _ = std::os::unix::fs::chown(directory.path(), Some(1234), Some(2345));
    let owner = fs::metadata(directory.path()).unwrap();
    let store = open(directory.path());
    let small = store.put(Algorithm::Sha256, b"x").unwrap();
    let large = store.put(Algorithm::Sha512, b"x").unwrap();
    store.replace_file("names", b"x").unwrap();
    for digest in [&small, &large] {
        let mode = fs::metadata(blob_path(directory.path(), digest))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
    drop(store);
    let mut pending = vec![directory.path().to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(
            (metadata.uid(), metadata.gid()),
            (owner.uid(), owner.gid()),
            "{}",
            path.display()
        );
        if metadata.is_dir() {
            pending.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
}

#[test]
fn a_handle_that_only_names_the_directory_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let handle = rustix::fs::open(directory.path(), flags, Mode::empty()).unwrap();
    let store = DirStore::create(handle).unwrap();
    let digest = store.put(Algorithm::Sha256, b"x").unwrap();
    store.replace_file("names", b"x").unwrap();
    drop(store.lock().unwrap());
    assert_eq!(sweep(&store, &[]).unwrap().blobs, [(digest, 1)]);
}
