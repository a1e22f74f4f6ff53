//! Recomputes all that a layout claims, and lists every claim that does not hold.
//!
//! Validation goes on after each finding. A finding is a broken MUST of the specification, or something that makes an
//! image ambiguous or unusable for everyone; what is only unusual (a tag outside of the grammar, an unknown media type)
//! is none.
//!
//! | file | holds |
//! |---|---|
//! | `mod` | the findings, the walk from `index.json` down, the documents |
//! | `image` | a manifest against its config and its layers |
//! | `blob` | one blob: there, of its size, of its digest; a layer's diff ID in the same pass |
//!
//! Each blob is read once, each layer decompressed once, however many images share it.

mod blob;
mod image;

use std::collections::{HashMap, HashSet};

use oci_cas::Digest;
use serde_json::{Map, Value};

use super::walk::{Place, Walk};
use super::{INDEX_FILE, Layout};
use crate::image::{
    Descriptor, INDEX, Index, LayerCompression, Manifest, MediaKind, Name, REF_NAME, parse_json,
    ref_name,
};
use crate::progress::Progress;
use crate::{Error, ErrorKind, Result};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where: the tag or `index.json`, and the digests on the way down, joined by ` > `.
    pub place: String,
    /// What kind of thing: one of the constants in [`code`], for programs.
    pub code: &'static str,
    /// What exactly, for people.
    pub message: String,
}

/// The kinds of findings. The tokens are stable.
pub mod code {
    /// `oci-layout` or `index.json` breaks its schema.
    pub const MALFORMED_LAYOUT: &str = "malformed-layout";
    /// A descriptor breaks its schema.
    pub const MALFORMED_DESCRIPTOR: &str = "malformed-descriptor";
    /// An index, manifest or config breaks its schema.
    pub const MALFORMED_DOCUMENT: &str = "malformed-document";
    /// A document is beyond the limits in force, or nested too deep; what lies below was not looked at.
    pub const LIMIT_EXCEEDED: &str = "limit-exceeded";
    /// One tag names different images for the same platform.
    pub const DUPLICATE_TAG: &str = "duplicate-tag";
    /// A blob does not exist.
    pub const MISSING_BLOB: &str = "missing-blob";
    /// A blob cannot be read, or is not a regular file.
    pub const UNREADABLE_BLOB: &str = "unreadable-blob";
    /// Something among the blobs is not named like one.
    pub const FOREIGN_FILE: &str = "foreign-file";
    /// A blob has not the size that its descriptor says.
    pub const SIZE_MISMATCH: &str = "size-mismatch";
    /// A blob has not the digest that its descriptor or its name says.
    pub const DIGEST_MISMATCH: &str = "digest-mismatch";
    /// A layer cannot be decompressed as its media type says, or something follows its end.
    pub const MALFORMED_LAYER: &str = "malformed-layer";
    /// `rootfs.type` of a config is not `layers`.
    pub const ROOTFS_TYPE: &str = "rootfs-type";
    /// A config names no operating system or no architecture.
    pub const PLATFORM_MISSING: &str = "platform-missing";
    /// A config has more or fewer diff IDs than its manifest has layers.
    pub const DIFF_ID_COUNT: &str = "diff-id-count";
    /// A layer, decompressed, has not the diff ID that the config says.
    pub const DIFF_ID_MISMATCH: &str = "diff-id-mismatch";
    /// The layers of an image cannot be unpacked on top of each other: an archive is cut off or contradicts itself, a hard
    /// link leads nowhere, a layer is of a type that is not known. Found by [`ops::validate`](crate::ops::validate).
    pub const NOT_UNPACKABLE: &str = "not-unpackable";
    /// A config's history tells of more or fewer layers than there are.
    pub const HISTORY_COUNT: &str = "history-count";
}

/// What was found, and the images of which nothing was: their places and their manifests.
type Validated = (Vec<Finding>, Vec<(String, Manifest)>);

impl Layout {
    /// Validates everything that `index.json` leads to and every blob that is stored; with a name, only what that leads
    /// to. Returns the findings in the order in which they were met; none means valid.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when the name does not exist; when the layout cannot be locked. What is wrong with the layout is a finding, not an error.
    pub fn validate(&self, name: Option<&Name>, progress: &dyn Progress) -> Result<Vec<Finding>> {
        Ok(self.validate_images(name, progress)?.0)
    }

