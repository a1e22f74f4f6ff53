//! Edits of one image.
//!
//! ```text
//! lease -> resolve -> Mutator::new (documents in memory) -> edits, layers stored as blobs -> commit (index lock)
//! ```
//!
//! - **The result is an OCI image.** Documents of Docker's types get OCI's types, which have the same members.
//! - **An attestation goes with what it describes.** In an index, `BuildKit` puts a statement of provenance beside an image,
//!   with the digest of its manifest. When that is replaced, the statement is no more one of what is there: it is taken out.
//! - **The JSON is edited.** What this program does not know stays where it is. A document in which everything is known
//!   comes out as Go's encoder would write it, byte for byte as umoci's (`image::canonical`).
//! - **Nothing is visible before commit.** Blobs that were stored until then are garbage if it does not come to that.
//! - **A tag keeps leading where it led.** The manifest may lie in indexes: they are rewritten up to the entry of
//!   `index.json`, everything beside the changed child as it was, and that entry takes the tag, in place of the entries
//!   that had it, at the end of the list. Entries by which the tag names images for other platforms stay.
//! - **Nothing is written that would be refused when it is read.** The documents are checked before they are stored.
//!
//! Who edits what a tag means *now* uses [`LeasedLayout::edit`], which resolves, edits and commits under one lock, so that of
//! two edits at the same time none is lost. Layers are stored before ([`Layout::store_layer`](super::Layout::store_layer)), because that takes long.

use std::collections::BTreeMap;
use std::io::Write;

use oci_cas::{Algorithm, StoreExt};
use serde_json::{Map, Value};

use super::index::{IndexFile, drop_attestations};
use super::{DescriptorPath, LeasedLayout};
use crate::archive::EncoderOptions;
use crate::image::{
    CONFIG, ConfigEdit, Descriptor, DiffId, Document, INDEX, ImageConfig, Index, MANIFEST,
    Manifest, MediaKind, Name, Platform, REF_NAME, Tag, follow_platform, layers_mut, object_mut,
    oci_type, parse_json, remove_annotation, repoint, set_annotations, to_go_json,
};
use crate::progress::Progress;
use crate::{Error, ErrorKind, Result, ResultExt};

/// A history entry to be appended. Members that are `None` or empty are left out of the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewHistory {
    /// When, RFC 3339, written as it is.
    pub created: Option<String>,
    /// The command.
    pub created_by: String,
    /// Who.
    pub author: String,
    /// Free text.
    pub comment: String,
    /// Whether the step made no layer.
    pub empty_layer: bool,
}

impl NewHistory {
    fn into_value(self) -> Value {
        let mut entry = Map::new();
        if let Some(created) = self.created {
            entry.insert("created".to_owned(), created.into());
        }
        let texts = [
            ("created_by", self.created_by),
            ("author", self.author),
            ("comment", self.comment),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            entry.insert(name.to_owned(), text.into());
        }
        if self.empty_layer {
            entry.insert("empty_layer".to_owned(), true.into());
        }
        Value::Object(entry)
    }
}

/// What an edit has made.
#[derive(Clone, Debug, PartialEq)]
pub struct Edited {
    /// The way to the new manifest, as resolving its name would give it.
    pub path: DescriptorPath,
    /// Whether documents had Docker's types before.
    pub was_docker: bool,
    /// How many attestations described the image as it was, and were taken out.
    pub attestations: usize,
}

impl Edited {
    /// The manifest's descriptor.
    pub fn target(&self) -> &Descriptor {
        self.path.target()
    }

    /// Says what users would not expect.
    pub fn tell(&self, progress: &dyn Progress) {
        if self.was_docker {
            progress.warn(format_args!(
                "the image had Docker's media types: the result is an OCI image"
            ));
        }
        if self.attestations > 0 {
            progress.warn(format_args!(
                "{} attestations (provenance, bills of materials) describe the image as it was: they are not listed beside the new one",
                self.attestations
            ));
        }
        if self.path.root().annotation(REF_NAME).is_none() {
            progress.warn(format_args!(
                "the image has no tag; its digest is {} now",
                self.target().digest()
            ));
        }
    }
}

