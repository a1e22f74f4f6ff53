//! `store gc`

use std::fmt::Display;

use oci_bundle::store::{GcOptions, GcReport};
use oci_bundle::{Result, ops};
use serde_json::{Value, json};

use super::output::{chain_id, chain_text};
use super::{Common, Exit, Ui};

/// removes unreferenced data from the store
///
/// Removes layers and chains that no image, snapshot, container or mount references, unchanged containers whose bundle
/// is gone, and leftovers of killed processes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// only list what would be removed
    #[arg(long)]
    dry_run: bool,

    /// also remove images that no container or mount uses
    #[arg(long)]
    all: bool,

    /// also remove changed containers whose bundle is gone
    #[arg(long)]
    abandoned: bool,

    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let store = args.common.open_unleased()?;
    let report = ops::store::gc(
        &store,
        GcOptions {
            dry_run: args.dry_run,
            unused_images: args.all,
            abandoned: args.abandoned,
        },
    )?;
    for key in &report.kept {
        ui.warn(&format!(
            "container {key} is kept: its bundle is gone, but something was changed in it (--abandoned removes it)"
        ));
    }
    args.common
        .answer(ui, &json(&report), || text(&report, args.dry_run))
}

fn texts<T: Display>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn json(report: &GcReport) -> Value {
    let chains: Vec<_> = report
        .chains
        .iter()
        .map(|id| chain_id(id.as_ref()))
        .collect();
    json!({
        "images": texts(&report.images),
        "containers": texts(&report.containers),
        "chains": chains,
        "layers": texts(&report.layers),
        "patches": texts(&report.patches),
        "kept_containers": texts(&report.kept),
        "leftovers": report.leftovers,
        "bytes": report.bytes,
    })
}

fn text(report: &GcReport, dry_run: bool) -> String {
    if !dry_run {
        return String::new();
    }
    let chains: Vec<String> = report
        .chains
        .iter()
        .map(|id| chain_text(id.as_ref()))
        .collect();
    let lists = [
        ("image", texts(&report.images)),
        ("container", texts(&report.containers)),
        ("chain", chains),
        ("layer", texts(&report.layers)),
        ("patch", texts(&report.patches)),
    ];
    let lines = lists.iter().flat_map(|(kind, names)| {
        let names = names.iter();
        names.map(move |name| format!("{kind} {name}\n"))
    });
    lines.collect()
}