    /// Validates as [`Layout::validate`] does, and returns beside the findings the images of which there are none: their
    /// places and their manifests, each once.
    pub(crate) fn validate_images(
        &self,
        name: Option<&Name>,
        progress: &dyn Progress,
    ) -> Result<Validated> {
        let _lease = self.read_lease()?;
        let mut validator = Validator {
            layout: self,
            progress,
            walk: Walk::new(self.limits()),
            findings: Vec::new(),
            seen: HashSet::new(),
            blobs: HashMap::new(),
            layers: HashMap::new(),
            sound: Vec::new(),
        };
        validator.layout_file();
        if let Some(entries) = validator.index_file(name)? {
            validator.push(None, entries);
            while let Some(place) = validator.walk.next() {
                validator.document(place);
            }
            if name.is_none() {
                validator.unreferenced_blobs();
            }
        }
        Ok((validator.findings, validator.sound))
    }
}

struct Validator<'a> {
    layout: &'a Layout,
    progress: &'a dyn Progress,
    walk: Walk<'a>,
    findings: Vec<Finding>,
    /// Documents that have been looked at, as what type.
    seen: HashSet<(Digest, String)>,
    /// Blobs that have been read: whether each has its digest.
    blobs: HashMap<Digest, bool>,
    /// Layers that have been decompressed, with the digest of the result.
    layers: HashMap<(Digest, LayerCompression, oci_cas::Algorithm), Option<Digest>>,
    /// Images without findings, with their places.
    sound: Vec<(String, Manifest)>,
}

