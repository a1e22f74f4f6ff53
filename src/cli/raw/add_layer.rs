//! `raw add-layer`

use std::path::PathBuf;

use oci_bundle::ops::AddLayerOptions;
use oci_bundle::{Result, ops};

use super::super::args::{HistoryArgs, Pair, path_parser};
use super::super::exit::Exit;
use super::super::source_args::{LayerArgs, Reads};
use super::super::time::source_date_epoch;
use super::super::ui::Ui;

/// adds a layer archive verbatim to an image
///
/// The archive is an uncompressed tar file or a pipe. It becomes the top layer unchanged.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    layer: LayerArgs,

    /// annotation of the layer, key=value (can be repeated)
    #[arg(long = "layer.annotation")]
    annotations: Vec<Pair>,

    #[command(flatten)]
    history: HistoryArgs,

    /// layer archive
    #[arg(required = true, value_name = "layer.tar", value_parser = path_parser())]
    file: PathBuf,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let compress = args.layer.compress.options()?;
    let history = args.history.options(source_date_epoch()?)?;
    args.layer
        .image
        .edit(Reads::Documents, ui, &|image, tag, progress| {
            let options = AddLayerOptions {
                tag,
                platform: args.layer.image.platform().cloned(),
                compress,
                history: history.clone(),
                annotations: Pair::map(&args.annotations),
            };
            ops::add_layer(image, &args.file, &options, progress)
        })
}
