//! `store commit`

use oci_bundle::image::Reference;
use oci_bundle::ops::store::{CommitOptions, commit};
use oci_bundle::store::Key;
use oci_bundle::{Error, ErrorKind, Result};
use serde_json::json;

use super::{Common, Exit, Ui};
use crate::cli::args::{CompressArgs, HistoryArgs, reference_parser};
use crate::cli::time::source_date_epoch;

/// makes a layer of what has been changed in a container
///
/// The layer is laid on the chain of the container, and the digest of its archive and the ID of the new chain are printed.
/// With --image, it becomes an image, too, in the layout of the one that the container is laid on; without, the chain
/// stays in the store as a snapshot ('store ls snapshots') until 'store remove' is given its ID. The container stays as it
/// is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// tag of the new image, in an OCI layout: 'path[:tag]'
    #[arg(long, value_name = "path[:tag]", value_parser = reference_parser())]
    image: Option<Reference>,

    /// with --image: name of the new image in the store, can be given several times
    #[arg(long, value_name = "name", requires = "image")]
    tag: Vec<String>,

    #[command(flatten)]
    compress: CompressArgs,

    #[command(flatten)]
    history: HistoryArgs,

    #[command(flatten)]
    pub common: Common,

    /// the container
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
