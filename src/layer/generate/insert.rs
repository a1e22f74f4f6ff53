//! The layer of what is put into an image from outside.

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::GenerateOptions;
use super::pack::{Overrides, Packer, Place};
use super::target::{New, Target};
use crate::archive::Limits;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::names::{join, parents};
use crate::fs::{Access, Dir, InodeKind, Stat, escape_name};
use crate::layer::path::relative_path;
use crate::layer::view::View;
use crate::layer::whiteout;
use crate::progress::Progress;

/// One thing that `insert` does to an image.
#[derive(Clone, Debug)]
pub enum Insertion {
    /// Puts a file, or a directory with everything below it, into the image.
    Tree {
        /// Where it is on the host. A symbolic link at the end is not followed but inserted.
        source: PathBuf,
        /// Its path in the image: absolute or relative to the root, cleaned lexically. One that ends in a slash, and the
        /// root, is a directory: what is none is put into it under its own name, and a link to a directory is followed.
        target: Vec<u8>,
        /// Whether to hide what the layers below have in the directory. Of no effect, but a warning, for anything else.
        opaque: bool,
    },
    /// Hides a path of the image.
    Whiteout {
        /// The path in the image: absolute or relative to the root, cleaned lexically.
        target: Vec<u8>,
    },
}

/// How things are put into an image.
#[derive(Clone, Debug, Default)]
pub struct InsertOptions {
    /// Owners and times.
    pub generate: GenerateOptions,
    /// User and group in the image of all that is inserted, in place of its own.
    pub owner: Option<(u32, u32)>,
    /// The 12 mode bits of all files and directories that are inserted, in place of their own.
    pub mode: Option<u32>,
    /// Whether the directories above each target that the image lacks get entries of their own, before it and once each:
    /// 0755, owned by root, of 1970 or of `SOURCE_DATE_EPOCH`.
    pub parents: bool,
}

/// Writes the layer of insertions, in the order given, as an uncompressed tar stream. A tree comes in depth-first order,
/// the names of a directory sorted by bytes; where it is opaque, the opaque whiteout comes first. Names of one inode
/// within a tree are hard links.
///
/// A directory that is inserted at the root of the image puts its content there; the image's root keeps its metadata.
/// Sockets in a tree are left out with a warning.
///
/// # Errors
///
/// All targets and sources are looked at before anything is written. What has been written at a later failure is no whole
/// archive.
///
/// - [`ErrorKind::InvalidInput`]: a target is empty or would be a whiteout; it is the root, for a whiteout; an owner is in no range of the map, or is 4294967295; the name of an attribute has a `=`.
/// - [`ErrorKind::NotFound`]: a source does not exist.
/// - [`ErrorKind::LimitExceeded`]: a path in the image would be longer than 4095 bytes.
/// - Otherwise as [`generate_layer`](super::generate_layer).
///
/// ```
/// use oci_bundle::layer::{InsertOptions, Insertion, generate_insert_layer};
/// use oci_bundle::progress::Silent;
///
/// # let scratch = tempfile::tempdir()?;
/// # let source = scratch.path().join("hosts");
/// std::fs::write(&source, "127.0.0.1 localhost\n")?;
/// let insertions = [
///     Insertion::Tree { source, target: b"/etc/hosts".to_vec(), opaque: false },
///     Insertion::Whiteout { target: b"/etc/motd".to_vec() },
/// ];
/// let options = InsertOptions { owner: Some((0, 0)), ..InsertOptions::default() };
///
/// let mut layer = Vec::new();
/// generate_insert_layer(&mut layer, &insertions, &options, &Silent)?;
/// assert!(layer.starts_with(b"etc/hosts\0"));
/// assert!(layer.windows(12).any(|bytes| bytes == b"etc/.wh.motd"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn generate_insert_layer(
    out: impl Write,
    insertions: &[Insertion],
    options: &InsertOptions,
    progress: &dyn Progress,
) -> Result<()> {
    generate_insert_layer_on(out, insertions, View::new(), options, progress)
}

