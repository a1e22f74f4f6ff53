//! `cat`

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use oci_bundle::{Result, ops};

use super::args::PlatformArgs;
use super::exit::Exit;
use super::source_args::SourceArgs;
use super::ui::Ui;

/// prints files of an image without unpacking it
///
/// Symbolic links are followed inside the image, and files that an upper layer has deleted are not there. Nothing is
/// printed if one of the paths is missing or is no regular file. Of the layers, only those from the top down to the one
/// that settles all paths are read, and verified.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: SourceArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    /// paths in the image
    #[arg(required = true, value_name = "path")]
    paths: Vec<OsString>,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let paths: Vec<&[u8]> = args.paths.iter().map(|path| path.as_bytes()).collect();
    let platform = args.platform.platform.as_ref();
    let source = args.image.source();
    ui.stream(|out| ops::cat(&source, platform, &paths, out, &ui.progress()))?;
    Ok(Exit::Success)
}
