//! `copy`: images from one place to another.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use oci_cas::Digest;

use super::store::write_file;
use crate::fs::Access;
use crate::fs::staging::Staging;
use crate::image::{Reference, Tag};
use crate::layout::Layout;
use crate::progress::{Progress, Silent};
use crate::transfer::archive::{Combined, DockerArchive, Exporter, OciArchive, PartialArchive};
use crate::transfer::{
    ArchiveFormat, Copier, CopyOptions, CopyReport, ImageName, Opened, PIPE, Source,
    open_or_create, text_of,
};
use crate::{Error, ErrorKind, Result};

/// Copies an image, or several, from wherever it is to a layout, an archive or a registry. Blobs that the target has are
/// not copied; of an archive that cannot be, it is written anew. `tags` are further names of the image in the target's
/// layout or repository. An archive that is named `-` goes to `out`.
///
/// # Errors
///
/// Those of opening the image ([`Source`]), of its documents and blobs, and of writing. The target has no new name then;
/// blobs that were copied stay in a layout or a repository.
pub fn copy(
    source: &Source,
    target: &ImageName,
    tags: &[String],
    options: &CopyOptions,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<CopyReport> {
    if !options.without.is_empty() && !matches!(target, ImageName::Archive { .. }) {
        return Err(no_partial(target));
    }
    match target {
        ImageName::Layout(reference) => to_layout(source, reference, tags, options, progress),
        ImageName::Archive { format, file, name } => {
            let partial = PartialArchive {
                without: options.without.clone(),
            };
            let exporter: &dyn Exporter = match format {
                ArchiveFormat::Docker if options.without.is_empty() => &DockerArchive,
                ArchiveFormat::Docker => return Err(no_partial(target)),
                _ if !options.without.is_empty() => &partial,
                ArchiveFormat::Any => &Combined,
                ArchiveFormat::Oci => &OciArchive,
            };
            let names: Vec<String> = name.iter().chain(tags).cloned().collect();
            let opened = Opened::open(&source.name, &source.options)?;
            let (made, _staging) = scratch(source)?;
            let to_docker = *format == ArchiveFormat::Docker;
            let copier = Copier::plan(&opened, options, &made, to_docker, progress)?;
            if file.as_os_str() == PIPE {
                return copier.to_archive(exporter, &names, out);
            }
            let mut report = CopyReport::default();
            write_file(file, |out| {
                report = copier.to_archive(exporter, &names, out)?;
                Ok(())
            })?;
            Ok(report)
        }
        #[cfg(feature = "registry")]
        ImageName::Registry(name) => {
            let opened = Opened::open(&source.name, &source.options)?;
            let (made, _staging) = scratch(source)?;
            let copier = Copier::plan(&opened, options, &made, false, progress)?;
            copier.to_registry(&source.options, name, tags)
        }
    }
}

fn to_layout(
    source: &Source,
    reference: &Reference,
    tags: &[String],
    options: &CopyOptions,
    progress: &dyn Progress,
) -> Result<CopyReport> {
    let target = Arc::new(open_or_create(&reference.layout)?.lease()?);
    let mut names = tags
        .iter()
        .map(|tag| Tag::new(tag))
        .collect::<Result<Vec<_>>>()?;
    if text_of(reference).is_some() || !options.all {
        names.insert(0, reference.name.to_tag()?);
    }
    let opened = match &source.name {
        // What is fetched goes to where it is wanted.
        #[cfg(feature = "registry")]
        ImageName::Registry(name) => Opened::remote(name, &source.options, &target)?,
        name => Opened::open_beside(name, &source.options, target.store())?,
    };
    let copier = Copier::plan(&opened, options, &target, false, progress)?;
    copier.to_layout(&target, &names)
}

fn no_partial(target: &ImageName) -> Error {
    let message = format!("{target} cannot be without some of its layers");
    Error::new(ErrorKind::Unsupported, message).with_hint("copy to oci-archive:FILE or '-'")
}

/// The blobs of the layers of an image, or of all images of a place, for [`CopyOptions::without`].
///
/// # Errors
///
/// Those of opening the image, and of reading its documents.
pub fn layer_blobs(source: &Source, all: bool) -> Result<BTreeSet<Digest>> {
    let opened = Opened::open(&source.name, &source.options)?;
    let options = CopyOptions {
        all,
        ..CopyOptions::default()
    };
    let (made, _staging) = scratch(source)?;
    Copier::plan(&opened, &options, &made, true, &Silent)?.layers()
}

/// A layout for what is made on the way.
fn scratch(source: &Source) -> Result<(Layout, Staging)> {
    let directory = &source.options.scratch;
    let staging = Staging::create(directory, ".bundle-copy-", Access::Plain).map_err(|error| {
        error.context(format!(
            "make a scratch directory in {}",
            directory.display()
        ))
    })?;
    let layout = Layout::create(&staging.path().join("made"))?;
    Ok((layout, staging))
}
