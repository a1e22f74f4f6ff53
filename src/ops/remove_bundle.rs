//! `remove-bundle`, of a bundle whose root file system is its own.

use std::path::Path;

use super::unpack::{CONFIG_NAME, record_name};
use crate::bundle::Metadata;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::staging::MadeDirs;
use crate::fs::{Access, Dir};
use crate::image::Descriptor;
use crate::layer::ROOTFS_NAME;
use crate::mtree::StatIndex;

/// Removes a bundle: its root file system, its configuration and its records; the directory too, if nothing else is in
/// it. `config.json` goes first, so that what is left after a failure is no bundle; removing it once more goes on.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] if the directory is none that `unpack` has made; [`ErrorKind::Busy`] or another error of the
/// kernel's if something is mounted in it.
pub fn remove_bundle(bundle: &Path) -> Result<()> {
    let fail = || format!("remove bundle {}", bundle.display());
    let dir = Dir::open(bundle, Access::Unprivileged).context(fail)?;
    let name = Metadata::FILE_NAME.as_bytes();
    if dir.try_stat(name)?.is_none() {
        let message = format!(
            "it has no {}, so it is not a bundle of this program",
            Metadata::FILE_NAME
        );
        return Err(Error::new(ErrorKind::NotFound, message).context(fail()));
    }
    let bytes = dir.read_file(name, Metadata::MAX_SIZE).context(fail)?;
    let metadata = Metadata::parse(&bytes).context(fail)?;
    let mut names = vec![CONFIG_NAME.to_owned(), ROOTFS_NAME.to_owned()];
    if let Some(target) = metadata.descriptor_walk.last() {
        let record = record_name(Descriptor::from_value(target)?.digest());
        names.push(StatIndex::file_name(&record));
        names.push(record);
    }
    names.push(Metadata::FILE_NAME.to_owned());
    for name in names {
        dir.remove_all(name.as_bytes()).context(fail)?;
    }
    drop(MadeDirs::of(bundle));
    Ok(())
}
