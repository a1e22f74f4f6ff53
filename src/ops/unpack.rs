//! `unpack`: from an image to a bundle that a runtime can run.
//!
//! Everything is made in a staging directory and renamed into place at the end. If the bundle's directory does not exist
//! yet, the staging directory is its sibling and becomes the bundle in one step. If it does, the staging directory is in
//! it, and its entries move up one by one with `config.json`, without which nothing is a bundle, last.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_cas::Digest;

use super::extract::{self, Found, Image, extract};
use super::{host, record};
use crate::bundle::{Metadata, RuntimeConfigOptions, runtime_config, to_config_json};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::names::{absolute, split_path};
use crate::fs::staging::{MadeDirs, Staging};
use crate::fs::{Access, Dir, InodeKind, MapOptions, Root, atomic};
use crate::image::{Descriptor, Manifest, Platform};
use crate::layer::ROOTFS_NAME;
use crate::layout::{DescriptorPath, ImageSource, LeasedLayout};
use crate::mtree::StatIndex;
use crate::progress::Progress;

/// The name of the runtime configuration in a bundle (runtime-spec).
pub(super) const CONFIG_NAME: &str = "config.json";

/// How the names of staging directories begin.
pub(super) const STAGING_PREFIX: &str = ".bundle-unpack-";

/// Called after each layer with the manifest and the layer's descriptor; an error ends the work.
pub type LayerCallback<'a> = &'a mut (dyn FnMut(&Manifest, &Descriptor) -> Result<()> + Send);

/// How an image is unpacked.
#[derive(Clone, Debug, Default)]
pub struct UnpackOptions {
    /// How owners in the image become owners on disk.
    pub map_options: MapOptions,
    /// Whether a directory entry leaves a symbolic link to a directory where it is.
    pub keep_dirlinks: bool,
    /// The platform that is wanted of an index of several; `None` is the host's.
    pub platform: Option<Platform>,
    /// How many bytes the files of the image may have together, holes counted.
    pub max_size: Option<u64>,
    /// Whether everything is on disk before its name appears. Without it, a power cut soon after may leave files empty,
    /// as with any copy.
    pub sync: bool,
    /// With a store: whether the blobs of layers that are in it already are read and verified, too. Their content is right
    /// in any case. Without a store, everything is.
    pub verify: bool,
    /// The layer to begin with, where those below it are in the root already.
    pub start_from: Option<Digest>,
}

/// Unpacks an image to a bundle: `rootfs/`, `config.json`, `umoci.json`, the mtree record and its stat
/// index. The directory may exist,
/// but nothing in it may have one of these names.
///
/// On failure nothing is left, and what was there before is as it was, but for a stat index without its bundle.
///
/// # Errors
///
/// Fails if the image cannot be found or read, if its content is not what it should be, if the bundle exists, or if
/// something cannot be made.
pub fn unpack(
    reference: &dyn ImageSource,
    bundle: &Path,
    options: &UnpackOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let found = Found::open(reference, options.platform.as_ref())?;
    unpack_to_bundle(found.image(), bundle, options, progress, &mut |_, _| Ok(()))
}

/// Unpacks a manifest of a layout to a bundle, as [`unpack`] does, with a callback after each layer. Without a
/// descriptor path there is no `umoci.json`, so that the bundle cannot be repacked.
///
/// With [`UnpackOptions::start_from`], the bundle must exist: only its `rootfs` is worked on, which on failure holds
/// part of the layers.
///
/// ```no_run
/// use std::path::Path;
///
/// use oci_bundle::image::Tag;
/// use oci_bundle::layout::LeasedLayout;
/// use oci_bundle::ops::{UnpackOptions, unpack_manifest};
/// use oci_bundle::progress::Silent;
///
/// # fn main() -> oci_bundle::Result<()> {
/// let layout = LeasedLayout::open(Path::new("examples/sample-image"))?;
/// let path = layout.resolve(&Tag::new("latest")?, None)?;
/// let manifest = layout.manifest(path.target())?;
/// let options = UnpackOptions::default();
/// unpack_manifest(&layout, Some(&path), &manifest, Path::new("hello"), &options, &Silent, &mut |_, layer| {
///     println!("{} is in place", layer.digest());
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// As [`unpack`], and with what the callback returns.
pub fn unpack_manifest(
    layout: &LeasedLayout,
    path: Option<&DescriptorPath>,
    manifest: &Manifest,
    bundle: &Path,
    options: &UnpackOptions,
    progress: &dyn Progress,
    after_layer: LayerCallback<'_>,
) -> Result<()> {
    let config = layout.image_config(manifest)?;
    let path = path.map_or(&[][..], |path| &path.0);
    let image = Image {
        layout,
        path,
        manifest,
        config: &config,
    };
    if options.start_from.is_none() {
        return unpack_to_bundle(image, bundle, options, progress, after_layer);
    }
    let root = Root::open(&bundle.join(ROOTFS_NAME), access(options))?;
    extract(
        image,
        &root,
        extract::Target::Existing,
        options,
        progress,
        after_layer,
    )
    .map(|_| ())
}

