//! `export`

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use oci_bundle::ops::ErofsOptions;
use oci_bundle::ops::store::write_file;
use oci_bundle::{Error, ErrorKind, Result, ops};

use super::args::{PlatformArgs, path_parser};
use super::exit::Exit;
use super::source_args::SourceArgs;
use super::ui::Ui;

/// exports the root file system of an image as a single file
///
/// The layers are merged, with owners, devices and extended attributes. Nothing is unpacked to disk, no privileges are
/// needed, and the output is reproducible. 'tar' is an archive; 'erofs' is a self-contained EROFS image for microVMs,
/// systemd and dm-verity, which Linux 5.15 and later can mount if its block size is 4096.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: SourceArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    /// format of the file: tar or erofs (default: tar)
    #[arg(long, value_name = "format", value_parser = format)]
    format: Option<Format>,

    /// block size of an EROFS image, 4096 or 512 bytes (default: 4096)
    #[arg(long, value_name = "bytes")]
    block_size: Option<u32>,

    /// write to this file instead of stdout
    #[arg(long, short = 'o', value_name = "file", value_parser = path_parser())]
    output: Option<PathBuf>,

    /// file to write, or '-' for stdout
    #[arg(value_name = "file", value_parser = path_parser(), conflicts_with = "output")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Tar,
    Erofs,
}

fn format(text: &str) -> Result<Format> {
    match text {
        "tar" => Ok(Format::Tar),
        "erofs" => Ok(Format::Erofs),
        _ => {
            let error = Error::new(ErrorKind::InvalidInput, format!("unknown format {text:?}"));
            Err(error.with_hint("the formats are tar and erofs"))
        }
    }
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let source = args.image.source();
    let platform = args.platform.platform.as_ref();
    let progress = ui.progress();
    let file = args.output.as_ref().or(args.file.as_ref());
    let file = file.filter(|file| file.as_os_str() != "-");
    match (file, args.format.unwrap_or(Format::Tar)) {
        (Some(file), Format::Tar) => {
            write_file(file, |out| {
                ops::export_tar(&source, platform, out, &progress)
            })?;
        }
        (Some(file), Format::Erofs) => {
            let defaults = ErofsOptions::default();
            let options = ErofsOptions {
                block_size: args.block_size.unwrap_or(defaults.block_size),
                platform: platform.cloned(),
            };
            ops::export_erofs(&source, file, &options, &progress)?;
        }
        (None, Format::Erofs) => {
            let message = "missing mandatory argument: --output";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        (None, Format::Tar) if io::stdout().is_terminal() => {
            let message = "an archive is not written to a terminal";
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("write it to a file with --output"));
        }
        (None, Format::Tar) => {
            ui.stream(|out| ops::export_tar(&source, platform, out, &progress))?;
        }
    }
    Ok(Exit::Success)
}
