//! `store version`

use oci_bundle::Result;
use oci_bundle::ops::store::format_version;
use serde_json::json;

use super::{Common, Exit, Ui};

/// shows the versions of the program and of the store format
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let form = format_version(&args.common.open_unleased()?)?;
    let program = env!("CARGO_PKG_VERSION");
    let value = json!({"program": program, "store": form});
    args.common.answer(ui, &value, || {
        format!("program: {program}\nstore: {form}\n")
    })
}
