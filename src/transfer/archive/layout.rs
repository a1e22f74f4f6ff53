//! Image layouts in a tar: [`OciArchive`], and [`Combined`], which `docker load` reads as well.
//!
//! ```text
//! oci-layout
//! blobs/<algorithm>/<encoded>   sorted
//! index.json                    an entry for each name of each image
//! manifest.json                 Combined only: the images of one platform, as Docker lists them
//! ```
//!
//! What refers to others comes after them: whoever has read `index.json` has all that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use oci_cas::{Digest, Store};
use serde_json::{Value, json};

use super::closure::{Closure, Image};
use super::docker::docker_list_entry;
use super::export::{ExportReport, ExportedImage, Exporter, check};
use super::name::{annotations_of, blob_path, without_names};
use super::output::Output;
use crate::image::{Descriptor, Document, INDEX, object_mut, set_annotations, to_go_json};
use crate::{Result, ResultExt};

/// An OCI image layout in a tar (`oci-archive:` of skopeo and podman). Takes manifests and indexes of anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct OciArchive;

/// An OCI image layout in a tar with a `manifest.json` of Docker's, which points into it: loadable by Docker, podman,
/// containerd and skopeo. The best choice where nothing is known of the reader.
///
/// Images of several platforms, and what is no image, are in the layout only; names that are no `repository:tag` too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Combined;

/// An OCI image layout in a tar without some of the layers, for a target that has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartialArchive {
    /// Digests of the blobs that are left out.
    pub(crate) without: BTreeSet<Digest>,
}

impl Exporter for PartialArchive {
    fn export(
        &self,
        blobs: &dyn Store,
        images: &[ExportedImage],
        out: &mut dyn Write,
    ) -> Result<ExportReport> {
        let output = write_layout(blobs, images, &self.without, out)?;
        output.finish(Vec::new())
    }
}

impl Exporter for OciArchive {
    fn export(
        &self,
        blobs: &dyn Store,
        images: &[ExportedImage],
        out: &mut dyn Write,
    ) -> Result<ExportReport> {
        PartialArchive::default().export(blobs, images, out)
    }
}

impl Exporter for Combined {
    fn export(
        &self,
        blobs: &dyn Store,
        images: &[ExportedImage],
        out: &mut dyn Write,
    ) -> Result<ExportReport> {
        let mut output = write_layout(blobs, images, &BTreeSet::new(), out)?;
        let mut list = Vec::new();
        for image in images {
            list.extend(docker_entry(blobs, image)?);
        }
        if !list.is_empty() {
            output.document("manifest.json", &to_go_json(&Value::Array(list)))?;
        }
        output.finish(Vec::new())
    }
}

/// Writes everything but the end.
fn write_layout<'a>(
    blobs: &'a dyn Store,
    images: &[ExportedImage],
    without: &BTreeSet<Digest>,
    out: &'a mut dyn Write,
) -> Result<Output<'a>> {
    check(images)?;
    // Whatever is wrong with the images is better found before anything is written.
    let mut closure = Closure::new(blobs).without(without);
    let mut entries = Vec::new();
    for image in images {
        closure.add(&image.manifest)?;
        entries.extend(index_entries(image)?);
    }
    let mut output = Output::new(blobs, out);
    output.document(
        "oci-layout",
        &to_go_json(&json!({"imageLayoutVersion": "1.0.0"})),
    )?;
    write_blobs(&mut output, &closure.into_blobs())?;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    output.document("index.json", &to_go_json(&index))?;
    Ok(output)
}

fn write_blobs(output: &mut Output<'_>, blobs: &BTreeMap<Digest, u64>) -> Result<()> {
    let mut sorted: Vec<(String, &Digest, u64)> = blobs
        .iter()
        .map(|(digest, size)| (blob_path(digest), digest, *size))
        .collect();
    sorted.sort_unstable();
    output.directory("blobs")?;
    let mut algorithm = None;
    for (path, digest, size) in &sorted {
        if algorithm != Some(digest.algorithm()) {
            algorithm = Some(digest.algorithm());
            output.directory(&format!("blobs/{}", digest.algorithm()))?;
        }
        output.blob(path, digest, *size)?;
    }
    Ok(())
}

/// The entries of an image in `index.json`: one for each name, and one without where it has none.
fn index_entries(image: &ExportedImage) -> Result<Vec<Value>> {
    let named = image.names.iter().map(|name| annotations_of(name));
    let mut all: Vec<_> = named.collect();
    if all.is_empty() {
        all.push(Vec::new());
    }
    all.into_iter()
        .map(|annotations| {
            let mut entry = without_names(&image.manifest);
            let annotations = annotations
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            set_annotations(Document::Descriptor, object_mut(&mut entry)?, &annotations)?;
            Ok(entry)
        })
        .collect()
}

/// The entry of an image in `manifest.json`, if Docker could load it.
fn docker_entry(blobs: &dyn Store, image: &ExportedImage) -> Result<Option<Value>> {
    let read = Image::read(blobs, &image.manifest)
        .context(|| format!("image {}", image.manifest.digest()))?;
    let Some(Image { manifest, .. }) = read else {
        return Ok(None);
    };
    let parts: Vec<&Descriptor> = manifest.layers.iter().chain([&manifest.config]).collect();
    for part in parts {
        if blobs.stat(part.digest())?.is_none() {
            return Ok(None);
        }
    }
    let path = |part: &Descriptor| blob_path(part.digest());
    Ok(Some(docker_list_entry(
        &path(&manifest.config),
        &image.names,
        &manifest.layers.iter().map(path).collect::<Vec<_>>(),
    )))
}
