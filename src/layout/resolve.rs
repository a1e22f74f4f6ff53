//! From a name to the one manifest that it means for a platform.
//!
//! 1. A tag means the entries of `index.json` that carry it, whether a tag may be so or not. A digest means what has it, on
//!    whatever level. No name means the tag `latest`, and in a layout without it all entries, if they are one image or
//!    carry one name or none.
//! 2. These are walked, through indexes nested in indexes, to their targets. A layout may lack some of what it lists.
//! 3. Build attestations (platform `unknown/unknown`) and artifacts are put aside when there is anything else.
//! 4. A sole manifest is taken whatever it runs on, unless a platform was asked for.
//! 5. Of several, those for the platform (the host's by default) remain, and of these the ones of the nearest variant.
//!    The platform stands in the descriptor; where it does not, it is read from the config, but only when no other
//!    manifest fits. What is listed but not in the layout is only taken to say so.
//! 6. What is listed twice counts once. If several are left, the name is ambiguous.

use std::collections::HashSet;

use oci_cas::Digest;
use serde_json::Value;

use super::index::IndexFile;
use super::walk::Walk;
use super::{Layout, LeasedLayout, missing};
use crate::image::{
    DEFAULT_TAG, Descriptor, Index, MediaKind, Name, Platform, REF_NAME, parse_json, ref_name,
};
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

/// Which entries of an index are meant.
#[derive(Clone, Copy)]
pub(super) enum Meant<'a> {
    /// Those of a tag.
    Tag(&'a str),
    All,
}

impl Meant<'_> {
    /// Whether an entry of this name is one of them.
    pub(super) fn contains(self, name: Option<&str>) -> bool {
        match self {
            Self::Tag(tag) => name == Some(tag),
            Self::All => true,
        }
    }
}

impl LeasedLayout {
    /// Finds the one manifest that a name means, OCI's or Docker's.
    ///
    /// Without `platform` the host's is meant, and an image that is the only one is taken whatever it runs on.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::NotFound`]: `tag not found: T`, nothing under the name for the platform, or something that the layout
    ///   lists and lacks.
    /// - [`ErrorKind::Ambiguous`]: `tag is ambiguous: T`, with the candidates.
    /// - [`ErrorKind::Unsupported`]: the name is that of no image, but of something of another type.
    /// - as [`Layout::read_document`] and [`Index::parse`] for the documents on the way.
    pub fn resolve(
        &self,
        name: impl Into<Name>,
        platform: Option<&Platform>,
    ) -> Result<DescriptorPath> {
        self.resolve_in(&self.read_index()?, &name.into(), platform)
    }
}

