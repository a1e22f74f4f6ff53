//! From a tag to the one manifest that it means for a platform.
//!
//! 1. The entries of `index.json` that carry the name are walked, through indexes nested in indexes, to their targets.
//! 2. Build attestations (platform `unknown/unknown`) are put aside when there is anything else.
//! 3. A sole manifest is taken whatever it runs on, unless a platform was asked for.
//! 4. Of several, those for the platform (the host's by default) remain, and of these the ones of the nearest variant.
//!    The platform stands in the descriptor; where it does not, it is read from the config, but only when no other
//!    manifest fits.
//! 5. What is listed twice counts once. If several are left, the tag is ambiguous.

use std::collections::HashSet;

use super::index::IndexFile;
use super::walk::Walk;
use super::{Layout, LeasedLayout};
use crate::image::{Descriptor, Index, MediaKind, Platform, Tag, parse_json};
use crate::{Error, ErrorKind, Result, ResultExt};

/// At most so many tags or candidates are named in an error.
const NAMED_IN_ERRORS: usize = 10;

/// The way from an entry of `index.json` (first, with its annotations) to a manifest (last). Never empty when it comes
/// from [`LeasedLayout::resolve`].
#[derive(Clone, Debug, PartialEq)]
pub struct DescriptorPath(pub Vec<Descriptor>);

impl DescriptorPath {
    /// The manifest's descriptor.
    ///
    /// # Panics
    ///
    /// When the path is empty.
    pub fn target(&self) -> &Descriptor {
        &self.0[self.0.len() - 1]
    }

    /// The entry of `index.json`.
    ///
    /// # Panics
    ///
    /// When the path is empty.
    pub fn root(&self) -> &Descriptor {
        &self.0[0]
    }
}

impl LeasedLayout {
    /// Finds the one manifest that a tag means, OCI's or Docker's.
    ///
    /// Without `platform` the host's is meant, and an image that is the only one is taken whatever it runs on.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::NotFound`]: `tag not found: T`, or nothing under the tag for the platform.
    /// - [`ErrorKind::Ambiguous`]: `tag is ambiguous: T`, with the candidates.
    /// - [`ErrorKind::Unsupported`]: the tag names no image, but something of another type.
    /// - as [`Layout::read_document`] and [`Index::parse`] for the documents on the way.
    pub fn resolve(&self, tag: &Tag, platform: Option<&Platform>) -> Result<DescriptorPath> {
        self.resolve_in(&self.read_index()?, tag, platform)
    }
}

impl Layout {
    /// The same in an index that was read. Whoever calls it has a lease.
    pub(super) fn resolve_in(
        &self,
        index: &IndexFile,
        tag: &Tag,
        platform: Option<&Platform>,
    ) -> Result<DescriptorPath> {
        let mut candidates = images(self.targets(index, tag)?, tag)?;
        if platform.is_none() && is_sole(&candidates) {
            return Ok(candidates.swap_remove(0));
        }
        let host = Platform::host();
        let wanted = platform.unwrap_or(&host);
        let mut chosen = self.fitting(&candidates, wanted)?;
        match (chosen.pop(), chosen.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                chosen.push(last);
                Err(ambiguous(tag, &chosen))
            }
            (None, _) => {
                let message = format!("tag {tag} has no image for platform {wanted}");
                let hint = format!("it has {}", describe(&candidates));
                Err(Error::new(ErrorKind::NotFound, message).with_hint(hint))
            }
        }
    }

    /// All that a tag leads to, of any type, in order.
    pub(super) fn targets(&self, index: &IndexFile, tag: &Tag) -> Result<Vec<DescriptorPath>> {
        let entries = index
            .named(tag)
            .map(Descriptor::from_value)
            .collect::<Result<Vec<_>>>();
        let entries = entries.context(|| format!("read the entry of tag {tag}"))?;
        if entries.is_empty() {
            return Err(not_found(index, tag));
        }
        let mut walk = Walk::new(self.limits());
        walk.push(None, entries)?;
        let mut seen = HashSet::new();
        let mut targets = Vec::new();
        while let Some(place) = walk.next() {
            let descriptor = walk.descriptor(place);
            if !matches!(descriptor.kind(), MediaKind::Index | MediaKind::Descriptor) {
                targets.push(DescriptorPath(walk.path(place)));
            } else if seen.insert((
                descriptor.digest().clone(),
                descriptor.media_type().to_owned(),
            )) {
                let listed = self.list(descriptor)?;
                walk.push(Some(place), listed)?;
            }
        }
        Ok(targets)
    }

    /// What an index lists, or a descriptor in a blob points at.
    pub(super) fn list(&self, descriptor: &Descriptor) -> Result<Vec<Descriptor>> {
        let bytes = self.read_document(descriptor)?;
        let listed = if descriptor.kind() == MediaKind::Descriptor {
            parse_json(&bytes)
                .and_then(|value| Descriptor::from_value(&value))
                .map(|inner| vec![inner])
        } else {
            Index::parse(&bytes, descriptor.media_type()).map(|index| index.manifests)
        };
        listed.context(|| format!("parse blob {}", descriptor.digest()))
    }

    /// The candidates that fit the platform best, each digest once.
    fn fitting(
        &self,
        candidates: &[DescriptorPath],
        wanted: &Platform,
    ) -> Result<Vec<DescriptorPath>> {
        let mut best = Best::default();
        for candidate in candidates {
            best.offer(candidate, candidate.target().platform().as_ref(), wanted);
        }
        if best.chosen.is_empty() {
            let mut read = HashSet::new();
            for candidate in candidates
                .iter()
                .filter(|candidate| candidate.target().platform().is_none())
            {
                if read.insert(candidate.target().digest()) {
                    best.offer(
                        candidate,
                        self.platform_in_config(candidate.target())?.as_ref(),
                        wanted,
                    );
                }
            }
        }
        Ok(best.chosen)
    }

    /// The platform that the config of a manifest names; none when the manifest is not an image's.
    fn platform_in_config(&self, descriptor: &Descriptor) -> Result<Option<Platform>> {
        let config = self.manifest(descriptor)?.config;
        if config.kind() != MediaKind::Config {
            return Ok(None);
        }
        Ok(self.config(&config)?.platform())
    }
}

