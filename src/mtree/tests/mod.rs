//! Manifest, index and walk together, on directories: what is proven, what is seen, and what a new record says.

mod changes;
mod damage;
mod properties;
mod refresh;

use super::*;
use crate::fs::{Access, Change, ChangeKind, Dir, escape_name};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const MANIFEST: &str = "sha256_00.mtree";
const INDEX: &str = "sha256_00.stat";

/// A bundle as far as this room knows one: `rootfs`, and beside it a manifest and an index.
struct Bundle {
    directory: TempDir,
    name: &'static str,
}

impl Bundle {
    /// An empty root.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bundle = Self {
            directory,
            name: "bundle",
        };
        fs::create_dir_all(bundle.path("")).unwrap();
        bundle
    }

    /// A root with these files, all of the same time, recorded, and old enough for the index to prove them.
    fn with(files: &[(&str, &str)]) -> Self {
        let bundle = Self::new();
        for (name, content) in files {
            bundle.write(name, content);
        }
        // So that a directory that changes shows it, which its time tells in whole seconds.
        for (name, _) in files {
            for above in Path::new(name).ancestors().skip(1) {
                set_mtime(&bundle.path(above.to_str().unwrap()), 1_600_000_000);
            }
        }
        bundle.wait();
        bundle.record();
        bundle
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join(self.name)
    }

    /// A path in the rootfs.
    fn path(&self, name: &str) -> PathBuf {
        self.root().join("rootfs").join(name)
    }

    fn dir(&self) -> Dir {
        Dir::open(&self.root(), Access::Plain).unwrap()
    }

    fn rootfs(&self) -> Dir {
        Dir::open(&self.path(""), Access::Plain).unwrap()
    }

    /// Makes a file, and all above it, with a modification time of long ago.
    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        set_mtime(&path, 1_600_000_000);
    }

    /// Waits until the clock of the file system has left the ticks of all that was done.
    fn wait(&self) {
        let start = Reference::now(&self.dir()).unwrap().time;
        while Reference::now(&self.dir()).unwrap().time <= start + 2 * index::GRANULARITY {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Writes manifest and index anew, as if everything were new.
    fn record(&self) {
        let empty = Manifest::parse(&b""[..]).unwrap();
        self.refresh(Baseline::Manifest(&empty), &[]);
    }

    /// Finds the changes, packs them, and writes manifest and index anew from that.
    fn refresh(&self, baseline: Baseline<'_>, masks: &[&str]) -> Diff {
        let reference = Reference::now(&self.dir()).unwrap();
        let mut found = self.diff(baseline, masks, Some(reference));
        let mut record = found.record.take().unwrap();
        for change in &found.changes {
            let path = self.path(str::from_utf8(&change.path).unwrap());
            let is_packed = change.kind != ChangeKind::Deleted
                && fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
            let sha256 = is_packed.then(|| Sha256::digest(fs::read(&path).unwrap()).into());
            record.packed(&change.path, sha256);
        }
        let (mut manifest, mut index) = (Vec::new(), Vec::new());
        let sha256 = record
            .write_manifest(&mut manifest, &Header::default())
            .unwrap();
        record.write_index(&mut index, sha256, &reference).unwrap();
        fs::write(self.root().join(MANIFEST), manifest).unwrap();
        fs::write(self.root().join(INDEX), index).unwrap();
        found
    }

    fn diff(&self, baseline: Baseline<'_>, masks: &[&str], record: Option<Reference>) -> Diff {
        let masks: Vec<_> = masks.iter().map(|mask| mask.as_bytes().to_vec()).collect();
        let masks = &masks;
        let options = DiffOptions {
            baseline,
            masks,
            record,
        };
        diff(&self.rootfs(), &options).unwrap()
    }

    fn index(&self) -> Option<StatIndex> {
        StatIndex::load(&self.dir(), MANIFEST).unwrap()
    }

    fn manifest(&self) -> Manifest {
        let file = fs::File::open(self.root().join(MANIFEST)).unwrap();
        Manifest::parse(file).unwrap()
    }

    /// What is found by the index: changes as lines, and the number of files that were read.
    #[track_caller]
    fn by_index(&self) -> (Vec<String>, u64) {
        let index = self.index().expect("the index is usable");
        let found = self.diff(Baseline::Index(&index), &[], None);
        (lines(&found.changes), found.files_read)
    }

    /// What is found without it.
    fn by_manifest(&self) -> (Vec<String>, u64) {
        let manifest = self.manifest();
        let found = self.diff(Baseline::Manifest(&manifest), &[], None);
        (lines(&found.changes), found.files_read)
    }

    /// Both must find this; returns how many files were read for it with the index.
    #[track_caller]
    fn expect(&self, changes: &[&str]) -> u64 {
        let (found, read) = self.by_index();
        assert_eq!(found, changes, "with the index");
        assert_eq!(self.by_manifest().0, changes, "without the index");
        read
    }
}

/// `A path` for added, `M path` for modified, `D path` for deleted.
fn lines(changes: &[Change]) -> Vec<String> {
    let line = |change: &Change| {
        let letter = match change.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'M',
            ChangeKind::Deleted => 'D',
        };
        format!("{letter} {}", escape_name(&change.path))
    };
    changes.iter().map(line).collect()
}

/// Sets both times, of a symbolic link too, to a whole second.
fn set_mtime(path: &Path, seconds: i64) {
    set_time(path, filetime::FileTime::from_unix_time(seconds, 0));
}

fn set_time(path: &Path, time: filetime::FileTime) {
    filetime::set_symlink_file_times(path, time, time).unwrap();
}

/// Exchanges the content of a file and leaves size and modification time as they are.
fn edit_unseen(path: &Path, content: &str) {
    let metadata = fs::metadata(path).unwrap();
    assert_eq!(metadata.len(), content.len() as u64);
    fs::write(path, content).unwrap();
    set_time(
        path,
        filetime::FileTime::from_last_modification_time(&metadata),
    );
    assert_eq!(
        fs::metadata(path).unwrap().modified().unwrap(),
        metadata.modified().unwrap()
    );
}

/// The digests in a manifest by path.
fn digests(manifest: &Manifest) -> BTreeMap<String, String> {
    let digest = |entry: Entry<'_>| {
        let sha256 = entry.get(Keyword::Sha256)?;
        Some((
            escape_name(&entry.path()),
            String::from_utf8_lossy(sha256).into_owned(),
        ))
    };
    manifest.entries().filter_map(digest).collect()
}
