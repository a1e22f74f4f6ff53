//! `store changes`

use oci_bundle::Result;
use oci_bundle::fs::{Change, ChangeKind};
use oci_bundle::ops::store::Difference;
use serde_json::{Map, Value};

use super::{Common, Exit, Ui};
use crate::cli::name;

/// lists the changes in a container
///
/// Prints one line per path that was added (A), changed (C) or deleted (D), sorted by path: 'A /path'. Only the
/// container's upper directory is read. For an image, the differences from another image are listed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,

    /// key of a container, or name or digest of an image
    #[arg(required = true, value_name = "name")]
    name: String,

    /// image to compare with (default: a container's own image; for an image, an empty one)
    #[arg(value_name = "other")]
    other: Option<String>,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let store = args.common.open()?;
    let difference = Difference::find(&store, &args.name, args.other.as_deref())?;
    let value = difference.changes().iter().map(json).collect();
    let text = || difference.changes().iter().map(line).collect();
    args.common.answer(ui, &value, text)
}

fn path(change: &Change) -> Vec<u8> {
    match &change.path[..] {
        b"." => b"/".to_vec(),
        path => [b"/", path].concat(),
    }
}

fn line(change: &Change) -> String {
    let letter = match change.kind {
        ChangeKind::Added => 'A',
        ChangeKind::Modified => 'C',
        ChangeKind::Deleted => 'D',
    };
    format!("{letter} {}\n", name::text(&path(change)))
}

pub fn json(change: &Change) -> Value {
    let status = match change.kind {
        ChangeKind::Added => "added",
        ChangeKind::Modified => "changed",
        ChangeKind::Deleted => "deleted",
    };
    let mut members = Map::new();
    name::insert(&mut members, "path", &path(change));
    members.insert("status".to_owned(), status.into());
    Value::Object(members)
}
