//! `store export`

use oci_bundle::ops::store::export;
use oci_bundle::transfer::archive::{Combined, DockerArchive, Exporter, OciArchive};
use oci_bundle::{Error, ErrorKind, Result};
use serde_json::Value;

use super::file_output::OutputArgs;
use super::{Common, Exit, Ui};

/// writes images as an archive
///
/// Of each image, the names that are no paths of layouts go along. 'combined' is an OCI layout that Docker can load, too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// format of the archive: combined, oci or docker (default: "combined")
    #[arg(long, value_name = "format", value_parser = format)]
    format: Option<Format>,

    #[command(flatten)]
    output: OutputArgs,

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
