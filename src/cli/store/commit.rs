//! `store commit`

use oci_bundle::image::Reference;
use oci_bundle::ops::store::{CommitOptions, commit};
use oci_bundle::store::Key;
use oci_bundle::{Error, ErrorKind, Result};
use serde_json::json;

use super::{Common, Exit, Ui};
use crate::cli::args::{CompressArgs, HistoryArgs, reference_parser};
use crate::cli::time::source_date_epoch;

/// commits the changes in a container as a layer
///
/// The layer is added on top of the container's chain; its diff ID and the new chain ID are printed. With --image, an
/// image is created too, in the layout of the container's image; without it, the chain is kept as a snapshot ('store ls
/// snapshots') until it is removed by its ID. The container is unchanged.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// tag of the new image in an OCI layout, 'path[:tag]'
    #[arg(long, value_name = "path[:tag]", value_parser = reference_parser())]
    image: Option<Reference>,

    /// with --image: name of the new image in the store (can be repeated)
    #[arg(long, value_name = "name", requires = "image")]
    tag: Vec<String>,

    #[command(flatten)]
    compress: CompressArgs,

    #[command(flatten)]
    history: HistoryArgs,

    #[command(flatten)]
    pub common: Common,

    /// container
    #[arg(required = true, value_name = "key")]
    key: Key,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    if args.image.is_none() && !args.tag.is_empty() {
        let message = "--tag names an image: --image says where it is made";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let epoch = source_date_epoch()?;
    let store = args.common.open()?;
    let options = CommitOptions {
        image: args.image.clone(),
        compress: args.compress.options()?,
        history: args.history.options(epoch)?,
        source_date_epoch: epoch,
    };
    let committed = commit(&store, &args.key, &options, &ui.progress())?;
    if let Some(image) = &committed.image {
        for name in &args.tag {
            store.tag(name, image)?;
        }
    }
    let diff_id = committed.diff_id.as_ref().map(ToString::to_string);
    let chain = committed.chain.as_ref().map(ToString::to_string);
    let image = committed.image.as_ref().map(ToString::to_string);
    let value = json!({"diff_id": diff_id, "chain_id": chain, "image": image});
    args.common.answer(ui, &value, || {
        let lines = [
            ("diff ID", &diff_id),
            ("chain ID", &chain),
            ("image", &image),
        ];
        let lines = lines.iter().filter_map(|(label, value)| {
            let value = value.as_ref()?;
            Some(format!("{label}: {value}\n"))
        });
        lines.collect()
    })
}
