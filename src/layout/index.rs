//! `index.json` as it is edited: entries, names, and the locked read-modify-write.
//!
//! The file is read leniently, because it belongs to many tools: entries stay plain JSON until one of them is asked for,
//! so that an entry which this program cannot read disturbs nobody else. It must be one JSON object.

use serde_json::{Map, Value};

use super::{INDEX_FILE, Layout};
use crate::image::{INDEX, Tag, insert_in_order, parse_json, ref_name, set_ref_name, to_go_json};
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

/// The content of `index.json`.
pub(super) struct IndexFile {
    /// All members but `manifests`, whose place is kept by an empty list.
    raw: Map<String, Value>,
    entries: Vec<Value>,
    changed: bool,
}

impl IndexFile {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let Value::Object(mut raw) = parse_json(bytes)? else {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "it is not a JSON object",
            ));
        };
        let entries = match raw.get_mut("manifests").map(Value::take) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(entries)) => entries,
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
    pub(super) fn named<'a>(&'a self, tag: &'a Tag) -> impl Iterator<Item = &'a Value> {
        self.entries
            .iter()
            .filter(|entry| ref_name(entry) == Some(tag.as_str()))
    }

    /// Drops every entry of that name.
    pub(super) fn remove(&mut self, tag: &Tag) {
        let before = self.entries.len();
        self.entries
            .retain(|entry| ref_name(entry) != Some(tag.as_str()));
        self.changed |= self.entries.len() != before;
    }

    /// Appends an entry under that name, in place of those that had it.
    pub(super) fn set(&mut self, tag: &Tag, mut entry: Map<String, Value>) {
        set_ref_name(&mut entry, tag);
        self.remove(tag);
        self.entries.push(Value::Object(entry));
        self.changed = true;
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

impl Layout {
    /// Reads `index.json` as it is now.
    pub(super) fn read_index(&self) -> Result<IndexFile> {
        let bytes = self
            .dir
            .read_file(INDEX_FILE.as_bytes(), self.limits().document_size)?;
        IndexFile::parse(&bytes).context(|| format!("read {INDEX_FILE}"))
    }

    /// Changes `index.json` under the layout's lock: read, edited, replaced when it changed.
    ///
    /// A lease is held beside the lock, so that neither blobs which `edit` stores nor those which it finds and names are
    /// swept before the index names them. When `edit` fails, nothing is replaced.
    pub(super) fn update_index<T>(
        &self,
        edit: impl FnOnce(&mut IndexFile) -> Result<T>,
    ) -> Result<T> {
        let _lease = self.store().lease().context(|| "lock the image layout")?;
        let _lock = self.store().lock().context(|| "lock the image layout")?;
        let mut index = self.read_index()?;
        let result = edit(&mut index)?;
        if index.changed {
            let bytes = index.into_bytes();
            self.check_readable(&bytes)?;
            self.store()
                .replace_file(INDEX_FILE, &bytes)
                .context(|| format!("replace {INDEX_FILE}"))?;
        }
        Ok(result)
    }

    /// What would be refused when it is read must not be written.
    fn check_readable(&self, bytes: &[u8]) -> Result<()> {
        let limit = self.limits().document_size;
        if bytes.len() as u64 > limit {
            let message = format!("{INDEX_FILE} would be larger than the limit of {limit} bytes");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        parse_json(bytes).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tag(text: &str) -> Tag {
        Tag::new(text).unwrap()
    }

    fn entry(name: &str, mark: u32) -> Value {
        json!({"x": mark, "annotations": {"org.opencontainers.image.ref.name": name}})
    }

    fn edited(index: &Value, edit: impl FnOnce(&mut IndexFile)) -> String {
        let mut index = IndexFile::parse(index.to_string().as_bytes()).unwrap();
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
            assert_eq!(index.named(&tag("a")).count(), 2);
            index.set(&tag("a"), json!({"x": 4}).as_object().unwrap().clone());
        });
        let expected = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"weird": [null]}, entry("b", 2), 7, entry("a", 4),
        ], "future": {"x": 1}});
        assert_eq!(written, expected.to_string() + "\n");
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
        let mut index = IndexFile::parse(br#"{"manifests":[{"annotations":null}]}"#).unwrap();
        index.remove(&tag("a"));
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
            let error = IndexFile::parse(text.as_bytes()).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{text:?}");
        }
    }
}