/// One image under edit. Nothing is visible before [`commit`](Self::commit); dropped without it, the image is as it was.
///
/// ```
/// use oci_bundle::image::Tag;
/// use oci_bundle::layout::{Layout, Mutator, NewHistory};
///
/// # let scratch = tempfile::tempdir()?;
/// # let path = scratch.path().join("layout");
/// let layout = Layout::create(&path)?.lease()?;
/// let tag = Tag::new("latest")?;
/// layout.new_image(&tag, "2024-01-01T00:00:00Z")?;
///
/// let image = layout.resolve(&tag, None)?;
/// let mut mutator = Mutator::new(&layout, &image)?;
/// mutator.config_mut()["author"] = "A U Thor".into();
/// mutator.add_history(NewHistory {
///     created_by: "signed".to_owned(),
///     empty_layer: true,
///     ..NewHistory::default()
/// })?;
/// let edited = mutator.commit(&Tag::new("signed")?)?;
///
/// let manifest = layout.manifest(edited.target())?;
/// assert_eq!(layout.image_config(&manifest)?.author(), "A U Thor");
/// assert_eq!(layout.tags()?, ["latest", "signed"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Mutator<'l> {
    layout: &'l LeasedLayout,
    path: DescriptorPath,
    manifest: Value,
    config: Value,
    /// The config as it was read.
    original: Value,
    entry_annotations: BTreeMap<String, String>,
    /// Whether the entry loses the annotations that it had.
    entry_cleared: bool,
    was_docker: bool,
    /// The annotations that the entry loses.
    entry_removed: Vec<String>,
}

impl<'l> Mutator<'l> {
    /// Begins with the image at the end of a descriptor path, OCI's or Docker's.
    ///
    /// A history that tells of more or fewer layers than the image has is completed, so that what is appended to it is not
    /// taken for the entry of another layer. An image without one has none until an entry is added.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for what is no image (an artifact), otherwise as
    /// [`Layout::manifest`](super::Layout::manifest) and [`Layout::image_config`](super::Layout::image_config).
    pub fn new(layout: &'l LeasedLayout, path: &DescriptorPath) -> Result<Self> {
        let target = path.target();
        let manifest = layout.manifest(target)?;
        let config = layout.image_config(&manifest)?;
        let mut raw = manifest.raw().clone();
        let was_docker = to_oci(&mut raw, target)?;
        let mut edited = config.raw().clone();
        ConfigEdit::new(&mut edited)?.settle_history(manifest.layers.len())?;
        Ok(Self {
            layout,
            path: path.clone(),
            manifest: raw,
            config: edited,
            original: config.raw().clone(),
            entry_annotations: BTreeMap::new(),
            entry_cleared: false,
            was_docker,
            entry_removed: Vec::new(),
        })
    }

    /// The config document as it is by now.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The config document, to be edited.
    pub fn config_mut(&mut self) -> &mut Value {
        &mut self.config
    }

    /// The manifest document as it is by now; its `config` is replaced by [`commit`](Self::commit).
    pub fn manifest(&self) -> &Value {
        &self.manifest
    }

    /// The manifest document, to be edited.
    pub fn manifest_mut(&mut self) -> &mut Value {
        &mut self.manifest
    }

    /// The entry of `index.json` that led to the image, as it was.
    pub fn entry(&self) -> &Descriptor {
        self.path.root()
    }

