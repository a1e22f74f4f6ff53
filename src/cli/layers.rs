//! `layers`

use oci_bundle::image::to_go_json;
use oci_bundle::ops::LayerInfo;
use oci_bundle::{Result, ops};
use serde_json::{Map, Value, json};

use super::args::PlatformArgs;
use super::exit::Exit;
use super::log::printable;
use super::size::human;
use super::source_args::SourceArgs;
use super::ui::Ui;

/// Columns of the history that the table shows at most.
const STEP_WIDTH: usize = 60;

/// lists the layers of an image
///
/// Prints a table, bottom layer first. SIZE is the size as stored, UNPACKED the size of the uncompressed archive where
/// it is known. Scripts should use --json.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: SourceArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    /// print as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let layers = ops::layers(&args.image.source(), args.platform.platform.as_ref())?;
    if args.json {
        let layers = layers.iter().map(json).collect();
        ui.print(to_go_json(&Value::Array(layers)))?;
    } else {
        ui.print(table(&layers))?;
    }
    Ok(Exit::Success)
}

fn json(layer: &LayerInfo) -> Value {
    let mut object = Map::new();
    let descriptor = Value::Object(layer.descriptor.raw().clone());
    object.insert("descriptor".to_owned(), descriptor);
    let diff_id = layer.diff_id.as_ref().map(ToString::to_string);
    object.insert("diff_id".to_owned(), json!(diff_id));
    let size = json!(layer.uncompressed_size);
    object.insert("uncompressed_size".to_owned(), size);
    if let Some(step) = &layer.history {
        let mut history = Map::new();
        let members = [
            ("created", step.created.as_deref().unwrap_or_default()),
            ("created_by", &step.created_by),
            ("author", &step.author),
            ("comment", &step.comment),
        ];
        for (name, text) in members.into_iter().filter(|(_, text)| !text.is_empty()) {
            history.insert(name.to_owned(), text.into());
        }
        object.insert("history".to_owned(), Value::Object(history));
    }
    Value::Object(object)
}

fn table(layers: &[LayerInfo]) -> String {
    let head = [
        "DIGEST",
        "DIFF ID",
        "SIZE",
        "UNPACKED",
        "TYPE",
        "CREATED BY",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(layers.iter().map(|layer| {
        let unknown = || "<unknown>".to_owned();
        let step = layer.history.as_ref();
        let step: String = step.map_or_else(String::new, |step| {
            let text = printable(&step.created_by);
            text.chars().take(STEP_WIDTH).collect()
        });
        [
            layer.descriptor.digest().to_string(),
            layer
                .diff_id
                .as_ref()
                .map_or_else(unknown, ToString::to_string),
            human(layer.descriptor.size()),
            layer.uncompressed_size.map_or_else(unknown, human),
            printable(layer.descriptor.media_type()),
            step,
        ]
    }));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
