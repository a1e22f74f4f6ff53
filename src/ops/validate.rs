//! `validate`: checks a layout against the image specification.

use super::extract::Image;
use super::view::Layers;
use crate::fs::escape_name;
use crate::fs::tree::Tree;
use crate::image::{ImageConfig, Manifest, MediaKind, Name};
use crate::layout::{Finding, LeasedLayout, code};
use crate::progress::Progress;
use crate::{Error, ErrorKind, Result};

/// Most bytes of one name.
const NAME_MAX: usize = 255;

/// Checks everything that the index leads to, or with `name` only what that leads to, and returns all findings.
///
/// Of an image that is sound so far, the layers are read once more and put on top of each other in memory, so that what
/// [`unpack`](super::unpack) would refuse is a finding.
///
/// # Errors
///
/// When the layout cannot be read at all. What is wrong inside it is a finding, not an error.
pub fn validate(
    layout: &LeasedLayout,
    name: Option<&Name>,
    progress: &dyn Progress,
) -> Result<Vec<Finding>> {
    let (mut findings, images) = layout.validate_images(name, progress)?;
    for (place, manifest) in images {
        if let Err(error) = stack(layout, &manifest, progress) {
            findings.push(Finding {
                place,
                code: code::NOT_UNPACKABLE,
                message: error.chain(),
            });
        }
    }
    Ok(findings)
}

/// Does what unpacking an image does, but for the disk.
fn stack(layout: &LeasedLayout, manifest: &Manifest, progress: &dyn Progress) -> Result<()> {
    let config = layout.image_config(manifest)?;
    if is_no_image(manifest, &config) {
        return Ok(());
    }
    let image = Image {
        layout,
        path: &[],
        manifest,
        config: &config,
    };
    check_names(Layers::of(&image, progress)?.view(false)?.tree())
}

/// Refuses what a disk would and a view does not.
fn check_names(tree: &Tree) -> Result<()> {
    let mut pending = vec![Tree::ROOT];
    while let Some(dir) = pending.pop() {
        for (name, node) in tree.children(dir) {
            if name.len() > NAME_MAX {
                let message = format!(
                    "the name {} has {} bytes, and no file system of Linux has one of more than {NAME_MAX}",
                    escape_name(name),
                    name.len()
                );
                return Err(Error::new(ErrorKind::InvalidData, message));
            }
            pending.push(node);
        }
    }
    Ok(())
}

/// Whether a manifest only looks like an image's: attestations and signatures have an image's config for the sake of old
/// registries. They name no platform, and their layers are of other types.
fn is_no_image(manifest: &Manifest, config: &ImageConfig) -> bool {
    let has_platform = config.platform().is_some_and(|it| !it.is_unknown());
    let is_layer = |kind| matches!(kind, MediaKind::Layer(_));
    !has_platform && !manifest.layers.iter().any(|layer| is_layer(layer.kind()))
}
