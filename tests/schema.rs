//! Holds JSON to the schemas in `docs/json`.
//!
//! Of JSON Schema, exactly the keywords that those use: any other fails the test, so that nothing goes unchecked. (The
//! crates for it bring 50 others, to check far more than is needed.)

use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value};

/// Fails the test unless the value is as the schema of this name says.
#[track_caller]
pub fn check(name: &str, value: &Value) {
    let schema = load(name);
    if let Err(why) = fits(&schema, value, &schema) {
        panic!("docs/json/{name}.json: {why}\nin {value}");
    }
}

fn load(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("docs/json/{name}.json"));
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn fits(schema: &Value, value: &Value, root: &Value) -> Result<(), String> {
    let keywords = schema.as_object().ok_or("a schema is an object")?;
    for (keyword, wanted) in keywords {
        let ok = match &**keyword {
            // The last three are read together.
            "$schema"
            | "title"
            | "description"
            | "$defs"
            | "properties"
            | "additionalProperties"
            | "required" => true,
            "type" => types(wanted).any(|name| is_of(value, name)),
            "const" => value == wanted,
            "enum" => wanted.as_array().is_some_and(|list| list.contains(value)),
            "minimum" => value.as_f64() >= wanted.as_f64() || !value.is_number(),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(wanted, item, root).map_err(|why| format!("[{index}]: {why}"))?;
                }
                true
            }
            "oneOf" => {
                let results = wanted.as_array().ok_or("oneOf is a list")?.iter();
                let results: Vec<_> = results.map(|schema| fits(schema, value, root)).collect();
                let count = results.iter().filter(|result| result.is_ok()).count();
                if count != 1 {
                    let why: Vec<_> = results.into_iter().filter_map(Result::err).collect();
                    return Err(format!("{count} of oneOf fit: {why:?}"));
                }
                true
            }
            "$ref" => {
                let (file, pointer) = wanted
                    .as_str()
                    .and_then(|text| text.split_once('#'))
                    .unwrap();
                let other = (!file.is_empty()).then(|| load(file.trim_end_matches(".json")));
                let document = other.as_ref().unwrap_or(root);
                let target = document.pointer(pointer).ok_or("nothing is referred to")?;
                fits(target, value, document)?;
                true
            }
            other => return Err(format!("the keyword {other} is not known here")),
        };
        if !ok {
            return Err(format!("{value} is not of {keyword} {wanted}"));
        }
    }
    match value.as_object() {
        Some(members) => members_fit(keywords, members, root),
        None => Ok(()),
    }
}

fn members_fit(
    keywords: &Map<String, Value>,
    members: &Map<String, Value>,
    root: &Value,
) -> Result<(), String> {
    for name in keywords
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = name.as_str().ok_or("required has names")?;
        if !members.contains_key(name) {
            return Err(format!("{name} is missing"));
        }
    }
    let known = keywords.get("properties").and_then(Value::as_object);
    for (name, value) in members {
        match known.and_then(|known| known.get(name)) {
            Some(schema) => fits(schema, value, root).map_err(|why| format!("{name}: {why}"))?,
            None => match keywords.get("additionalProperties") {
                None | Some(Value::Bool(true)) => {}
                Some(Value::Bool(false)) => return Err(format!("{name} is not in the schema")),
                Some(schema) => fits(schema, value, root)?,
            },
        }
    }
    Ok(())
}

fn types(wanted: &Value) -> impl Iterator<Item = &str> {
    let several = wanted.as_array().into_iter().flatten();
    several.chain([wanted]).filter_map(Value::as_str)
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    }
}