/// The same for an image that has something: what would be lost of it is refused or warned about, by the rules of
/// `target.rs`, and `parents` leaves out the directories that it has.
///
/// # Errors
///
/// As [`generate_insert_layer`], and [`ErrorKind::AlreadyExists`] where the image has something of another type.
pub(crate) fn generate_insert_layer_on(
    out: impl Write,
    insertions: &[Insertion],
    image: View,
    options: &InsertOptions,
    progress: &dyn Progress,
) -> Result<()> {
    if let Some((u32::MAX, _) | (_, u32::MAX)) = options.owner {
        let message = format!(
            "insert: {} is not an id: it means \"do not change\"",
            u32::MAX
        );
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let access = if options.generate.map_options.rootless {
        Access::Unprivileged
    } else {
        Access::Plain
    };
    let checked: Vec<Inserted<'_>> = insertions
        .iter()
        .map(|insertion| Inserted::check(insertion, access))
        .collect::<Result<_>>()?;
    let packer = Packer::new(out, &options.generate, progress).with_overrides(Overrides {
        owner: options.owner,
        mode: options.mode,
    });
    let mut inserter = Inserter {
        packer,
        target: Target::new(image, insertions.len() > 1),
        progress,
        access,
        directories: options.parents.then(HashSet::new),
    };
    for insertion in &checked {
        inserter.insert(insertion)?;
    }
    inserter.packer.finish().map(drop)
}

/// An insertion whose paths make sense.
struct Inserted<'a> {
    /// Clean and relative; empty for the root.
    target: Vec<u8>,
    /// Whether it was spelled as a directory.
    is_directory: bool,
    /// What is inserted and whether it is opaque; `None` for a whiteout.
    tree: Option<(&'a Path, bool)>,
}

impl<'a> Inserted<'a> {
    fn check(insertion: &'a Insertion, access: Access) -> Result<Self> {
        let (target, tree) = match insertion {
            Insertion::Tree {
                source,
                target,
                opaque,
            } => (target, Some((source.as_path(), *opaque))),
            Insertion::Whiteout { target } => (target, None),
        };
        let fail = |kind, why: &str| {
            let message = format!("insert at {}: {why}", escape_name(target));
            Err(Error::new(kind, message))
        };
        if target.is_empty() {
            return fail(ErrorKind::InvalidInput, "the path is empty");
        }
        let mut clean = Vec::new();
        relative_path(&mut clean, target);
        whiteout::check_name(&clean).context(|| format!("insert at {}", escape_name(target)))?;
        if let Some((source, _)) = tree {
            let found = Source::open(source, access).and_then(|source| source.place().stat());
            found.context(|| format!("insert {}", source.display()))?;
        } else if clean.is_empty() {
            return fail(ErrorKind::InvalidInput, "the root cannot be hidden");
        }
        let last = target.rsplit(|&byte| byte == b'/').next();
        Ok(Self {
            is_directory: clean.is_empty() || matches!(last, Some(b"" | b"." | b"..")),
            target: clean,
            tree,
        })
    }
}

/// Something on the host, by an open directory: the one that it is in, or itself where its path has no last name (`..`).
struct Source {
    dir: Dir,
    name: Option<Vec<u8>>,
}

impl Source {
    fn open(path: &Path, access: Access) -> Result<Self> {
        let (dir, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if parent.as_os_str().is_empty() => {
                (Path::new("."), Some(name))
            }
            (Some(parent), Some(name)) => (parent, Some(name)),
            _ => (path, None),
        };
        Ok(Self {
            dir: Dir::open(dir, access)?,
            name: name.map(|name| name.as_bytes().to_vec()),
        })
    }

    fn place(&self) -> Place<'_> {
        match &self.name {
            Some(name) => Place::Name(&self.dir, name),
            None => Place::Itself(&self.dir),
        }
    }
}

/// A directory being walked.
struct Level {
    dir: Dir,
    names: std::vec::IntoIter<Vec<u8>>,
    /// Its path in the image.
    path: Vec<u8>,
    /// Whether the image had nothing there, so that nothing is replaced.
    is_new: bool,
}

struct Inserter<'a, W: Write> {
    packer: Packer<'a, W>,
    target: Target,
    progress: &'a dyn Progress,
    access: Access,
    /// The directories that have an entry, where this must be known.
    directories: Option<HashSet<Vec<u8>>>,
}

