//! `store inspect`

use oci_bundle::Result;
use oci_bundle::ops::store::{ObjectRef, live_mounts};
use oci_bundle::store::{Chain, Store};
use serde_json::{Map, Value, json};

use super::output::{self, insert_path, outline};
use super::{Common, Exit, Ui};

/// shows details of an image, a container, a chain or a layer
///
/// Layers of images, containers and chains are listed as they are stacked, topmost first, with their directories.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,

    /// name or digest of an image, key of a container, chain ID, or diff ID of a layer
    #[arg(required = true, value_name = "name")]
    name: String,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let store = args.common.open()?;
    let meant = ObjectRef::find(&store, &args.name)?;
    let mut members = Map::new();
    let mut set = |key: &str, value: Value| members.insert(key.to_owned(), value);
    match &meant {
        ObjectRef::Image(image) => {
            set("kind", "image".into());
            let names = store.names()?.into_iter();
            let names = names.filter(|(_, digest)| digest == image.digest());
            let names: Vec<String> = names.map(|(name, _)| name).collect();
            let mut described = output::image(image, &names);
            described["manifest"] = Value::Object(image.manifest.raw().clone());
            described["config"] = Value::Object(image.config.raw().clone());
            let layers = image.layers.iter().map(|layer| layer.raw().clone());
            described["layers"] = layers.map(Value::Object).collect();
            set("image", described);
        }
        ObjectRef::Container(container) => {
            set("kind", "container".into());
            let mut described = output::container(&store, container)?;
            if let Value::Object(members) = &mut described {
                let upper = container.upper()?;
                insert_path(members, "upper", upper.path());
                insert_path(members, "work", &upper.path().with_file_name("work"));
            }
            set("container", described);
        }
        ObjectRef::Chain(_) => drop(set("kind", "chain".into())),
        ObjectRef::Layer(layer) => {
            set("kind", "layer".into());
            set("layer", output::layer(&store, layer.id())?);
            let users = store.chains()?.into_iter();
            let mut chains = Vec::new();
            for id in users {
                let chain = store.find_chain(id.as_ref())?;
                if chain.is_some_and(|chain| chain.needs().contains(layer.id())) {
                    chains.push(output::chain_id(id.as_ref()));
                }
            }
            set("chains", chains.into());
        }
    }
    if let Some(chain) = meant.chain(&store)? {
        set("chain", output::chain(&store, &chain)?);
        let (containers, mounts) = users(&store, &chain)?;
        set("containers", containers);
        set("mounts", mounts);
    }
    let value = Value::Object(members);
    args.common.answer(ui, &value, || outline(&value))
}

/// The containers that are laid on a chain, and where it, or one of them, is mounted.
fn users(store: &Store, chain: &Chain) -> Result<(Value, Value)> {
    let containers = store.containers()?.into_iter();
    let on = containers.filter(|container| container.meta().chain == chain.id);
    let keys: Vec<_> = on.map(|container| container.key().to_string()).collect();
    let mounts = live_mounts(store)?.into_iter();
    let of = mounts.filter(|mount| mount.chain == chain.id);
    let mounts: Vec<_> = of.map(|mount| output::mount(&mount, true)).collect();
    Ok((json!(keys), json!(mounts)))
}
