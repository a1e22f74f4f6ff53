//! `gc`

use oci_bundle::layout::GcReport;
use oci_bundle::{Result, ops};
use serde_json::json;

use super::args::LayoutArgs;
use super::exit::Exit;
use super::json::SCHEMA_VERSION;
use super::ui::Ui;

/// garbage-collects an OCI image's blobs
///
/// Removes blobs that are not reachable from any entry of the index, and leftovers of killed processes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    layout: LayoutArgs,

    /// only list what would be removed: digest and size in bytes of each blob
    #[arg(long)]
    dry_run: bool,

    /// print the removed blobs as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let report = ops::gc(&args.layout.layout, args.dry_run)?;
    for digest in &report.missing {
        ui.warn(&format!(
            "{digest} is listed and not in the layout: what only it needs is not kept"
        ));
    }
    for name in &report.foreign {
        ui.warn(&format!("ignored, because it is not a blob: {name}"));
    }
    if args.json {
        ui.print(json(&report))?;
    } else if args.dry_run {
        ui.print(text(&report))?;
    }
    Ok(Exit::Success)
}

fn text(report: &GcReport) -> String {
    let blobs = report
        .blobs
        .iter()
        .map(|(digest, size)| format!("{digest} {size}\n"));
    // Left-overs have names, but no size worth telling.
    let scratch = report.scratch.iter().map(|name| format!("{name} -\n"));
    blobs.chain(scratch).collect()
}

fn json(report: &GcReport) -> String {
    let blobs: Vec<_> = report
        .blobs
        .iter()
        .map(|(digest, size)| json!({"digest": digest.to_string(), "size": size}))
        .collect();
    let missing: Vec<String> = report.missing.iter().map(ToString::to_string).collect();
    let report = json!({
        "schema_version": SCHEMA_VERSION,
        "blobs": blobs,
        "scratch": report.scratch,
        "missing": missing,
        "foreign": report.foreign,
    });
    format!("{report}\n")
}
