//! `umount`

use std::path::PathBuf;

use oci_bundle::Result;
use oci_bundle::fs::mount;

use super::args::path_parser;
use super::exit::Exit;
use super::store_args::StoreArgs;
use super::ui::Ui;

/// unmounts the root file system of a bundle, or an image
///
/// Changes remain in the store. It is not an error if nothing is mounted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// lazy unmount: detach now, clean up once it is no longer busy (umount -l)
    #[arg(long)]
    lazy: bool,

    #[command(flatten)]
    store: StoreArgs,

    /// bundle, or the directory that an image is mounted on
    #[arg(required = true, value_name = "bundle", value_parser = path_parser())]
    target: PathBuf,
}

pub fn run(args: &Args, _ui: &Ui) -> Result<Exit> {
    // What is seen in a mounted image is the image's: its files say nothing of a bundle.
    if mount::is_mount_point(&args.target)? {
        args.store.open()?.unmount(&args.target, args.lazy)?;
    } else if let Some(bundle) = args.store.bundle(&args.target)? {
        bundle.unmount(args.lazy)?;
    }
    Ok(Exit::Success)
}