impl<W: Write> Inserter<'_, W> {
    fn insert(&mut self, inserted: &Inserted<'_>) -> Result<()> {
        let Some((path, opaque)) = inserted.tree else {
            self.packer.add_whiteout(&inserted.target)?;
            return self.target.hidden(&inserted.target, false);
        };
        let source = Source::open(path, self.access)?;
        let stat = source.place().stat()?;
        let (name, kind) = (source.name.as_deref(), stat.kind);
        let target = &self
            .target
            .place(&inserted.target, inserted.is_directory, name, kind)?;
        self.target.check_above(target)?;
        if !target.is_empty() {
            self.check(&stat, target)?;
        }
        // The same file may be inserted twice, and then is meant to be two files.
        self.packer.forget_links();
        self.parents(target)?;
        if opaque {
            if stat.is_dir() {
                self.packer.add_opaque(target)?;
                self.target.hidden(target, true)?;
            } else {
                // A whiteout below a file would make others take the file for a directory.
                self.progress.warn(format_args!(
                    "insert {}: it is no directory, so there is nothing to be opaque",
                    path.display()
                ));
            }
        }
        if target.is_empty() {
            // The entry would give the image's root the metadata of a directory of the host's.
            return self.walk(source, Vec::new(), false);
        }
        let is_new = self.target.is_new(target)?;
        if self.add(source.place(), target, stat)? {
            self.walk(source, target.clone(), is_new)?;
        }
        Ok(())
    }

    /// Writes the directories above a path that have no entry yet, and that the image does not have.
    fn parents(&mut self, path: &[u8]) -> Result<()> {
        let Some(directories) = &mut self.directories else {
            return Ok(());
        };
        for parent in parents(path) {
            if directories.insert(parent.to_vec()) && !self.target.has_parent(parent)? {
                self.packer.add_parent(parent)?;
            }
        }
        Ok(())
    }

    /// Refuses what would lose something of the image, and warns of what is replaced.
    fn check(&self, stat: &Stat, path: &[u8]) -> Result<()> {
        let (mode, owner) = self.packer.attributes(stat)?;
        let kind = stat.kind;
        if let Some(replaced) = self.target.check(path, New { kind, mode, owner })? {
            self.progress
                .warn(format_args!("insert at /{}: {replaced}", escape_name(path)));
        }
        Ok(())
    }

    /// Writes one inode. Returns whether it is a directory.
    fn add(&mut self, place: Place<'_>, path: &[u8], stat: Stat) -> Result<bool> {
        let limit = Limits::default().path_size;
        if path.len() > limit {
            let source = on_host(place);
            let message = format!(
                "insert {}: its path in the image would be longer than {limit} bytes",
                source.display()
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let (stat, _) = self
            .packer
            .add_seen(place, path, stat)
            .context(|| format!("insert {}", on_host(place).display()))?;
        self.target.added(path, &stat, place)?;
        if let Some(directories) = &mut self.directories
            && stat.is_dir()
        {
            directories.insert(path.to_vec());
        }
        Ok(stat.is_dir())
    }

    /// Writes everything below a directory. One directory stays open per level.
    fn walk(&mut self, source: Source, target: Vec<u8>, is_new: bool) -> Result<()> {
        let top = match &source.name {
            Some(name) => source.dir.open_dir(name)?,
            None => source.dir,
        };
        let mut open = vec![Level::new(top, target, is_new)?];
        while let Some(level) = open.last_mut() {
            let Some(name) = level.names.next() else {
                open.pop();
                continue;
            };
            let path = join(&level.path, &name);
            let place = Place::Name(&level.dir, &name);
            let stat = place
                .stat()
                .context(|| format!("insert {}", on_host(place).display()))?;
            if stat.kind == InodeKind::Socket {
                self.progress.warn(format_args!(
                    "insert {}: it is a socket, which no layer can hold, and is left out",
                    on_host(place).display()
                ));
                continue;
            }
            let mut is_new = level.is_new;
            if !is_new {
                self.check(&stat, &path)?;
                is_new = self.target.is_new(&path)?;
            }
            if self.add(place, &path, stat)? {
                let child = level.dir.open_dir(&name)?;
                open.push(Level::new(child, path, is_new)?);
            }
        }
        Ok(())
    }
}

/// The path on the host, for messages.
fn on_host(place: Place<'_>) -> PathBuf {
    match place {
        Place::Name(dir, name) => dir.path_of(name),
        Place::Itself(dir) => dir.path().to_owned(),
    }
}

impl Level {
    fn new(dir: Dir, path: Vec<u8>, is_new: bool) -> Result<Self> {
        Ok(Self {
            names: dir.names()?.into_iter(),
            dir,
            path,
            is_new,
        })
    }
}
