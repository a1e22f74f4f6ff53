//! OCI image layout (`image-layout.md`): a content-addressed store with names on top.
//!
//! ```text
//! <layout>/
//!   oci-layout                  {"imageLayoutVersion":"1.0.0"}: says that this is a layout
//!   index.json                  the names: descriptors of manifests and indexes, tags in annotations
//!   blobs/<algorithm>/<encoded> manifests, indexes, configs, layers: immutable, named by their digest
//!   .umoci-<random>/            scratch of a running process, owned by the store
//! ```
//!
//! `index.json` is the one file that changes. Everything below it is reached by digest and verified when read.
//!
//! | file | holds |
//! |---|---|
//! | `limits` | [`Limits`] |
//! | `index` | `index.json` as it is edited: entries and names, under the lock |
//! | `lease` | [`LeasedLayout`]: a layout whose blobs stay while it is read |
//! | `source` | [`ImageSource`]: whatever leads to an image in an open layout |
//! | `resolve` | from a tag to the one manifest that it means, here and now |
//! | `tags` | the verbs on names: list, tag, untag, new image |
//! | `mutator` | edits of one image: [`Mutator`], [`LeasedLayout::edit`] |
//! | `store_layer` | a layer stream into the store in one pass, and how to compress it |
//! | `walk` | a bounded walk down the descriptors, which the others drive |
//! | `gc` | mark what is reachable, sweep the rest |
//! | `validate` | recompute everything, list every finding |
//!
//! Rules:
//!
//! - **One writer.** Whoever changes `index.json` holds the store's lock, re-reads the index under it, and replaces the
//!   file atomically. A lease on the blobs, taken before, keeps [`Layout::gc`] from sweeping what the new index will
//!   name. Readers see the old index or the new one.
//! - **Nothing is read without a lease.** A tag is resolved through a [`LeasedLayout`] only, so that gc sweeps nothing
//!   between that and the last byte of the image.
//! - **Unknown survives.** Entries and members that this program does not understand are written back as they were.
//! - **Hostile layouts are read.** Sizes are checked before reading, documents are read once each, depth and count of
//!   walks are limited ([`Limits`]), and nothing but a regular file is opened.
//! - **Links are followed, and never written through.** A part of a layout may be a symbolic link into a store that
//!   others share, and is read through it. What replaces it replaces the link; behind links gc removes nothing.
//! - **Tags are top-level.** A name counts in `index.json` only, not in an index further down.

mod gc;
mod index;
mod lease;
mod limits;
mod mutator;
mod resolve;
mod source;
mod store_layer;
mod tags;
#[cfg(test)]
mod test_layout;
#[cfg(test)]
mod tests;
mod validate;
mod walk;

