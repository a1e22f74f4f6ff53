//! `raw unpack`

use std::path::PathBuf;

use oci_bundle::progress::Progress;
use oci_bundle::{Result, ops};

use super::super::args::{UnpackArgs, path_parser};
use super::super::exit::Exit;
use super::super::source_args::SourceArgs;
use super::super::ui::Ui;

/// unpacks a reference into a rootfs
///
/// Creates only the root file system: neither a runtime configuration nor the metadata for repack. An existing
/// directory is merged into.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: SourceArgs,

    #[command(flatten)]
    unpack: UnpackArgs,

    /// directory to unpack into
    #[arg(required = true, value_name = "rootfs", value_parser = path_parser())]
    rootfs: PathBuf,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let options = args.unpack.options();
    let progress = ui.progress();
    // umoci says this at level warn on every successful run; there is nothing to warn of.
    let rootfs = args.rootfs.display();
    progress.info(format_args!("unpacking into {rootfs}"));
    ops::raw_unpack(&args.image.source(), &args.rootfs, &options, &progress)?;
    progress.info(format_args!("unpacked into {rootfs}"));
    Ok(Exit::Success)
}
