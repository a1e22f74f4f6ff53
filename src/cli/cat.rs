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
/// Symlinks are followed inside the image, and whiteouts are applied. Nothing is printed if one of the paths is missing
/// or is not a regular file. Layers are read and verified from the top down, only as far as needed to find all paths.
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
