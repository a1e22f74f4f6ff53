//! `validate`

use std::path::PathBuf;

use clap::ArgGroup;
use oci_bundle::layout::{Finding, LeasedLayout};
use oci_bundle::transfer::ImageName;
use oci_bundle::{Error, ErrorKind, Result, ops};
use serde_json::json;

use super::args::layout_parser;
use super::exit::Exit;
use super::json::SCHEMA_VERSION;
use super::log::printable;
use super::source_args::{TransferArgs, name_parser};
use super::ui::Ui;

/// checks an OCI layout, or one image in it, against the specification
///
/// Reads everything reachable from the layout's index, or from one image: documents, digests, sizes and diff IDs.
/// Prints one line per finding, and fails if there are any.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("subject"))]
pub struct Args {
    /// check the whole OCI layout at this path
    #[arg(long, group = "subject", value_name = "path", value_parser = layout_parser())]
    layout: Option<PathBuf>,

    /// check only this image, named as for unpack
    #[arg(long, group = "subject", value_name = "image", value_parser = name_parser())]
    image: Option<ImageName>,

    #[command(flatten)]
    transfer: TransferArgs,

    /// print the findings as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let progress = ui.progress();
    let (layout, name) = match (&args.image, &args.layout) {
        (Some(image), _) => args.transfer.source(image).layout()?,
        (None, Some(layout)) => (LeasedLayout::open(layout)?, None),
        (None, None) => {
            let message = "missing mandatory argument: --layout or --image";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
    };
    let findings = ops::validate(&layout, name.as_ref(), &progress)?;
    drop(progress);
    ui.print(if args.json {
        json(&findings)
    } else {
        findings.iter().map(line).collect()
    })?;
    match findings.len() {
        0 => Ok(Exit::Success),
        count => Err(Error::new(
            ErrorKind::InvalidData,
            format!("validation failed: {count} findings"),
        )),
    }
}

fn line(finding: &Finding) -> String {
    let Finding {
        place,
        code,
        message,
    } = finding;
    // One line each, whatever an image has in its strings.
    printable(&format!("{place}: {code}: {message}")) + "\n"
}

fn json(findings: &[Finding]) -> String {
    let findings: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "place": finding.place,
                "code": finding.code,
                "message": finding.message,
            })
        })
        .collect();
    format!(
        "{}\n",
        json!({"schema_version": SCHEMA_VERSION, "findings": findings})
    )
}
