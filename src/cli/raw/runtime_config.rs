//! `raw runtime-config`, `raw config`

use std::ffi::OsString;
use std::path::PathBuf;

use oci_bundle::ops::RuntimeConfigOptions;
use oci_bundle::{Result, ops};

use super::super::args::{MapArgs, PlatformArgs, path_parser};
use super::super::exit::Exit;
use super::super::source_args::SourceArgs;
use super::super::ui::Ui;

/// generates an OCI runtime configuration for an image
///
/// The file is written or replaced atomically. Without --rootfs, the image's users and groups cannot be looked up.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: SourceArgs,

    #[command(flatten)]
    map: MapArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    /// root file system of the image, to look up users and groups in
    #[arg(long)]
    rootfs: Option<OsString>,

    /// file to write
    #[arg(required = true, value_name = "config.json", value_parser = path_parser())]
    config: PathBuf,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let options = RuntimeConfigOptions {
        map_options: args.map.options(),
        platform: args.platform.platform.clone(),
        // As for umoci, an empty path is none.
        rootfs: args
            .rootfs
            .as_ref()
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
    };
    ops::runtime_config(&args.image.source(), &args.config, &options, &ui.progress())?;
    Ok(Exit::Success)
}
