//! `store status`

use oci_bundle::fs::XattrNamespace;
use oci_bundle::ops::store::{StoreUsage, features, format_version, live_mounts};
use oci_bundle::store::Store;
use oci_bundle::{ErrorKind, Result};
use serde_json::{Map, Value};

use super::output::{self, insert_path};
use super::probe::{describe, text};
use super::{Common, Exit, Ui};

/// shows the status of the store
#[derive(Debug, clap::Args)]
pub struct Args {
    /// also measure disk usage, which reads the metadata of every file
    #[arg(long)]
    usage: bool,

    #[command(flatten)]
    pub common: Common,
}

fn marks(store: &Store) -> &'static str {
    match store.marks() {
        XattrNamespace::Trusted => "trusted",
        XattrNamespace::User => "user",
    }
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let store = args.common.open()?;
    let mut members = Map::new();
    insert_path(&mut members, "path", store.path());
    let mut set = |key: &str, value: Value| members.insert(key.to_owned(), value);
    set("version", format_version(&store)?.into());
    set("marks", marks(&store).into());
    let additional = store.additional_stores().iter();
    let additional = additional.map(|store| output::path_text(store.path()));
    set("additional_stores", additional.collect::<Vec<_>>().into());
    set("layers", store.layers()?.len().into());
    set("chains", store.chains()?.len().into());
    set("images", store.images()?.len().into());
    set("names", store.names()?.len().into());
    set("containers", store.containers()?.len().into());
    set("mounts", live_mounts(&store)?.len().into());
    if args.usage {
        set("usage", output::usage(&StoreUsage::of(&store)?.total()));
    }
    match features(store.path()) {
        Ok((_, features)) => drop(set("features", describe(&features))),
        // A store that is only read tells all the rest.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
        Err(error) => return Err(error),
    }
    let value = Value::Object(members);
    args.common.answer(ui, &value, || text(&value))
}
