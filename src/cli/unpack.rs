//! `unpack`

use std::path::PathBuf;

use oci_bundle::{Result, ops};

use super::args::{UnpackArgs, path_parser};
use super::exit::Exit;
use super::mount::MountArgs;
use super::source_args::SourceArgs;
use super::store_args::StoreArgs;
use super::ui::Ui;

/// unpacks a reference into an OCI runtime bundle
///
/// The bundle is a directory with the image's root file system in 'rootfs', a 'config.json' for a container runtime,
/// and the metadata from which repack finds changes. A failed or killed unpack leaves no bundle.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: SourceArgs,

    #[command(flatten)]
    unpack: UnpackArgs,

    /// mount shared layers from the layer store instead of copying them into the bundle
    #[arg(long)]
    overlay: bool,

    /// with --overlay: also read and verify the blobs of layers that the store already has
    #[arg(long, requires = "overlay")]
    verify: bool,

    #[command(flatten)]
    mount: MountArgs,

    #[command(flatten)]
    store: StoreArgs,

    /// directory of the bundle to create
    #[arg(required = true, value_name = "bundle", value_parser = path_parser())]
    bundle: PathBuf,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let mut options = args.unpack.options();
    options.verify = args.verify;
    if args.overlay {
        let (image, bundle) = (args.image.source(), &args.bundle);
        let (store, mount) = (args.store.open()?, args.mount.options());
        ops::store::unpack_overlay(&image, bundle, &store, &options, &mount, &ui.progress())?;
        return Ok(Exit::Success);
    }
    ops::unpack(&args.image.source(), &args.bundle, &options, &ui.progress())?;
    Ok(Exit::Success)
}