impl Layout {
    /// The same in an index that was read. Whoever calls it has a lease.
    pub(super) fn resolve_in(
        &self,
        index: &IndexFile,
        name: &Name,
        platform: Option<&Platform>,
    ) -> Result<DescriptorPath> {
        let candidates = images(self.targets(index, name)?, name)?;
        let (here, absent): (Vec<_>, Vec<_>) = candidates
            .into_iter()
            .partition(|candidate| self.has(candidate.target()));
        if platform.is_none() && is_sole(here.iter().chain(&absent)) {
            return match here.into_iter().next() {
                Some(sole) => Ok(sole),
                None => Err(missing(absent[0].target(), "manifest")),
            };
        }
        let host = Platform::host();
        let wanted = platform.unwrap_or(&host);
        let mut chosen = self.fitting(&here, wanted)?;
        match (chosen.pop(), chosen.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                chosen.push(last);
                Err(self.ambiguous(name, &chosen))
            }
            (None, _) => Err(self.nothing_fits(name, wanted, &here, &absent)),
        }
    }

    /// Whether a document is in the layout, or in its own descriptor.
    fn has(&self, descriptor: &Descriptor) -> bool {
        descriptor.data().is_some() || !matches!(self.store().stat(descriptor.digest()), Ok(None))
    }

    /// All that a name leads to, of any type, in order.
    pub(super) fn targets(&self, index: &IndexFile, name: &Name) -> Result<Vec<DescriptorPath>> {
        if let Name::Digest(digest) = name {
            return self.targets_of_digest(index, digest);
        }
        let entries = self.entries(index, name)?;
        let mut targets = Vec::new();
        self.walk(entries, |path| targets.push(DescriptorPath(path)))?;
        Ok(targets)
    }

    /// The entries that a tag means, or no name.
    pub(super) fn entries(&self, index: &IndexFile, name: &Name) -> Result<Vec<Descriptor>> {
        let meant = self.meant(index, name)?;
        let entries = index.entries().iter();
        let entries = entries.filter(|entry| meant.contains(ref_name(entry)));
        entries
            .map(Descriptor::from_value)
            .collect::<Result<Vec<_>>>()
            .context(|| format!("read the entry of tag {name}"))
    }

    /// Which entries a tag means, or no name; at least one.
    pub(super) fn meant<'a>(&self, index: &IndexFile, name: &'a Name) -> Result<Meant<'a>> {
        let tag = match name {
            Name::Tag(tag) => tag,
            _ => DEFAULT_TAG,
        };
        if index.named(tag).next().is_some() {
            Ok(Meant::Tag(tag))
        } else if *name == Name::Default && index.is_of_one() {
            Ok(Meant::All)
        } else {
            Err(self.not_found(index, name))
        }
    }

    /// What a digest leads to: the image, or those of the index, that have it.
    fn targets_of_digest(&self, index: &IndexFile, digest: &Digest) -> Result<Vec<DescriptorPath>> {
        // An entry that is not understood can't be what is meant.
        let entries = index.entries().iter().map(Descriptor::from_value);
        let entries: Vec<_> = entries.filter_map(Result::ok).collect();
        let is_it = |step: &Descriptor| step.digest() == digest;
        let (mut direct, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_it);
        // What has no other name first: an edit puts its result in the place of this entry.
        direct.sort_by_key(|entry| entry.annotation(REF_NAME).is_some());
        let mut targets = Vec::new();
        for entries in [direct, others] {
            let walked = self.walk(entries, |path| {
                if path.iter().any(is_it) {
                    targets.push(DescriptorPath(path));
                }
            });
            if !targets.is_empty() {
                return Ok(targets);
            }
            walked?;
        }
        Err(Error::new(
            ErrorKind::NotFound,
            format!("image not found: {digest}: nothing in the index of the layout leads to it"),
        ))
    }

    /// Goes down from some entries, through indexes that lie in indexes, and tells the way to each end. An index that is
    /// not in the layout is an end.
    fn walk(&self, entries: Vec<Descriptor>, mut end: impl FnMut(Vec<Descriptor>)) -> Result<()> {
        let mut walk = Walk::new(self.limits());
        walk.push(None, entries)?;
        let mut seen = HashSet::new();
        while let Some(place) = walk.next() {
            let descriptor = walk.descriptor(place);
            let leads_on = matches!(descriptor.kind(), MediaKind::Index | MediaKind::Descriptor);
            if !leads_on || !self.has(descriptor) {
                end(walk.path(place));
            } else if seen.insert((
                descriptor.digest().clone(),
                descriptor.media_type().to_owned(),
            )) {
                let listed = self.list(descriptor)?;
                walk.push(Some(place), listed)?;
            }
        }
        Ok(())
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

/// The manifests among the targets, without attestations and artifacts where there is anything else.
fn images(targets: Vec<DescriptorPath>, name: &Name) -> Result<Vec<DescriptorPath>> {
    let foreign = targets.first().map(|target| target.target().clone());
    let (others, images): (Vec<_>, Vec<_>) = targets
        .into_iter()
        .filter(|target| target.target().kind() == MediaKind::Manifest)
        .partition(|target| is_no_image(target.target()));
    if !images.is_empty() {
        return Ok(images);
    }
    if !others.is_empty() {
        return Ok(others);
    }
    Err(match foreign {
        // What could be read was followed.
        Some(index) if matches!(index.kind(), MediaKind::Index | MediaKind::Descriptor) => {
            missing(&index, "index")
        }
        Some(other) => {
            let message = format!(
                "tag {name} names no image: unsupported media type {:?}",
                other.media_type()
            );
            Error::new(ErrorKind::Unsupported, message)
        }
        None => Error::new(
            ErrorKind::NotFound,
            format!("tag not found: {name}: it names an index without manifests"),
        ),
    })
}

/// Whether an entry of an index says of itself that it is something else than an image: an attestation, an artifact.
fn is_no_image(descriptor: &Descriptor) -> bool {
    let is_unknown = descriptor.platform().is_some_and(|it| it.is_unknown());
    let artifact = descriptor.raw().get("artifactType");
    is_unknown
        || artifact
            .and_then(Value::as_str)
            .is_some_and(|it| !it.is_empty())
}

/// Whether all paths lead to one and the same blob.
pub(super) fn is_sole<'a>(targets: impl IntoIterator<Item = &'a DescriptorPath>) -> bool {
    let mut digests = targets.into_iter().map(|target| target.target().digest());
    let first = digests.next();
    digests.all(|digest| Some(digest) == first)
}

