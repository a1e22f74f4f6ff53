//! `index.json` as it is edited: entries, names, and the locked read-modify-write.
//!
//! The file is read leniently, because it belongs to many tools: entries stay plain JSON until one of them is asked for,
//! so that an entry which this program cannot read disturbs nobody else. It must be one JSON object.

use oci_cas::Digest;
use serde_json::{Map, Value};

use super::{Backing, INDEX_FILE, Layout, Limits, read_file};
use crate::image::{
    Descriptor, INDEX, REF_NAME, Tag, insert_in_order, parse_json_of, ref_name, set_ref_name,
    to_go_json,
};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Members in the order in which peers write them.
const ORDER: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "manifests",
    "subject",
    "annotations",
];

/// Annotation of an index entry that is an attestation: the digest of the manifest that it describes (`BuildKit`).
const DESCRIBED: &str = "vnd.docker.reference.digest";

/// The content of `index.json`.
pub(super) struct IndexFile {
    /// All members but the entries: a list of them is kept in its place as an empty one.
    raw: Map<String, Value>,
    entries: Vec<Value>,
    changed: bool,
}

impl IndexFile {
    fn parse(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let Value::Object(mut raw) = parse_json_of(bytes, limits.index_values)? else {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "it is not a JSON object",
            ));
        };
        let entries = match raw.get_mut("manifests") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(entries)) => std::mem::take(entries),
            Some(_) => {
                return Err(Error::new(
                    ErrorKind::InvalidData,
                    "member \"manifests\" is not an array",
                ));
            }
        };
        Ok(Self {
            raw,
            entries,
            changed: false,
        })
    }

    /// The members beside the entries.
    pub(super) fn members(&self) -> &Map<String, Value> {
        &self.raw
    }

    pub(super) fn entries(&self) -> &[Value] {
        &self.entries
    }

    /// The names, in the order of the entries, with repetitions.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(ref_name)
    }

    /// The entries of one name.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.entries
            .iter()
            .filter(move |entry| ref_name(entry) == Some(name))
    }

    /// Whether all entries are one image, or carry one name or none: who names nothing can mean only that.
    pub(super) fn is_of_one(&self) -> bool {
        let same = |of: fn(&Value) -> Option<&str>| {
            let mut of_each = self.entries.iter().map(of);
            let first = of_each.next();
            first.is_some() && of_each.all(|other| Some(other) == first)
        };
        same(ref_name) || same(|entry| entry.get("digest")?.as_str())
    }

    /// The names of the entries of a digest; `None` for an entry without one.
    pub(super) fn names_of<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> impl Iterator<Item = Option<&'a str>> {
        self.entries
            .iter()
            .filter(move |entry| has_digest(entry, &digest.to_string()))
            .map(ref_name)
    }

    /// Drops every entry of that name.
    pub(super) fn remove(&mut self, name: &str) {
        self.retain(|entry| ref_name(entry) != Some(name));
    }

    /// Drops every entry of that digest that has no name.
    pub(super) fn remove_unnamed(&mut self, digest: &Digest) {
        let digest = digest.to_string();
        self.retain(|entry| ref_name(entry).is_some() || !has_digest(entry, &digest));
    }

    fn retain(&mut self, stays: impl FnMut(&Value) -> bool) {
        let before = self.entries.len();
        self.entries.retain(stays);
        self.changed |= self.entries.len() != before;
    }

    /// Appends an entry under that name, in place of those that had it.
    pub(super) fn set(&mut self, tag: &Tag, mut entry: Map<String, Value>) {
        set_ref_name(&mut entry, tag.as_str());
        self.remove(tag.as_str());
        self.entries.push(Value::Object(entry));
        self.changed = true;
    }

    /// Appends an entry under that name in place of the image that it was made from, whose entry is or was `old`. Without
    /// a name, the entry has the name that `old` has, or none. Where several entries carry the name, for different
    /// platforms, the others keep it.
    pub(super) fn replace(
        &mut self,
        tag: Option<&Tag>,
        old: &Descriptor,
        mut entry: Map<String, Value>,
    ) {
        let name = old.annotation(REF_NAME).map(str::to_owned);
        if let Some(tag) = tag.filter(|tag| name.as_deref() != Some(tag.as_str())) {
            return self.set(tag, entry);
        }
        let old = old.digest().to_string();
        let is_there = self
            .entries
            .iter()
            .any(|entry| ref_name(entry) == name.as_deref() && has_digest(entry, &old));
        let platform = entry.get("platform").cloned();
        self.entries.retain(|other| {
            let stays = if is_there || name.is_none() {
                !has_digest(other, &old)
            } else {
                // Another process has changed it since: then it is what has the same platform, or none.
                other.get("platform").is_some() && other.get("platform") != platform.as_ref()
            };
            stays || ref_name(other) != name.as_deref()
        });
        if let Some(tag) = tag {
            set_ref_name(&mut entry, tag.as_str());
        }
        self.entries.push(Value::Object(entry));
        self.changed = true;
    }

    /// Drops the entries without a name that describe a manifest which no entry has any more. Returns how many.
    pub(super) fn drop_attestations(&mut self, gone: &Digest) -> usize {
        let before = self.entries.len();
        drop_attestations(&mut self.entries, gone);
        let dropped = before - self.entries.len();
        self.changed |= dropped > 0;
        dropped
    }

    /// The file's bytes, with the members that every index must have.
    fn into_bytes(mut self) -> Vec<u8> {
        insert_in_order(&mut self.raw, ORDER, "schemaVersion", 2.into());
        insert_in_order(&mut self.raw, ORDER, "mediaType", INDEX.into());
        insert_in_order(
            &mut self.raw,
            ORDER,
            "manifests",
            Value::Array(self.entries),
        );
        to_go_json(&Value::Object(self.raw))
    }
}

