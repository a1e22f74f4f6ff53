//! `store export`

use std::path::PathBuf;

use oci_bundle::ops::store::{export, export_mstack};
use oci_bundle::transfer::archive::{Combined, DockerArchive, Exporter, OciArchive};
use oci_bundle::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

use super::file_output::OutputArgs;
use super::output::insert_path;
use super::{Common, Exit, Ui};
use crate::cli::args::path_parser;

/// exports images as an archive, or one as a systemd mount stack
///
/// Names of the images are included, except paths of layouts. 'combined' is an OCI layout that Docker can load too.
///
/// A mount stack (systemd 260 and later: `systemd-nspawn --mstack=`, `RootMStack=`, `mount -t mstack`) has links to the image's
/// layers, and works as long as the store keeps the image.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// format of the archive: combined, oci or docker (default: "combined")
    #[arg(long, value_name = "format", value_parser = format)]
    format: Option<Format>,

    #[command(flatten)]
    output: OutputArgs,

    /// create this directory, NAME.mstack, instead of an archive, for one image
    #[arg(long, value_name = "directory", value_parser = path_parser(), conflicts_with_all = ["format", "output"])]
    mstack: Option<PathBuf>,

    /// with --mstack: without a writable layer
    #[arg(long, requires = "mstack")]
    read_only: bool,

    #[command(flatten)]
    pub common: Common,

    /// names or digests of images
    #[arg(required = true, value_name = "image", num_args = 1..)]
    images: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Combined,
    Oci,
    Docker,
}

fn format(text: &str) -> Result<Format> {
    match text {
        "combined" => Ok(Format::Combined),
        "oci" => Ok(Format::Oci),
        "docker" => Ok(Format::Docker),
        _ => {
            let error = Error::new(ErrorKind::InvalidInput, format!("unknown format {text:?}"));
            Err(error.with_hint("the formats are combined, oci and docker"))
        }
    }
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let store = args.common.open()?;
    if let Some(path) = &args.mstack {
        let [image] = &args.images[..] else {
            let message = "a mount stack is of one image";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        };
        let layers = export_mstack(&store, image, path, !args.read_only)?;
        let mut members = Map::new();
        insert_path(&mut members, "path", path);
        members.insert("layer_count".to_owned(), layers.len().into());
        return args.common.answer(ui, &Value::Object(members), String::new);
    }
    let exporter: &dyn Exporter = match args.format.unwrap_or(Format::Combined) {
        Format::Combined => &Combined,
        Format::Oci => &OciArchive,
        Format::Docker => &DockerArchive,
    };
    let mut unnamed = Vec::new();
    let written = args.output.write(&args.common, ui, |out| {
        unnamed = export(&store, &args.images, exporter, out)?.unnamed;
        Ok(())
    })?;
    for name in &unnamed {
        ui.warn(&format!("the format cannot hold the name {name:?}"));
    }
    match written {
        None => Ok(Exit::Success),
        Some(written) => {
            let mut members = args.output.describe(&written);
            members.insert("unnamed".to_owned(), unnamed.into());
            let value = Value::Object(members);
            args.common.answer(ui, &value, String::new)
        }
    }
}
