//! `init`

use oci_bundle::{Result, ops};

use super::args::LayoutArgs;
use super::exit::Exit;
use super::ui::Ui;

/// create a new OCI layout
///
/// The path must not exist; missing parent directories are created. The new layout is empty.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    layout: LayoutArgs,
}

pub fn run(args: &Args, _: &Ui) -> Result<Exit> {
    ops::init(&args.layout.layout)?;
    Ok(Exit::Success)
}
