//! `store tag`

use oci_bundle::Result;
use serde_json::json;

use super::{Common, Exit, Ui};

/// adds a name to an image of the store
///
/// If another image has the name, it is moved.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,

    /// name or digest of the image
    #[arg(required = true, value_name = "image")]
    image: String,

    /// new name
    #[arg(required = true, value_name = "name")]
    name: String,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let store = args.common.open()?;
    let image = store.image(&args.image)?;
    store.tag(&args.name, image.digest())?;
    let value = json!({"name": args.name, "digest": image.digest().to_string()});
    args.common.answer(ui, &value, String::new)
}
