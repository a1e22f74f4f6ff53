//! Layers onto directories, as whoever runs the tests: owner 0:0 is mapped to that user.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::error::{ErrorKind, Result};
use crate::fs::{Access, IdMap, IdRange, MapOptions, Root};
use crate::progress::{Event, Level, Progress, Silent};

mod hostile;
mod stacked;
mod stacking;

const MTIME: u64 = 1_600_000_000;

/// A tar stream under construction.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn entry(
        mut self,
        path: &str,
        kind: tar::EntryType,
        mode: u32,
        link: &str,
        content: &[u8],
    ) -> Self {
        let mut header = tar::Header::new_ustar();
        // Not `set_path`, which refuses what hostile archives have.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(MTIME);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(path, tar::EntryType::Regular, 0o644, "", content.as_bytes())
    }

    fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(path, tar::EntryType::Directory, mode, "", b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, tar::EntryType::Symlink, 0o777, target, b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, tar::EntryType::Link, 0o644, target, b"")
    }

    /// An entry of a path and a link of any length.
    fn long(self, path: &str, kind: tar::EntryType, link: &str) -> Self {
        let records = [record("path", path), record("linkpath", link)].concat();
        self.entry("x", tar::EntryType::XHeader, 0, "", records.as_bytes())
            .entry("long", kind, 0o755, "", b"")
    }

    /// Attributes of the next entry.
    fn xattrs(self, xattrs: &[(&str, &str)]) -> Self {
        let records: String = xattrs
            .iter()
            .map(|(name, value)| record(&format!("SCHILY.xattr.{name}"), value))
            .collect();
        self.entry("x", tar::EntryType::XHeader, 0, "", records.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A record of a PAX header, which begins with its own length.
fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let length = (1..5)
        .map(|digits| digits + rest.len())
        .find(|length| length.to_string().len() + rest.len() == *length);
    format!("{}{rest}", length.unwrap())
}

/// A root, and options by which the caller owns everything.
struct Fixture {
    dir: TempDir,
    options: ApplyOptions,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stat = fs::metadata(dir.path()).unwrap();
        let own = |host| {
            IdMap(vec![IdRange {
                container: 0,
                host,
                size: 1,
            }])
        };
        let maps = MapOptions {
            uid: own(stat.uid()),
            gid: own(stat.gid()),
            rootless: false,
        };
        Self {
            dir,
            options: ApplyOptions::new(maps),
        }
    }

    fn unpack(&self, archive: Archive) -> Result<Applied> {
        let root = Root::open(self.dir.path(), Access::Plain)?;
        unpack_layer(&archive.end()[..], &root, &self.options, &Silent)
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// All paths below the root, sorted.
    fn names(&self) -> Vec<String> {
        let walk = walkdir::WalkDir::new(self.dir.path())
            .min_depth(1)
            .sort_by_file_name();
        let below = |path: &Path| {
            path.strip_prefix(self.dir.path())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        walk.into_iter()
            .map(|entry| below(entry.unwrap().path()))
            .collect()
    }
}

#[test]
fn the_stream_has_the_digest_of_all_its_bytes() {
    let fixture = Fixture::new();
    let archive = Archive::default()
        .file("a", "content")
        .file("b", &"x".repeat(700_000));
    let bytes = Archive(archive.0.clone()).end();
    let applied = fixture.unpack(archive).unwrap();
    assert_eq!(
        applied.digest,
        oci_cas::Digest::of(oci_cas::Algorithm::Sha256, &bytes)
    );
    assert_eq!(applied.size, bytes.len() as u64);
    assert_eq!(fixture.read("b").len(), 700_000);
}

#[test]
fn whiteouts_hide_lower_layers_only_whatever_their_place() {
    let fixture = Fixture::new();
    fixture
        .unpack(
            Archive::default()
                .dir("d", 0o755)
                .file("d/old", "1")
                .file("d/both", "1")
                .file("gone", "1"),
        )
        .unwrap();
    let upper = Archive::default()
        .file("d/new", "2")
        .file("d/both", "2")
        .file("d/.wh..wh..opq", "")
        .file(".wh.gone", "")
        .file("stays", "2")
        .file(".wh.stays", "");
    fixture.unpack(upper).unwrap();
    assert_eq!(fixture.names(), ["d", "d/both", "d/new", "stays"]);
    assert_eq!(fixture.read("d/both"), "2");
}

#[test]
fn a_whiteout_of_a_directory_spares_what_its_layer_wrote_below() {
    let fixture = Fixture::new();
    fixture
        .unpack(
            Archive::default()
                .dir("d", 0o755)
                .dir("d/e", 0o755)
                .file("d/e/old", "1")
                .file("d/old", "1"),
        )
        .unwrap();
    fixture
        .unpack(Archive::default().file("d/e/new", "2").file(".wh.d", ""))
        .unwrap();
    assert_eq!(fixture.names(), ["d", "d/e", "d/e/new"]);
}

#[test]
fn directories_keep_their_times_whatever_happens_in_them() {
    let fixture = Fixture::new();
    fixture
        .unpack(
            Archive::default()
                .dir("d", 0o750)
                .file("d/a", "")
                .file("d/b", ""),
        )
        .unwrap();
    fixture
        .unpack(
            Archive::default()
                .file("d/.wh.a", "")
                .file("d/new/deep/f", "")
                .symlink("d/l", "b"),
        )
        .unwrap();
    assert_eq!(
        fs::metadata(fixture.path("d")).unwrap().mtime(),
        i64::try_from(MTIME).unwrap()
    );
    assert_eq!(
        fs::metadata(fixture.path("d"))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777,
        0o750
    );
    let implied = fs::metadata(fixture.path("d/new")).unwrap();
    assert_eq!(
        (implied.mtime(), implied.permissions().mode() & 0o7777),
        (0, 0o755)
    );
}

#[test]
fn an_exchanged_directory_is_not_reached_through_the_cache() {
    let fixture = Fixture::new();
    let archive = Archive::default()
        .dir("real", 0o755)
        .dir("d", 0o755)
        .file("d/a", "1")
        .symlink("d", "real")
        .file("d/b", "2");
    fixture.unpack(archive).unwrap();
    assert_eq!(fixture.names(), ["d", "real", "real/b"]);
}

#[test]
fn a_hard_link_may_come_before_its_target() {
    let fixture = Fixture::new();
    fixture
        .unpack(Archive::default().link("b", "a").file("a", "1"))
        .unwrap();
    let ino = |path| fs::metadata(fixture.path(path)).unwrap().ino();
    assert_eq!(ino("a"), ino("b"));
    let error = fixture
        .unpack(Archive::default().link("c", "none").file("d", ""))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
}

#[test]
fn a_hard_link_to_itself_loses_nothing() {
    let fixture = Fixture::new();
    fixture.unpack(Archive::default().file("a", "1")).unwrap();
    fixture
        .unpack(Archive::default().link("./a", "/a"))
        .unwrap();
    assert_eq!(fixture.read("a"), "1");
}

#[test]
fn a_directory_that_replaces_a_link_on_its_own_path_is_not_found_by_that_path() {
    let fixture = Fixture::new();
    fixture
        .unpack(Archive::default().symlink("a", ".."))
        .unwrap();
    fixture
        .unpack(Archive::default().dir("a/a", 0o755).file("a/a/f", ""))
        .unwrap();
    assert_eq!(fixture.names(), ["a", "a/a", "a/a/f"]);
}

#[test]
fn a_loop_of_links_may_take_the_place_of_a_directory() {
    let fixture = Fixture::new();
    fixture
        .unpack(Archive::default().file("a/b", "").symlink("a", "a"))
        .unwrap();
    assert_eq!(fixture.names(), ["a"]);
}

#[test]
fn replacing_a_name_leaves_the_other_names_of_its_inode() {
    let fixture = Fixture::new();
    fixture
        .unpack(Archive::default().file("a", "shared").link("b", "a"))
        .unwrap();
    fixture.unpack(Archive::default().file("a", "own")).unwrap();
    assert_eq!(
        (fixture.read("a"), fixture.read("b")),
        ("own".to_owned(), "shared".to_owned())
    );
}

#[test]
fn dirlinks_are_kept_only_when_asked_and_only_to_directories() {
    let lower = || {
        Archive::default()
            .dir("usr", 0o755)
            .symlink("lib", "usr")
            .symlink("no", "none")
            .symlink("loop", "loop")
    };
    let upper = || {
        Archive::default()
            .dir("lib", 0o755)
            .file("lib/f", "1")
            .dir("no", 0o755)
            .dir("loop", 0o755)
    };
    let mut fixture = Fixture::new();
    fixture.unpack(lower()).unwrap();
    fixture.unpack(upper()).unwrap();
    assert_eq!(fixture.names(), ["lib", "lib/f", "loop", "no", "usr"]);
    fixture = Fixture::new();
    fixture.options.keep_dirlinks = true;
    fixture.unpack(lower()).unwrap();
    fixture.unpack(upper()).unwrap();
    assert_eq!(fixture.names(), ["lib", "loop", "no", "usr", "usr/f"]);
    assert!(fixture.path("no").is_dir() && fixture.path("loop").is_dir());
}

#[test]
fn nothing_leaves_the_root() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "kept").unwrap();
    let target = outside.path().to_str().unwrap();
    let fixture = Fixture::new();
    let archive = Archive::default()
        .symlink("l", target)
        .file("l/secret", "inside")
        .file("l/.wh..wh..opq", "")
        .symlink("s", &format!("{target}/secret"))
        .file("../../../x", "1");
    fixture.unpack(archive).unwrap();
    assert_eq!(
        fs::read_to_string(outside.path().join("secret")).unwrap(),
        "kept"
    );
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    let inside = target.trim_start_matches('/');
    assert_eq!(fixture.read(&format!("{inside}/secret")), "inside");
    // A whiteout's name is one name: here it would lead to a directory that is below another.
    fixture
        .unpack(Archive::default().dir("a", 0o755).dir("a/b", 0o755))
        .unwrap();
    for name in ["a/b/.wh..", "a/b/.wh..."] {
        let error = fixture
            .unpack(Archive::default().file(name, ""))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{name}");
    }
}

