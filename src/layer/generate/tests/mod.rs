//! Trees to layers, as whoever runs the tests: that user is 0:0 in the image.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use filetime::FileTime;
use rustix::fs::XattrFlags;
use tempfile::TempDir;

use super::*;
use crate::archive::{Entry, EntryKind, Event, Limits, Parser};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::xattr::{ROOTLESS_OWNER, rootless_owner};
use crate::fs::{Access, Change, ChangeKind, IdMap, IdRange, Root};
use crate::progress::{self, Level, Progress, Silent};

mod changes;
mod insert;

const MTIME: i64 = 1_500_000_000;

/// A directory whose owner is 0:0 in the image.
struct Fixture {
    dir: TempDir,
    options: GenerateOptions,
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
        let map_options = MapOptions {
            uid: own(stat.uid()),
            gid: own(stat.gid()),
            rootless: false,
        };
        let options = GenerateOptions {
            map_options,
            source_date_epoch: None,
        };
        Self { dir, options }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Makes a file and the directories above it.
    fn file(&self, path: &str, content: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        filetime::set_file_mtime(&path, FileTime::from_unix_time(MTIME, 700_000_000)).unwrap();
        path
    }

    fn root(&self) -> Root {
        let access = if self.options.map_options.rootless {
            Access::Unprivileged
        } else {
            Access::Plain
        };
        Root::open(self.dir.path(), access).unwrap()
    }

    fn changes_to(
        &self,
        changes: &[Change],
        progress: &dyn Progress,
    ) -> Result<(Vec<u8>, Vec<Packed>)> {
        let (mut out, mut packed) = (Vec::new(), Vec::new());
        generate_layer(
            &mut out,
            &self.root(),
            changes,
            &self.options,
            progress,
            &mut |path| packed.push(path),
        )?;
        Ok((out, packed))
    }

    fn changes(&self, changes: &[Change]) -> Result<Vec<Item>> {
        Ok(read(&self.changes_to(changes, &Silent)?.0))
    }

    fn one(&self, path: &str) -> Result<Item> {
        Ok(self.changes(&[modified(path)])?.remove(0))
    }

    fn insert(
        &self,
        insertions: &[Insertion],
        edit: impl FnOnce(&mut InsertOptions),
    ) -> Result<Vec<Item>> {
        let mut options = InsertOptions {
            generate: self.options.clone(),
            ..InsertOptions::default()
        };
        edit(&mut options);
        let mut out = Vec::new();
        generate_insert_layer(&mut out, insertions, &options, &Silent)?;
        Ok(read(&out))
    }

    fn tree(&self, source: &str, target: &str) -> Insertion {
        tree(&self.path(source), target, false)
    }
}

fn change(path: &str, kind: ChangeKind) -> Change {
    Change {
        path: path.as_bytes().to_vec(),
        kind,
    }
}

fn modified(path: &str) -> Change {
    change(path, ChangeKind::Modified)
}

fn deleted(path: &str) -> Change {
    change(path, ChangeKind::Deleted)
}

fn tree(source: &Path, target: &str, opaque: bool) -> Insertion {
    Insertion::Tree {
        source: source.to_owned(),
        target: target.as_bytes().to_vec(),
        opaque,
    }
}

fn whiteout(target: &str) -> Insertion {
    Insertion::Whiteout {
        target: target.as_bytes().to_vec(),
    }
}

/// An entry and its content.
type Item = (Entry, Vec<u8>);

fn read(archive: &[u8]) -> Vec<Item> {
    assert!(archive.ends_with(&[0; 1024]));
    let (mut parser, mut events) = (Parser::new(Limits::default()), Vec::new());
    parser.feed(archive, &mut events).unwrap();
    parser.finish().unwrap();
    let mut items = Vec::<Item>::new();
    for event in events {
        match event {
            Event::Entry(entry) => items.push((*entry, Vec::new())),
            Event::Data { range, .. } => {
                items
                    .last_mut()
                    .unwrap()
                    .1
                    .extend_from_slice(&archive[range]);
            }
            Event::End => {}
        }
    }
    items
}

fn names(items: &[Item]) -> Vec<&str> {
    items
        .iter()
        .map(|(entry, _)| std::str::from_utf8(&entry.path).unwrap())
        .collect()
}

/// Sets an attribute. Where the file system has none, there is nothing to test, and `false` is returned.
fn set_xattr(path: &Path, name: &str, value: &[u8]) -> bool {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).is_ok()
}

/// Keeps warnings.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    fn text(self) -> String {
        self.0.into_inner().unwrap().join("\n")
    }
}

impl Progress for Warnings {
    fn event(&self, event: progress::Event<'_>) {
        if let progress::Event::Message(message) = event
            && message.level == Level::Warn
        {
            self.0.lock().unwrap().push(message.text.to_string());
        }
    }
}
