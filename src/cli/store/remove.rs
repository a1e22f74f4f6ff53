//! `store remove`

use oci_bundle::Result;
use oci_bundle::ops::store::{Removed, remove};
use serde_json::{Value, json};

use super::{Common, Exit, Ui};

/// removes images and their names, or containers and their changes
///
/// A chain ID printed by 'store commit' removes that snapshot. What is in use is kept, and the error names the users.
/// Layers remain until 'store gc'.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,

    /// image names or digests, container keys, or chain IDs of snapshots
    #[arg(required = true, value_name = "name", num_args = 1..)]
    names: Vec<String>,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let store = args.common.open()?;
    let mut removed = Vec::new();
    for name in &args.names {
        removed.push(match remove(&store, name)? {
            Removed::Image(digest) => json!({"image": digest.to_string()}),
            Removed::Container(key) => json!({"container": key.as_str()}),
            Removed::Snapshot(chain) => json!({"snapshot": chain.to_string()}),
        });
    }
    args.common.answer(ui, &Value::Array(removed), String::new)
}
