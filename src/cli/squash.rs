//! `squash`

use oci_bundle::ops::SquashOptions;
use oci_bundle::{Result, ops};

use super::args::{CompressArgs, HistoryArgs};
use super::exit::Exit;
use super::source_args::{EditArgs, Reads};
use super::time::source_date_epoch;
use super::ui::Ui;

/// squashes the layers of an image, or the last ones, into one
///
/// The root file system stays the same; files that later layers replaced or deleted are gone. History entries of the
/// squashed layers are kept as empty ones, and one is added for the new layer. The result is reproducible.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: EditArgs,

    /// number of layers to squash, from the top (default: all)
    #[arg(long, value_name = "number")]
    last: Option<usize>,

    #[command(flatten)]
    compress: CompressArgs,

    #[command(flatten)]
    history: HistoryArgs,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let compress = args.compress.options()?;
    let history = args.history.options(source_date_epoch()?)?;
    args.image.edit(Reads::Layers, ui, &|image, tag, progress| {
        let options = SquashOptions {
            last: args.last,
            tag,
            platform: args.image.platform().cloned(),
            compress,
            history: history.clone(),
        };
        ops::squash(image, &options, progress)
    })
}
