//! The verbs on names: list, tag, untag, and the new image.

use oci_cas::{Algorithm, Digest, StoreExt};

use super::Layout;
use super::index::IndexFile;
use super::resolve::is_sole;
use crate::image::{
    CONFIG, DEFAULT_TAG, Descriptor, MANIFEST, MediaKind, Name, Platform, Tag, empty_config,
    empty_manifest, ref_name,
};
use crate::{Error, ErrorKind, Result, ResultExt};

/// An entry of `index.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its name, which need not match the grammar of [`Tag`].
    pub tag: Option<String>,
    /// What it leads to; `None` for an entry that is no descriptor.
    pub descriptor: Option<Descriptor>,
}

impl Layout {
    /// The names, in the order of `index.json`, with repetitions. They need not match the grammar of [`Tag`].
    ///
    /// # Errors
    ///
    /// When `index.json` cannot be read.
    pub fn tags(&self) -> Result<Vec<String>> {
        Ok(self.read_index()?.names().map(str::to_owned).collect())
    }

    /// Gives a blob that is in the layout a name, in place of what had it.
    ///
    /// # Errors
    ///
    /// When the index cannot be read, locked or replaced; it is as before then.
    pub fn add(&self, tag: &Tag, descriptor: &Descriptor) -> Result<()> {
        let added = self.update_index(|index| {
            index.set(tag, descriptor.raw().clone());
            Ok(())
        });
        added.context(|| format!("add tag {tag}"))
    }

    /// The entries of `index.json`, in order, with and without a name, understood or not.
    ///
    /// # Errors
    ///
    /// When `index.json` cannot be read.
    pub fn listed(&self) -> Result<Vec<Listed>> {
        let index = self.read_index()?;
        let listed = index.entries().iter().map(|entry| Listed {
            tag: ref_name(entry).map(str::to_owned),
            descriptor: Descriptor::from_value(entry).ok(),
        });
        Ok(listed.collect())
    }

    /// Points `new` at what `source` points at, in place of what had the name.
    ///
    /// A manifest inside an index is lifted to the top level with its own platform and annotations; those of the entry
    /// that led to it stay behind. A `source` that is an index of several images is copied as that index, unless
    /// `platform` chooses one of them. (umoci refuses it.) What is no image can be tagged too.
    ///
    /// # Errors
    ///
    /// As [`LeasedLayout::resolve`](super::LeasedLayout::resolve); also [`crate::ErrorKind::Ambiguous`] when several entries carry the name `source` for
    /// different images and no platform is given. On failure the index is as before.
    pub fn tag(
        &self,
        source: impl Into<Name>,
        platform: Option<&Platform>,
        new: &Tag,
    ) -> Result<()> {
        let source = source.into();
        self.update_index(|index| {
            let entry = self.entry_to_copy(index, &source, platform)?;
            index.set(new, entry.raw().clone());
            Ok(())
        })
        .context(|| format!("tag {source} as {new}"))
    }

    fn entry_to_copy(
        &self,
        index: &IndexFile,
        source: &Name,
        platform: Option<&Platform>,
    ) -> Result<Descriptor> {
        if platform.is_some() {
            return Ok(self.resolve_in(index, source, platform)?.target().clone());
        }
        let mut targets = self.targets(index, source)?;
        if let Name::Digest(digest) = source {
            // An index is copied as that index, however many images it has.
            let steps = targets.iter().flat_map(|target| &target.0);
            let named = steps.into_iter().find(|step| step.digest() == digest);
            if let Some(named) = named.filter(|named| named.kind() == MediaKind::Index) {
                return Ok(named.clone());
            }
        }
        match targets.first() {
            Some(first) if !is_sole(&targets) => {
                let root = first.root().clone();
                if targets
                    .iter()
                    .any(|target| target.root().digest() != root.digest())
                {
                    return Err(self.ambiguous(source, &targets));
                }
                Ok(root)
            }
            Some(_) => Ok(targets.swap_remove(0).target().clone()),
            // An index without anything in it can be copied like any other.
            None => match self.entries(index, source)?.into_iter().next() {
                Some(entry) => Ok(entry),
                None => Ok(self.resolve_in(index, source, None)?.target().clone()),
            },
        }
    }

