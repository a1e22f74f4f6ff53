//! `raw unpack`: the root file system of an image, and nothing beside it.

use std::path::Path;

use super::extract::{Found, Target, extract};
use super::unpack::{STAGING_PREFIX, UnpackOptions, access};
use crate::error::{ErrorKind, Result};
use crate::fs::names::split_path;
use crate::fs::staging::Staging;
use crate::fs::{Dir, Root};
use crate::layer::ROOTFS_NAME;
use crate::layout::ImageSource;
use crate::progress::Progress;

/// Unpacks the layers of an image to a directory.
///
/// A directory that does not exist is made, and appears only when it is complete and verified. One that exists is
/// merged with: on failure it holds what it held before, except for what layers have replaced by then, and whatever was
/// unpacked so far.
///
/// # Errors
///
/// Fails if the image cannot be found or read, if its content is not what it should be, or if an entry cannot be made.
pub fn raw_unpack(
    image: &dyn ImageSource,
    rootfs: &Path,
    options: &UnpackOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let found = Found::open(image, options.platform.as_ref())?;
    let image = found.image();
    image.check()?;
    let access = access(options);
    let run =
        |root: &Root, target| extract(image, root, target, options, progress, &mut |_, _| Ok(()));
    match Dir::open(rootfs, access) {
        Ok(existing) => {
            drop(existing);
            run(&Root::open(rootfs, access)?, Target::Existing)?;
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let (parent, name) = split_path(rootfs)?;
            let staging = Staging::create(parent, STAGING_PREFIX, access)?;
            staging.dir().create_dir(ROOTFS_NAME.as_bytes(), 0o700)?;
            run(
                &Root::open(&staging.path().join(ROOTFS_NAME), access)?,
                Target::Fresh,
            )?;
            if options.sync {
                staging.sync()?;
            }
            staging.publish_entry(ROOTFS_NAME.as_bytes(), name)
        }
        Err(error) => Err(error),
    }
}
