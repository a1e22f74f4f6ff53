//! `list`, `ls`

use std::collections::BTreeMap;

use oci_bundle::layout::Listed;
use oci_bundle::{Result, ops};

use super::args::LayoutArgs;
use super::exit::Exit;
use super::log::printable;
use super::ui::Ui;

/// What stands for the tag of an entry that has none, as Docker writes it.
const NO_TAG: &str = "<none>";

/// lists the set of tags in an OCI layout
///
/// Prints one tag per line in the order of the layout's index, each once.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    layout: LayoutArgs,

    /// print every descriptor of the index, also untagged ones: tag, digest and platform if known
    #[arg(long)]
    digests: bool,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let entries = ops::list(&args.layout.layout)?;
    let lines: Vec<String> = if args.digests {
        entries.iter().map(line).collect()
    } else {
        // A name of an index that another program wrote may be anything.
        let tags = entries.iter().filter_map(|entry| entry.tag.as_deref());
        tags.map(printable).collect()
    };
    let (lines, repeated) = once(lines);
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    ui.print(text)?;
    for (line, count) in repeated {
        ui.warn(&format!("{line} stands {count} times in the index"));
    }
    let untagged = entries.iter().filter(|entry| entry.tag.is_none()).count();
    if untagged > 0 && !args.digests {
        ui.warn(&format!(
            "entries of the index without a tag: {untagged}; --digests shows them, and an image is named by its digest, as in path@sha256:..."
        ));
    }
    Ok(Exit::Success)
}

fn line(entry: &Listed) -> String {
    let tag = entry.tag.as_deref().unwrap_or(NO_TAG);
    let Some(descriptor) = &entry.descriptor else {
        return format!("{} (not understood)", printable(tag));
    };
    let platform = descriptor.platform();
    let platform = platform.map(|platform| format!(" {platform}"));
    printable(&format!(
        "{tag} {}{}",
        descriptor.digest(),
        platform.unwrap_or_default()
    ))
}

/// Each line once, in order of first appearance, and those that were there more than once.
fn once(lines: Vec<String>) -> (Vec<String>, BTreeMap<String, usize>) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut first = Vec::new();
    for line in lines {
        let count = counts.entry(line.clone()).or_default();
        *count += 1;
        if *count == 1 {
            first.push(line);
        }
    }
    counts.retain(|_, count| *count > 1);
    (first, counts)
}