/// Drops the entries without a name that describe a manifest (`BuildKit` has its statements of provenance beside the image,
/// with its digest in an annotation), unless an entry for it is left.
pub(super) fn drop_attestations(entries: &mut Vec<Value>, gone: &Digest) {
    let gone = gone.to_string();
    if entries.iter().any(|entry| has_digest(entry, &gone)) {
        return;
    }
    let describes = |entry: &Value| {
        let about = entry.get("annotations").and_then(|it| it.get(DESCRIBED));
        about.and_then(Value::as_str) == Some(&gone) && ref_name(entry).is_none()
    };
    entries.retain(|entry| !describes(entry));
}

fn has_digest(entry: &Value, digest: &str) -> bool {
    entry.get("digest").and_then(Value::as_str) == Some(digest)
}

impl Layout {
    /// Reads `index.json` as it is now.
    pub(super) fn read_index(&self) -> Result<IndexFile> {
        let limits = self.limits();
        let bytes = match &self.backing {
            Backing::Directory(store) => read_file(store, INDEX_FILE, limits.index_size)?,
            Backing::Elsewhere { index, .. } => index.clone(),
        };
        IndexFile::parse(&bytes, limits)
            .context(|| format!("read {}", self.path.join(INDEX_FILE).display()))
    }

    /// Changes `index.json` under the layout's lock: read, edited, replaced when it changed.
    ///
    /// A lease is held beside the lock, so that neither blobs which `edit` stores nor those which it finds and names are
    /// swept before the index names them. When `edit` fails, nothing is replaced.
    pub(super) fn update_index<T>(
        &self,
        edit: impl FnOnce(&mut IndexFile) -> Result<T>,
    ) -> Result<T> {
        let locking = || format!("lock image layout {}", self.path.display());
        let _lease = self.directory()?.lease().context(locking)?;
        let _lock = self.directory()?.lock().context(locking)?;
        let mut index = self.read_index()?;
        let result = edit(&mut index)?;
        if index.changed {
            let bytes = index.into_bytes();
            self.check_readable(&bytes)?;
            self.directory()?
                .replace_file(INDEX_FILE, &bytes)
                .context(|| format!("replace {}", self.path.join(INDEX_FILE).display()))?;
        }
        Ok(result)
    }

