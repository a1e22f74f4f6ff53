//! `remove-bundle`

use std::path::PathBuf;

use oci_bundle::{Result, ops};

use super::args::path_parser;
use super::exit::Exit;
use super::store_args::StoreArgs;
use super::ui::Ui;

/// removes a bundle with all that was changed in it
///
/// The root file system is unmounted first. What is in the bundle's directory beside the bundle stays. The layers stay in
/// the store, for others; 'store gc' takes those that nobody needs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// remove it although somebody still uses its root file system
    #[arg(long)]
    lazy: bool,

    #[command(flatten)]
    store: StoreArgs,

    /// the bundle
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
