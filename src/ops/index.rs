//! `index`: an index of images for several platforms, made of images of one layout.

use std::collections::BTreeSet;

use oci_cas::Digest;
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::image::{
    Descriptor, INDEX, Index, MediaKind, Name, Platform, Reference, Tag, insert_in_order,
    to_go_json,
};
use crate::layout::LeasedLayout;
use crate::progress::Progress;

/// Members of a descriptor in the order in which peers write them.
const ORDER: &[&str] = &[
    "mediaType",
    "digest",
    "size",
    "annotations",
    "platform",
    "artifactType",
];

/// The annotation of an attestation that names what it attests (`BuildKit`).
const ATTESTED: &str = "vnd.docker.reference.digest";

/// Makes the tag of `image` lead to an index of these images, tags or digests of the same layout, in this order. Of an
/// index, all entries are taken.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] for what is not there, [`ErrorKind::Ambiguous`] for two images of one platform, and those of
/// reading and writing. The layout's index is then as it was.
pub fn create_index(image: &Reference, from: &[String]) -> Result<()> {
    let layout = LeasedLayout::open(&image.layout)?;
    let mut entries = Vec::new();
    for text in from {
        entries.extend(found(&layout, text)?);
    }
    write(&layout, &image.name.to_tag()?, &empty(), &entries)
}

/// Adds images to the index that a tag leads to; one of a platform that is there takes its place. A tag that leads to one
/// image becomes an index with that image.
///
/// # Errors
///
/// As [`create_index`].
pub fn add_to_index(image: &Reference, from: &[String], progress: &dyn Progress) -> Result<()> {
    let layout = LeasedLayout::open(&image.layout)?;
    let (raw, mut entries) = read(&layout, &image.name)?;
    for text in from {
        for new in found(&layout, text)? {
            if let Some(platform) = new.platform().filter(|platform| !platform.is_unknown()) {
                let same = |entry: &Descriptor| {
                    entry.platform().as_ref() == Some(&platform) && entry.digest() != new.digest()
                };
                drop_entries(&mut entries, same, progress);
            }
            if !entries.iter().any(|entry| entry.digest() == new.digest()) {
                entries.push(new);
            }
        }
    }
    write(&layout, &image.name.to_tag()?, &raw, &entries)
}

/// Takes images out of the index that a tag leads to, by digests or platforms, with the attestations of them.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] for what is not in there; else as [`create_index`].
pub fn remove_from_index(
    image: &Reference,
    what: &[String],
    progress: &dyn Progress,
) -> Result<()> {
    let layout = LeasedLayout::open(&image.layout)?;
    let (raw, mut entries) = read(&layout, &image.name)?;
    for text in what {
        let count = entries.len();
        if let Ok(digest) = text.parse::<Digest>() {
            drop_entries(&mut entries, |entry| *entry.digest() == digest, progress);
        } else {
            let platform: Platform = text.parse()?;
            let same = |entry: &Descriptor| entry.platform().as_ref() == Some(&platform);
            drop_entries(&mut entries, same, progress);
        }
        if entries.len() == count {
            let message = format!("the index has no image {text}");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
    }
    write(&layout, &image.name.to_tag()?, &raw, &entries)
}

/// Lists the entries of the index that a tag leads to; the one image where it leads to one.
///
/// # Errors
///
/// Those of reading the layout.
pub fn list_index(image: &Reference) -> Result<Vec<Descriptor>> {
    let layout = LeasedLayout::open(&image.layout)?;
    read(&layout, &image.name).map(|(_, entries)| entries)
}

fn empty() -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
}

/// The index of a tag, and its entries.
fn read(layout: &LeasedLayout, name: &Name) -> Result<(Value, Vec<Descriptor>)> {
    let entry = layout.whole_entry(name)?;
    if entry.kind() != MediaKind::Index {
        return Ok((empty(), vec![with_platform(layout, &entry)?]));
    }
    let bytes = layout.read_document(&entry)?;
    let index = Index::parse(&bytes, entry.media_type())?;
    Ok((index.raw().clone(), index.manifests))
}

/// What a tag or a digest stands for, as entries of an index.
fn found(layout: &LeasedLayout, text: &str) -> Result<Vec<Descriptor>> {
    let entry = match text.parse::<Digest>() {
        Ok(digest) => layout.entry_by_digest(&digest)?,
        Err(_) => layout.whole_entry(&Name::Tag(text.to_owned()))?,
    };
    if entry.kind() == MediaKind::Index {
        let bytes = layout.read_document(&entry)?;
        return Ok(Index::parse(&bytes, entry.media_type())?.manifests);
    }
    Ok(vec![with_platform(layout, &entry)?])
}

/// An entry for a manifest: its platform is that of its config, and it has no name.
fn with_platform(layout: &LeasedLayout, entry: &Descriptor) -> Result<Descriptor> {
    let mut raw: Map<String, Value> = entry.raw().clone();
    raw.shift_remove("annotations");
    if !raw.contains_key("platform") && entry.kind() == MediaKind::Manifest {
        let manifest = layout.manifest(entry)?;
        if manifest.config.kind() == MediaKind::Config
            && let Some(platform) = layout.config(&manifest.config)?.platform()
        {
            let mut value = json!({"architecture": platform.architecture, "os": platform.os});
            if let Some(variant) = platform.variant {
                value["variant"] = variant.into();
            }
            insert_in_order(&mut raw, ORDER, "platform", value);
        }
    }
    Descriptor::from_value(&Value::Object(raw))
}

/// Takes entries out, and the attestations of them.
fn drop_entries(
    entries: &mut Vec<Descriptor>,
    which: impl Fn(&Descriptor) -> bool,
    progress: &dyn Progress,
) {
    let gone: BTreeSet<String> = entries
        .iter()
        .filter(|entry| which(entry))
        .map(|entry| entry.digest().to_string())
        .collect();
    entries.retain(|entry| {
        let attested = entry.annotation(ATTESTED).filter(|it| gone.contains(*it));
        if let Some(attested) = attested {
            progress.info(format_args!(
                "the attestation {} of {attested} is dropped with it",
                entry.digest()
            ));
        }
        attested.is_none() && !gone.contains(&entry.digest().to_string())
    });
}

/// Stores an index and makes the tag lead to it.
fn write(layout: &LeasedLayout, tag: &Tag, raw: &Value, entries: &[Descriptor]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for entry in entries {
        let platform = entry.platform().filter(|platform| !platform.is_unknown());
        if let Some(platform) = platform
            && !seen.insert(platform.to_string())
        {
            let message = format!("two images for the platform {platform}");
            return Err(Error::new(ErrorKind::Ambiguous, message));
        }
    }
    let mut raw = raw.clone();
    raw["manifests"] = entries.iter().map(Descriptor::to_value).collect();
    raw["mediaType"] = INDEX.into();
    let index = layout.put_document(INDEX, &to_go_json(&raw))?;
    layout.add(tag, &index).context(|| "write the index")
}
