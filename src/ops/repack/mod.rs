//! `repack`: what has changed in a bundle's root file system becomes a layer of an image.
//!
//! The image that the bundle was unpacked from is named by its `umoci.json`, not by a tag: the tag is only where the result
//! goes. What has changed is found by one walk, of the root file system (`flat.rs`, [`mtree::diff`](crate::mtree::diff)) or,
//! where that is mounted from the layer store, of the upper directory alone (`overlay.rs`,
//! [`overlay::changes`](crate::overlay::changes)); either reads as good as nothing of what has not. What has is read once, on
//! its way into the layer, which is the same in both cases.

mod flat;
mod overlay;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use self::flat::Flat;
use self::overlay::Overlay;
use super::{CompressOptions, HistoryOptions};
use crate::bundle::{Metadata, OverlayMetadata};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::mount::mounts_below;
use crate::fs::{Access, Dir, atomic, escape_name};
use crate::image::{Descriptor, Manifest, Reference, Tag};
use crate::layer::{GenerateOptions, ROOTFS_NAME, clean_path};
use crate::layout::{DescriptorPath, LeasedLayout, Mutator};
use crate::progress::Progress;
use crate::store::StoreOptions;

/// What [`repack`] may be told.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
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
    /// Whether layers of the bundle's image may be missing in the layout: the result goes to a registry that has them.
    pub layers_elsewhere: bool,
    /// How the store of an overlay bundle is opened; its path is the bundle's to say.
    pub store: Option<StoreOptions>,
}

/// Packs what has changed in a bundle since it was unpacked, and makes the tag of `image` lead to the result. If nothing
/// has changed, the image gets no layer, only a history entry.
///
/// What is mounted in the root file system is left out, and what it covers is compared in its place. Sockets are left out.
/// Warnings name both, and count the changes that masks and volumes keep out.
///
/// # Errors
///
/// Fails if the bundle is none of ours or umoci's, if its image is not in the layout, or if something that changed cannot
/// be packed: a name that would be a whiteout, a file that changes while it is read. Image and bundle are then
/// as they were. If only refreshing the bundle fails, the image has been written, and the bundle is one of the old image
/// still.
pub fn repack(
    image: &Reference,
    bundle: &Path,
    options: &RepackOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let source = Source::open(image, bundle, options)?;
    match OverlayMetadata::read(&source.dir)? {
        None => source.repack(&mut Flat::open(&source)?, options, progress),
        Some(metadata) => {
            let mut overlay = Overlay::open(&source, &metadata, options)?;
            source.repack(&mut overlay, options, progress)
        }
    }
}

/// What was found out about the changes.
struct Found {
    /// Whether there are any.
    changed: bool,
    /// How many are left out because they are masked.
    masked_count: u64,
    /// Paths of sockets, which are left out.
    sockets: Vec<Vec<u8>>,
}

/// The root file system of a bundle, whatever it consists of.
trait RootFs {
    /// Finds out what has changed, below no path of `masks`.
    fn diff(&mut self, masks: &[Vec<u8>], options: &RepackOptions) -> Result<Found>;

    /// Writes the layer of what has changed.
    fn generate(
        &mut self,
        out: &mut dyn Write,
        options: &GenerateOptions,
        progress: &dyn Progress,
    ) -> Result<()>;

    /// Makes the bundle one of the image that was written.
    fn refresh(&mut self, path: &DescriptorPath, progress: &dyn Progress) -> Result<()>;
}

/// A bundle, and the image that it was unpacked from.
struct Source<'a> {
    image: &'a Reference,
    /// That of the result.
    tag: Tag,
    bundle: &'a Path,
    dir: Dir,
    metadata: Metadata,
    layout: LeasedLayout,
    path: DescriptorPath,
    manifest: Manifest,
}

impl<'a> Source<'a> {
    fn open(image: &'a Reference, bundle: &'a Path, options: &RepackOptions) -> Result<Self> {
        let tag = image.name.to_tag()?;
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
        let layout = LeasedLayout::open(&image.layout)?;
        let manifest = layout.manifest(path.target()).map_err(not_here)?;
        for layer in &manifest.layers {
            if !options.layers_elsewhere && layout.store().stat(layer.digest())?.is_none() {
                let message = format!(
                    "layer {} of the bundle's image is not in the layout",
                    layer.digest()
                );
                return Err(not_here(Error::new(ErrorKind::NotFound, message)));
            }
        }
        Ok(Self {
            image,
            tag,
            bundle,
            dir,
            metadata,
            layout,
            path,
            manifest,
        })
    }

