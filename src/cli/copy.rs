//! `copy`

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};

use oci_bundle::archive::Compression;
use oci_bundle::image::Platform;
use oci_bundle::transfer::{CopyOptions, CopyReport, ImageName, Recompress};
use oci_bundle::{Error, ErrorKind, Result, ops};
use serde_json::json;

use super::exit::Exit;
use super::json::SCHEMA_VERSION;
use super::source_args::{TransferArgs, name_parser};
use super::ui::Ui;

/// copies images between layouts, archives and registries
///
/// Source and target are path[:tag] of an OCI layout, oci-archive:file[:name], docker-archive:file[:name],
/// `docker://host/name[:tag]`, or '-' for an archive on stdin or stdout. Blobs that the target already has are not
/// copied. From a multi-platform image, the host's platform is copied, or those given with --platform, or everything
/// with --all.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// copy all platforms of an image, and all images of an archive
    #[arg(long, conflicts_with = "platform")]
    all: bool,

    /// platform to copy, os/arch[/variant] (can be repeated; default: the host's)
    #[arg(long, value_name = "platform")]
    platform: Vec<Platform>,

    /// additional tag or name of the image in the target (can be repeated)
    #[arg(long, value_name = "tag")]
    tag: Vec<String>,

    /// recompress the layers: none, gzip or zstd, with a level as in zstd:19 (default: only uncompressed layers of
    /// docker archives, with gzip)
    #[arg(long, value_name = "compression", value_parser = recompress)]
    recompress: Option<Recompress>,

    /// omit layers of this image from the archive, to be copied to a target that has them (can be repeated)
    #[arg(long, value_name = "image", value_parser = name_parser())]
    without: Vec<ImageName>,

    /// print a report as JSON: image digests, blobs and bytes copied
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    transfer: TransferArgs,

    /// image to copy
    #[arg(required = true, value_name = "source", value_parser = name_parser())]
    source: ImageName,

    /// destination
    #[arg(required = true, value_name = "target", value_parser = name_parser())]
    target: ImageName,
}

fn recompress(text: &str) -> Result<Recompress> {
    let (name, level) = match text.split_once(':') {
        Some((name, level)) => (name, Some(level)),
        None => (text, None),
    };
    let refuse = || {
        Error::new(
            ErrorKind::InvalidInput,
            format!("unknown compression {text:?}"),
        )
        .with_hint("write none, gzip[:level] or zstd[:level]")
    };
    let compression = match (name, level) {
        ("none", None) => Compression::None,
        ("gzip", _) => Compression::Gzip,
        ("zstd", _) => Compression::Zstd,
        _ => return Err(refuse()),
    };
    let level = level.map(str::parse).transpose().map_err(|_| refuse())?;
    Ok(Recompress { compression, level })
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let to_stdout =
        matches!(&args.target, ImageName::Archive { file, .. } if file.as_os_str() == "-");
    if to_stdout && (args.json || io::stdout().is_terminal()) {
        let message = "an archive is not written to a terminal, nor beside JSON";
        return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("name a file"));
    }
    let mut without = BTreeSet::new();
    for name in &args.without {
        let image = args.transfer.source(name);
        without.append(&mut ops::layer_blobs(&image, args.all)?);
    }
    let options = CopyOptions {
        without,
        all: args.all,
        platforms: args.platform.clone(),
        recompress: args.recompress,
    };
    let source = args.transfer.source(&args.source);
    let mut report = CopyReport::default();
    let progress = ui.progress();
    let mut copy = |out: &mut dyn io::Write| {
        report = ops::copy(&source, &args.target, &args.tag, &options, out, &progress)?;
        Ok(())
    };
    if to_stdout {
        ui.stream(copy)?;
    } else {
        copy(&mut io::sink())?;
    }
    drop(progress);
    if args.json {
        let images: Vec<String> = report.images.iter().map(ToString::to_string).collect();
        let value = json!({
            "schema_version": SCHEMA_VERSION,
            "images": images,
            "copied": report.copied_count,
            "copied_bytes": report.copied_size,
            "existing": report.existing_count,
        });
        ui.print(format!("{value}\n"))?;
    }
    Ok(Exit::Success)
}
