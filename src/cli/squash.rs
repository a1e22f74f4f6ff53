//! `squash`

use oci_bundle::ops::SquashOptions;
use oci_bundle::{Result, ops};

use super::args::{CompressArgs, HistoryArgs};
use super::exit::Exit;
use super::source_args::{EditArgs, Reads};
use super::time::source_date_epoch;
use super::ui::Ui;

/// makes one layer of all layers of an image, or of the last ones
///
/// What an image unpacks to stays the same; what its layers write and delete again is in it no more. In the history, the
/// steps that made the layers stay, as steps without a layer, and one is added for the new layer. The same image gives
/// the same layer.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: EditArgs,

    /// how many layers to squash, from the top (all if not given)
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
