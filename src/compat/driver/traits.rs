//! The abilities of a driver, one trait each, and what is passed to and fro.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;

use oci_cas::Digest;

use super::additional::AdditionalLayer;
use super::mounts::MountHandle;
use super::staged::StagedLayer;
use crate::error::Result;
use crate::fs::mount::Support;
use crate::fs::quota::Limits;
use crate::fs::usage::Usage;
use crate::fs::{Change, Dir, FileReader, MapOptions};
use crate::image::DiffId;
use crate::store::{Key, MountOptions};

/// How a layer is made.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CreateOptions {
    /// How owners of the image are owners on disk. Without ranges they are the same.
    pub maps: MapOptions,
    /// What it may take, for layers that are made to be written to.
    pub quota: Limits,
    /// Whatever the caller wants to keep with it.
    pub labels: BTreeMap<String, String>,
}

/// How a layer is mounted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GetOptions {
    /// As any container of the store. Committed layers are mounted read-only in any case.
    pub mount: MountOptions,
    /// The name of a user who outlives this process; otherwise the mount counts as used as long as the process lives.
    pub hold: Option<String>,
}

/// The directories of a layer, absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerPaths {
    /// What is read only, topmost first, as overlayfs wants it.
    pub lower: Vec<PathBuf>,
    /// Where changes go; none for a committed layer.
    pub upper: Option<PathBuf>,
    /// What the kernel works in; none for a committed layer.
    pub work: Option<PathBuf>,
    /// Where [`Driver::get`] mounts it.
    pub merged: PathBuf,
}

/// What is known of a layer without looking at its content.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LayerInfo {
    /// The layer that it was laid on.
    pub parent: Option<Key>,
    /// The digest of its own stream, if it is committed.
    pub diff_id: Option<DiffId>,
    /// Whether it was made to be written to.
    pub read_write: bool,
    /// How owners of the image are owners on disk.
    pub maps: MapOptions,
    /// What the caller keeps with it.
    pub labels: BTreeMap<String, String>,
}

