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
/// What was changed stays in the store. Where nothing is mounted, nothing happens.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// take the mount away from its directory at once, although somebody uses it, and let it end with its last user
    #[arg(long)]
    lazy: bool,

    #[command(flatten)]
    store: StoreArgs,

    /// the bundle, or the directory that an image is mounted on
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
