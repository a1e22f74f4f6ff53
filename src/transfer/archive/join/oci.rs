//! Image layouts: `oci-layout` and `index.json`; and those of before 1.0, with a descriptor in each file of `refs`.

use oci_cas::Store;

use super::super::ImportedImage;
use super::super::closure::Closure;
use super::super::members::Members;
use super::super::name::{name_of, without_names};
use super::{Images, docker, malformed, object, text};
use crate::image::{Descriptor, INDEX, Index, MediaKind, parse_json};
use crate::{Error, ErrorKind, Result, ResultExt};

/// The images of a layout.
pub(in super::super) fn layout(
    members: &Members,
    blobs: &dyn Store,
) -> Result<Option<Vec<ImportedImage>>> {
    let (Some(layout), Some(index)) = (
        members.document(b"oci-layout")?,
        members.document(b"index.json")?,
    ) else {
        return Ok(None);
    };
    check_version(layout).context(|| "oci-layout")?;
    let index = Index::parse(index, INDEX).context(|| "index.json")?;
    let mut closure = Closure::new(blobs);
    let mut images = Images::default();
    // What is no image may stand there too, and is to be ignored (`image-layout.md`).
    let is_image =
        |entry: &&Descriptor| matches!(entry.kind(), MediaKind::Manifest | MediaKind::Index);
    for entry in index.manifests.iter().filter(is_image) {
        closure.add(entry)?;
        images.add(plain(entry)?, name_of(entry).map(str::to_owned));
    }
    if images.images.is_empty() {
        // Docker 25 wrote `"manifests": null` for an image that was asked for by its ID: there manifest.json counts.
        return if docker::configs(members)?.is_empty() {
            Err(malformed("index.json names no image"))
        } else {
            Ok(None)
        };
    }
    check_docker(members, &closure)?;
    Ok(Some(images.images))
}

/// Refuses an archive in which Docker would find another image than who reads the index: what was looked at must be what
/// will be run.
fn check_docker(members: &Members, closure: &Closure<'_>) -> Result<()> {
    for config in docker::configs(members)? {
        if !closure.contains(&config.digest) {
            let message = format!(
                "manifest.json names an image, {}, that index.json does not",
                config.digest
            );
            return Err(Error::new(ErrorKind::Ambiguous, message)
                .with_hint("import it as a docker archive to have what Docker would load"));
        }
    }
    Ok(())
}

fn check_version(layout: &[u8]) -> Result<()> {
    let layout = parse_json(layout)?;
    match text(object(&layout)?, "imageLayoutVersion")? {
        Some("1.0.0") => Ok(()),
        Some(other) => {
            let message = format!("layout version {other:?} where 1.0.0 is known");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        None => Err(malformed("it names no layout version")),
    }
}

/// The images of a layout of before 1.0.
pub(in super::super) fn references(
    members: &Members,
    blobs: &dyn Store,
) -> Result<Option<Vec<ImportedImage>>> {
    const DIRECTORY: &[u8] = b"refs/";
    let mut closure = Closure::new(blobs);
    let mut images = Images::default();
    for path in members.document_names() {
        let Some(name) = path.strip_prefix(DIRECTORY) else {
            continue;
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let bytes = members.document(path)?.unwrap_or_default();
        let entry = parse_json(bytes)
            .and_then(|value| Descriptor::from_value(&value))
            .context(|| format!("refs/{name}"))?;
        closure.add(&entry)?;
        images.add(plain(&entry)?, [name]);
    }
    Ok(Some(images.images).filter(|images| !images.is_empty()))
}

/// The descriptor without its name, which is told beside it.
fn plain(entry: &Descriptor) -> Result<Descriptor> {
    Descriptor::from_value(&without_names(entry))
}