use std::io::{Cursor, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_cas::{DirStore, Store, StoreExt, VerifyingReader};
use serde_json::{Value, json};

pub use gc::GcReport;
pub use lease::LeasedLayout;
pub use limits::Limits;
pub use mutator::{Edited, Mutator, NewHistory};
pub use resolve::DescriptorPath;
pub use source::{ImageSource, Origin};
pub use store_layer::{UNCOMPRESSED_SIZE, uncompressed_size};
pub use tags::Listed;
pub use validate::{Finding, code};

use crate::fs::names::split_path;
use crate::fs::staging::{MadeDirs, Staging};
use crate::fs::{Access, Dir, atomic, input};
use crate::image::{
    Descriptor, ImageConfig, Manifest, MediaKind, empty_index, parse_json, to_go_json,
};
use crate::{Error, ErrorKind, Result, ResultExt};

const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT_VERSION: &str = "1.0.0";
const INDEX_FILE: &str = "index.json";

/// The name of a layout in the making.
const STAGED: &[u8] = b"layout";

/// Where the blobs and the names are.
enum Backing {
    /// In a directory.
    Directory(DirStore),
    /// Elsewhere: what leads to images is here, the blobs are in a store of any kind. Nothing is changed.
    Elsewhere {
        index: Vec<u8>,
        blobs: Arc<dyn Store>,
        announcer: Option<Announcer>,
    },
}

/// Is told of layers that will be read, in order.
pub(crate) type Announcer = Box<dyn Fn(&[Descriptor]) -> Result<()> + Send + Sync>;

/// An opened layout. Everything happens relative to the directory's descriptor, wherever its path leads later.
pub struct Layout {
    backing: Backing,
    limits: Limits,
    /// As it was opened, for messages only.
    path: PathBuf,
}

impl Layout {
    /// Opens a layout with the default [`Limits`].
    ///
    /// # Errors
    ///
    /// As [`Layout::open_with`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, Limits::default())
    }

    /// Opens a layout: `oci-layout` must say version 1.0.0, `blobs` must be a directory, and `index.json` a regular
    /// file, or symbolic links to such. Other files are ignored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when nothing is at `path`, [`ErrorKind::InvalidData`] (with `invalid image detected` in the
    /// message) when it is no layout.
    pub fn open_with(path: &Path, limits: Limits) -> Result<Self> {
        let dir = Dir::open(path, Access::Plain).map_err(|error| {
            let missing = error.kind() == ErrorKind::NotFound;
            let error = error.context(format!("open image layout {}", path.display()));
            if missing {
                error.with_hint("an empty layout is made by the init command, and an image of a registry is named docker://NAME")
            } else if input::is_file(path) {
                error.with_hint("if it is an archive, copy it into a layout first: bundle copy FILE LAYOUT:TAG")
            } else {
                error
            }
        })?;
        let descriptor = dir
            .as_fd()
            .try_clone_to_owned()
            .context(|| "duplicate a descriptor")?;
        let opened = DirStore::open(descriptor).map_err(Error::from);
        let checked = opened.and_then(|store| check(&store, &limits).map(|()| store));
        let store = checked.map_err(|error| {
            // A layout that lacks a part is not a layout that was not found.
            let kind = match error.kind() {
                ErrorKind::NotFound | ErrorKind::Io => ErrorKind::InvalidData,
                other => other,
            };
            Error::new(
                kind,
                format!(
                    "open image layout {}: invalid image detected",
                    path.display()
                ),
            )
            .with_source(error)
        })?;
        Ok(Self {
            backing: Backing::Directory(store),
            limits,
            path: path.to_owned(),
        })
    }

    /// Makes a layout without images. Missing parents are made.
    ///
    /// The layout is built under a scratch name beside `path` and moved into place, so that it is there whole or not at
    /// all. On failure everything that was made is removed again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`] when there is anything at `path`, else what the system says.
    pub fn create(path: &Path) -> Result<Self> {
        Self::create_at(path).context(|| format!("create image layout {}", path.display()))?;
        Self::open(path)
    }

    fn create_at(path: &Path) -> Result<()> {
        let (parent, name) = split_path(path)?;
        let made = MadeDirs::make(parent)?;
        let taken = Dir::open(parent, Access::Plain)?.try_stat(name)?;
        if taken.is_some() {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("{} already exists", path.display()),
            ));
        }
        let staging = Staging::create(parent, ".bundle-init-", Access::Plain)?;
        // The scratch directory itself is private; the layout inside gets its mode from the umask.
        let dir = staging.dir().create_new_dir(STAGED, 0o755)?;
        DirStore::create(
            dir.as_fd()
                .try_clone_to_owned()
                .context(|| "duplicate a descriptor")?,
        )?;
        atomic::create(&dir, INDEX_FILE, 0o644, &empty_index())?;
        let layout_file = to_go_json(&json!({"imageLayoutVersion": LAYOUT_VERSION}));
        atomic::create(&dir, LAYOUT_FILE, 0o644, &layout_file)?;
        staging.publish_entry(STAGED, name)?;
        made.keep();
        Ok(())
    }

    /// A layout that is only read: `index` is its `index.json`, and the blobs are in any store. `name` is for messages.
    pub fn read_only(name: &Path, index: Vec<u8>, blobs: Arc<dyn Store>) -> Self {
        Self {
            backing: Backing::Elsewhere {
                index,
                blobs,
                announcer: None,
            },
            limits: Limits::default(),
            path: name.to_owned(),
        }
    }

    /// Has someone told of layers that will be read, of a layout that is only read.
    #[cfg_attr(not(feature = "registry"), expect(dead_code))]
    pub(crate) fn with_announcer(mut self, tell: Announcer) -> Self {
        if let Backing::Elsewhere { announcer, .. } = &mut self.backing {
            *announcer = Some(tell);
        }
        self
    }

    /// Says that all these layers will be read, in this order, so that those that are far away are fetched meanwhile.
    ///
    /// # Errors
    ///
    /// When that cannot be begun.
    pub(crate) fn announce(&self, layers: &[Descriptor]) -> Result<()> {
        match &self.backing {
            Backing::Elsewhere {
                announcer: Some(announcer),
                ..
            } => announcer(layers),
            _ => Ok(()),
        }
    }

    /// The blobs.
    pub fn store(&self) -> &dyn Store {
        match &self.backing {
            Backing::Directory(store) => store,
            Backing::Elsewhere { blobs, .. } => &**blobs,
        }
    }

    /// What lies among the blobs of a directory and is not a blob, by its path in the layout.
    pub(crate) fn foreign(&self) -> Result<Vec<String>> {
        match &self.backing {
            Backing::Directory(store) => Ok(store.foreign()?),
            Backing::Elsewhere { .. } => Ok(Vec::new()),
        }
    }

    /// The directory, of a layout that can be changed.
    fn directory(&self) -> Result<&DirStore> {
        match &self.backing {
            Backing::Directory(store) => Ok(store),
            Backing::Elsewhere { .. } => {
                let message = format!("{} is only read", self.path.display());
                Err(Error::new(ErrorKind::Unsupported, message)
                    .with_hint("copy the image into an OCI layout first"))
            }
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Reads, verifies and parses a manifest, OCI's or Docker's schema 2.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for another media type, [`ErrorKind::LimitExceeded`] for too many layers, else as
    /// [`Layout::read_document`] and [`Manifest::parse`].
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        expect_kind(descriptor, MediaKind::Manifest, "manifest")?;
        let bytes = self.read_document(descriptor)?;
        let manifest = Manifest::parse(&bytes, descriptor.media_type())
            .context(|| format!("parse manifest {}", descriptor.digest()))?;
        let (count, limit) = (manifest.layers.len(), self.limits.layer_count);
        if count > limit {
            let message = format!(
                "manifest {} has {count} layers, the limit is {limit}",
                descriptor.digest()
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(manifest)
    }

    /// Reads, verifies and parses the image config of a manifest, OCI's or Docker's.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for an artifact, whose config is of another type and must not be parsed as an image's;
    /// else as [`Layout::config`].
    pub fn image_config(&self, manifest: &Manifest) -> Result<ImageConfig> {
        let descriptor = &manifest.config;
        if descriptor.kind() != MediaKind::Config {
            let artifact = manifest.artifact_type();
            let kind = if artifact.is_empty() {
                descriptor.media_type()
            } else {
                artifact
            };
            let message = format!("it is an artifact of the type {kind:?}, not a container image");
            return Err(Error::new(ErrorKind::Unsupported, message).with_hint(
                "stat shows what it has; the program that made it knows what it is for",
            ));
        }
        self.config(descriptor)
    }

    /// Reads, verifies and parses an image config, OCI's or Docker's.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for another media type, which must not be parsed as an image's; else as
    /// [`Layout::read_document`] and [`ImageConfig::parse`].
    pub fn config(&self, descriptor: &Descriptor) -> Result<ImageConfig> {
        expect_kind(descriptor, MediaKind::Config, "image config")?;
        let bytes = self.read_document(descriptor)?;
        ImageConfig::parse(&bytes).context(|| format!("parse image config {}", descriptor.digest()))
    }

    /// Reads a small blob whole and verified. Data embedded in the descriptor is used instead of the blob, which need
    /// not exist then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LimitExceeded`] when the descriptor's size is above [`Limits::document_size`] (nothing is read
    /// then), [`ErrorKind::NotFound`] for a missing blob, [`ErrorKind::Verification`] when digest or size differ.
    pub fn read_document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let (digest, size, limit) = (
            descriptor.digest(),
            descriptor.size(),
            self.limits.document_size,
        );
        if size > limit {
            let message = format!(
                "document {digest} of {size} bytes is larger than the limit of {limit} bytes"
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let bytes = match descriptor.data() {
            Some(data) => data,
            None => self.store().read_verified(digest, size).map_err(|error| {
                absent(descriptor, error.into(), |error| {
                    error.context(format!("read blob {digest}"))
                })
            })?,
        };
        if descriptor.kind() == MediaKind::Empty && bytes != b"{}" {
            let message = format!(
                "blob {digest} of type {} is not {{}}",
                descriptor.media_type()
            );
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        Ok(bytes)
    }

    /// Opens a blob to be streamed; digest and size are verified where the stream ends. Embedded data is used instead
    /// of the blob.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] for a missing blob, [`ErrorKind::InvalidData`] for what is no regular file.
    pub fn open_blob(
        &self,
        descriptor: &Descriptor,
    ) -> Result<VerifyingReader<Box<dyn Read + Send>>> {
        let (digest, size) = (descriptor.digest(), descriptor.size());
        match descriptor.data() {
            Some(data) => Ok(VerifyingReader::new(
                Box::new(Cursor::new(data)),
                digest.clone(),
                size,
            )),
            None => self
                .store()
                .open_verified(digest, size)
                .map_err(|error| absent(descriptor, error.into(), |error| error)),
        }
    }
}

/// Says of a blob that does not exist what that means: layouts with less than they list are common.
fn absent(descriptor: &Descriptor, error: Error, other: impl FnOnce(Error) -> Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        missing(descriptor, "blob")
    } else {
        other(error)
    }
}

/// The error for something that is listed and not in the layout.
fn missing(descriptor: &Descriptor, what: &str) -> Error {
    let digest = descriptor.digest();
    let urls = descriptor.raw().get("urls").and_then(Value::as_array);
    let url = urls.and_then(|urls| urls.first()).and_then(Value::as_str);
    let (message, hint) = match url {
        Some(url) => (
            format!("the layout does not have {what} {digest}, which lies at {url}"),
            format!(
                "fetch it from there to blobs/{}/{} of the layout",
                digest.algorithm(),
                digest.encoded()
            ),
        ),
        None => (
            format!("the layout lists {what} {digest}, but does not have it"),
            "the layout is incomplete: copy the image again, or choose a platform that is there"
                .to_owned(),
        ),
    };
    Error::new(ErrorKind::NotFound, message).with_hint(hint)
}

/// Looks at what makes a directory with blobs a layout.
fn check(store: &DirStore, limits: &Limits) -> Result<()> {
    let file = read_file(store, LAYOUT_FILE, limits.document_size)?;
    let layout = parse_json(&file).context(|| format!("read {LAYOUT_FILE}"))?;
    let version = layout.get("imageLayoutVersion").and_then(Value::as_str);
    if version != Some(LAYOUT_VERSION) {
        let message = match version {
            Some(other) => format!("layout version {other:?} where {LAYOUT_VERSION} is known"),
            None => format!("{LAYOUT_FILE} names no layout version"),
        };
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    store.open_file(INDEX_FILE)?;
    Ok(())
}

/// Reads a file beside the blobs, of at most `limit` bytes.
fn read_file(store: &DirStore, name: &str, limit: u64) -> Result<Vec<u8>> {
    let file = store.open_file(name)?;
    let size = file.metadata().context(|| format!("stat {name}"))?.len();
    let mut content = Vec::new();
    if size <= limit {
        // The file may grow while it is read: one byte above the limit tells.
        file.take(limit.saturating_add(1))
            .read_to_end(&mut content)
            .context(|| format!("read {name}"))?;
    }
    if size.max(content.len() as u64) > limit {
        let message = format!("{name} is larger than the limit of {limit} bytes");
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    Ok(content)
}

fn expect_kind(descriptor: &Descriptor, kind: MediaKind, what: &str) -> Result<()> {
    if descriptor.kind() == kind {
        return Ok(());
    }
    let message = format!(
        "blob {} has the type {:?}, which is no {what}",
        descriptor.digest(),
        descriptor.media_type()
    );
    Err(Error::new(ErrorKind::Unsupported, message))
}
