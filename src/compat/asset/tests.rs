use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use filetime::FileTime;

use super::*;
use crate::ErrorKind::{AlreadyExists, InvalidInput, NotFound};
use crate::archive::{Entry, EntryKind, Writer};

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// A layer with a directory, a file in it and a link, of whoever runs the test.
fn layer(content: &[u8]) -> Vec<u8> {
    let entry = |path: &str, kind, link: &str, size: usize| Entry {
        path: path.into(),
        kind,
        mode: 0o750,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        size: size as u64,
        mtime: FileTime::from_unix_time(1_600_000_000, 0),
        atime: None,
        link: link.into(),
        device: (0, 0),
        xattrs: Vec::new(),
        pieces: None,
    };
    let mut tar = Writer::new(Vec::new());
    // Not in the order in which a directory is packed.
    tar.entry(&entry("dir/", EntryKind::Directory, "", 0))
        .unwrap();
    tar.entry(&entry("dir/file", EntryKind::File, "", content.len()))
        .unwrap();
    tar.data(content).unwrap();
    tar.entry(&entry("a", EntryKind::Symlink, "dir/file", 0))
        .unwrap();
    let mut bytes = tar.finish().unwrap();
    // Padding, as tar writes it: it counts for the digest.
    bytes.resize(10240, 0);
    bytes
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(5))
    }
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn a_tar_file_is_kept_byte_for_byte() {
    let scratch = tempfile::tempdir().unwrap();
    for algorithm in ALGORITHMS {
        let mut asset = TarAsset::new(scratch.path().join("layer.tar"), algorithm);
        // The second time it takes the place of the first.
        for content in [&b"one"[..], b"two"] {
            let mut stream = layer(content);
            stream.extend_from_slice(b"behind the end");
            let digest = Digest::of(algorithm, &stream);
            assert_eq!(asset.unpack(&mut stream.as_slice()).unwrap(), digest);
            assert_eq!(asset.digest(), Some(&digest));
            assert_eq!(fs::read(asset.path()).unwrap(), stream);
            let mut packed = Vec::new();
            assert_eq!(asset.pack(&mut packed).unwrap(), digest);
            assert_eq!(packed, stream);
        }
        let mut other = TarAsset::new(asset.path(), algorithm);
        assert_eq!(other.digest(), None);
        assert_eq!(&other.load_digest().unwrap(), asset.digest().unwrap());
        assert_eq!(names(scratch.path()), ["layer.tar"]);
    }
}

#[test]
fn a_directory_is_unpacked_whole_and_packed_the_same_each_time() {
    let scratch = tempfile::tempdir().unwrap();
    for algorithm in ALGORITHMS {
        let path = scratch.path().join(algorithm.name());
        let mut asset = DirAsset::new(&path, algorithm);
        let stream = layer(b"content");
        let digest = Digest::of(algorithm, &stream);
        assert_eq!(asset.unpack(&mut stream.as_slice()).unwrap(), digest);
        assert_eq!(asset.digest(), Some(&digest));
        assert_eq!(fs::read(path.join("a")).unwrap(), b"content");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o755
        );
        let mut packed = Vec::new();
        let packed_digest = asset.pack(&mut packed).unwrap();
        assert_eq!(packed_digest, Digest::of(algorithm, &packed));
        assert_eq!(asset.load_digest().unwrap(), packed_digest);
        // What was packed means the same, and packs to the same bytes.
        let mut copy = DirAsset::new(scratch.path().join("copy"), algorithm);
        assert_eq!(copy.unpack(&mut packed.as_slice()).unwrap(), packed_digest);
        assert_eq!(copy.load_digest().unwrap(), packed_digest);
        fs::remove_dir_all(copy.path()).unwrap();
    }
    assert_eq!(names(scratch.path()), ["sha256", "sha512"]);
}

#[test]
fn what_is_in_the_place_of_content_is_refused_with_the_reason() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    fs::write(path("file"), "old").unwrap();
    fs::create_dir(path("dir")).unwrap();
    symlink("file", path("to-file")).unwrap();
    symlink("dir", path("to-dir")).unwrap();
    let stream = layer(b"new");
    let tar = |name: &str| {
        Box::new(TarAsset::new(path(name), Algorithm::Sha256)) as Box<dyn LayerContent>
    };
    let dir = |name: &str| {
        Box::new(DirAsset::new(path(name), Algorithm::Sha256)) as Box<dyn LayerContent>
    };
    for (mut asset, unpacking, packing, why) in [
        (
            tar("to-file"),
            Some(InvalidInput),
            Some(InvalidInput),
            "symbolic link",
        ),
        (
            tar("dir"),
            Some(InvalidInput),
            Some(InvalidInput),
            "is a directory",
        ),
        (tar("none"), None, None, ""),
        (
            dir("to-dir"),
            Some(InvalidInput),
            Some(InvalidInput),
            "symbolic link",
        ),
        (
            dir("file"),
            Some(InvalidInput),
            Some(InvalidInput),
            "not a directory",
        ),
        (dir("dir"), Some(AlreadyExists), None, "already"),
        (dir("missing"), None, None, ""),
    ] {
        let place = asset.path().to_owned();
        if unpacking.is_none() {
            let error = asset.load_digest().unwrap_err();
            assert_eq!(error.kind(), NotFound, "{place:?}");
        }
        let unpacked = asset.unpack(&mut stream.as_slice());
        let error = unpacked.as_ref().err();
        assert_eq!(error.map(Error::kind), unpacking, "{place:?}");
        assert!(
            error.is_none_or(|error| error.chain().contains(why)),
            "{error:?}"
        );
        let loaded = asset.load_digest();
        assert_eq!(loaded.as_ref().err().map(Error::kind), packing, "{place:?}");
        assert_eq!(asset.digest(), loaded.ok().as_ref(), "{place:?}");
    }
    assert_eq!(fs::read(path("file")).unwrap(), b"old");
    assert!(names(&path("dir")).is_empty());
}

#[test]
fn a_failure_leaves_what_was_there() {
    let scratch = tempfile::tempdir().unwrap();
    let stream = layer(&[7; 5000]);
    let mut tar = TarAsset::new(scratch.path().join("layer.tar"), Algorithm::Sha256);
    let digest = tar.unpack(&mut stream.as_slice()).unwrap();
    let mut dir = DirAsset::new(scratch.path().join("rootfs"), Algorithm::Sha256);
    for asset in [&mut tar as &mut dyn LayerContent, &mut dir] {
        let error = asset.unpack(&mut stream[..3000].chain(Broken)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
    }
    // Not for a file, which may hold anything.
    assert!(dir.unpack(&mut &stream[..3000]).is_err());
    assert_eq!((tar.digest(), dir.digest()), (Some(&digest), None));
    assert_eq!(fs::read(tar.path()).unwrap(), stream);
    assert_eq!(names(scratch.path()), ["layer.tar"]);
}

#[test]
fn the_input_is_read_to_its_end() {
    let scratch = tempfile::tempdir().unwrap();
    let mut stream = layer(b"content");
    stream.resize(700_000, b'x');
    let mut reader = stream.as_slice();
    let mut asset = DirAsset::new(scratch.path().join("rootfs"), Algorithm::Sha256);
    let digest = asset.unpack(&mut reader).unwrap();
    assert!(reader.is_empty());
    assert_eq!(digest, Digest::of(Algorithm::Sha256, &stream));
}
