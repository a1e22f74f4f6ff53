//! `stat`

use oci_bundle::image::{Descriptor, to_go_json};
use oci_bundle::ops::stat::{Blob, HistoryEntry, ImageStat};
use oci_bundle::{Result, ops};
use serde_json::{Map, Value};

use super::args::PlatformArgs;
use super::exit::Exit;
use super::json::compact;
use super::source_args::SourceArgs;
use super::stat_text;
use super::time::rfc3339_nano;
use super::ui::Ui;

/// displays status information of an image manifest
///
/// Shows the manifest, the configuration and the history of an image. The text format may change; scripts should use
/// --json.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: SourceArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    /// print as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let stat = ops::stat(&args.image.source(), args.platform.platform.as_ref())?;
    if args.json {
        ui.print(json(&stat))?;
    } else {
        ui.print(stat_text::render(&stat))?;
    }
    Ok(Exit::Success)
}

/// One line of JSON. Stored documents appear as they are stored, but for the blanks between tokens.
fn json(stat: &ImageStat) -> Vec<u8> {
    let mut out = b"{\"manifest\":".to_vec();
    blob(&mut out, &stat.manifest);
    if let Some(config) = &stat.config {
        out.extend_from_slice(b",\"config\":");
        blob(&mut out, config);
    }
    if stat.image_config.is_some() {
        let history = stat.history.iter().map(history).collect();
        out.extend_from_slice(b",\"history\":");
        value(&mut out, &Value::Array(history));
    }
    out.extend_from_slice(b"}\n");
    out
}

fn blob(out: &mut Vec<u8>, blob: &Blob) {
    out.extend_from_slice(b"{\"descriptor\":");
    value(out, &object(&blob.descriptor));
    out.extend_from_slice(b",\"blob\":");
    // Only embedded data that is not JSON can fail here: it has no JSON form.
    match compact(&blob.bytes) {
        Some(json) => out.extend_from_slice(&json),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

fn value(out: &mut Vec<u8>, value: &Value) {
    out.extend_from_slice(to_go_json(value).trim_ascii_end());
}

fn object(descriptor: &Descriptor) -> Value {
    Value::Object(descriptor.raw().clone())
}

fn history(entry: &HistoryEntry) -> Value {
    let mut members = Map::new();
    let layer = entry.layer.as_ref().map_or(Value::Null, object);
    members.insert("layer".to_owned(), layer);
    let diff_id = entry.diff_id.as_ref().map(|id| id.0.to_string());
    members.insert("diff_id".to_owned(), diff_id.unwrap_or_default().into());
    if let Some(created) = &entry.history.created {
        members.insert("created".to_owned(), rfc3339_nano(created).into());
    }
    let texts = [
        ("created_by", &entry.history.created_by),
        ("author", &entry.history.author),
        ("comment", &entry.history.comment),
    ];
    for (key, text) in texts {
        if !text.is_empty() {
            members.insert(key.to_owned(), text.as_str().into());
        }
    }
    if entry.history.empty_layer {
        members.insert("empty_layer".to_owned(), true.into());
    }
    Value::Object(members)
}
