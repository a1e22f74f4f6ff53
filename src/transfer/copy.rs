//! Copies images between layouts, archives and registries: any of them to any.
//!
//! ```text
//! Opened -> plan: which manifests, which blobs -> [recompress into a layout] -> target
//!                                                       layout: blobs that it lacks, then a name
//!                                                       archive: one pass over the blobs
//!                                                       registry: blobs that it lacks, children, then the image
//! ```
//!
//! A name appears when all that it needs is there. Digests are checked on the way, whatever the way.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use oci_cas::{Digest, StackedStore, Store, StoreExt};
use serde_json::{Value, json};

use super::archive::{Closure, ExportedImage, Exporter, ImportedImage, split_tag, without_names};
use super::recompress::Recompressor;
use super::source::{Blobs, Opened};
use crate::archive::Compression;
use crate::image::{Descriptor, INDEX, Platform, Tag, to_go_json};
use crate::layout::Layout;
use crate::progress::{Event, Progress};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Blobs that are on their way at the same time.
const PARALLEL_COUNT: usize = 3;

/// Bytes that are copied at a time.
pub(super) const CHUNK_SIZE: usize = 256 << 10;

/// What is copied of an image for several platforms, and how.
#[derive(Clone, Debug, Default)]
pub struct CopyOptions {
    /// All images of an index, and all of an archive.
    pub all: bool,
    /// The platforms whose images are copied; none is the host's. Several make an index.
    pub platforms: Vec<Platform>,
    /// How layers are compressed; `None` leaves them as they are, but for plain layers of Docker's archives, which get
    /// gzip where the target is not such an archive.
    pub recompress: Option<Recompress>,
    /// Layers that are left out of an archive, by their blobs: a target that has them can take it in.
    pub without: BTreeSet<Digest>,
}

/// How layers are compressed anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recompress {
    /// The format.
    pub compression: Compression,
    /// The level, in the format's own terms.
    pub level: Option<i32>,
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Digests of the manifests or indexes that have got a name.
    pub images: Vec<Digest>,
    /// Blobs that were copied.
    pub copied_count: usize,
    /// Their size in bytes.
    pub copied_size: u64,
    /// Blobs that the target had, or took over from another repository.
    pub existing_count: usize,
}

/// One image on its way.
pub(super) struct Planned {
    pub(super) root: Descriptor,
    names: Vec<String>,
}

/// What is done for a blob, which has this place in the list.
type BlobWork<'a> = dyn Fn(usize, &(Digest, u64)) -> Result<()> + Sync + 'a;

/// Counts, for several threads.
#[derive(Default)]
pub(super) struct Counts {
    copied: AtomicUsize,
    size: std::sync::atomic::AtomicU64,
    existing: AtomicUsize,
}

impl Counts {
    pub(super) fn copied(&self, size: u64) {
        self.copied.fetch_add(1, Ordering::Relaxed);
        self.size.fetch_add(size, Ordering::Relaxed);
    }

    pub(super) fn existing(&self) {
        self.existing.fetch_add(1, Ordering::Relaxed);
    }

    fn report(&self, images: Vec<Digest>) -> CopyReport {
        CopyReport {
            images,
            copied_count: self.copied.load(Ordering::Relaxed),
            copied_size: self.size.load(Ordering::Relaxed),
            existing_count: self.existing.load(Ordering::Relaxed),
        }
    }
}

/// Images that are to be copied.
pub(crate) struct Copier<'a> {
    pub(super) opened: &'a Opened,
    options: &'a CopyOptions,
    pub(super) progress: &'a dyn Progress,
    /// What was made on the way: documents, and layers that were compressed anew.
    made: &'a Layout,
    pub(super) planned: Vec<Planned>,
    pub(super) counts: Counts,
}

