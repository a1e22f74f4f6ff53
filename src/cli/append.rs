//! `append`

use oci_bundle::layout::ImageSource;
use oci_bundle::ops::AppendOptions;
use oci_bundle::transfer::ImageName;
use oci_bundle::{Result, ops};

use super::args::{ImageArgs, PlatformArgs, TagArgs};
use super::exit::Exit;
use super::source_args::{TransferArgs, name_parser};
use super::ui::Ui;

/// puts the layers of other images on top of an image
///
/// The layers stay as they are, and nothing is unpacked. The histories are joined; the configuration stays that of the image.
/// Layers with which both the image and another one begin are not repeated: two images of one base give the base once, and
/// what each of them adds.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: ImageArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    #[command(flatten)]
    tag: TagArgs,

    #[command(flatten)]
    transfer: TransferArgs,

    /// images of layouts, archives or registries, the lowest first
    #[arg(required = true, value_name = "from", value_parser = name_parser())]
    from: Vec<ImageName>,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let options = AppendOptions {
        tag: args.tag.tag.clone(),
        platform: args.platform.platform.clone(),
    };
    let others = args.from.iter().map(|name| args.transfer.source(name));
    let others: Vec<_> = others.collect();
    let others: Vec<&dyn ImageSource> = others.iter().map(|it| it as &dyn ImageSource).collect();
    ops::append(&args.image.image, &others, &options, &ui.progress())?;
    Ok(Exit::Success)
}