/// The candidates of the highest preference so far.
#[derive(Default)]
struct Best {
    preference: u32,
    chosen: Vec<DescriptorPath>,
}

impl Best {
    fn offer(
        &mut self,
        candidate: &DescriptorPath,
        platform: Option<&Platform>,
        wanted: &Platform,
    ) {
        let Some(preference) = platform.and_then(|platform| wanted.preference(platform)) else {
            return;
        };
        if preference > self.preference || self.chosen.is_empty() {
            self.preference = preference;
            self.chosen.clear();
        }
        let known =
            |chosen: &DescriptorPath| chosen.target().digest() == candidate.target().digest();
        if preference == self.preference && !self.chosen.iter().any(known) {
            self.chosen.push(candidate.clone());
        }
    }
}

/// The manifests among the targets, without attestations where there is anything else.
fn images(targets: Vec<DescriptorPath>, tag: &Tag) -> Result<Vec<DescriptorPath>> {
    let foreign = targets
        .first()
        .map(|target| target.target().media_type().to_owned());
    let (attestations, images): (Vec<_>, Vec<_>) = targets
        .into_iter()
        .filter(|target| target.target().kind() == MediaKind::Manifest)
        .partition(|target| {
            target
                .target()
                .platform()
                .is_some_and(|platform| platform.is_unknown())
        });
    if !images.is_empty() {
        return Ok(images);
    }
    if !attestations.is_empty() {
        return Ok(attestations);
    }
    Err(match foreign {
        Some(media_type) => {
            let message =
                format!("tag {tag} names no image: unsupported media type {media_type:?}");
            Error::new(ErrorKind::Unsupported, message)
        }
        None => Error::new(
            ErrorKind::NotFound,
            format!("tag not found: {tag}: it names an index without manifests"),
        ),
    })
}

/// Whether all paths lead to one and the same blob.
pub(super) fn is_sole(targets: &[DescriptorPath]) -> bool {
    targets
        .windows(2)
        .all(|pair| pair[0].target().digest() == pair[1].target().digest())
}

fn not_found(index: &IndexFile, tag: &Tag) -> Error {
    let error = Error::new(ErrorKind::NotFound, format!("tag not found: {tag}"));
    let mut names = index.names();
    let known: Vec<_> = names.by_ref().take(NAMED_IN_ERRORS).collect();
    let more = if names.next().is_some() {
        ", and more"
    } else {
        ""
    };
    if known.is_empty() {
        return error.with_hint("the image layout has no tags");
    }
    error.with_hint(format!(
        "the image layout has the tags {}{more}",
        known.join(", ")
    ))
}

pub(super) fn ambiguous(tag: &Tag, candidates: &[DescriptorPath]) -> Error {
    let message = format!("tag is ambiguous: {tag}: {}", describe(candidates));
    Error::new(ErrorKind::Ambiguous, message)
        .with_hint("choose one of them by its platform, or remove the tag and set it anew")
}

fn describe(candidates: &[DescriptorPath]) -> String {
    let mut names: Vec<String> = Vec::new();
    for target in candidates
        .iter()
        .map(DescriptorPath::target)
        .take(NAMED_IN_ERRORS)
    {
        names.push(match target.platform() {
            Some(platform) => format!("{} ({platform})", target.digest()),
            None => target.digest().to_string(),
        });
    }
    if candidates.len() > NAMED_IN_ERRORS {
        names.push(format!("and {} more", candidates.len() - NAMED_IN_ERRORS));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests;
