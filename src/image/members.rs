//! Typed access to the members of a JSON object: `null` is absent, another JSON type is an error.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Result};

/// The error for a document that breaks its schema.
pub(crate) fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, message)
}

fn wrong_type(key: &str, wanted: &str) -> Error {
    malformed(format!("member {key:?} is not {wanted}"))
}

/// The member, unless it is absent or `null`.
pub(crate) fn member<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

pub(crate) fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>> {
    member(object, key)
        .map(|value| value.as_str().ok_or_else(|| wrong_type(key, "a string")))
        .transpose()
}

/// The string, or an empty one.
pub(crate) fn owned_text(object: &Map<String, Value>, key: &str) -> Result<String> {
    Ok(text(object, key)?.unwrap_or_default().to_owned())
}

pub(crate) fn flag(object: &Map<String, Value>, key: &str) -> Result<bool> {
    match member(object, key) {
        None => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| wrong_type(key, "a boolean")),
    }
}

pub(crate) fn object<'a>(
    object: &'a Map<String, Value>,
    key: &str,
) -> Result<Option<&'a Map<String, Value>>> {
    member(object, key)
        .map(|value| {
            value
                .as_object()
                .ok_or_else(|| wrong_type(key, "an object"))
        })
        .transpose()
}

/// The array, or an empty one.
pub(crate) fn list<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a [Value]> {
    match member(object, key) {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(wrong_type(key, "an array")),
    }
}

/// The array of strings, or an empty one.
pub(crate) fn texts(object: &Map<String, Value>, key: &str) -> Result<Vec<String>> {
    let strings = list(object, key)?
        .iter()
        .map(|value| value.as_str().map(str::to_owned));
    strings
        .collect::<Option<_>>()
        .ok_or_else(|| wrong_type(key, "an array of strings"))
}

/// The names of a set, which in Go's habit is an object of empty objects (some writers put `null`), sorted.
pub(crate) fn set(parent: &Map<String, Value>, key: &str) -> Result<Vec<String>> {
    let Some(members) = object(parent, key)? else {
        return Ok(Vec::new());
    };
    if !members
        .values()
        .all(|value| value.is_object() || value.is_null())
    {
        return Err(wrong_type(key, "an object of empty objects"));
    }
    let mut names: Vec<_> = members.keys().cloned().collect();
    names.sort_unstable();
    Ok(names)
}

/// The map from strings to strings, or an empty one; a `null` value reads as an empty string.
pub(crate) fn text_map(parent: &Map<String, Value>, key: &str) -> Result<BTreeMap<String, String>> {
    let Some(members) = object(parent, key)? else {
        return Ok(BTreeMap::new());
    };
    let pair = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Some((name.clone(), text.clone())),
        Value::Null => Some((name.clone(), String::new())),
        _ => None,
    };
    members
        .iter()
        .map(pair)
        .collect::<Option<_>>()
        .ok_or_else(|| wrong_type(key, "an object of strings"))
}

/// Sets a member: in place when it is there, else before the first member that comes later in `order`, else at the end.
///
/// So a document gets the member order of its peers, while members that `order` does not know stay where they are.
pub fn insert_in_order(object: &mut Map<String, Value>, order: &[&str], key: &str, value: Value) {
    if let Some(present) = object.get_mut(key) {
        *present = value;
        return;
    }
    let later: &[&str] = order
        .iter()
        .position(|name| *name == key)
        .map_or(&[], |place| &order[place + 1..]);
    let place = object
        .keys()
        .position(|name| later.contains(&name.as_str()))
        .unwrap_or(object.len());
    object.shift_insert(place, key.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_new_member_goes_before_the_later_ones() {
        let mut value = json!({"x": 1, "digest": "d", "y": 2, "platform": {}});
        let object = value.as_object_mut().unwrap();
        let order = ["mediaType", "digest", "annotations", "platform"];
        insert_in_order(object, &order, "annotations", json!({}));
        insert_in_order(object, &order, "mediaType", json!("m"));
        insert_in_order(object, &order, "unknown", json!(3));
        insert_in_order(object, &order, "digest", json!("e"));
        let expected = r#"{"x":1,"mediaType":"m","digest":"e","y":2,"annotations":{},"platform":{},"unknown":3}"#;
        assert_eq!(value.to_string(), expected);
    }

    #[test]
    fn null_reads_as_absent_and_another_type_is_an_error() {
        let value = json!({"null": null, "number": 1, "text": "t"});
        let object = value.as_object().unwrap();
        assert_eq!(text(object, "null").unwrap(), None);
        assert!(list(object, "null").unwrap().is_empty());
        assert!(!flag(object, "missing").unwrap());
        assert_eq!(
            text(object, "number").unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        assert_eq!(
            list(object, "text").unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        assert_eq!(
            text_map(object, "text").unwrap_err().kind(),
            ErrorKind::InvalidData
        );
    }

    #[test]
    fn a_set_takes_null_for_an_empty_object() {
        let value = json!({"ok": {"b": {}, "a": null}, "bad": {"a": 1}});
        let object = value.as_object().unwrap();
        assert_eq!(set(object, "ok").unwrap(), ["a", "b"]);
        assert!(set(object, "bad").is_err());
    }
}