fn unpack_to_bundle(
    image: Image<'_>,
    bundle: &Path,
    options: &UnpackOptions,
    progress: &dyn Progress,
    after_layer: LayerCallback<'_>,
) -> Result<()> {
    image.check()?;
    let record_name = image.path.last().map(|target| record_name(target.digest()));
    let target = Target::open(bundle, access(options), record_name.as_deref())?;
    let staging = target.stage(access(options))?;

    staging.dir().create_dir(ROOTFS_NAME.as_bytes(), 0o700)?;
    let root = Root::open(&staging.path().join(ROOTFS_NAME), access(options))?;
    let tree = extract(
        image,
        &root,
        extract::Target::Recorded,
        options,
        progress,
        after_layer,
    )?;
    let config_options = RuntimeConfigOptions {
        rootfs: Some(&root),
        root_path: ROOTFS_NAME.to_owned(),
        map_options: &options.map_options,
        resolv_conf: host::resolv_conf(),
    };
    let spec = runtime_config(image.config, &config_options, progress)
        .context(|| "generate config.json")?;
    drop(root);

    // The umask of the process applies to these, as it does for umoci.
    let mut names = Vec::new();
    let index_name = record_name.as_deref().map(StatIndex::file_name);
    if let Some(name) = &record_name {
        record::write(
            staging.dir(),
            name,
            &tree,
            &shown_path(bundle)?.join(ROOTFS_NAME),
        )?;
        let descriptor_walk = image.path.iter().map(Descriptor::to_value).collect();
        let metadata = Metadata {
            descriptor_walk,
            map_options: options.map_options.clone(),
        };
        atomic::create(
            staging.dir(),
            Metadata::FILE_NAME,
            0o666,
            &metadata.to_bytes(),
        )?;
        names.extend([name.as_bytes(), Metadata::FILE_NAME.as_bytes()]);
        names.extend(index_name.as_deref().map(str::as_bytes));
    }
    atomic::create(staging.dir(), CONFIG_NAME, 0o666, &to_config_json(&spec)?)?;
    names.extend([ROOTFS_NAME.as_bytes(), CONFIG_NAME.as_bytes()]);
    if options.sync {
        staging.sync()?;
    }
    target.publish(staging, &names, index_name.as_deref())
}

/// Where the bundle goes.
pub(super) enum Target<'a> {
    /// The directory does not exist: the staging directory becomes it.
    New {
        parent: &'a Path,
        name: &'a [u8],
        made: MadeDirs,
    },
    /// The directory exists.
    Existing { bundle: &'a Path, dir: Dir },
}

impl<'a> Target<'a> {
    /// Finds out, and makes the directories above a new bundle.
    pub(super) fn open(
        bundle: &'a Path,
        access: Access,
        record_name: Option<&str>,
    ) -> Result<Self> {
        match Dir::open(bundle, access) {
            Ok(dir) => {
                if dir.stat_self()?.id == Dir::open(Path::new("/"), Access::Plain)?.stat_self()?.id
                {
                    let message = "unpack to /: the root directory cannot become a bundle";
                    return Err(Error::new(ErrorKind::InvalidInput, message)
                        .with_hint("name a new directory"));
                }
                // What an unpack that was killed has moved here is no bundle.
                Staging::sweep(&dir, STAGING_PREFIX);
                for name in [CONFIG_NAME, ROOTFS_NAME, Metadata::FILE_NAME]
                    .into_iter()
                    .chain(record_name)
                {
                    if dir.try_stat(name.as_bytes())?.is_some() {
                        let message = format!(
                            "unpack to {}: {name} already exists there",
                            bundle.display()
                        );
                        return Err(Error::new(ErrorKind::AlreadyExists, message)
                            .with_hint("name a new directory, or remove the old bundle first"));
                    }
                }
                Ok(Self::Existing { bundle, dir })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let (parent, name) = split_path(bundle)?;
                Ok(Self::New {
                    parent,
                    name,
                    made: MadeDirs::make(parent)?,
                })
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn stage(&self, access: Access) -> Result<Staging> {
        match self {
            Self::New { parent, .. } => Staging::create(parent, STAGING_PREFIX, access),
            Self::Existing { bundle, .. } => Staging::create(bundle, STAGING_PREFIX, access),
        }
    }

    pub(super) fn publish(
        self,
        staging: Staging,
        names: &[&[u8]],
        index_name: Option<&str>,
    ) -> Result<()> {
        match self {
            Self::New { name, made, .. } => {
                staging.publish_as(name)?;
                made.keep();
                Ok(())
            }
            Self::Existing { bundle, dir } => {
                dir.set_mode(0o700)
                    .context(|| format!("unpack to {}", bundle.display()))?;
                // Of a bundle whose other files somebody has removed: worth nothing without them.
                index_name.map_or(Ok(()), |name| remove_file(&dir, name))?;
                staging.publish_entries(names)
            }
        }
    }
}

/// How directories that keep their owner out are handled.
pub(super) fn access(options: &UnpackOptions) -> Access {
    if options.map_options.rootless {
        Access::Unprivileged
    } else {
        Access::Plain
    }
}

/// The name of the mtree record of a manifest (umoci's).
pub(super) fn record_name(digest: &Digest) -> String {
    format!("{}_{}.mtree", digest.algorithm().name(), digest.encoded())
}

/// Removes a regular file, if there is one.
fn remove_file(dir: &Dir, name: &str) -> Result<()> {
    match dir.try_stat(name.as_bytes())? {
        Some(stat) if stat.kind == InodeKind::File => dir.remove_all(name.as_bytes()),
        _ => Ok(()),
    }
}

/// A path of the user's as the record shows it: lexically clean, and absolute if nothing else would be left.
pub(super) fn shown_path(path: &Path) -> Result<PathBuf> {
    let clean: PathBuf = path.components().collect();
    if matches!(clean.as_os_str().as_bytes(), b"." | b".." | b"") {
        return absolute(&clean);
    }
    Ok(clean)
}