    /// Removes every entry of a tag, `latest` if none is said; of a digest, the entries that have it and no tag. The blobs
    /// stay until [`Layout::gc`]. A tag that is not there is fine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when no entry has the digest, [`ErrorKind::InvalidInput`] when only entries with a tag have
    /// it; when the index cannot be read, locked or replaced. It is as before then.
    pub fn untag(&self, name: impl Into<Name>) -> Result<()> {
        let name = name.into();
        let removed = self.update_index(|index| {
            let digest = match &name {
                Name::Tag(tag) => {
                    index.remove(tag);
                    return Ok(());
                }
                Name::Default => {
                    index.remove(DEFAULT_TAG);
                    return Ok(());
                }
                Name::Digest(digest) => digest,
            };
            let names: Vec<Option<&str>> = index.names_of(digest).collect();
            if names.is_empty() {
                let message = format!("image not found: {digest}: no entry of the index is it");
                return Err(Error::new(ErrorKind::NotFound, message));
            }
            if !names.contains(&None) {
                let tags: Vec<&str> = names.into_iter().flatten().collect();
                let message = format!("the image has the tag {}", tags.join(", "));
                return Err(
                    Error::new(ErrorKind::InvalidInput, message).with_hint("remove it by its tag")
                );
            }
            index.remove_unnamed(digest);
            Ok(())
        });
        removed.context(|| match &name {
            Name::Digest(digest) => format!("remove image {digest}"),
            name => format!("remove tag {name}"),
        })
    }

    /// Stores an image without layers, for the host's platform, under a tag, in place of what had the name. `created` is
    /// RFC 3339 text.
    ///
    /// # Errors
    ///
    /// When a blob cannot be stored or the index cannot be replaced. The index is as before then; blobs that were stored
    /// are garbage for [`Layout::gc`].
    pub fn new_image(&self, tag: &Tag, created: &str) -> Result<()> {
        let stored = self.update_index(|index| {
            let config = self.put_document(CONFIG, &empty_config(created, &Platform::host()))?;
            let manifest = self.put_document(MANIFEST, &empty_manifest(&config))?;
            index.set(tag, manifest.raw().clone());
            Ok(())
        });
        stored.context(|| format!("make new image {tag}"))
    }

