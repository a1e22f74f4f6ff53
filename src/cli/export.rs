//! `export`

use std::path::PathBuf;

use oci_bundle::ops::ErofsOptions;
use oci_bundle::{Error, ErrorKind, Result, ops};

use super::args::{ImageArgs, PlatformArgs, path_parser};
use super::exit::Exit;
use super::ui::Ui;

/// writes the root file system of an image to one file
///
/// 'erofs' is an EROFS image that holds everything: for microVMs, systemd and dm-verity. With blocks of 4096 bytes it is
/// mounted by Linux 5.15 and later. The same layers give the same bytes. The file appears when it is complete.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: ImageArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    /// format of the file: erofs
    #[arg(long, required = true, value_name = "format", value_parser = format)]
    format: Format,

    /// bytes of a block, 4096 or 512 (default: 4096)
    #[arg(long, value_name = "bytes")]
    block_size: Option<u32>,

    /// the file to write
    #[arg(long, short = 'o', required = true, value_name = "file", value_parser = path_parser())]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Erofs,
}

fn format(text: &str) -> Result<Format> {
    if text == "erofs" {
        return Ok(Format::Erofs);
    }
    let error = Error::new(ErrorKind::InvalidInput, format!("unknown format {text:?}"));
    Err(error.with_hint("the format is erofs"))
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    match args.format {
        Format::Erofs => {
            let defaults = ErofsOptions::default();
            let options = ErofsOptions {
                block_size: args.block_size.unwrap_or(defaults.block_size),
                platform: args.platform.platform.clone(),
            };
            ops::export_erofs(&args.image.image, &args.output, &options, &ui.progress())?;
        }
    }
    Ok(Exit::Success)
}
