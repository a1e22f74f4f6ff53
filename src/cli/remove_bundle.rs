//! `remove-bundle`

use std::path::PathBuf;

use oci_bundle::{Result, ops};

use super::args::path_parser;
use super::exit::Exit;
use super::store_args::StoreArgs;
use super::ui::Ui;

/// removes a bundle and all changes in it
///
/// The root file system is unmounted first. Other files in the bundle's directory are kept. Layers remain in the store;
/// 'store gc' removes unreferenced ones.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// remove it even if its root file system is busy (lazy unmount)
    #[arg(long)]
    lazy: bool,

    #[command(flatten)]
    store: StoreArgs,

    /// bundle
    #[arg(required = true, value_name = "bundle", value_parser = path_parser())]
    bundle: PathBuf,
}

pub fn run(args: &Args, _ui: &Ui) -> Result<Exit> {
    match args.store.bundle(&args.bundle)? {
        Some(bundle) => bundle.remove(args.lazy)?,
        None => ops::remove_bundle(&args.bundle)?,
    }
    Ok(Exit::Success)
}
