//! `repack`: what has changed in a bundle's root file system becomes a layer of an image.
//!
//! The image that the bundle was unpacked from is named by its `umoci.json`, not by a tag: the tag is only where the result
//! goes. What has changed is found by one walk ([`mtree::diff`]), which reads as good as nothing of what has not; what
//! has is read once, on its way into the layer. The new record of a refreshed bundle comes out of the same walk.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::Path;

use oci_cas::Store;

use super::record::{self, Recorded};
use super::unpack::record_name;
use super::{CompressOptions, HistoryOptions};
use crate::bundle::Metadata;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::{Access, Change, Dir, Root, staging};
use crate::image::{Descriptor, DiffId, Manifest, Reference};
use crate::layer::{GenerateOptions, ROOTFS_NAME, clean_path, generate_layer};
use crate::layout::{DescriptorPath, Layout, Mutator};
use crate::mtree::{self, DiffOptions, Record, StatIndex};
use crate::progress::Progress;

/// What [`repack`] may be told.
#[derive(Clone, Debug, Default)]
pub struct RepackOptions {
    /// Paths of the root file system whose changes are left out, with all below them.
    pub masks: Vec<Vec<u8>>,
    /// Whether the volumes of the image are packed like anything else.
    pub no_mask_volumes: bool,
    /// Whether the bundle is a bundle of the new image afterwards, so that the next repack packs only what changes from
    /// now on.
    pub refresh: bool,
    /// Whether the stat index is ignored and the content of every file is hashed.
    pub verify: bool,
    /// How to compress the layer.
    pub compress: CompressOptions,
    /// The history entry; its author is the image's by default.
    pub history: HistoryOptions,
    /// `SOURCE_DATE_EPOCH`, in seconds: newer times of files are lowered to it.
    pub source_date_epoch: Option<i64>,
}

/// Packs what has changed in a bundle since it was unpacked, and makes the tag of `image` lead to the result. If nothing
/// has changed, the image gets no layer, only a history entry.
///
/// # Errors
///
/// Fails if the bundle is none of ours or umoci's, if its image is not in the layout, or if something that changed cannot
/// be packed: a socket, a name that would be a whiteout, a file that changes while it is read. Image and bundle are then
/// as they were. If only refreshing the bundle fails, the image has been written, and the bundle is one of the old image
/// still.
pub fn repack(
    image: &Reference,
    bundle: &Path,
    options: &RepackOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let source = Source::open(image, bundle)?;
    let (changes, mut record) = source
        .diff(options)
        .context(|| format!("compare {}", bundle.display()))?;
    options.history.entry("", "", false)?;

    let layer = if changes.is_empty() {
        None
    } else {
        Some(source.pack(&changes, record.as_mut(), options, progress)?)
    };
    if layer.is_some() && options.history.none {
        progress.warn(format_args!(
            "the new layer has no history entry, so the history no longer covers all layers"
        ));
    }
    let mut mutator = Mutator::new(&source.layout, &source.path)?;
    let author = mutator.author().to_owned();
    let history = options
        .history
        .entry("umoci repack", &author, layer.is_none())?;
    match (&layer, history) {
        (Some((layer, diff_id)), history) => mutator.push_layer(layer, diff_id, history)?,
        (None, Some(history)) => mutator.add_history(history)?,
        (None, None) => {}
    }
    let path = mutator.commit(&image.tag)?;
    match &mut record {
        Some((record, reference)) => source.refresh(&path, record, reference).context(|| {
            format!(
                "image {} is written, but refresh {}",
                image.tag,
                bundle.display()
            )
        }),
        None => Ok(()),
    }
}

/// A new record and the time that it is of.
type NewRecord = (Record, mtree::Reference);

/// A bundle, and the image that it was unpacked from.
struct Source<'a> {
    bundle: &'a Path,
    dir: Dir,
    metadata: Metadata,
    layout: Layout,
    path: DescriptorPath,
    manifest: Manifest,
    root: Root,
}

impl<'a> Source<'a> {
    fn open(image: &Reference, bundle: &'a Path) -> Result<Self> {
        let dir = Dir::open(bundle, Access::Plain).context(|| "open bundle")?;
        let metadata = dir
            .read_file(Metadata::FILE_NAME.as_bytes(), Metadata::MAX_SIZE)
            .and_then(|bytes| Metadata::parse(&bytes))
            .map_err(|error| {
                let hint = "repack takes a bundle that `unpack` has made";
                error
                    .context(format!("read {} of the bundle", Metadata::FILE_NAME))
                    .with_hint(hint)
            })?;
        let walk = metadata.descriptor_walk.iter().map(Descriptor::from_value);
        let path = DescriptorPath(
            walk.collect::<Result<_>>()
                .context(|| "read the bundle's metadata")?,
        );
        let layout = Layout::open(&image.layout)?;
        let manifest = layout.manifest(path.target()).map_err(not_here)?;
        for layer in &manifest.layers {
            if layout.store().stat(layer.digest())?.is_none() {
                let message = format!(
                    "layer {} of the bundle's image is not in the layout",
                    layer.digest()
                );
                return Err(not_here(Error::new(ErrorKind::NotFound, message)));
            }
        }
        let access = if metadata.map_options.rootless {
            Access::Unprivileged
        } else {
            Access::Plain
        };
        let root = Root::open(&bundle.join(ROOTFS_NAME), access)?;
        Ok(Self {
            bundle,
            dir,
            metadata,
            layout,
            path,
            manifest,
            root,
        })
    }

