//! Mark and sweep: removes the blobs that nothing in `index.json` leads to.
//!
//! Losing data is the one failure that cannot be repaired, so marking is generous:
//!
//! - Indexes, manifests (OCI's and Docker's) and descriptors in blobs are followed by their members.
//! - Any other reachable blob that turns out to be JSON is searched: objects that are descriptors are followed, strings
//!   that are digests are kept and searched in turn. That covers Docker's schema 1, artifact manifests, and what is not
//!   invented yet.
//! - What is listed and not there leads nowhere: layouts that list all platforms and have the blobs of one are common. It
//!   is told. So is an entry of `index.json` that is no descriptor, which is searched like a foreign blob.
//! - Where something that is there and must be understood cannot be (a damaged document, one beyond the limits), nothing
//!   is removed at all.
//! - What lies among the blobs and is none is told and left alone.

use std::collections::{BTreeSet, HashSet};

use oci_cas::{Digest, StoreExt};
use serde_json::Value;

use super::{INDEX_FILE, Layout};
use crate::image::{Descriptor, Index, Manifest, MediaKind, parse_json};
use crate::{Error, ErrorKind, Result, ResultExt};

/// What [`Layout::gc`] removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// The blobs, with their sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// Names of scratch entries that dead processes left.
    pub scratch: Vec<String>,
    /// Documents and configs that are listed and not in the layout, sorted: what they need is not known, and may have been
    /// removed. Layers and subjects that are missing are not among them.
    pub missing: Vec<Digest>,
    /// What was left alone because it is no blob, as paths relative to the layout, and entries of `index.json` that are no
    /// descriptors.
    pub foreign: Vec<String>,
}

impl Layout {
    /// Removes every blob that no entry of `index.json` leads to, and stale scratch entries. With `dry_run` it only
    /// tells.
    ///
    /// From marking to the end of sweeping nobody else can add blobs or names that refer to them; gc waits for those who
    /// are at it.
    ///
    /// # Errors
    ///
    /// When the index, or a document that it leads to, is damaged or beyond the limits; nothing has been removed then. When a blob cannot be removed, others may have been.
    pub fn gc(&self, dry_run: bool) -> Result<GcReport> {
        let mut report = GcReport::default();
        let mark = || {
            self.mark(&mut report)
                .context(|| "find what is in use (nothing was removed)")
        };
        let swept = self
            .directory()?
            .mark_and_sweep(dry_run, mark)
            .context(|| "remove unused blobs")?;
        report.blobs = swept.blobs;
        report.scratch = swept.scratch;
        report.foreign.extend(swept.foreign);
        Ok(report)
    }

    /// The live set: every digest that `index.json` leads to. What is odd is told in the report.
    fn mark(&self, report: &mut GcReport) -> Result<BTreeSet<Digest>> {
        let index = self.read_index()?;
        let mut mark = Mark {
            layout: self,
            live: BTreeSet::new(),
            seen: HashSet::new(),
            pending: Vec::new(),
            missing: BTreeSet::new(),
        };
        for (place, entry) in index.entries().iter().enumerate() {
            if let Ok(entry) = Descriptor::from_value(entry) {
                mark.push(Item::Descriptor(Box::new(entry), Role::Document), 0)?;
            } else {
                let foreign = format!("{INDEX_FILE}: entry {place} is not a descriptor");
                report.foreign.push(foreign);
                mark.search(entry, 0)?;
            }
        }
        for member in index.members().values() {
            mark.search(member, 0)?;
        }
        while let Some((item, depth)) = mark.pending.pop() {
            match item {
                Item::Descriptor(descriptor, role) => mark.follow(&descriptor, role, depth)?,
                Item::Digest(digest) => mark.search_blob(&digest, depth)?,
            }
        }
        report.missing = mark.missing.into_iter().collect();
        Ok(mark.live)
    }
}

/// What the place of a descriptor says about the blob.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    /// It leads further: an entry of an index.
    Document,
    /// It is what others lead to: a layer, or something found by searching.
    Content,
    /// It may be missing.
    Subject,
}

enum Item {
    Descriptor(Box<Descriptor>, Role),
    Digest(Digest),
}

/// How a blob is looked at. Each blob is looked at once in each way, whatever number of media types it is given.
#[derive(PartialEq, Eq, Hash)]
enum Look {
    Typed(String, Role),
    Search(Role),
    Digest,
}

struct Mark<'a> {
    layout: &'a Layout,
    live: BTreeSet<Digest>,
    seen: HashSet<(Digest, Look)>,
    pending: Vec<(Item, usize)>,
    /// Documents that are listed and not there.
    missing: BTreeSet<Digest>,
}

