//! Image layouts: `oci-layout` and `index.json`; and those of before 1.0, with a descriptor in each file of `refs`.

use oci_cas::Store;

use super::super::ImportedImage;
use super::super::closure::Closure;
use super::super::members::Members;
use super::super::name::{IMAGE_NAME, name_of};
use super::{Images, malformed, object, text};
use crate::image::{Descriptor, INDEX, Index, REF_NAME, parse_json};
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
    if index.manifests.is_empty() {
        return Err(malformed("index.json names no image"));
    }
    let mut closure = Closure::new(blobs);
    let mut images = Images::default();
    for entry in &index.manifests {
        closure.add(entry)?;
        images.add(without_names(entry)?, name_of(entry).map(str::to_owned));
    }
    Ok(Some(images.images))
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
        images.add(without_names(&entry)?, [name]);
    }
    Ok(Some(images.images).filter(|images| !images.is_empty()))
}

/// The descriptor without what names it in an index: names are told beside it.
fn without_names(entry: &Descriptor) -> Result<Descriptor> {
    let mut value = entry.to_value();
    if let Some(raw) = value.as_object_mut()
        && let Some(annotations) = raw.get_mut("annotations").and_then(|it| it.as_object_mut())
    {
        annotations.shift_remove(IMAGE_NAME);
        annotations.shift_remove(REF_NAME);
        if annotations.is_empty() {
            raw.shift_remove("annotations");
        }
    }
    Descriptor::from_value(&value)
}