impl<'a> Copier<'a> {
    /// Finds out what is to be copied. `made` takes what is made on the way: the target, or a scratch layout. `to_docker`:
    /// the target holds plain layers anyway.
    pub(crate) fn plan(
        opened: &'a Opened,
        options: &'a CopyOptions,
        made: &'a Layout,
        to_docker: bool,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let mut copier = Self {
            opened,
            options,
            progress,
            made,
            planned: Vec::new(),
            counts: Counts::default(),
        };
        copier.planned = if options.all {
            let images = opened.images.iter();
            let plan = |image: &ImportedImage| Planned {
                root: image.manifest.clone(),
                names: image.names.clone(),
            };
            images.map(plan).collect()
        } else {
            vec![copier.one()?]
        };
        let from_docker = opened.images.iter().any(|image| image.for_docker);
        let implied = Recompress {
            compression: Compression::Gzip,
            level: None,
        };
        if !to_docker && (options.recompress.is_some() || from_docker) {
            let mut recompressor = Recompressor {
                stack: copier.stack(),
                made,
                wanted: options.recompress.unwrap_or(implied),
                // Without being asked, only what is plain gets smaller.
                only_plain: options.recompress.is_none(),
                done: BTreeMap::new(),
            };
            let mut roots = Vec::new();
            for planned in &copier.planned {
                let failed = || format!("recompress image {}", planned.root.digest());
                roots.push(recompressor.document(&planned.root, 0).context(failed)?);
            }
            for (planned, root) in copier.planned.iter_mut().zip(roots) {
                planned.root = root;
            }
        }
        Ok(copier)
    }

