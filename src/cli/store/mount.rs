//! `store mount`

use std::path::PathBuf;

use oci_bundle::Result;
use oci_bundle::ops::store::mount;

use super::output;
use super::{Common, Exit, Ui};
use crate::cli::args::{MapArgs, path_parser};
use crate::cli::mount::MountArgs;

/// mounts a container, or an image read-only
///
/// The directory must exist. It is not an error if the container is already mounted there. To change an image, create a
/// container with 'store prepare'.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// mount a container read-only
    #[arg(long)]
    read_only: bool,

    #[command(flatten)]
    mount: MountArgs,

    #[command(flatten)]
    maps: MapArgs,

    #[command(flatten)]
    pub common: Common,

    /// key of a container, name or digest of an image, or a chain ID
    #[arg(required = true, value_name = "name")]
    name: String,

    /// directory to mount on
    #[arg(required = true, value_name = "dir", value_parser = path_parser())]
    target: PathBuf,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let store = args.common.open()?;
    let mut options = args.mount.options();
    options.read_only = args.read_only;
    let maps = args.maps.options();
    let record = mount(&store, &args.name, &maps, &args.target, &options)?;
    args.common
        .answer(ui, &output::mount(&record, true), String::new)
}
