//! `store import`

use std::io;
use std::path::PathBuf;

use oci_bundle::fs::input;
use oci_bundle::ops::store::import;
use oci_bundle::store::LeasedStore;
use oci_bundle::{Result, ResultExt};
use serde_json::{Value, json};

use super::{Common, Exit, Ui};
use crate::cli::args::path_parser;
use crate::cli::log::printable;

/// imports the images of an archive into the store
///
/// The archive may be what 'store export', docker save, podman save or skopeo copy write, also compressed with gzip,
/// zstd, xz or bzip2. It is read once, from a file or, for '-', from stdin. The digest of each image is printed,
/// followed by its names. The store is created if it does not exist.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,

    /// archive
    #[arg(required = true, value_name = "file", value_parser = path_parser())]
    archive: PathBuf,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let mut options = args.common.options()?;
    options.create = true;
    let store = LeasedStore::open(options)?;
    let progress = ui.progress();
    let imported = if args.archive.as_os_str() == "-" {
        import(&store, &mut io::stdin(), &progress)
    } else {
        let mut file = input::open(&args.archive).context(|| "open the archive")?;
        import(&store, &mut file, &progress)
    }?;
    drop(progress);
    let value: Value = imported
        .iter()
        .map(|image| json!({"digest": image.digest.to_string(), "names": image.names}))
        .collect();
    args.common.answer(ui, &value, || {
        let lines = imported.iter().map(|image| {
            let names = image
                .names
                .iter()
                .map(|name| format!(" {}", printable(name)));
            format!("{}{}\n", image.digest, names.collect::<String>())
        });
        lines.collect()
    })
}