#[test]
fn the_size_limit_counts_all_files() {
    let mut fixture = Fixture::new();
    fixture.options.max_size = Some(1000);
    fixture
        .unpack(
            Archive::default()
                .file("a", &"x".repeat(500))
                .file("b", &"x".repeat(500)),
        )
        .unwrap();
    let too_much = Archive::default()
        .file("c", &"x".repeat(500))
        .file("d", &"x".repeat(501));
    assert_eq!(
        fixture.unpack(too_much).unwrap_err().kind(),
        ErrorKind::LimitExceeded
    );
}

#[test]
fn a_failing_reader_is_reported_with_its_own_kind() {
    struct Broken(usize);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            if self.0 > 3 {
                return Err(
                    crate::Error::new(ErrorKind::Verification, "not what was promised").into(),
                );
            }
            buffer.fill(0);
            Ok(buffer.len().min(512))
        }
    }
    let fixture = Fixture::new();
    let root = Root::open(fixture.dir.path(), Access::Plain).unwrap();
    let error = unpack_layer(Broken(0), &root, &fixture.options, &Silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification);
}

/// Keeps the warnings.
struct Warnings(Mutex<Vec<String>>);
impl Progress for Warnings {
    fn event(&self, event: Event<'_>) {
        if let Event::Message(message) = event
            && message.level == Level::Warn
        {
            self.0.lock().unwrap().push(message.text.to_string());
        }
    }
}

