//! `repack`

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use oci_bundle::ops::RepackOptions;
use oci_bundle::{Result, ops};

use super::args::{CompressArgs, HistoryArgs, path_parser};
use super::exit::Exit;
use super::source_args::TargetArgs;
use super::store_args::StoreArgs;
use super::time::source_date_epoch;
use super::ui::Ui;

/// repacks an OCI runtime bundle into a reference
///
/// Changes in the bundle's 'rootfs' become a new layer on top of the image that the bundle was unpacked from. --image
/// is the tag of the result, in the layout of that image.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: TargetArgs,

    #[command(flatten)]
    compress: CompressArgs,

    /// path in the root file system whose changes, and all below it, are ignored (can be repeated)
    #[arg(long, value_name = "path")]
    mask_path: Vec<OsString>,

    /// also pack changes in the image's volumes
    #[arg(long)]
    no_mask_volumes: bool,

    /// update the bundle's records to the new image, so that the next repack only packs later changes
    #[arg(long)]
    refresh_bundle: bool,

    /// read and hash every file instead of trusting times and sizes
    #[arg(long)]
    verify: bool,

    #[command(flatten)]
    history: HistoryArgs,

    /// bundle
    #[arg(required = true, value_name = "bundle", value_parser = path_parser())]
    bundle: PathBuf,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let epoch = source_date_epoch()?;
    let options = RepackOptions {
        masks: args
            .mask_path
            .iter()
            .cloned()
            .map(OsString::into_vec)
            .collect(),
        no_mask_volumes: args.no_mask_volumes,
        refresh: args.refresh_bundle,
        verify: args.verify,
        compress: args.compress.options()?,
        history: args.history.options(epoch)?,
        source_date_epoch: epoch,
        layers_elsewhere: args.image.is_in_registry(),
        // Where the store is, the bundle says.
        store: Some(StoreArgs::default().options_at(Path::new(""))?),
    };
    args.image.make(ui, &|image, progress| {
        ops::repack(image, &args.bundle, &options, progress)
    })
}
