//! `new`

use oci_bundle::{Result, ResultExt, ops};

use super::args::ImageArgs;
use super::exit::Exit;
use super::time::source_date_epoch;
use super::ui::Ui;

/// creates a blank tagged OCI image
///
/// The layout must exist. The image has no layers and a configuration with defaults for this machine; a tag of that
/// name is replaced. The time of creation is now, or `SOURCE_DATE_EPOCH` where the environment has it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: ImageArgs,
}

pub fn run(args: &Args, _: &Ui) -> Result<Exit> {
    let name = &args.image.image.name;
    name.to_tag().context(|| "invalid --image")?;
    ops::new(&args.image.image, source_date_epoch()?)?;
    Ok(Exit::Success)
}