impl Mark<'_> {
    /// Keeps a blob, and remembers to look at it unless that has been done.
    fn push(&mut self, item: Item, depth: usize) -> Result<()> {
        let limits = self.layout.limits();
        let (digest, look) = match &item {
            Item::Digest(digest) => (digest, Look::Digest),
            Item::Descriptor(descriptor, role) => match descriptor.kind() {
                MediaKind::Other => (descriptor.digest(), Look::Search(*role)),
                _ => (
                    descriptor.digest(),
                    Look::Typed(descriptor.media_type().to_owned(), *role),
                ),
            },
        };
        if depth > limits.index_depth {
            let message = format!(
                "documents are nested deeper than the limit of {}",
                limits.index_depth
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        self.live.insert(digest.clone());
        if self.seen.insert((digest.clone(), look)) {
            if self.seen.len() > limits.descriptor_count {
                let message = format!(
                    "more descriptors than the limit of {}",
                    limits.descriptor_count
                );
                return Err(Error::new(ErrorKind::LimitExceeded, message));
            }
            self.pending.push((item, depth));
        }
        Ok(())
    }

    fn push_all(&mut self, descriptors: Vec<Descriptor>, role: Role, depth: usize) -> Result<()> {
        descriptors.into_iter().try_for_each(|descriptor| {
            self.push(Item::Descriptor(Box::new(descriptor), role), depth)
        })
    }

    fn follow(&mut self, descriptor: &Descriptor, role: Role, depth: usize) -> Result<()> {
        if matches!(descriptor.kind(), MediaKind::Layer(_) | MediaKind::Empty) {
            return Ok(());
        }
        if !self.exists(descriptor)? {
            let is_known = role == Role::Document || descriptor.kind() == MediaKind::Config;
            if is_known && role != Role::Subject {
                self.missing.insert(descriptor.digest().clone());
            }
            return Ok(());
        }
        match descriptor.kind() {
            MediaKind::Layer(_) | MediaKind::Empty | MediaKind::Config => Ok(()),
            MediaKind::Index => {
                let bytes = self.layout.read_document(descriptor)?;
                let index = Index::parse(&bytes, descriptor.media_type())
                    .context(|| format!("parse index {}", descriptor.digest()))?;
                self.push_all(index.manifests, Role::Document, depth + 1)?;
                self.push_all(
                    index.subject.into_iter().collect(),
                    Role::Subject,
                    depth + 1,
                )
            }
            MediaKind::Manifest => {
                let Manifest {
                    config,
                    mut layers,
                    subject,
                    ..
                } = self.layout.manifest(descriptor)?;
                layers.push(config);
                self.push_all(layers, Role::Content, depth + 1)?;
                self.push_all(subject.into_iter().collect(), Role::Subject, depth + 1)
            }
            MediaKind::Descriptor => {
                let inner = self.layout.list(descriptor)?;
                self.push_all(inner, Role::Document, depth + 1)
            }
            MediaKind::Other => self.search_foreign(descriptor, role, depth),
        }
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(descriptor.data().is_some() || self.size(descriptor.digest())?.is_some())
    }

    /// The size of a blob in bytes, if there is one: what lies in its place and is no file is none.
    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        match self.layout.store().stat(digest) {
            Err(error) if error.kind() == oci_cas::ErrorKind::Invalid => Ok(None),
            other => other.context(|| format!("look for blob {digest}")),
        }
    }

    /// Searches a blob of a type that is not known. It must be readable when its place and type say that it leads
    /// further; else it may be anything.
    fn search_foreign(&mut self, descriptor: &Descriptor, role: Role, depth: usize) -> Result<()> {
        let value = self
            .layout
            .read_document(descriptor)
            .and_then(|bytes| parse_json(&bytes));
        match value {
            Ok(value) => self.search(&value, depth + 1),
            Err(_) if role == Role::Content || !is_json(descriptor.media_type()) => Ok(()),
            Err(error) => {
                let (digest, media_type) = (descriptor.digest(), descriptor.media_type());
                Err(error.context(format!(
                    "search blob {digest} of the unknown type {media_type:?}"
                )))
            }
        }
    }

    /// Searches a blob of which only the digest is known.
    fn search_blob(&mut self, digest: &Digest, depth: usize) -> Result<()> {
        let store = self.layout.store();
        let size = self.size(digest)?;
        let Some(size) = size.filter(|size| *size <= self.layout.limits().document_size) else {
            return Ok(());
        };
        let bytes = store
            .read_verified(digest, size)
            .context(|| format!("read blob {digest}"))?;
        match parse_json(&bytes) {
            Ok(value) => self.search(&value, depth + 1),
            Err(_) => Ok(()),
        }
    }

    /// Keeps whatever a JSON value names. The parser has limited its depth.
    fn search(&mut self, value: &Value, depth: usize) -> Result<()> {
        match value {
            Value::String(text) => match text.parse() {
                Ok(digest) => self.push(Item::Digest(digest), depth),
                Err(_) => Ok(()),
            },
            Value::Array(values) => values
                .iter()
                .try_for_each(|value| self.search(value, depth)),
            Value::Object(members) => {
                let descriptor = Descriptor::from_value(value).ok();
                let is_descriptor = descriptor.is_some();
                self.push_all(descriptor.into_iter().collect(), Role::Content, depth)?;
                members
                    .iter()
                    .filter(|(key, _)| !is_descriptor || *key != "digest")
                    .try_for_each(|(_, value)| self.search(value, depth))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a media type promises JSON (Docker's signed schema 1 is JSON by another name).
fn is_json(media_type: &str) -> bool {
    media_type.ends_with("json") || media_type.ends_with("+prettyjws")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::super::test_layout::TestLayout;
    use super::*;
    use crate::image::{CONFIG, LAYER, MANIFEST};

    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
    const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";

    /// Collects garbage and says which of `blobs` are still there.
    fn survivors(layout: &TestLayout, blobs: &[&Descriptor]) -> Vec<bool> {
        layout.open().gc(false).unwrap();
        blobs
            .iter()
            .map(|blob| layout.blob_path(blob).exists())
            .collect()
    }

    #[test]
    fn what_is_named_stays_and_the_rest_goes() {
        let layout = TestLayout::new();
        let kept = layout.index(&[layout.image("a", "linux/amd64").to_value()]);
        let lost = layout.image("b", "linux/amd64");
        layout.set_index(&[layout.tagged(&kept, "a")]);
        let planned = layout.open().gc(true).unwrap();
        assert!(
            layout.blob_path(&lost).exists(),
            "a dry run removes nothing"
        );
        let done = layout.open().gc(false).unwrap();
        assert_eq!((planned, done.blobs.len()), (done.clone(), 3));
        assert!(
            layout
                .leased()
                .resolve(super::super::test_layout::tag("a"), None)
                .is_ok()
        );
        assert_eq!(layout.open().gc(false).unwrap(), GcReport::default());
        assert!(
            layout
                .open()
                .validate(None, &crate::progress::Silent)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn an_empty_layout_is_fine() {
        assert_eq!(
            TestLayout::new().open().gc(false).unwrap(),
            GcReport::default()
        );
    }

    #[test]
    fn docker_images_are_understood() {
        let layout = TestLayout::new();
        let layer = layout.blob(
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            b"layer",
        );
        let config = layout.document("application/vnd.docker.container.image.v1+json", &json!({}));
        let manifest = json!({"schemaVersion": 2, "mediaType": DOCKER, "config": config.to_value(), "layers": [layer.to_value()]});
        let manifest = layout.document(DOCKER, &manifest);
        let list = "application/vnd.docker.distribution.manifest.list.v2+json";
        let list = layout.document(
            list,
            &json!({"schemaVersion": 2, "mediaType": list, "manifests": [manifest.to_value()]}),
        );
        layout.set_index(&[list.to_value()]);
        assert_eq!(
            survivors(&layout, &[&layer, &config, &manifest, &list]),
            [true; 4]
        );
    }

    #[test]
    fn blobs_of_artifacts_and_of_dockers_first_schema_are_kept() {
        let layout = TestLayout::new();
        let blob = layout.blob("a/b", b"sbom");
        let artifact = layout.document(
            ARTIFACT,
            &json!({"mediaType": ARTIFACT, "blobs": [blob.to_value()]}),
        );
        let layer = layout.blob("x/y", b"layer");
        let deep = layout.document("x/y", &json!({"see": [layer.digest().to_string()]}));
        let schema1 = layout.document(
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            &json!({"schemaVersion": 1, "fsLayers": [{"blobSum": deep.digest().to_string()}]}),
        );
        let lost = layout.blob("x/y", b"lost");
        layout.set_index(&[artifact.to_value(), schema1.to_value()]);
        let found = survivors(&layout, &[&blob, &artifact, &deep, &layer, &schema1, &lost]);
        assert_eq!(found, [true, true, true, true, true, false]);
    }

    #[test]
    fn subjects_and_descriptors_in_blobs_are_followed() {
        let layout = TestLayout::new();
        let (image, other) = (
            layout.image("a", "linux/amd64"),
            layout.image("b", "linux/amd64"),
        );
        let config = layout.document(crate::image::EMPTY, &json!({}));
        let about = json!({"schemaVersion": 2, "config": config.to_value(), "layers": [], "subject": image.to_value()});
        let about = layout.document(MANIFEST, &about);
        let pointer = layout.document(crate::image::DESCRIPTOR, &other.to_value());
        layout.set_index(&[about.to_value(), pointer.to_value()]);
        assert_eq!(
            survivors(&layout, &[&image, &other, &config, &about, &pointer]),
            [true; 5]
        );
        fs::remove_file(layout.blob_path(&image)).unwrap();
        assert!(layout.open().gc(false).is_ok(), "a subject may be missing");
    }

    #[test]
    fn what_the_index_names_beside_its_entries_is_kept() {
        let layout = TestLayout::new();
        let image = layout.image("a", "linux/amd64");
        let index =
            json!({"schemaVersion": 2, "manifests": [], "future": {"x": [image.to_value()]}});
        fs::write(layout.path().join("index.json"), index.to_string()).unwrap();
        assert_eq!(layout.open().gc(false).unwrap().blobs, []);
    }

    #[test]
    fn what_is_listed_and_missing_is_told_and_the_rest_is_done() {
        let layout = TestLayout::new();
        let layer = layout.blob(LAYER, b"layer");
        let config = layout.config("linux/amd64", &[layer.digest().clone()]);
        let manifest = layout.manifest(&config, std::slice::from_ref(&layer));
        let other = layout.image("other", "linux/arm64");
        let index = layout.index(&[manifest.to_value(), other.to_value()]);
        layout.set_index(&[layout.tagged(&index, "a")]);
        fs::remove_file(layout.blob_path(&other)).unwrap();
        let garbage = layout.blob("a/b", b"garbage");
        let report = layout.open().gc(false).unwrap();
        assert_eq!(report.missing, std::slice::from_ref(other.digest()));
        assert!(!layout.blob_path(&garbage).exists());
        // A layer may be missing without a word; a config not.
        fs::remove_file(layout.blob_path(&layer)).unwrap();
        fs::remove_file(layout.blob_path(&config)).unwrap();
        let report = layout.open().gc(false).unwrap();
        let mut expected = vec![other.digest().clone(), config.digest().clone()];
        expected.sort();
        assert_eq!(report.missing, expected);
        assert_eq!(survivors(&layout, &[&manifest, &index]), [true; 2]);
    }

    #[test]
    fn what_is_not_understood_is_told_and_kept() {
        let layout = TestLayout::new();
        let image = layout.image("a", "linux/amd64");
        let layers = layout.open().manifest(&image).unwrap().layers;
        // Without a size it is no descriptor, but what it names is what it names.
        let odd = json!({"digest": image.digest().to_string(), "x": {"y": 1}});
        layout.set_index(&[odd, json!({"digest": "crc32:0"})]);
        let blobs = layout.path().join("blobs");
        fs::write(blobs.join("sha256/.DS_Store"), b"x").unwrap();
        fs::create_dir(blobs.join("blake3")).unwrap();
        let report = layout.open().gc(false).unwrap();
        assert_eq!(
            report.foreign,
            [
                "index.json: entry 0 is not a descriptor",
                "index.json: entry 1 is not a descriptor",
                "blobs/blake3",
                "blobs/sha256/.DS_Store"
            ]
        );
        assert!(report.blobs.is_empty());
        assert!(blobs.join("sha256/.DS_Store").exists());
        assert_eq!(survivors(&layout, &[&image, &layers[0]]), [true; 2]);
    }

    #[test]
    fn a_foreign_document_that_cannot_be_read_stops_everything() {
        let layout = TestLayout::new();
        let garbage = layout.blob("a/b", b"garbage");
        let broken = layout.blob("application/vnd.future.manifest+json", b"{broken");
        let huge = layout.blob("application/vnd.future.manifest+json", &vec![b' '; 5 << 20]);
        for refused in [broken.to_value(), huge.to_value()] {
            layout.set_index(&[refused]);
            assert!(layout.open().gc(false).is_err());
            assert!(layout.blob_path(&garbage).exists());
        }
        let text = layout.blob("application/xml", b"<xml/>");
        layout.set_index(&[text.to_value()]);
        assert_eq!(survivors(&layout, &[&text, &garbage]), [true, false]);
    }

    #[test]
    fn a_large_text_among_the_layers_of_an_artifact_is_content() {
        let layout = TestLayout::new();
        let sbom = layout.blob("application/spdx+json", &vec![b' '; 5 << 20]);
        let config = layout.document(CONFIG, &json!({}));
        let manifest = layout.manifest(&config, std::slice::from_ref(&sbom));
        layout.set_index(&[manifest.to_value()]);
        assert_eq!(survivors(&layout, &[&sbom, &config, &manifest]), [true; 3]);
    }
}
