//! `store usage`

use oci_bundle::cas::Digest;
use oci_bundle::ops::store::{ObjectRef, StoreUsage};
use oci_bundle::store::{Key, LayerId};
use oci_bundle::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::output::{self, table};
use super::{Common, Exit, Ui};
use crate::cli::log::printable;
use crate::cli::size::human;

/// measures disk usage of images, layers and containers
///
/// Reads the metadata of every file. OWN is what removing it alone would free: for an image, the layers that no other
/// image has.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,

    /// only these: image names or digests, container keys, or diff IDs of layers
    #[arg(value_name = "name", num_args = 0..)]
    names: Vec<String>,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let store = args.common.open()?;
    let wanted = Wanted::find(&store, &args.names)?;
    let mut usage = StoreUsage::of(&store)?;
    if let Some(wanted) = wanted {
        usage
            .images
            .retain(|it| wanted.images.contains(it.image.digest()));
        usage.layers.retain(|(id, _)| wanted.layers.contains(id));
        usage
            .containers
            .retain(|(key, _)| wanted.containers.contains(key));
    }
    let names = store.names()?;
    let names_of = |digest: &Digest| -> Vec<String> {
        let of = names.iter().filter(|(_, named)| named == digest);
        of.map(|(name, _)| name.clone()).collect()
    };
    let images = usage.images.iter().map(|it| {
        let digest = it.image.digest();
        let (own, shared) = (output::usage(&it.own), output::usage(&it.shared));
        json!({"digest": digest.to_string(), "names": names_of(digest), "own": own, "shared": shared})
    });
    let layers = usage.layers.iter();
    let layers =
        layers.map(|(id, taken)| json!({"id": id.to_string(), "usage": output::usage(taken)}));
    let containers = usage.containers.iter();
    let containers =
        containers.map(|(key, taken)| json!({"key": key.as_str(), "usage": output::usage(taken)}));
    let value = json!({
        "images": images.collect::<Value>(),
        "layers": layers.collect::<Value>(),
        "containers": containers.collect::<Value>(),
        "total": output::usage(&usage.total()),
    });
    args.common.answer(ui, &value, || text(&usage, &names_of))
}

/// What the words of the user mean.
#[derive(Default)]
struct Wanted {
    images: Vec<Digest>,
    layers: Vec<LayerId>,
    containers: Vec<Key>,
}

impl Wanted {
    /// `None` if everything is meant.
    fn find(store: &oci_bundle::store::LeasedStore, words: &[String]) -> Result<Option<Self>> {
        if words.is_empty() {
            return Ok(None);
        }
        let mut wanted = Self::default();
        for word in words {
            match ObjectRef::find(store, word)? {
                ObjectRef::Image(image) => wanted.images.push(image.digest().clone()),
                ObjectRef::Layer(layer) => wanted.layers.push(layer.id().clone()),
                ObjectRef::Container(container) => wanted.containers.push(container.key().clone()),
                ObjectRef::Chain(_) => {
                    let message = format!("{word}: a chain takes nothing");
                    let error = Error::new(ErrorKind::InvalidInput, message);
                    return Err(error.with_hint("its layers do: name them, or an image"));
                }
            }
        }
        Ok(Some(wanted))
    }
}

fn text(usage: &StoreUsage, names_of: &dyn Fn(&Digest) -> Vec<String>) -> String {
    let row = |kind: &str, name: String, inodes: u64, own: u64, shared: u64| {
        let bytes = human(own.saturating_add(shared));
        let shared = human(shared);
        [
            kind.to_owned(),
            name,
            inodes.to_string(),
            bytes,
            human(own),
            shared,
        ]
    };
    let head = ["KIND", "NAME", "INODES", "SIZE", "OWN", "SHARED"];
    let mut rows = vec![head.map(str::to_owned)];
    for it in &usage.images {
        let digest = it.image.digest();
        let name = names_of(digest).into_iter().next();
        let name = name.map_or_else(|| digest.to_string(), |name| printable(&name));
        let inodes = it.own.inodes + it.shared.inodes;
        rows.push(row("image", name, inodes, it.own.bytes, it.shared.bytes));
    }
    for (id, taken) in &usage.layers {
        rows.push(row("layer", id.to_string(), taken.inodes, taken.bytes, 0));
    }
    for (key, taken) in &usage.containers {
        rows.push(row(
            "container",
            key.to_string(),
            taken.inodes,
            taken.bytes,
            0,
        ));
    }
    table(&rows)
}