    fn repack(
        &self,
        rootfs: &mut dyn RootFs,
        options: &RepackOptions,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.warn_of_mounts(progress);
        let masks = self.masks(options)?;
        let found = rootfs
            .diff(&masks, options)
            .context(|| format!("compare {}", self.bundle.display()))?;
        warn_of_left_out(&found, &masks, progress);
        options.history.entry("", "", false)?;

        let layer = if found.changed {
            let generate = GenerateOptions {
                map_options: self.metadata.map_options.clone(),
                source_date_epoch: options.source_date_epoch,
            };
            let encoder = options.compress.encoder(&self.layout, &self.manifest);
            let mut write = |out: &mut dyn Write| rootfs.generate(out, &generate, progress);
            let stored = self
                .layout
                .store_layer(encoder, &BTreeMap::new(), &mut |out| write(out))?;
            Some(stored)
        } else {
            None
        };
        if layer.is_some() {
            options.history.warn_of_none(progress);
        }
        let mut mutator = Mutator::new(&self.layout, &self.path)?;
        let author = mutator.author().to_owned();
        let history = options
            .history
            .entry("umoci repack", &author, layer.is_none())?;
        match (&layer, history) {
            (Some((layer, diff_id)), history) => mutator.push_layer(layer, diff_id, history)?,
            (None, Some(history)) => mutator.add_history(history)?,
            (None, None) => {}
        }
        let edited = mutator.commit(&self.tag)?;
        edited.tell(progress);
        let path = edited.path;
        if !options.refresh {
            return Ok(());
        }
        rootfs.refresh(&path, progress).context(|| {
            let (tag, bundle) = (&self.tag, self.bundle.display());
            format!("image {tag} is written, but refresh {bundle}")
        })
    }

    /// What is mounted in the root file system is none of the image's, nor changed it what lies beneath.
    fn warn_of_mounts(&self, progress: &dyn Progress) {
        let root = self.dir.open_dir(ROOTFS_NAME.as_bytes());
        // Where the kernel does not tell, nothing can be said.
        for path in root
            .and_then(|root| mounts_below(&root))
            .unwrap_or_default()
        {
            progress.warn(format_args!(
                "/{} is a mount: what is mounted there is not packed",
                escape_name(&path)
            ));
        }
    }

    /// The paths that are left out, clean and relative.
    fn masks(&self, options: &RepackOptions) -> Result<Vec<Vec<u8>>> {
        let mut masks = options.masks.clone();
        if !options.no_mask_volumes {
            let config = self.layout.image_config(&self.manifest)?;
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

    /// Makes `umoci.json` say that the bundle is one of this image.
    fn replace_metadata(&self, path: &DescriptorPath) -> Result<()> {
        let metadata = Metadata {
            descriptor_walk: path.0.iter().map(Descriptor::to_value).collect(),
            map_options: self.metadata.map_options.clone(),
        };
        self.replace(Metadata::FILE_NAME, |out| {
            out.append(&metadata.to_bytes(), || {
                self.dir.path_of(Metadata::FILE_NAME.as_bytes())
            })
        })
    }

    /// Puts a new file of the bundle in place of the old one, if there is one.
    fn replace(
        &self,
        name: &str,
        write: impl FnOnce(&mut crate::fs::FileWriter) -> Result<()>,
    ) -> Result<()> {
        atomic::replace_with(&self.dir, name.as_bytes(), 0o644, write)
    }
}

/// Says what does not get into the layer.
fn warn_of_left_out(found: &Found, masks: &[Vec<u8>], progress: &dyn Progress) {
    for path in &found.sockets {
        progress.warn(format_args!(
            "/{} is a socket, which no layer can hold, and is left out",
            escape_name(path)
        ));
    }
    if found.masked_count > 0 {
        let masks: Vec<_> = masks.iter().map(|mask| escape_name(mask)).collect();
        let changes = match found.masked_count {
            1 => "1 change is".to_owned(),
            count => format!("{count} changes are"),
        };
        progress.warn(format_args!(
            "{changes} left out below masked paths and volumes of the image: /{}",
            masks.join(", /")
        ));
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
