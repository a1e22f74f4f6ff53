//! `list`, `ls`

use oci_bundle::{Result, ops};

use super::args::LayoutArgs;
use super::exit::Exit;
use super::log::printable;
use super::ui::Ui;

/// lists the set of tags in an OCI layout
///
/// Prints one tag per line in the order of the layout's index.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    layout: LayoutArgs,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let tags = ops::list(&args.layout.layout)?;
    let mut lines = String::new();
    for tag in tags {
        // A name of an index that somebody else wrote may be anything.
        lines.push_str(&printable(&tag));
        lines.push('\n');
    }
    ui.print(lines)?;
    Ok(Exit::Success)
}