/// Layers by key that can be mounted.
///
/// `parent` is the key of a committed layer, or none for what lies on nothing. No function leaves half of what it does:
/// after an error all is as it was, if nothing else is said.
pub trait Driver {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// What works here, as pairs for people: backing file system, kernel, features and why they are missing.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or, the first time, if nothing can be tried out in it.
    fn status(&self) -> Result<Vec<(&'static str, String)>>;

    /// Makes a layer that is going to be committed: empty, to be filled by [`DiffDriver::apply`] or through a mount.
    ///
    /// # Errors
    ///
    /// [`KeyExists`](crate::store::Reason::KeyExists), [`KeyUnknown`](crate::store::Reason::KeyUnknown) for the parent,
    /// [`ParentNotCommitted`](crate::store::Reason::ParentNotCommitted) if that is not committed;
    /// [`QuotaUnsupported`](crate::store::Reason::QuotaUnsupported) for any quota.
    fn create(&self, key: &Key, parent: Option<&Key>, options: &CreateOptions) -> Result<()>;

    /// Makes a layer that stays open: the root file system of a container.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create); [`QuotaUnsupported`](crate::store::Reason::QuotaUnsupported) only if the file system
    /// has none.
    fn create_read_write(
        &self,
        key: &Key,
        parent: Option<&Key>,
        options: &CreateOptions,
    ) -> Result<()>;

    /// Makes a layer with the content of another one. Of a committed one nothing is copied: the new layer is laid on it,
    /// or is the same. Of an open one the changes are copied, sharing blocks where the file system can.
    ///
    /// # Errors
    ///
    /// As [`create_read_write`](Self::create_read_write), and [`ErrorKind::Busy`](crate::ErrorKind::Busy) if the template
    /// changes while it is copied.
    fn create_from_template(
        &self,
        key: &Key,
        template: &Key,
        options: &CreateOptions,
        read_write: bool,
    ) -> Result<()>;

    /// Makes permanent what is in an open layer, so that others can be laid on it. A committed one stays as it is. What is
    /// kept is what a stream of it has: times in whole seconds; and what no stream can hold, such as sockets, is an error.
    ///
    /// A death leaves it open or committed.
    ///
    /// # Errors
    ///
    /// [`InUse`](crate::store::Reason::InUse) if it is mounted, and whatever keeps it from being read.
    fn commit(&self, key: &Key) -> Result<DiffId>;

    /// Whether there is such a layer.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    fn exists(&self, key: &Key) -> Result<bool>;

    /// All layers, in the order of their keys; those of stores that are only read are not among them.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    fn list(&self) -> Result<Vec<Key>>;

    /// Where the parts of a layer are.
    ///
    /// # Errors
    ///
    /// [`KeyUnknown`](crate::store::Reason::KeyUnknown).
    fn metadata(&self, key: &Key) -> Result<LayerPaths>;

    /// What is known of a layer.
    ///
    /// # Errors
    ///
    /// [`KeyUnknown`](crate::store::Reason::KeyUnknown).
    fn info(&self, key: &Key) -> Result<LayerInfo>;

    /// Mounts a layer, unless it is mounted, and counts one more user. Users of dead processes do not count.
    ///
    /// # Errors
    ///
    /// [`MountOptionsConflict`](crate::store::Reason::MountOptionsConflict) if others use it with other options, and as
    /// [`Store::mount_container`](crate::store::Store::mount_container).
    fn get(&self, key: &Key, options: &GetOptions) -> Result<MountHandle>;

    /// Counts one user less, and unmounts the layer when there is none left.
    ///
    /// # Errors
    ///
    /// [`NotMounted`](crate::store::Reason::NotMounted) if the handle was put already;
    /// [`InUse`](crate::store::Reason::InUse) if somebody works in the mount: it stays mounted and the user counts on.
    fn put(&self, handle: &MountHandle) -> Result<()>;

    /// Opens a layer as it is now, for reading, whether it is mounted or not. It stays as long as the directory is open.
    ///
    /// # Errors
    ///
    /// [`KeyUnknown`](crate::store::Reason::KeyUnknown), [`MountFailed`](crate::store::Reason::MountFailed).
    fn contents(&self, key: &Key) -> Result<Dir>;

    /// Takes a layer away; none of that key is fine. Layers on top of it keep all they have.
    ///
    /// A death leaves it there or not; what is left to delete goes with the next `gc`.
    ///
    /// # Errors
    ///
    /// [`InUse`](crate::store::Reason::InUse) if it is mounted: the message says by whom.
    fn remove(&self, key: &Key) -> Result<()>;

    /// What a layer by itself takes: by the quota where it has one, or else counted.
    ///
    /// # Errors
    ///
    /// [`KeyUnknown`](crate::store::Reason::KeyUnknown), and if it cannot be read.
    fn usage(&self, key: &Key) -> Result<Usage>;

    /// Unmounts what nobody uses any more, and clears away what killed processes left. The keys that are still in use.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read or written.
    fn cleanup(&self) -> Result<Vec<Key>>;
}

/// What a stream has become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedDiff {
    /// The digest of the uncompressed stream.
    pub diff_id: DiffId,
    /// Bytes of the uncompressed stream.
    pub stream_size: u64,
}

/// Differences between layers, as streams and as lists.
///
/// With the layer's own parent (or, without one, none) a difference is that of the layer alone. With any other both sides
/// are looked at as a whole.
pub trait DiffDriver {
    /// Fills a layer from a tar stream, which may be compressed (gzip, zstd). A layer that was made to be committed is
    /// committed by it.
    ///
    /// # Errors
    ///
    /// [`LayerExists`](crate::store::Reason::LayerExists) if it is committed; those of
    /// [`unpack_layer`](crate::layer::unpack_layer). An empty layer is empty again then; one that had something in it, or
    /// has another parent than `parent`, is left with part of the stream.
    fn apply(
        &self,
        key: &Key,
        parent: Option<&Key>,
        stream: &mut (dyn Read + Send),
    ) -> Result<AppliedDiff>;

    /// Writes what a layer has that another one has not, as an uncompressed tar stream.
    ///
    /// # Errors
    ///
    /// Those of [`generate_layer`](crate::layer::generate_layer); what was written is no whole archive then.
    fn diff(&self, key: &Key, parent: Option<&Key>, out: &mut dyn Write) -> Result<()>;

    /// Tells what differs, sorted by path.
    ///
    /// # Errors
    ///
    /// [`KeyUnknown`](crate::store::Reason::KeyUnknown), and if a side cannot be read.
    fn changes(&self, key: &Key, parent: Option<&Key>) -> Result<Vec<Change>>;

    /// The bytes of the regular files that differ, without those that are gone.
    ///
    /// # Errors
    ///
    /// As [`changes`](Self::changes).
    fn diff_size(&self, key: &Key, parent: Option<&Key>) -> Result<u64>;
}

