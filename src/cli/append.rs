//! `append`

use oci_bundle::layout::ImageSource;
use oci_bundle::ops::AppendOptions;
use oci_bundle::transfer::ImageName;
use oci_bundle::{Result, ops};

use super::exit::Exit;
use super::source_args::{EditArgs, Reads, name_parser};
use super::ui::Ui;

/// appends the layers of other images to an image
///
/// Layers are reused unchanged, and nothing is unpacked. Histories are joined; the image's configuration is kept.
/// Bottom layers that both images share are not repeated: from images with a common base, only what each adds is
/// appended.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: EditArgs,

    /// images of layouts, archives or registries, bottom first
    #[arg(required = true, value_name = "from", value_parser = name_parser())]
    from: Vec<ImageName>,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let others = args.from.iter().map(|name| args.image.source_of(name));
    let others: Vec<_> = others.collect();
    let others: Vec<&dyn ImageSource> = others.iter().map(|it| it as &dyn ImageSource).collect();
    args.image
        .edit(Reads::Documents, ui, &|image, tag, progress| {
            let options = AppendOptions {
                tag,
                platform: args.image.platform().cloned(),
            };
            ops::append(image, &others, &options, progress)
        })
}