    /// What would be refused when it is read must not be written.
    fn check_readable(&self, bytes: &[u8]) -> Result<()> {
        let limit = self.limits().index_size;
        if bytes.len() as u64 > limit {
            let message = format!("{INDEX_FILE} would be larger than the limit of {limit} bytes");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        parse_json_of(bytes, self.limits().index_values).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test_layout::{TestLayout, tag, with_platform};
    use super::*;
    use crate::image::REF_NAME;

    fn entry(name: &str, mark: u32) -> Value {
        json!({"x": mark, "annotations": {"org.opencontainers.image.ref.name": name}})
    }

    fn edited(index: &Value, edit: impl FnOnce(&mut IndexFile)) -> String {
        let mut index = IndexFile::parse(index.to_string().as_bytes(), &Limits::default()).unwrap();
        edit(&mut index);
        String::from_utf8(index.into_bytes()).unwrap()
    }

    #[test]
    fn setting_a_name_drops_its_entries_and_appends_one() {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            entry("a", 1), {"weird": [null]}, entry("b", 2), entry("a", 3), 7,
        ], "future": {"x": 1}});
        let written = edited(&index, |index| {
            assert_eq!(index.names().collect::<Vec<_>>(), ["a", "b", "a"]);
            assert_eq!(index.named("a").count(), 2);
            index.set(&tag("a"), json!({"x": 4}).as_object().unwrap().clone());
        });
        let expected = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"weird": [null]}, entry("b", 2), 7, entry("a", 4),
        ], "future": {"x": 1}});
        assert_eq!(written, expected.to_string() + "\n");
    }

    #[test]
    fn an_entry_without_a_name_is_replaced_in_its_place_and_stays_without() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let entry = |digit: &str| json!({"mediaType": "a/b", "digest": digest(digit), "size": 1});
        let old = Descriptor::from_value(&entry("1")).unwrap();
        let index = json!({"manifests": [entry("1"), entry("2"), entry("1")]});
        let written = edited(&index, |index| {
            index.replace(None, &old, entry("3").as_object().unwrap().clone());
        });
        let read: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read["manifests"], json!([entry("2"), entry("3")]));
    }

    #[test]
    fn what_describes_a_manifest_goes_with_its_last_entry() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let entry = |digit: &str| json!({"digest": digest(digit)});
        let about = json!({"digest": digest("a"), "annotations": {DESCRIBED: digest("1")}});
        let mut entries = vec![about.clone(), entry("1"), entry("2")];
        drop_attestations(&mut entries, &digest("1").parse().unwrap());
        assert_eq!(entries.len(), 3);
        entries.remove(1);
        drop_attestations(&mut entries, &digest("1").parse().unwrap());
        assert_eq!(entries, [entry("2")]);
    }

    #[test]
    fn what_every_index_has_is_filled_in() {
        let expected =
            format!("{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[]}}\n");
        for index in [
            json!({}),
            json!({"manifests": null}),
            json!({"schemaVersion": 1, "mediaType": "wrong"}),
            json!({"mediaType": null}),
        ] {
            assert_eq!(edited(&index, |_| {}), expected, "{index}");
        }
        assert_eq!(
            edited(&json!({"x": 1, "manifests": []}), |_| {})
                .matches("\"x\":1")
                .count(),
            1
        );
    }

    #[test]
    fn removing_a_name_that_is_not_there_changes_nothing() {
        let text = br#"{"manifests":[{"annotations":null}]}"#;
        let mut index = IndexFile::parse(text, &Limits::default()).unwrap();
        index.remove("a");
        assert!(!index.changed);
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for text in [
            "",
            "[]",
            "null",
            "{}}",
            "{\"manifests\":{}}",
            "{\"manifests\":[]}\n} trailing",
        ] {
            let error = IndexFile::parse(text.as_bytes(), &Limits::default())
                .err()
                .unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{text:?}");
        }
    }

    #[test]
    fn an_index_of_twenty_thousand_tags_is_read_edited_and_validated() {
        let layout = TestLayout::new();
        let image = layout.image("a", "linux/amd64");
        let mut platform = with_platform(&image, "linux/amd64");
        let entries: Vec<_> = (0..20_000)
            .map(|number| {
                platform["annotations"] = json!({
                    REF_NAME: format!("{}-{number}", "v".repeat(90)), "org.example.note": "x".repeat(60),
                });
                platform.clone()
            })
            .collect();
        layout.set_index(&entries);
        let index = layout.path().join("index.json");
        assert!(std::fs::metadata(&index).unwrap().len() > 4 << 20);

        let opened = layout.open();
        let first = tag(&format!("{}-0", "v".repeat(90)));
        opened.tag(&first, None, &tag("new")).unwrap();
        assert_eq!(opened.tags().unwrap().len(), 20_001);
        assert!(layout.leased().resolve(tag("new"), None).is_ok());
        let findings = opened.validate(None, &crate::progress::Silent).unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        assert!(opened.gc(false).unwrap().blobs.is_empty());
    }

    #[test]
    fn an_index_above_its_limits_is_neither_read_nor_written() {
        let layout = TestLayout::new();
        let size = std::fs::metadata(layout.path().join("index.json"))
            .unwrap()
            .len();
        let default = Limits::default();
        for limits in [
            Limits {
                index_size: size,
                ..default.clone()
            },
            Limits {
                index_values: 5,
                ..default.clone()
            },
        ] {
            let opened = Layout::open_with(layout.path(), limits).unwrap();
            assert!(opened.tags().unwrap().is_empty());
            let error = opened
                .new_image(&tag("a"), "2006-01-02T15:04:05Z")
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LimitExceeded);
            assert!(opened.tags().unwrap().is_empty());
        }
        let sparse = std::fs::File::create(layout.path().join("index.json")).unwrap();
        sparse.set_len(default.index_size + 1).unwrap();
        let error = layout.open().tags().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }
}
