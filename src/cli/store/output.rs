//! What is in a store, as JSON and as text.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use oci_bundle::Result;
use oci_bundle::fs::usage::Usage;
use oci_bundle::fs::{IdMap, MapOptions};
use oci_bundle::image::{ChainId, Descriptor};
use oci_bundle::snapshots::Info;
use oci_bundle::store::{Chain, Container, MountRecord, Store, StoredImage};
use serde_json::{Map, Value, json};

use crate::cli::log::printable;
use crate::cli::name;

/// A table, its columns as wide as they must be. The first row is the head.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// A JSON value for people: a line for each member, what belongs to it indented below.
pub fn outline(value: &Value) -> String {
    let mut out = String::new();
    write_outline(&mut out, value, 0);
    out
}

// Writing to a string cannot fail.
fn write_outline(out: &mut String, value: &Value, indent: usize) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let label = format!("{pad}{}:", key.replace('_', " "));
                write_member(out, &label, value, indent);
            }
        }
        Value::Array(values) => {
            for value in values {
                write_member(out, &format!("{pad}-"), value, indent);
            }
        }
        scalar => {
            let _ = writeln!(out, "{pad}{}", scalar_text(scalar));
        }
    }
}

fn write_member(out: &mut String, label: &str, value: &Value, indent: usize) {
    let is_empty = match value {
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    match value {
        Value::Array(_) | Value::Object(_) if !is_empty => {
            let _ = writeln!(out, "{label}");
            write_outline(out, value, indent + 2);
        }
        value => drop(writeln!(out, "{label} {}", scalar_text(value))),
    }
}

fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Null | Value::Array(_) | Value::Object(_) => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
    }
}

/// A path for people.
pub fn path_text(path: &Path) -> String {
    name::text(path.as_os_str().as_bytes())
}

/// Sets a member to a path.
pub fn insert_path(members: &mut Map<String, Value>, key: &str, path: &Path) {
    name::insert(members, key, path.as_os_str().as_bytes());
}

/// Seconds since 1970 as RFC 3339.
pub fn time(seconds: u64) -> String {
    let stamp = i64::try_from(seconds).ok();
    let stamp = stamp.and_then(|seconds| Timestamp::from_second(seconds).ok());
    stamp.map_or_else(|| format!("@{seconds}"), |stamp| stamp.to_string())
}

/// A moment as RFC 3339, without the parts of a second.
pub fn moment(moment: SystemTime) -> String {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH);
    time(since.unwrap_or_default().as_secs())
}

/// A chain's name; null for the one without layers.
pub fn chain_id(id: Option<&ChainId>) -> Value {
    json!(id.map(ToString::to_string))
}

/// The same for people.
pub fn chain_text(id: Option<&ChainId>) -> String {
    id.map_or_else(|| "empty".to_owned(), ToString::to_string)
}

/// What something takes.
pub fn usage(usage: &Usage) -> Value {
    json!({"bytes": usage.bytes, "apparent_bytes": usage.apparent, "inodes": usage.inodes})
}

/// A mount.
pub fn mount(record: &MountRecord, is_live: bool) -> Value {
    let mut members = Map::new();
    insert_path(&mut members, "target", &record.target);
    let key = record.key.as_ref().map(ToString::to_string);
    members.insert("key".to_owned(), json!(key));
    members.insert("chain_id".to_owned(), chain_id(record.chain.as_ref()));
    members.insert("read_only".to_owned(), record.read_only.into());
    let method = record.method.map(|method| method.to_string());
    members.insert("method".to_owned(), json!(method));
    members.insert("pid".to_owned(), record.pid.into());
    members.insert("live".to_owned(), is_live.into());
    members.insert("here".to_owned(), record.is_here().into());
    Value::Object(members)
}

/// An image, with its names.
pub fn image(image: &StoredImage, names: &[String]) -> Value {
    let mut members = Map::new();
    let mut set = |key: &str, value: Value| members.insert(key.to_owned(), value);
    set("names", json!(names));
    set("digest", image.digest().to_string().into());
    set("chain_id", chain_id(image.chain_id().as_ref()));
    set("created", time(image.created).into());
    set("layers", image.layers.len().into());
    set("size", size(image).into());
    insert_path(&mut members, "layout", &image.layout);
    Value::Object(members)
}

