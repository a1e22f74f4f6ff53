//! `store remove`

use oci_bundle::Result;
use oci_bundle::ops::store::{Removed, remove};
use serde_json::{Value, json};

use super::{Common, Exit, Ui};

/// removes images with their names, and containers with all that was changed in them
///
/// A chain ID that 'store commit' has printed removes that commit. What is in use stays, and the error says by whom. The
/// layers of images and commits stay until 'store gc'.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,

    /// names or digests of images, keys of containers, chain IDs of commits
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