    /// The blobs that were made, and those of the source.
    pub(super) fn stack(&self) -> StackedStore<'a> {
        StackedStore::new(self.made.store(), self.opened.blobs.store())
    }

    /// The one image that is meant, of the platforms that are wanted.
    fn one(&self) -> Result<Planned> {
        let image = self.opened.choose()?;
        let tag = Tag::latest();
        let layout = self
            .opened
            .layout(std::slice::from_ref(image), &tag)
            .lease()?;
        let find = |platform: Option<&Platform>| {
            let path = layout.resolve(&tag, platform)?;
            Descriptor::from_value(&without_names(path.target()))
        };
        let platforms = &self.options.platforms;
        let root = if platforms.len() < 2 {
            find(platforms.first())?
        } else {
            let chosen = platforms.iter().map(|platform| find(Some(platform)));
            let mut entries: Vec<Value> = Vec::new();
            for entry in chosen.collect::<Result<Vec<_>>>()? {
                let entry = entry.to_value();
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
            }
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
            self.made.put_document(INDEX, &to_go_json(&index))?
        };
        Ok(Planned {
            root,
            names: image.names.clone(),
        })
    }

    /// The blobs of all layers.
    pub(crate) fn layers(&self) -> Result<BTreeSet<Digest>> {
        let stack = self.stack();
        let mut closure = Closure::new(&stack);
        for planned in &self.planned {
            closure.add(&planned.root)?;
        }
        Ok(closure.into_layers())
    }

    /// What was done so far.
    pub(super) fn report(&self) -> CopyReport {
        let images = self.planned.iter();
        let images = images.map(|planned| planned.root.digest().clone());
        self.counts.report(images.collect())
    }

    /// Brings the images into a layout, the one that `made` is. `tags` name the image; without, each has its own name.
    pub(crate) fn to_layout(&self, layout: &Layout, tags: &[Tag]) -> Result<CopyReport> {
        if self.planned.len() > 1 && !tags.is_empty() {
            let message = format!("one name for {} images", self.planned.len());
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("leave the tag out: each image keeps its own"));
        }
        let stack = self.stack();
        let mut closure = Closure::new(&stack);
        for planned in &self.planned {
            closure.add(&planned.root)?;
        }
        let blobs: Vec<(Digest, u64)> = closure.into_blobs().into_iter().collect();
        self.each(&blobs, &|index, (digest, size)| {
            let failed = || format!("copy blob {digest}");
            self.blob_to(&stack, layout.store(), (index, digest, *size))
                .context(failed)
        })?;
        #[cfg(feature = "registry")]
        self.opened.finish()?;
        for planned in &self.planned {
            let own: Vec<Tag> = match tags {
                [] => own_tags(&planned.names)?,
                tags => tags.to_vec(),
            };
            for tag in own {
                layout.add(&tag, &planned.root)?;
            }
        }
        Ok(self.report())
    }

    fn blob_to(
        &self,
        from: &StackedStore<'_>,
        to: &dyn Store,
        (index, digest, size): (usize, &Digest, u64),
    ) -> Result<()> {
        if to.stat(digest)? == Some(size) {
            self.counts.existing();
            return Ok(());
        }
        let mut reader = from.open_verified(digest, size)?;
        // What a registry gives is stored by the one who fetches it.
        let is_remote = !matches!(
            self.opened.blobs,
            Blobs::Layout(_) | Blobs::Archive(_) | Blobs::Scratch(..)
        );
        let mut ingest = if is_remote {
            None
        } else {
            Some(to.ingest(digest.algorithm())?)
        };
        let (mut buffer, mut position) = (vec![0; CHUNK_SIZE], 0);
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context(|| "read"),
            };
            if let Some(ingest) = &mut ingest {
                ingest.write_all(&buffer[..count]).context(|| "write")?;
            }
            position += count as u64;
            self.progress
                .event(Event::LayerAdvanced { index, position });
        }
        if let Some(ingest) = ingest {
            ingest.commit()?;
        }
        self.counts.copied(size);
        Ok(())
    }

    /// Does something for each blob, several at a time. After a failure no new one is begun.
    pub(super) fn each(&self, blobs: &[(Digest, u64)], work: &BlobWork<'_>) -> Result<()> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failure = Mutex::new(None);
        let run = || {
            while !stop.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(blob) = blobs.get(index) else {
                    return;
                };
                self.progress.event(Event::LayerStarted {
                    index,
                    count: blobs.len(),
                    digest: &blob.0,
                    size: blob.1,
                });
                match work(index, blob) {
                    Ok(()) => self.progress.event(Event::LayerFinished { index }),
                    Err(error) => {
                        stop.store(true, Ordering::Relaxed);
                        if let Ok(mut failure) = failure.lock() {
                            failure.get_or_insert(error);
                        }
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..PARALLEL_COUNT.min(blobs.len()) {
                // Fewer threads are slower, and that is all.
                let _ = std::thread::Builder::new()
                    .name("copy".to_owned())
                    .spawn_scoped(scope, run);
            }
            run();
        });
        let failure = failure
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        failure.map_or(Ok(()), Err)
    }

    /// Writes the images as one archive. `names` replace those that the images have.
    pub(crate) fn to_archive(
        &self,
        exporter: &dyn Exporter,
        names: &[String],
        out: &mut dyn Write,
    ) -> Result<CopyReport> {
        let stack = self.stack();
        let images = self.planned.iter().map(|planned| ExportedImage {
            manifest: planned.root.clone(),
            names: if names.is_empty() {
                planned.names.clone()
            } else {
                names.to_vec()
            },
        });
        let images: Vec<ExportedImage> = images.collect();
        let report = exporter.export(&stack, &images, out)?;
        for name in &report.unnamed {
            self.progress
                .warn(format_args!("the archive cannot hold the name {name:?}"));
        }
        let mut copied = self.report();
        (copied.copied_count, copied.copied_size) = (report.member_count, report.size);
        Ok(copied)
    }
}

/// The tags of an image's own names: of a name of a repository, its tag.
fn own_tags(names: &[String]) -> Result<Vec<Tag>> {
    let tag = |name: &String| {
        let name = split_tag(name).map_or(name.as_str(), |(_, tag)| tag);
        Tag::new(name)
    };
    if names.is_empty() {
        return Ok(vec![Tag::latest()]);
    }
    names.iter().map(tag).collect()
}
