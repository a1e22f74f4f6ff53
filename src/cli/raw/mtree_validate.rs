//! `raw mtree-validate`

use std::path::PathBuf;

use oci_bundle::fs::Access;
use oci_bundle::mtree::{Keyword, ValidateOptions, parse_keywords};
use oci_bundle::{Error, ErrorKind, Result, ResultExt, ops};

use super::super::args::path_parser;
use super::super::exit::Exit;
use super::super::ui::Ui;

/// compares a directory with an mtree manifest
///
/// Prints one line per path that differs, and fails if there are any.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// mtree manifest
    #[arg(long, visible_alias = "file", short = 'f', required = true, value_name = "file", value_parser = path_parser())]
    manifest: PathBuf,

    /// directory to compare it with
    #[arg(long, short = 'p', required = true, value_name = "directory", value_parser = path_parser())]
    path: PathBuf,

    /// read directories without permission, as far as their owner can
    #[arg(long)]
    rootless: bool,

    /// compare only these keywords (comma- or space-separated)
    #[arg(long, short = 'k')]
    use_keywords: Option<String>,

    /// also compare these keywords
    #[arg(long, short = 'K')]
    add_keywords: Option<String>,

    /// compare the keywords that unpack records
    #[arg(long)]
    umoci_keywords: bool,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let use_keywords = keywords("--use-keywords", args.use_keywords.as_deref())?;
    let add_keywords = keywords("--add-keywords", args.add_keywords.as_deref())?;
    let options = ValidateOptions {
        use_keywords,
        umoci_keywords: args.umoci_keywords,
        add_keywords: add_keywords.unwrap_or_default(),
        access: if args.rootless {
            Access::Unprivileged
        } else {
            Access::Plain
        },
        owners: None,
    };
    let differences = ops::mtree_validate(&args.manifest, &args.path, options)?;
    let lines = differences
        .iter()
        .map(|difference| format!("{difference}\n"));
    ui.print(lines.collect::<Vec<_>>().concat())?;
    match differences.len() {
        0 => Ok(Exit::Success),
        count => Err(Error::new(
            ErrorKind::InvalidData,
            format!("validation failed: {count} differences found"),
        )),
    }
}

fn keywords(flag: &str, list: Option<&str>) -> Result<Option<Vec<Keyword>>> {
    let parse = |list| parse_keywords(list).context(|| format!("invalid {flag}"));
    list.map(parse).transpose()
}