    /// The image's author as the config has it by now, or `""`.
    pub fn author(&self) -> &str {
        self.config
            .get("author")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Sets annotations of the entry of `index.json`.
    pub fn annotate_entry(&mut self, annotations: &BTreeMap<String, String>) {
        self.entry_annotations.extend(annotations.clone());
    }

    /// Takes all annotations off the entry of `index.json` but the tag, also those that were set here.
    pub fn clear_entry_annotations(&mut self) {
        self.entry_annotations.clear();
        self.entry_cleared = true;
    }

    /// Takes one annotation off the entry of `index.json`, also one that was set here.
    pub fn clear_entry_annotation(&mut self, key: &str) {
        self.entry_annotations.remove(key);
        self.entry_removed.push(key.to_owned());
    }

    /// Takes one annotation off the top layer. An image without layers stays as it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] when the document is malformed.
    pub fn clear_top_layer_annotation(&mut self, key: &str) -> Result<()> {
        if let Some(top) = layers_mut(&mut self.manifest)?.last_mut() {
            remove_annotation(Document::Descriptor, object_mut(top)?, key);
        }
        Ok(())
    }

    /// Takes all annotations off the top layer. An image without layers stays as it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] when the document is malformed.
    pub fn clear_top_layer_annotations(&mut self) -> Result<()> {
        if let Some(top) = layers_mut(&mut self.manifest)?.last_mut() {
            Document::Descriptor.set(object_mut(top)?, "annotations", Value::Null);
        }
        Ok(())
    }

    /// Sets annotations of the top layer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when there is no layer, [`ErrorKind::InvalidData`] when the document is malformed.
    pub fn annotate_top_layer(&mut self, annotations: &BTreeMap<String, String>) -> Result<()> {
        let top = layers_mut(&mut self.manifest)?.last_mut();
        let top = top.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "the image has no layer to annotate",
            )
        })?;
        set_annotations(Document::Descriptor, object_mut(top)?, annotations)
    }

    /// Appends a history entry; one that is not of an empty layer is that of the top layer. Layers that have no entry get one
    /// before it, so that the history covers all layers or none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] when the document has been made malformed.
    pub fn add_history(&mut self, history: NewHistory) -> Result<()> {
        let layer_count = layers_mut(&mut self.manifest)?.len();
        ConfigEdit::new(&mut self.config)?.push_history(history.into_value(), layer_count)
    }

    /// The layers with their diff IDs, bottom first, as they are by now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] when the numbers of layers and of diff IDs differ, or a document has been made
    /// malformed.
    pub fn layers(&self) -> Result<Vec<(Descriptor, DiffId)>> {
        let manifest = Manifest::parse(&to_go_json(&self.manifest), MANIFEST)?;
        let config = ImageConfig::parse(&to_go_json(&self.config))?;
        pair(manifest.layers, config.diff_ids())
    }

    /// Appends a layer: `produce` writes its uncompressed tar stream to the writer that it is given. The stream is hashed,
    /// compressed and stored in one pass, and never held as a whole.
    ///
    /// The descriptor gets `annotations`, and the size of the stream in bytes as `ci.umo.uncompressed_blob_size` where it
    /// differs from the blob's. `history` describes the layer; without it the image's history no longer covers all layers.
    ///
    /// # Errors
    ///
    /// Those of `produce`, [`Layout::store_layer`](super::Layout::store_layer) and [`push_layer`](Self::push_layer). The image under edit is then as
    /// it was.
    pub fn add_layer(
        &mut self,
        options: EncoderOptions,
        annotations: &BTreeMap<String, String>,
        history: Option<NewHistory>,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
    ) -> Result<(Descriptor, DiffId)> {
        // What cannot be extended is found out before the work.
        self.layers()?;
        let (descriptor, diff_id) = self.layout.store_layer(options, annotations, produce)?;
        self.push_layer(&descriptor, &diff_id, history)?;
        Ok((descriptor, diff_id))
    }

    /// Appends a layer whose blob is stored.
    ///
    /// # Errors
    ///
    /// Those of [`layers`](Self::layers); a layer behind a gap would be taken for another one.
    pub fn push_layer(
        &mut self,
        descriptor: &Descriptor,
        diff_id: &DiffId,
        history: Option<NewHistory>,
    ) -> Result<()> {
        self.layers()?;
        layers_mut(&mut self.manifest)?.push(descriptor.to_value());
        ConfigEdit::new(&mut self.config)?
            .diff_ids()?
            .push(diff_id.to_string().into());
        match history {
            Some(history) => self.add_history(NewHistory {
                empty_layer: false,
                ..history
            }),
            None => Ok(()),
        }
    }

    /// Replaces all layers, bottom first. Their blobs must be stored. The history is left alone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] when a document has been made malformed.
    pub fn set_layers(&mut self, layers: Vec<(Descriptor, DiffId)>) -> Result<()> {
        let (descriptors, diff_ids): (Vec<_>, Vec<_>) = layers
            .into_iter()
            .map(|(descriptor, diff_id)| (descriptor.to_value(), Value::from(diff_id.to_string())))
            .unzip();
        *ConfigEdit::new(&mut self.config)?.diff_ids()? = diff_ids;
        *layers_mut(&mut self.manifest)? = descriptors;
        Ok(())
    }

    /// Stores a layer's blob without adding it to the image; see [`Layout::store_layer`](super::Layout::store_layer).
    ///
    /// # Errors
    ///
    /// Those of [`Layout::store_layer`](super::Layout::store_layer).
    pub fn store_layer(
        &mut self,
        options: EncoderOptions,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
    ) -> Result<(Descriptor, DiffId)> {
        self.layout.store_layer(options, &BTreeMap::new(), produce)
    }

    /// Stores the config, the manifest and the indexes above it, and makes `tag` lead there, in place of what had the
    /// name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] or [`ErrorKind::LimitExceeded`] when a document could not be read again, otherwise
    /// those of writing. The index is then as it was.
    pub fn commit(self, tag: &Tag) -> Result<Edited> {
        let layout = self.layout;
        layout
            .update_index(|index| self.commit_to(index, Some(tag)))
            .context(|| format!("write image {tag}"))
    }

    /// Without a tag, the result is put in place of the image, under its name if it has one.
    fn commit_to(mut self, index: &mut IndexFile, tag: Option<&Tag>) -> Result<Edited> {
        let config = self.store_config()?;
        object_mut(&mut self.manifest)?.insert("config".to_owned(), config.to_value());
        Document::Manifest.canonicalize(&mut self.manifest);
        let bytes = to_go_json(&self.manifest);
        let manifest = Manifest::parse(&bytes, MANIFEST).context(|| "check the new manifest")?;
        let (count, limit) = (manifest.layers.len(), self.layout.limits().layer_count);
        if count > limit {
            let message = format!("{count} layers, where the limit is {limit}");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let mut leaf = self.store(self.path.target(), &bytes)?.raw().clone();
        leaf.insert("mediaType".to_owned(), MANIFEST.into());
        follow_platform(&mut leaf, &self.original, &self.config);
        let mut path = vec![Descriptor::from_value(&Value::Object(leaf))?];
        let mut attestations = 0;
        for pair in self.path.0.windows(2).rev() {
            let [parent, old] = pair else { continue };
            let (parent, dropped) = self.store_parent(parent, old, &path[path.len() - 1])?;
            attestations += dropped;
            path.push(parent);
        }
        path.reverse();
        let mut root = path[0].raw().clone();
        if self.entry_cleared {
            Document::Descriptor.set(&mut root, "annotations", Value::Null);
        }
        for key in &self.entry_removed {
            remove_annotation(Document::Descriptor, &mut root, key);
        }
        set_annotations(Document::Descriptor, &mut root, &self.entry_annotations)?;
        let root = Descriptor::from_value(&Value::Object(root))?;
        path[0] = match tag {
            Some(tag) => root.with_ref_name(tag),
            None => root.with_name_of(self.path.root()),
        };
        index.replace(tag, self.path.root(), path[0].raw().clone());
        attestations += index.drop_attestations(self.path.root().digest());
        Ok(Edited {
            path: DescriptorPath(path),
            was_docker: self.was_docker,
            attestations,
        })
    }

    /// Stores the config; its descriptor has nothing but the three required members.
    fn store_config(&mut self) -> Result<Descriptor> {
        ConfigEdit::new(&mut self.config)?.diff_ids()?;
        Document::Config.canonicalize(&mut self.config);
        let bytes = to_go_json(&self.config);
        ImageConfig::parse(&bytes).context(|| "check the new image config")?;
        let digest = self.put(&bytes)?;
        Ok(Descriptor::new(CONFIG, digest, bytes.len() as u64))
    }

    /// Stores the document that one descriptor of the path leads to, with the new child in place of the old. Says also how
    /// many attestations of the old were taken out.
    fn store_parent(
        &self,
        parent: &Descriptor,
        old: &Descriptor,
        new: &Descriptor,
    ) -> Result<(Descriptor, usize)> {
        let mut dropped = 0;
        let bytes = self.layout.read_document(parent)?;
        let mut document =
            parse_json(&bytes).context(|| format!("parse blob {}", parent.digest()))?;
        if parent.kind() == MediaKind::Descriptor {
            document = new.to_value();
        } else {
            let document = object_mut(&mut document)?;
            // A list of Docker's must not have manifests of OCI's; an index of OCI's may have both.
            if document.contains_key("mediaType") {
                document.insert("mediaType".to_owned(), INDEX.into());
            }
            if let Some(Value::Array(entries)) = document.get_mut("manifests") {
                let (digest, old) = (old.digest(), old.to_value());
                for entry in entries.iter_mut().filter(|entry| **entry == old) {
                    *entry = new.to_value();
                }
                let before = entries.len();
                if new.digest() != digest {
                    drop_attestations(entries, digest);
                }
                dropped = before - entries.len();
            }
        }
        if parent.kind() == MediaKind::Index {
            Document::Index.canonicalize(&mut document);
        }
        let bytes = to_go_json(&document);
        let mut stored = self.store(parent, &bytes)?;
        if parent.kind() == MediaKind::Index {
            Index::parse(&bytes, INDEX).context(|| "check the new index")?;
            let mut raw = stored.raw().clone();
            raw.insert("mediaType".to_owned(), INDEX.into());
            stored = Descriptor::from_value(&Value::Object(raw))?;
        }
        Ok((stored, dropped))
    }

    /// Stores a document in place of another, and returns the latter's descriptor for the former.
    fn store(&self, old: &Descriptor, bytes: &[u8]) -> Result<Descriptor> {
        repoint(old, &self.put(bytes)?, bytes)
    }

    fn put(&self, bytes: &[u8]) -> Result<oci_cas::Digest> {
        let (size, limit) = (bytes.len() as u64, self.layout.limits().document_size);
        if size > limit {
            let message = format!(
                "a document of {size} bytes would be larger than the limit of {limit} bytes"
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        self.layout
            .store()
            .put(Algorithm::Sha256, bytes)
            .context(|| format!("store a document in {}", self.layout.path.display()))
    }
}

impl LeasedLayout {
    /// Edits the image that `source` means and makes `target` lead to the result; without a target, the result takes the
    /// place of the image, under its name if it has one. From resolving to committing nobody else can change the layout's
    /// names, hence `edit` should be quick: layers are stored before.
    ///
    /// # Errors
    ///
    /// Those of [`resolve`](Self::resolve), [`Mutator::new`], `edit` and [`Mutator::commit`]. The index is then as it was.
    pub fn edit(
        &self,
        source: impl Into<Name>,
        platform: Option<&Platform>,
        target: Option<&Tag>,
        edit: impl FnOnce(&mut Mutator<'_>) -> Result<()>,
    ) -> Result<Edited> {
        let source = source.into();
        self.update_index(|index| {
            let path = self.resolve_in(index, &source, platform)?;
            let mut mutator = Mutator::new(self, &path)?;
            edit(&mut mutator)?;
            mutator.commit_to(index, target).context(|| match target {
                Some(tag) => format!("write image {tag}"),
                None => format!("write image {source}"),
            })
        })
    }
}

/// Puts layers and diff IDs together.
pub(super) fn pair(
    layers: Vec<Descriptor>,
    diff_ids: &[DiffId],
) -> Result<Vec<(Descriptor, DiffId)>> {
    let (found, wanted) = (diff_ids.len(), layers.len());
    if found != wanted {
        let message = format!(
            "the image has {wanted} layers, but its config names {found} diff IDs: it can't be told which belong together"
        );
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    Ok(layers.into_iter().zip(diff_ids.iter().cloned()).collect())
}

/// Gives a manifest and what it lists the types of OCI, where it has Docker's. Says whether it had.
fn to_oci(manifest: &mut Value, descriptor: &Descriptor) -> Result<bool> {
    let mut had = descriptor.media_type() != MANIFEST;
    let manifest = object_mut(manifest)?;
    if had {
        Document::Manifest.set(manifest, "mediaType", MANIFEST.into());
    }
    let convert = |part: &mut Value| {
        let theirs = part.get("mediaType").and_then(Value::as_str);
        match theirs.and_then(oci_type) {
            Some(ours) => {
                part["mediaType"] = ours.into();
                true
            }
            None => false,
        }
    };
    had |= manifest.get_mut("config").is_some_and(convert);
    let layers = manifest.get_mut("layers").and_then(Value::as_array_mut);
    for layer in layers.into_iter().flatten() {
        had |= convert(layer);
    }
    Ok(had)
}

#[cfg(test)]
mod tests;
