//! Docker's own format, version 1.2: what `docker save` wrote before it wrote layouts.
//!
//! ```text
//! <hex of the diff ID>.tar    a layer, uncompressed, each once
//! <hex of the image ID>.json  the config, byte for byte
//! manifest.json               the images
//! repositories                the names, for readers of version 1.1
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use oci_cas::{Store, StoreExt, VerifyingReader};
use serde_json::{Value, json};

use super::closure::{Closure, Image, read_document};
use super::diff_id::{check_diff_id, digest_of};
use super::export::{ExportReport, ExportedImage, Exporter, check};
use super::name::split_tag;
use super::output::Output;
use crate::archive::{Compression, Decoder};
use crate::image::{Descriptor, DiffId, LayerCompression, MediaKind, to_go_json};
use crate::{Error, ErrorKind, Result, ResultExt};

/// `docker-archive:` of skopeo and podman, for tools that read nothing newer. Takes images of one platform.
///
/// Layers are written uncompressed, so that a compressed one is read twice: a tar header says the size of what follows.
/// Names that are no `repository:tag` are left out ([`ExportReport::unnamed`]).
#[derive(Clone, Copy, Debug, Default)]
pub struct DockerArchive;

impl Exporter for DockerArchive {
    fn export(
        &self,
        blobs: &dyn Store,
        images: &[ExportedImage],
        out: &mut dyn Write,
    ) -> Result<ExportReport> {
        check(images)?;
        let read = images.iter().map(|image| read_image(blobs, image));
        let read = read.collect::<Result<Vec<_>>>()?;
        let mut output = Output::new(blobs, out);
        let (mut written, mut list, mut unnamed) = (BTreeSet::new(), Vec::new(), Vec::new());
        let mut repositories: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
        for (exported, image) in images.iter().zip(&read) {
            let name = write_image(&mut output, image, &mut written)
                .context(|| format!("image {}", exported.manifest.digest()))?;
            list.push(docker_list_entry(
                &name.config,
                &exported.names,
                &name.layers,
            ));
            for name_of_image in &exported.names {
                match (split_tag(name_of_image), image.config.diff_ids().last()) {
                    (None, _) => unnamed.push(name_of_image.clone()),
                    // Version 1.1 knows an image by its topmost layer.
                    (Some(_), None) => {}
                    (Some((repository, tag)), Some(top)) => {
                        let tags = repositories.entry(repository).or_default();
                        tags.insert(tag, top.0.encoded());
                    }
                }
            }
        }
        output.document("manifest.json", &to_go_json(&json!(list)))?;
        output.document("repositories", &to_go_json(&json!(repositories)))?;
        output.finish(unnamed)
    }
}

fn read_image(blobs: &dyn Store, exported: &ExportedImage) -> Result<Image> {
    let digest = exported.manifest.digest();
    Closure::new(blobs).add(&exported.manifest)?;
    let image = Image::read(blobs, &exported.manifest).context(|| format!("image {digest}"))?;
    image.ok_or_else(|| {
        let message = format!("{digest} is not the manifest of one image");
        Error::new(ErrorKind::InvalidInput, message).with_hint(
            "choose the image of one platform, or a format that holds indexes and artifacts",
        )
    })
}

/// Members of an image.
struct Names {
    config: String,
    layers: Vec<String>,
}

/// Writes the layers and the config of an image, as far as they are not in `written`.
fn write_image(
    output: &mut Output<'_>,
    image: &Image,
    written: &mut BTreeSet<String>,
) -> Result<Names> {
    let mut layers = Vec::new();
    for (layer, diff_id) in image.manifest.layers.iter().zip(image.config.diff_ids()) {
        let name = format!("{}.tar", diff_id.0.encoded());
        if written.insert(name.clone()) {
            write_layer(output, &name, layer, diff_id)
                .context(|| format!("layer {}", layer.digest()))?;
        }
        layers.push(name);
    }
    let config = format!("{}.json", image.manifest.config.digest().encoded());
    if written.insert(config.clone()) {
        let bytes = read_document(output.blobs(), &image.manifest.config)?;
        output.document(&config, &bytes)?;
    }
    Ok(Names { config, layers })
}

fn write_layer(
    output: &mut Output<'_>,
    name: &str,
    layer: &Descriptor,
    diff_id: &DiffId,
) -> Result<()> {
    let compression = compression_of(layer)?;
    if compression == Compression::None && *layer.digest() == diff_id.0 {
        return output.blob(name, layer.digest(), layer.size());
    }
    let blobs = output.blobs();
    let open = || {
        let blob = blobs.open_verified(layer.digest(), layer.size())?;
        Decoder::new(blob, compression)
    };
    let (digest, size) = digest_of(&mut open()?, diff_id.0.algorithm())?;
    check_diff_id(&digest, diff_id)?;
    output.stream(name, size, &mut VerifyingReader::new(open()?, digest, size))
}

fn compression_of(layer: &Descriptor) -> Result<Compression> {
    match layer.kind() {
        MediaKind::Layer(LayerCompression::None) => Ok(Compression::None),
        MediaKind::Layer(LayerCompression::Gzip) => Ok(Compression::Gzip),
        MediaKind::Layer(LayerCompression::Zstd) => Ok(Compression::Zstd),
        _ => {
            let message = format!("a layer of type {:?}", layer.media_type());
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

/// An entry of `manifest.json`; names that are no `repository:tag` are left out.
pub(super) fn docker_list_entry(config: &str, names: &[String], layers: &[String]) -> Value {
    let tagged = names.iter().filter(|name| split_tag(name).is_some());
    let tags: Vec<&String> = tagged.collect();
    let tags = if tags.is_empty() {
        Value::Null
    } else {
        json!(tags)
    };
    json!({"Config": config, "RepoTags": tags, "Layers": layers})
}