    fn record_name(&self) -> String {
        record_name(self.path.target().digest())
    }

    /// Finds out what has changed, and takes down the new record if the bundle is to be refreshed.
    fn diff(&self, options: &RepackOptions) -> Result<(Vec<Change>, Option<NewRecord>)> {
        let name = self.record_name();
        let masks = self.masks(options)?;
        let reference = options
            .refresh
            .then(|| mtree::Reference::now(&self.dir))
            .transpose()?;
        let recorded = if options.verify {
            Recorded::load_manifest(&self.dir, &name)?
        } else {
            Recorded::load(&self.dir, &name)?
        };
        let options = DiffOptions {
            baseline: recorded.baseline(),
            masks: &masks,
            record: reference,
        };
        let diff = mtree::diff(self.root.dir(), &options)?;
        Ok((diff.changes, diff.record.zip(reference)))
    }

    /// The paths that are left out, clean and relative.
    fn masks(&self, options: &RepackOptions) -> Result<Vec<Vec<u8>>> {
        let mut masks = options.masks.clone();
        if !options.no_mask_volumes {
            let config = self.layout.config(&self.manifest.config)?;
            masks.extend(
                config
                    .volumes()
                    .iter()
                    .map(|volume| volume.as_bytes().to_vec()),
            );
        }
        let relative = |mask: Vec<u8>| clean_path(&[b"/", &mask[..]].concat())[1..].to_vec();
        Ok(masks
            .into_iter()
            .map(relative)
            .filter(|mask| !mask.is_empty())
            .collect())
    }

    /// Stores the layer of the changes.
    fn pack(
        &self,
        changes: &[Change],
        mut record: Option<&mut NewRecord>,
        options: &RepackOptions,
        progress: &dyn Progress,
    ) -> Result<(Descriptor, DiffId)> {
        let generate = GenerateOptions {
            map_options: self.metadata.map_options.clone(),
            source_date_epoch: options.source_date_epoch,
        };
        let encoder = options.compress.encoder(&self.layout, &self.manifest);
        self.layout
            .store_layer(encoder, &BTreeMap::new(), &mut |out| {
                generate_layer(
                    out,
                    &self.root,
                    changes,
                    &generate,
                    progress,
                    &mut |packed| {
                        if let Some((record, _)) = &mut record {
                            record.packed(&packed.path, packed.sha256);
                        }
                    },
                )
            })
    }

    /// Makes the bundle one of the image that was written. The metadata, which says which record counts, is replaced
    /// when the new record is there, and the old record goes last.
    fn refresh(
        &self,
        path: &DescriptorPath,
        record: &mut Record,
        reference: &mtree::Reference,
    ) -> Result<()> {
        let (old, new) = (self.record_name(), record_name(path.target().digest()));
        let rootfs = super::unpack::shown_path(self.bundle)?.join(ROOTFS_NAME);
        let mut sha256 = [0; 32];
        self.replace(&new, |out| {
            sha256 = record.write_manifest(out, &record::header(&rootfs))?;
            Ok(())
        })?;
        self.replace(&StatIndex::file_name(&new), |out| {
            record.write_index(BufWriter::new(out), sha256, reference)
        })?;
        let descriptor_walk = path.0.iter().map(Descriptor::to_value).collect();
        let metadata = Metadata {
            descriptor_walk,
            map_options: self.metadata.map_options.clone(),
        };
        self.replace(Metadata::FILE_NAME, |out| {
            out.append(&metadata.to_bytes(), || {
                self.dir.path_of(Metadata::FILE_NAME.as_bytes())
            })
        })?;
        if old != new {
            self.dir.remove_all(old.as_bytes())?;
            self.dir.remove_all(StatIndex::file_name(&old).as_bytes())?;
        }
        Ok(())
    }

    /// Puts a new file of the bundle in place of the old one, if there is one.
    fn replace(
        &self,
        name: &str,
        write: impl FnOnce(&mut crate::fs::FileWriter) -> Result<()>,
    ) -> Result<()> {
        let temporary = staging::unique_name(".bundle-tmp-");
        let Some(mut file) = self.dir.create_file(temporary.as_bytes(), 0o644)? else {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("create {temporary}: it exists"),
            ));
        };
        let written = write(&mut file)
            .and_then(|()| self.dir.rename_over(temporary.as_bytes(), name.as_bytes()));
        written.inspect_err(|_| {
            // The error that matters is the one being returned.
            let _ = self.dir.remove_all(temporary.as_bytes());
        })
    }
}

fn not_here(error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    let message = "the image that the bundle was unpacked from is not in the layout";
    error
        .context(message)
        .with_hint("repack into the layout that the bundle comes from")
}
