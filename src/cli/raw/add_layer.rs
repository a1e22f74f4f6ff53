//! `raw add-layer`

use std::path::PathBuf;

use oci_bundle::ops::AddLayerOptions;
use oci_bundle::{Result, ops};

use super::super::args::{HistoryArgs, LayerArgs, Pair, path_parser};
use super::super::exit::Exit;
use super::super::time::source_date_epoch;
use super::super::ui::Ui;

/// adds a layer archive verbatim to an image
///
/// The archive is an uncompressed tar file, or a pipe that one comes from. It is stored as it is, on top of the other
/// layers.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    layer: LayerArgs,

    /// annotation of the layer, of the form key=value, can be given several times
    #[arg(long = "layer.annotation")]
    annotations: Vec<Pair>,

    #[command(flatten)]
    history: HistoryArgs,

    /// the layer
    #[arg(required = true, value_name = "layer.tar", value_parser = path_parser())]
    file: PathBuf,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let options = AddLayerOptions {
        tag: args.layer.tag.tag.clone(),
        platform: args.layer.platform.platform.clone(),
        compress: args.layer.compress.options()?,
        history: args.history.options(source_date_epoch()?)?,
        annotations: Pair::map(&args.annotations),
    };
    ops::add_layer(
        &args.layer.image.image,
        &args.file,
        &options,
        &ui.progress(),
    )?;
    Ok(Exit::Success)
}
