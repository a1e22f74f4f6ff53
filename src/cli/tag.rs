//! `tag`

use oci_bundle::image::Tag;
use oci_bundle::{Result, ops};

use super::args::{ImageArgs, PlatformArgs};
use super::exit::Exit;
use super::ui::Ui;

/// creates a new tag in an OCI image
///
/// The new tag refers to the same image, in the same layout. An existing tag of that name is replaced.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: ImageArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    /// name of the new tag
    #[arg(required = true, value_name = "new-tag", value_parser = |text: &str| Tag::new(text))]
    new_tag: Tag,
}

pub fn run(args: &Args, _: &Ui) -> Result<Exit> {
    ops::tag(
        &args.image.image,
        args.platform.platform.as_ref(),
        &args.new_tag,
    )?;
    Ok(Exit::Success)
}
