//! `store probe`

use oci_bundle::Result;
use oci_bundle::fs::mount::{Features, Support};
use oci_bundle::ops::store::all_features;
use serde_json::{Map, Value, json};

use super::output::{insert_path, outline};
use super::{Common, Exit, Ui};

/// probes kernel and file system features for a store
///
/// Each feature is tried once in a temporary directory, where the store is or would be. A 'no' is followed by the
/// reason. No store is needed or created.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let (path, features) = all_features(&args.common.options()?.path)?;
    let mut members = Map::new();
    insert_path(&mut members, "path", &path);
    if let Value::Object(described) = describe(&features) {
        members.extend(described);
    }
    let value = Value::Object(members);
    args.common.answer(ui, &value, || text(&value))
}

/// What was found out: of each feature whether it is there, and why not.
pub fn describe(features: &Features) -> Value {
    let mut methods = Map::new();
    for (method, works) in &features.methods {
        methods.insert(method.to_string(), answer(works));
    }
    json!({
        "file_system": features.file_system.name,
        "overlay": answer(&features.kernel_overlay()),
        "mount_methods": methods,
        "max_lowers": features.max_lowers,
        "marks_writable": answer(&features.marks_writable),
        "user_marks": answer(&features.user_marks),
        "volatile": answer(&features.volatile),
        "detached_lowers": answer(&features.detached_lowers),
        "id_mapped_lowers": answer(&features.id_mapped_lowers),
        "entry_types": answer(&features.entry_types),
        "reflinks": answer(&features.reflinks),
        "unique_mount_ids": answer(&features.unique_mount_ids),
    })
}

fn answer(answer: &Support) -> Value {
    match answer {
        Support::Yes => json!({"works": true}),
        Support::No(reason) => json!({"works": false, "reason": reason}),
    }
}

/// One line for each feature.
pub fn text(value: &Value) -> String {
    outline(&short(value))
}

/// The same value with each answer as one text.
fn short(value: &Value) -> Value {
    let Value::Object(members) = value else {
        return value.clone();
    };
    if let Some(works) = members.get("works") {
        let reason = members.get("reason").and_then(Value::as_str);
        return match (works.as_bool(), reason) {
            (Some(true), _) => "yes".into(),
            (_, Some(reason)) => format!("no: {reason}").into(),
            (_, None) => "no".into(),
        };
    }
    let members = members.iter();
    members
        .map(|(key, value)| (key.clone(), short(value)))
        .collect::<Map<_, _>>()
        .into()
}
