//! `diff`

use std::path::PathBuf;

use clap::ArgGroup;
use oci_bundle::ops::diff::{Change, Status, Target};
use oci_bundle::transfer::ImageName;
use oci_bundle::{Error, ErrorKind, Result, ResultExt, ops};
use serde_json::{Map, Value, json};

use super::args::{PlatformArgs, path_parser};
use super::exit::Exit;
use super::name;
use super::size::human;
use super::source_args::{SourceArgs, name_parser};
use super::ui::Ui;

/// shows what differs between an image and another image or a bundle
///
/// Compares root file systems without unpacking, and prints one line per path that was added (A), changed (C) or
/// deleted (D), sorted by path: 'A /path'. The other image is named in full, as for --image. The exit code is 0 even if
/// there are differences, unless --exit-code is given. Non-printable characters in paths are escaped (\n, \xff), and a
/// backslash is doubled.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("target"))]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct Args {
    #[command(flatten)]
    image: SourceArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    /// compare with this bundle instead of another image
    #[arg(long, group = "target", value_name = "bundle", value_parser = path_parser())]
    bundle: Option<PathBuf>,

    /// also show the change in size of each file, in bytes
    #[arg(long)]
    sizes: bool,

    /// show only the number of paths and bytes added, changed and deleted
    #[arg(long)]
    summary: bool,

    /// print one JSON object per line, with sizes and changed attributes
    #[arg(long)]
    json: bool,

    /// exit with 1 if there are differences
    #[arg(long)]
    exit_code: bool,

    /// the other image
    #[arg(group = "target", value_name = "other-image", value_parser = name_parser())]
    to: Option<ImageName>,
}

/// Paths and bytes of one status.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    paths: u64,
    old_size: u64,
    new_size: u64,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let other = args.to.as_ref().map(|name| args.image.source_of(name));
    let target = match (&other, &args.bundle) {
        (Some(image), _) => Target::Image(image),
        (None, Some(bundle)) => Target::Bundle(bundle),
        (None, None) => {
            let message = "missing mandatory argument: another image, or --bundle";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
    };
    let source = args.image.source();
    let platform = args.platform.platform.as_ref();
    let progress = ui.progress();
    let mut counts = [Count::default(); 3];
    ui.stream(|out| {
        let mut print =
            |line: String| writeln!(out, "{line}").context(|| "write to standard output");
        ops::diff(&source, target, platform, &progress, &mut |change| {
            let count = &mut counts[index(change.status)];
            count.paths += 1;
            count.old_size = count
                .old_size
                .saturating_add(change.old.map_or(0, |side| side.size));
            count.new_size = count
                .new_size
                .saturating_add(change.new.map_or(0, |side| side.size));
            if args.summary {
                return Ok(());
            }
            print(if args.json {
                json_line(change)
            } else {
                line(change, args.sizes)
            })
        })?;
        if args.summary {
            print(if args.json {
                json_summary(&counts)
            } else {
                summary(&counts)
            })?;
        }
        Ok(())
    })?;
    let differs = counts.iter().any(|count| count.paths > 0);
    Ok(if args.exit_code && differs {
        Exit::Failure
    } else {
        Exit::Success
    })
}

fn index(status: Status) -> usize {
    match status {
        Status::Added => 0,
        Status::Changed => 1,
        Status::Deleted => 2,
    }
}

/// The words for each status, in the order of [`index`].
const WORDS: [&str; 3] = ["added", "changed", "deleted"];

fn line(change: &Change<'_>, sizes: bool) -> String {
    let letter = ["A", "C", "D"][index(change.status)];
    let path = name::text(change.path);
    if !sizes {
        return format!("{letter} /{path}");
    }
    let size = |side: Option<ops::diff::Side>| side.map_or(0, |side| i128::from(side.size));
    let grown = size(change.new) - size(change.old);
    format!("{letter} {grown:>+12} /{path}")
}

fn json_line(change: &Change<'_>) -> String {
    let mut members = Map::new();
    name::insert(&mut members, "path", &[b"/", change.path].concat());
    let status = WORDS[index(change.status)];
    members.insert("status".to_owned(), status.into());
    for (key, side) in [("old", change.old), ("new", change.new)] {
        let side = side.map(|side| json!({"type": name::kind(side.kind), "size": side.size}));
        if let Some(side) = side {
            members.insert(key.to_owned(), side);
        }
    }
    if !change.aspects.is_empty() {
        let names: Vec<&str> = change.aspects.iter().map(|aspect| aspect.name()).collect();
        members.insert("changed".to_owned(), names.into());
    }
    Value::Object(members).to_string()
}

fn summary(counts: &[Count; 3]) -> String {
    let [added, changed, deleted] = counts;
    let changed_sizes = format!("{} to {}", human(changed.old_size), human(changed.new_size));
    let rows = [
        ("A", added.paths, human(added.new_size)),
        ("C", changed.paths, changed_sizes),
        ("D", deleted.paths, human(deleted.old_size)),
    ];
    let rows = rows.map(|(letter, paths, size)| format!("{letter} {paths:>8} {size}"));
    rows.join("\n")
}

fn json_summary(counts: &[Count; 3]) -> String {
    let members = WORDS.iter().zip(counts).map(|(word, count)| {
        let Count {
            paths,
            old_size,
            new_size,
        } = count;
        let value = json!({"paths": paths, "old_size": old_size, "new_size": new_size});
        ((*word).to_owned(), value)
    });
    Value::Object(members.collect()).to_string()
}