#[test]
fn a_rootless_unpack_keeps_owners_on_files_that_nobody_may_write() {
    let mut fixture = Fixture::new();
    fixture.options.map_options.rootless = true;
    let mut archive = Archive::default();
    for mode in [0o444, 0o000, 0o644] {
        archive = archive.entry(
            &format!("f{mode:o}"),
            tar::EntryType::Regular,
            mode,
            "",
            b"x",
        );
        let start = archive.0.len() - 1024;
        let mut header = tar::Header::from_byte_slice(&archive.0[start..start + 512]).clone();
        header.set_uid(992);
        header.set_gid(123);
        header.set_cksum();
        archive.0[start..start + 512].copy_from_slice(header.as_bytes());
    }
    let warnings = Warnings(Mutex::default());
    let root = Root::open(fixture.dir.path(), Access::Unprivileged).unwrap();
    unpack_layer(&archive.end()[..], &root, &fixture.options, &warnings).unwrap();
    let told = warnings.0.into_inner().unwrap();
    // A file system without user attributes says so; then there is nothing to look at.
    if !told.iter().any(|text| text.contains("not supported")) {
        for name in ["f444", "f0", "f644"] {
            let xattrs = root.dir().xattrs(name.as_bytes()).unwrap();
            let owner = xattrs
                .iter()
                .find(|(name, _)| name == crate::fs::xattr::ROOTLESS_OWNER);
            assert_eq!(
                owner.map(|(_, value)| hex::encode(value)).as_deref(),
                Some("08e007107b"),
                "{name}"
            );
        }
    }
}

#[test]
fn a_process_that_swaps_directories_for_links_gains_nothing() {
    let outside = tempfile::tempdir().unwrap();
    let fixture = Fixture::new();
    let mut archive = Archive::default();
    for index in 0..3000 {
        archive = archive.file(&format!("d{}/e/f{index}", index % 7), "content");
    }
    let bytes = archive.end();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                let victim = fixture.path(&format!("d{}/e", round % 7));
                let aside = fixture.path(&format!("d{}/aside{round}", round % 7));
                if fs::rename(&victim, aside).is_ok() {
                    // It may have been made anew in between: either is a race worth running.
                    let _ = std::os::unix::fs::symlink(outside.path(), &victim);
                }
            }
        });
        let root = Root::open(fixture.dir.path(), Access::Plain).unwrap();
        // Whether it succeeds or fails does not matter here.
        let _ = unpack_layer(&bytes[..], &root, &fixture.options, &Silent);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn names_are_bytes() {
    let fixture = Fixture::new();
    let mut archive = Archive::default().file("xx", "1");
    archive.0[..2].copy_from_slice(b"\xff\xfe");
    let mut header = tar::Header::from_byte_slice(&archive.0[..512]).clone();
    header.set_cksum();
    archive.0[..512].copy_from_slice(header.as_bytes());
    fixture.unpack(archive).unwrap();
    assert!(
        fixture
            .dir
            .path()
            .join(std::ffi::OsStr::from_bytes(b"\xff\xfe"))
            .is_file()
    );
}