impl Validator<'_> {
    fn find(&mut self, place: impl Into<String>, code: &'static str, message: impl Into<String>) {
        self.findings.push(Finding {
            place: place.into(),
            code,
            message: message.into(),
        });
    }

    /// Says that a document could not be read or understood.
    fn find_error(&mut self, place: &str, error: &Error) {
        let code = match error.kind() {
            ErrorKind::LimitExceeded => code::LIMIT_EXCEEDED,
            _ => code::MALFORMED_DOCUMENT,
        };
        self.find(place, code, error.chain());
    }

    fn push(&mut self, above: Option<Place>, descriptors: Vec<Descriptor>) {
        if let Err(error) = self.walk.push(above, descriptors) {
            let place = above.map_or_else(|| INDEX_FILE.to_owned(), |above| self.name(above));
            self.find(place, code::LIMIT_EXCEEDED, error.chain());
        }
    }

    fn name(&self, place: Place) -> String {
        let path = self.walk.path(place);
        let top = path
            .first()
            .and_then(|entry| entry.annotation(REF_NAME))
            .unwrap_or(INDEX_FILE);
        let steps = path.iter().map(|step| step.digest().to_string());
        std::iter::once(top.to_owned())
            .chain(steps)
            .collect::<Vec<_>>()
            .join(" > ")
    }

    fn layout_file(&mut self) {
        let checked = match &self.layout.backing {
            super::Backing::Directory(store) => super::check(store, self.layout.limits()),
            super::Backing::Elsewhere { .. } => Ok(()),
        };
        if let Err(error) = checked {
            self.find(super::LAYOUT_FILE, code::MALFORMED_LAYOUT, error.chain());
        }
    }

    /// Looks at `index.json` itself and returns the well-formed entries that are meant; none when the file cannot be read at
    /// all.
    fn index_file(&mut self, name: Option<&Name>) -> Result<Option<Vec<Descriptor>>> {
        let index = match self.layout.read_index() {
            Ok(index) => index,
            Err(error) => {
                self.find(INDEX_FILE, code::MALFORMED_LAYOUT, error.chain());
                return Ok(None);
            }
        };
        // Reading fills these members in.
        for message in schema_faults(index.members(), INDEX, "manifests") {
            self.find(INDEX_FILE, code::MALFORMED_LAYOUT, message);
        }
        let meant = match name {
            None => None,
            Some(Name::Digest(digest)) => {
                let targets = self.layout.targets(&index, &Name::Digest(digest.clone()))?;
                let mut steps = targets.into_iter().flat_map(|target| target.0);
                let meant = steps.find(|step| step.digest() == digest);
                return Ok(Some(meant.into_iter().collect()));
            }
            Some(name) => Some(self.layout.meant(&index, name)?),
        };
        let mut entries = Vec::new();
        for (number, entry) in index.entries().iter().enumerate() {
            if meant.is_some_and(|meant| !meant.contains(ref_name(entry))) {
                continue;
            }
            match Descriptor::from_value(entry) {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    self.find(
                        format!("{INDEX_FILE} > manifests[{number}]"),
                        code::MALFORMED_DESCRIPTOR,
                        error.chain(),
                    );
                }
            }
        }
        self.duplicate_tags(&entries);
        Ok(Some(entries))
    }

    fn duplicate_tags(&mut self, entries: &[Descriptor]) {
        let mut named: HashMap<_, &Digest> = HashMap::new();
        for entry in entries {
            let Some(name) = entry.annotation(REF_NAME) else {
                continue;
            };
            let first = *named
                .entry((name, entry.platform()))
                .or_insert(entry.digest());
            if first != entry.digest() {
                let message = format!("the tag names both {first} and {}", entry.digest());
                self.find(name, code::DUPLICATE_TAG, message);
            }
        }
    }

    fn document(&mut self, place: Place) {
        let descriptor = self.walk.descriptor(place).clone();
        let name = self.name(place);
        self.descriptor_schema(&name, &descriptor);
        let kind = descriptor.kind();
        let leads_on = matches!(
            kind,
            MediaKind::Index | MediaKind::Manifest | MediaKind::Descriptor
        );
        let seen = (
            descriptor.digest().clone(),
            descriptor.media_type().to_owned(),
        );
        if leads_on && !self.seen.insert(seen) {
            self.check_presence(&name, &descriptor);
            return;
        }
        match kind {
            MediaKind::Index => self.index(place, &name, &descriptor),
            MediaKind::Manifest => self.manifest(place, &name, &descriptor),
            MediaKind::Descriptor => {
                let Some(bytes) = self.read_document(&name, &descriptor) else {
                    return;
                };
                match parse_json(&bytes).and_then(|value| Descriptor::from_value(&value)) {
                    Ok(inner) => self.push(Some(place), vec![inner]),
                    Err(error) => self.find_error(&name, &error),
                }
            }
            _ => self.verify_blob(&name, &descriptor),
        }
    }

    fn index(&mut self, place: Place, name: &str, descriptor: &Descriptor) {
        let Some(bytes) = self.read_document(name, descriptor) else {
            return;
        };
        match Index::parse(&bytes, descriptor.media_type()) {
            Ok(index) => {
                self.document_schema(name, index.raw(), descriptor.media_type(), "manifests");
                self.push(Some(place), index.manifests);
                self.subject(place, index.subject);
            }
            Err(error) => self.find_error(name, &error),
        }
    }

    fn manifest(&mut self, place: Place, name: &str, descriptor: &Descriptor) {
        let Some(bytes) = self.read_document(name, descriptor) else {
            return;
        };
        match Manifest::parse(&bytes, descriptor.media_type()) {
            Ok(manifest) => {
                self.document_schema(name, manifest.raw(), descriptor.media_type(), "layers");
                let before = self.findings.len();
                self.image(name, &manifest);
                self.subject(place, manifest.subject.clone());
                if self.findings.len() == before && manifest.config.kind() == MediaKind::Config {
                    self.sound.push((name.to_owned(), manifest));
                }
            }
            Err(error) => self.find_error(name, &error),
        }
    }

    /// A subject may be missing; when it is there, it must be in order.
    fn subject(&mut self, place: Place, subject: Option<Descriptor>) {
        let there =
            |subject: &Descriptor| !matches!(self.layout.store().stat(subject.digest()), Ok(None));
        if let Some(subject) = subject.filter(there) {
            self.push(Some(place), vec![subject]);
        }
    }

    fn document_schema(&mut self, name: &str, raw: &Value, media_type: &str, list: &str) {
        let faults = raw
            .as_object()
            .map(|raw| schema_faults(raw, media_type, list))
            .unwrap_or_default();
        for message in faults {
            self.find(name, code::MALFORMED_DOCUMENT, message);
        }
    }

    /// What a descriptor must be beyond what reading it checks.
    fn descriptor_schema(&mut self, name: &str, descriptor: &Descriptor) {
        if !is_media_type(descriptor.media_type()) {
            let message = format!(
                "{:?} is not a media type by RFC 6838",
                descriptor.media_type()
            );
            self.find(name, code::MALFORMED_DESCRIPTOR, message);
        }
        let platform = descriptor
            .raw()
            .get("platform")
            .filter(|platform| !platform.is_null());
        if platform.is_some() && descriptor.platform().is_none() {
            let message = "the platform lacks its operating system or its architecture";
            self.find(name, code::MALFORMED_DESCRIPTOR, message);
        }
    }
}

/// What a document must say of itself beyond what reading it checks.
fn schema_faults(raw: &Map<String, Value>, media_type: &str, list: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if raw.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
        faults.push("schemaVersion is not 2".to_owned());
    }
    if let Some(inside) = raw
        .get("mediaType")
        .filter(|inside| inside.as_str() != Some(media_type))
    {
        faults.push(format!("mediaType is {inside}, not {media_type:?}"));
    }
    if !raw.get(list).is_some_and(Value::is_array) {
        faults.push(format!("{list} is missing or no array"));
    }
    faults
}

/// RFC 6838, 4.2: two names joined by a slash, each of at most 127 of certain characters.
fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        name.len() <= 127
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    text.split_once('/')
        .is_some_and(|(top, sub)| is_name(top) && is_name(sub))
}

#[cfg(test)]
mod tests;
