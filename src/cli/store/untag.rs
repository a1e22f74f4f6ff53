//! `store untag`

use oci_bundle::Result;
use serde_json::json;

use super::{Common, Exit, Ui};

/// removes a name from an image of the store
///
/// The image remains, even without a name.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,

    /// name
    #[arg(required = true, value_name = "name")]
    name: String,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    args.common.open()?.untag(&args.name)?;
    args.common
        .answer(ui, &json!({"name": args.name}), String::new)
}
