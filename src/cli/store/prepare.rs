//! `store prepare`

use oci_bundle::ops::store::prepare;
use oci_bundle::store::{ContainerMeta, Key};
use oci_bundle::{Error, ErrorKind, Result};

use super::output::container;
use super::{Common, Exit, Ui};
use crate::cli::args::MapArgs;

/// creates a container on an image of the store
///
/// A container is a writable layer on top of an image; 'store mount' mounts it. Its key is printed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// key of the container (default: generated)
    #[arg(long)]
    key: Option<Key>,

    /// read-only: a view of the image
    #[arg(long)]
    view: bool,

    #[command(flatten)]
    maps: MapArgs,

    #[command(flatten)]
    pub common: Common,

    /// name or digest of an image, or a chain ID
    #[arg(required = true, value_name = "image")]
    image: String,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let maps = args.maps.options();
    if maps.rootless {
        let message = "--rootless cannot be followed in a store";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("run the command in a user namespace (`bundle unshare -- ...`)"));
    }
    let store = args.common.open()?;
    let meta = ContainerMeta {
        maps,
        view: args.view,
        ..ContainerMeta::default()
    };
    let key = args.key.clone().unwrap_or_else(Key::unique);
    let made = prepare(&store, &args.image, &key, meta)?;
    let value = container(&store, &made)?;
    args.common.answer(ui, &value, || format!("{key}\n"))
}