impl Layout {
    fn not_found(&self, index: &IndexFile, name: &Name) -> Error {
        let error = Error::new(ErrorKind::NotFound, format!("tag not found: {name}"));
        let mut names = index.names();
        let known: Vec<_> = names.by_ref().take(NAMED_IN_ERRORS).collect();
        let more = if names.next().is_some() {
            ", and more"
        } else {
            ""
        };
        let untagged = index.entries().len() - index.names().count();
        let by_digest = format!(
            "{untagged} without a tag, named by digest as in {}@sha256:...",
            self.path.display()
        );
        error.with_hint(match (known.is_empty(), untagged) {
            (true, 0) => "the image layout has no tags".to_owned(),
            (true, _) => format!("the image layout has no tags; it has entries {by_digest}"),
            (false, 0) => format!("the image layout has the tags {}{more}", known.join(", ")),
            (false, _) => format!(
                "the image layout has the tags {}{more}, and entries {by_digest}",
                known.join(", ")
            ),
        })
    }

    /// Says that several are meant, and how to choose one: by platform where that tells them apart, or else by digest.
    pub(super) fn ambiguous(&self, name: &Name, candidates: &[DescriptorPath]) -> Error {
        let is_tagged = |it: &DescriptorPath| it.root().annotation(REF_NAME).is_some();
        let message = if *name == Name::Default && !candidates.iter().any(is_tagged) {
            format!(
                "the layout has several images: {}",
                self.describe(candidates)
            )
        } else {
            format!("tag is ambiguous: {name}: {}", self.describe(candidates))
        };
        let platforms = self.platforms(candidates);
        let tells_apart = |platform: &Platform| {
            let chosen = self.fitting(candidates, platform);
            chosen.is_ok_and(|chosen| chosen.len() == 1)
        };
        let hint = if platforms.len() == candidates.len() && platforms.iter().all(tells_apart) {
            format!("choose one with --platform: {}", list(&platforms))
        } else {
            format!(
                "choose one by its digest, as in --image {}@{}",
                self.path.display(),
                candidates[0].target().digest()
            )
        };
        Error::new(ErrorKind::Ambiguous, message).with_hint(hint)
    }

    /// Says that there is no image for a platform, or that there is one which is not in the layout, and what is there.
    fn nothing_fits(
        &self,
        name: &Name,
        wanted: &Platform,
        here: &[DescriptorPath],
        absent: &[DescriptorPath],
    ) -> Error {
        let fits = |candidate: &&DescriptorPath| {
            let platform = candidate.target().platform();
            platform.is_some_and(|platform| wanted.accepts(&platform))
        };
        let message = match absent.iter().find(fits) {
            Some(listed) => format!(
                "the image of {name} for platform {wanted} is listed, but its manifest {} is not in the layout",
                listed.target().digest()
            ),
            None => format!("tag {name} has no image for platform {wanted}"),
        };
        let hint = if here.is_empty() {
            "nothing of what it lists is in the layout: copy the image again".to_owned()
        } else {
            let platforms = self.platforms(here);
            let choice = if platforms.is_empty() {
                String::new()
            } else {
                format!("; choose with --platform: {}", list(&platforms))
            };
            format!("it has {}{choice}", self.describe(here))
        };
        Error::new(ErrorKind::NotFound, message).with_hint(hint)
    }

    /// What an image runs on, by its descriptor or else by its config.
    fn platform_of(&self, candidate: &DescriptorPath) -> Option<Platform> {
        let target = candidate.target();
        let in_config = || self.platform_in_config(target).ok().flatten();
        target.platform().or_else(in_config)
    }

    fn platforms(&self, candidates: &[DescriptorPath]) -> Vec<Platform> {
        let named = candidates.iter().take(NAMED_IN_ERRORS);
        named.filter_map(|it| self.platform_of(it)).collect()
    }

    fn describe(&self, candidates: &[DescriptorPath]) -> String {
        let mut names: Vec<String> = Vec::new();
        for candidate in candidates.iter().take(NAMED_IN_ERRORS) {
            let target = candidate.target();
            let platform = target.raw().get("platform");
            let version = platform.and_then(|platform| platform.get("os.version"));
            let version = version.and_then(Value::as_str).unwrap_or_default();
            names.push(match self.platform_of(candidate) {
                Some(platform) if version.is_empty() => format!("{} ({platform})", target.digest()),
                Some(platform) => format!("{} ({platform} {version})", target.digest()),
                None => target.digest().to_string(),
            });
        }
        if candidates.len() > NAMED_IN_ERRORS {
            names.push(format!("and {} more", candidates.len() - NAMED_IN_ERRORS));
        }
        names.join(", ")
    }
}

/// Platforms in order, each once.
fn list(platforms: &[Platform]) -> String {
    let mut names: Vec<String> = Vec::new();
    for name in platforms.iter().map(Platform::to_string) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

#[cfg(test)]
mod tests;