/// Something that brings the content of a layer otherwise than by one tar stream: piece by piece, say.
pub trait Differ: Send {
    /// Writes the content into an empty directory: whiteouts and opaque directories as overlayfs has them, owners as in
    /// the image. Nothing that is not below it may be touched.
    ///
    /// # Errors
    ///
    /// Whatever goes wrong; the directory is removed.
    fn populate(&mut self, dir: &Dir) -> Result<DifferOutput>;
}

impl<F: FnMut(&Dir) -> Result<DifferOutput> + Send> Differ for F {
    fn populate(&mut self, dir: &Dir) -> Result<DifferOutput> {
        self(dir)
    }
}

/// What a [`Differ`] says of the content that it has brought. All of it is the differ's word: nothing is named by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DifferOutput {
    /// Bytes of the content; none if it does not know.
    pub size: Option<u64>,
    /// All owners, sorted.
    pub uids: Vec<u32>,
    /// All groups, sorted.
    pub gids: Vec<u32>,
    /// The digest of the uncompressed stream that the content stands for.
    pub uncompressed_digest: Option<Digest>,
    /// The digest of the compressed one.
    pub compressed_digest: Option<Digest>,
    /// The digest of the table of contents that the pieces were verified by.
    pub toc_digest: Option<Digest>,
    /// Whether the attributes of the root are those that the directory has now; otherwise they are the parent's.
    pub has_root: bool,
    /// What the caller wants to keep, by name.
    pub big_data: BTreeMap<String, Vec<u8>>,
}

/// Content that is brought first and becomes a layer later.
pub trait StagedApply {
    /// Has a differ fill a directory that nobody sees. Dropped, it goes; a death leaves it to the next process.
    ///
    /// # Errors
    ///
    /// Those of the differ, and if the directory cannot be made.
    fn stage(&self, differ: &mut dyn Differ) -> Result<StagedLayer>;

    /// Makes staged content that of an open, empty layer, and commits that.
    ///
    /// The diff ID is that of the stream that the content makes, whatever the differ says of it: a layer never gets the
    /// name of content that was not verified.
    ///
    /// # Errors
    ///
    /// [`LayerExists`](crate::store::Reason::LayerExists) if the layer is committed or has something in it, and as
    /// [`Driver::commit`]. The staged content is gone then.
    fn commit_staged(&self, key: &Key, staged: StagedLayer) -> Result<DiffId>;

    /// Removes staged content: what dropping it does, with the error.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be removed; the next process that stages something tries again.
    fn abort(&self, staged: StagedLayer) -> Result<()>;
}

/// Layers with other owners.
pub trait IdMapUpdater {
    /// Whether mounts can show other owners than there are on disk; with maps, these owners.
    ///
    /// # Errors
    ///
    /// Fails if that has to be tried out and cannot.
    fn supports_shifting(&self, maps: Option<&MapOptions>) -> Result<Support>;

    /// Changes the maps of a layer. Committed layers below stay as they are and shared: mounts show the other owners, or
    /// copies of the layers have them where the kernel cannot. What has been written to an open layer gets other owners.
    ///
    /// A death leaves the old maps or the new ones, with the owners that belong to them.
    ///
    /// # Errors
    ///
    /// [`InUse`](crate::store::Reason::InUse) if it is mounted; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput)
    /// if an owner is in no range.
    fn remap(&self, key: &Key, maps: &MapOptions) -> Result<()>;
}

/// Layers in stores that are only read.
pub trait AdditionalLayers {
    /// Looks for a layer in the additional stores, in their order. As long as the result lives its content can be read.
    ///
    /// # Errors
    ///
    /// Fails if a store cannot be read.
    fn lookup(&self, diff_id: &DiffId) -> Result<Option<AdditionalLayer<'_>>>;

    /// The same, for the diff ID of a committed layer.
    ///
    /// # Errors
    ///
    /// [`LayerUnknown`](crate::store::Reason::LayerUnknown) if no additional store has it.
    fn lookup_by_key(&self, key: &Key) -> Result<AdditionalLayer<'_>>;
}

/// Files by path.
pub trait FileSource {
    /// Opens a regular file: in the layer's own content, or in what is below it. The path is clean and relative, and no
    /// symbolic link is followed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is none, also because it was deleted;
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the path is not clean;
    /// [`ErrorKind::InvalidData`](crate::ErrorKind::InvalidData) if it is no regular file.
    fn open(&self, path: &[u8]) -> Result<FileReader>;
}
