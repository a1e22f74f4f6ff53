//! `store diff`

use oci_bundle::archive::{Compression, EncoderOptions};
use oci_bundle::ops::store::Difference;
use oci_bundle::{Error, ErrorKind, Result};
use serde_json::Value;

use super::file_output::OutputArgs;
use super::{Common, Exit, Ui};
use crate::cli::args::{check_level, level};
use crate::cli::time::source_date_epoch;

/// writes the changes in a container as a layer archive
///
/// For an image, the differences from another image are written. The archive goes to stdout, unless that is a terminal,
/// or to a file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// compression of the archive: none, gzip or zstd (default: "none")
    #[arg(long, short = 'c', value_name = "compression", value_parser = compression)]
    compress: Option<Compression>,

    /// compression level (gzip: 0 to 9, zstd: 1 to 22)
    #[arg(long, value_name = "level", allow_negative_numbers = true, value_parser = level)]
    compress_level: Option<i32>,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    pub common: Common,

    /// key of a container, or name or digest of an image
    #[arg(required = true, value_name = "name")]
    name: String,

    /// image to compare with (default: a container's own image; for an image, an empty one)
    #[arg(value_name = "other")]
    other: Option<String>,
}

fn compression(text: &str) -> Result<Compression> {
    match text {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        _ => {
            let message = format!("unknown compression {text:?}");
            let error = Error::new(ErrorKind::InvalidInput, message);
            Err(error.with_hint("the compressions are none, gzip and zstd"))
        }
    }
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let epoch = source_date_epoch()?;
    let compression = args.compress.unwrap_or(Compression::None);
    check_level(Some(compression), args.compress_level)?;
    let store = args.common.open()?;
    let options = EncoderOptions {
        compression,
        level: args.compress_level,
        threads: None,
    };
    let progress = ui.progress();
    let written = args.output.write(&args.common, ui, |out| {
        let difference = Difference::find(&store, &args.name, args.other.as_deref())?;
        difference.write_compressed(out, options, epoch, &progress)
    })?;
    drop(progress);
    match written {
        None => Ok(Exit::Success),
        Some(written) => {
            let value = Value::Object(args.output.describe(&written));
            args.common.answer(ui, &value, String::new)
        }
    }
}
