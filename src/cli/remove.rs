//! `remove`, `rm`

use oci_bundle::{Result, ops};

use super::args::ImageArgs;
use super::exit::Exit;
use super::ui::Ui;

/// removes a tag from an OCI image
///
/// A tag that does not exist is not an error. An untagged image is removed by its digest ('path@digest'). Blobs remain
/// until gc removes them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: ImageArgs,
}

pub fn run(args: &Args, _: &Ui) -> Result<Exit> {
    ops::remove(&args.image.image)?;
    Ok(Exit::Success)
}