/// Bytes of the blobs of an image's layers.
pub fn size(image: &StoredImage) -> u64 {
    let sizes = image.layers.iter().map(Descriptor::size);
    sizes.fold(0, u64::saturating_add)
}

/// A container.
pub fn container(store: &Store, container: &Container) -> Result<Value> {
    let meta = container.meta();
    let mut members = Map::new();
    let mut set = |key: &str, value: Value| members.insert(key.to_owned(), value);
    set("key", container.key().as_str().into());
    set("chain_id", chain_id(meta.chain.as_ref()));
    set("created", time(meta.created).into());
    set("view", meta.view.into());
    set("volatile", meta.volatile.is_some().into());
    set("labels", json!(meta.labels));
    set("maps", maps(&meta.maps));
    let live = store.live_mount_of(container.key())?;
    set("mount", live.map_or(Value::Null, |live| mount(&live, true)));
    if let Some(bundle) = &meta.bundle {
        insert_path(&mut members, "bundle", bundle);
    }
    Ok(Value::Object(members))
}

fn maps(maps: &MapOptions) -> Value {
    let ranges = |map: &IdMap| {
        let ranges = map.0.iter();
        ranges.map(ToString::to_string).collect::<Vec<_>>()
    };
    json!({"uid": ranges(&maps.uid), "gid": ranges(&maps.gid)})
}

/// A snapshot.
pub fn snapshot(info: &Info) -> Value {
    json!({
        "name": info.name,
        "kind": info.kind.word(),
        "parent": info.parent,
        "created": moment(info.created),
        "labels": info.labels,
    })
}

/// A chain: its layers as they are stacked, topmost first, with their paths.
pub fn chain(store: &Store, chain: &Chain) -> Result<Value> {
    let mut layers = Vec::new();
    for id in &chain.layers {
        layers.push(layer(store, id)?);
    }
    let mut patch = Map::from_iter([("id".to_owned(), chain.patch.to_string().into())]);
    let directory = store.path().join("patches").join(chain.patch.to_string());
    insert_path(&mut patch, "path", &directory);
    let diff_ids: Vec<_> = chain.diff_ids.iter().map(ToString::to_string).collect();
    Ok(json!({
        "chain_id": chain_id(chain.id.as_ref()),
        "parent": chain_id(chain.parent().as_ref()),
        "diff_ids": diff_ids,
        "layers": layers,
        "patch": patch,
        "uids": chain.uids,
        "gids": chain.gids,
    }))
}

/// A layer, with what is known of it without looking at its files.
pub fn layer(store: &Store, id: &oci_bundle::store::LayerId) -> Result<Value> {
    let found = store.layer(id)?;
    let meta = found.meta()?;
    let changes = &meta.changeset;
    let kind = match (id.diff_id(), id.is_plain()) {
        _ if id.is_tar() => "tar",
        _ if id.is_erofs() => "erofs",
        (None, _) => "merged",
        (_, true) => "plain",
        (_, false) => "variant",
    };
    let mut members = Map::new();
    let mut set = |key: &str, value: Value| members.insert(key.to_owned(), value);
    set("id", id.to_string().into());
    let diff_id = id.diff_id().map(|id| id.to_string());
    set("diff_id", json!(diff_id));
    set("kind", kind.into());
    set("created", time(meta.created).into());
    set("stream_size", meta.stream_size.into());
    set("size", changes.size.into());
    set("files", changes.files.into());
    set("read_only", found.is_read_only().into());
    if !id.is_tar() {
        insert_path(&mut members, "path", found.content()?.path());
    }
    Ok(Value::Object(members))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_shows_what_belongs_together() {
        let value = json!({
            "path": "/a\nb", "file_system": {"name": "ext4", "odd": null},
            "list": [1, {"x": true}], "none": [],
        });
        let expected = "path: /a\\nb\nfile system:\n  name: ext4\n  odd: -\nlist:\n  - 1\n  -\n    x: yes\nnone: -\n";
        assert_eq!(outline(&value), expected);
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [["A", "B"], ["long", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A     B\nlong\n");
    }

    #[test]
    fn times_beyond_the_calendar_are_numbers() {
        assert_eq!(time(1_600_000_000), "2020-09-13T12:26:40Z");
        assert_eq!(time(u64::MAX), format!("@{}", u64::MAX));
    }
}