    /// What an entry of this digest says, in `index.json` or in an index of one of its entries.
    pub(crate) fn entry_by_digest(&self, digest: &Digest) -> Result<Descriptor> {
        let index = self.read_index()?;
        for entry in index.entries() {
            let Ok(entry) = Descriptor::from_value(entry) else {
                continue;
            };
            if entry.digest() == digest {
                return Ok(entry);
            }
            if entry.kind() == MediaKind::Index
                && let Some(inner) = self
                    .list(&entry)?
                    .into_iter()
                    .find(|it| it.digest() == digest)
            {
                return Ok(inner);
            }
        }
        let message = format!("the image layout does not list {digest}");
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// The whole entry of a name, an index with one image too.
    pub(crate) fn whole_entry(&self, name: &Name) -> Result<Descriptor> {
        let index = self.read_index()?;
        if let Name::Digest(digest) = name {
            return self.entry_by_digest(digest);
        }
        match &self.entries(&index, name)?[..] {
            [only] => Ok(only.clone()),
            _ => self.entry_to_copy(&index, name, None),
        }
    }

    /// What a name leads to, as a whole: a manifest, or an index of several.
    pub(crate) fn entry(&self, name: &Name) -> Result<Descriptor> {
        self.entry_to_copy(&self.read_index()?, name, None)
    }

    /// Stores a document.
    pub(crate) fn put_document(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let digest: Digest = self
            .store()
            .put(Algorithm::Sha256, bytes)
            .context(|| format!("store a document in {}", self.path.display()))?;
        Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::test_layout::{TestLayout, tag, with_platform};
    use super::*;
    use crate::image::REF_NAME;

    fn entries(layout: &TestLayout) -> Vec<Value> {
        layout.open().read_index().unwrap().entries().to_vec()
    }

    #[test]
    fn a_new_image_can_be_resolved_and_read() {
        let layout = TestLayout::new();
        let opened = layout.open();
        opened
            .new_image(&tag("latest"), "2020-01-01T00:00:00Z")
            .unwrap();
        opened
            .new_image(&tag("latest"), "2021-01-01T00:00:00Z")
            .unwrap();
        assert_eq!(opened.tags().unwrap(), ["latest"]);
        let path = layout
            .leased()
            .resolve(tag("latest"), Some(&Platform::host()))
            .unwrap();
        let manifest = opened.manifest(path.target()).unwrap();
        let config = opened.image_config(&manifest).unwrap();
        assert_eq!(
            (config.created(), config.rootfs_type()),
            (Some("2021-01-01T00:00:00Z"), "layers")
        );
        assert!(
            opened
                .validate(None, &crate::progress::Silent)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn tagging_copies_the_reference_and_replaces_the_old_one() {
        let layout = TestLayout::new();
        let (a, b) = (
            layout.image("a", "linux/amd64"),
            layout.image("b", "linux/amd64"),
        );
        let mut entry = layout.tagged(&a, "a");
        entry["annotations"]["x"] = json!("y");
        entry["future"] = json!(1);
        layout.set_index(&[layout.tagged(&b, "b"), entry.clone(), json!({"odd": 1})]);
        layout.open().tag(tag("a"), None, &tag("b")).unwrap();
        let mut expected = entry.clone();
        expected["annotations"][REF_NAME] = json!("b");
        assert_eq!(entries(&layout), [entry, json!({"odd": 1}), expected]);
    }

    #[test]
    fn a_nested_manifest_is_lifted_without_the_entrys_annotations() {
        let layout = TestLayout::new();
        let inner = with_platform(&layout.image("a", "linux/arm64"), "linux/arm64");
        let mut entry = layout.tagged(&layout.index(std::slice::from_ref(&inner)), "a");
        entry["annotations"]["x"] = json!("y");
        layout.set_index(&[entry]);
        layout.open().tag(tag("a"), None, &tag("b")).unwrap();
        let lifted = &entries(&layout)[1];
        assert_eq!(lifted["platform"], inner["platform"]);
        assert_eq!(lifted["digest"], inner["digest"]);
        assert_eq!(lifted["annotations"], json!({REF_NAME: "b"}));
    }

    #[test]
    fn an_index_of_several_images_is_copied_unless_a_platform_is_given() {
        let layout = TestLayout::new();
        let listed = ["linux/amd64", "linux/arm64"]
            .map(|text| with_platform(&layout.image(text, text), text));
        let index = layout.index(&listed);
        layout.set_index(&[layout.tagged(&index, "a")]);
        layout.open().tag(tag("a"), None, &tag("b")).unwrap();
        assert_eq!(entries(&layout)[1], layout.tagged(&index, "b"));
        layout
            .open()
            .tag(tag("a"), Some(&"linux/arm64".parse().unwrap()), &tag("c"))
            .unwrap();
        assert_eq!(entries(&layout)[2]["digest"], listed[1]["digest"]);
    }

    #[test]
    fn several_entries_of_one_name_are_not_copied_by_guess() {
        let layout = TestLayout::new();
        let (a, b) = (
            layout.image("a", "linux/amd64"),
            layout.image("b", "linux/arm64"),
        );
        layout.set_index(&[layout.tagged(&a, "x"), layout.tagged(&b, "x")]);
        let error = layout.open().tag(tag("x"), None, &tag("y")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
        assert_eq!(layout.open().tags().unwrap(), ["x", "x"]);
    }

    #[test]
    fn what_is_no_image_can_be_tagged() {
        let layout = TestLayout::new();
        let xml = layout.blob("application/xml", b"<xml/>");
        let empty = layout.index(&[]);
        layout.set_index(&[layout.tagged(&xml, "a"), layout.tagged(&empty, "e")]);
        layout.open().tag(tag("a"), None, &tag("b")).unwrap();
        layout.open().tag(tag("e"), None, &tag("f")).unwrap();
        assert_eq!(layout.open().tags().unwrap(), ["a", "e", "b", "f"]);
        assert_eq!(
            layout
                .open()
                .tag(tag("none"), None, &tag("b"))
                .unwrap_err()
                .kind(),
            ErrorKind::NotFound
        );
    }

    #[test]
    fn untagging_removes_every_entry_of_the_name_and_nothing_else() {
        let layout = TestLayout::new();
        let (a, b) = (
            layout.image("a", "linux/amd64"),
            layout.image("b", "linux/amd64"),
        );
        layout.set_index(&[
            layout.tagged(&a, "x"),
            layout.tagged(&b, "y"),
            layout.tagged(&b, "x"),
        ]);
        layout.open().untag(tag("x")).unwrap();
        layout.open().untag(tag("never")).unwrap();
        assert_eq!(entries(&layout), [layout.tagged(&b, "y")]);
    }

    #[test]
    fn an_image_without_a_tag_is_removed_by_its_digest_alone() {
        let layout = TestLayout::new();
        let (a, b) = (
            layout.image("a", "linux/amd64"),
            layout.image("b", "linux/amd64"),
        );
        layout.set_index(&[a.to_value(), layout.tagged(&a, "x"), layout.tagged(&b, "y")]);
        let remove = |image: &Descriptor| layout.open().untag(Name::Digest(image.digest().clone()));
        remove(&a).unwrap();
        assert_eq!(
            entries(&layout),
            [layout.tagged(&a, "x"), layout.tagged(&b, "y")]
        );
        let error = remove(&a).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.chain().contains("the tag x"), "{}", error.chain());
        let layer = layout.blob("a/b", b"a");
        assert_eq!(remove(&layer).unwrap_err().kind(), ErrorKind::NotFound);
        layout.open().untag(Name::Tag("_no,tag".into())).unwrap();
    }

    #[test]
    fn concurrent_writers_lose_no_tag() {
        let layout = TestLayout::new();
        layout.set_index(&[layout.tagged(&layout.image("a", "linux/amd64"), "source")]);
        std::thread::scope(|scope| {
            for number in 0..20 {
                let layout = &layout;
                scope.spawn(move || {
                    layout
                        .open()
                        .tag(tag("source"), None, &tag(&format!("t{number}")))
                        .unwrap();
                });
            }
        });
        let mut names = layout.open().tags().unwrap();
        names.sort();
        let mut expected: Vec<_> = (0..20).map(|number| format!("t{number}")).collect();
        expected.push("source".into());
        expected.sort();
        assert_eq!(names, expected);
    }
}
