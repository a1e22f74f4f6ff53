//! `store ls`

use std::collections::BTreeMap;

use oci_bundle::Result;
use oci_bundle::store::Store;
use serde_json::Value;

use super::output::{self, chain_text, path_text, table, time};
use super::{Common, Exit, Ui};
use crate::cli::log::printable;
use crate::cli::size::human;

/// lists images, layers, containers, mounts, chains or snapshots
///
/// Prints a table. The size of an image is that of its layer blobs, the size of a layer that of its files; 'store
/// usage' measures disk usage.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,

    /// what to list: images (the default), layers, containers, mounts, chains, snapshots
    #[arg(
        value_name = "kind",
        default_value = "images",
        hide_default_value = true
    )]
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Images,
    Layers,
    Containers,
    Mounts,
    Chains,
    Snapshots,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let store = args.common.open()?;
    let (json, text) = match args.kind {
        Kind::Images => images(&store)?,
        Kind::Layers => layers(&store)?,
        Kind::Containers => containers(&store)?,
        Kind::Mounts => mounts(&store)?,
        Kind::Chains => chains(&store)?,
        Kind::Snapshots => snapshots(&store)?,
    };
    args.common.answer(ui, &Value::Array(json), || text)
}

type Listed = (Vec<Value>, String);

fn head<const N: usize>(names: [&str; N]) -> Vec<[String; N]> {
    vec![names.map(str::to_owned)]
}

fn images(store: &Store) -> Result<Listed> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, digest) in store.names()? {
        names.entry(digest.to_string()).or_default().push(name);
    }
    let mut json = Vec::new();
    let mut rows = head(["NAME", "DIGEST", "LAYERS", "SIZE", "CREATED"]);
    for image in store.images()? {
        let digest = image.digest().to_string();
        let own = names.remove(&digest).unwrap_or_default();
        json.push(output::image(&image, &own));
        let none = ["<none>".to_owned()];
        let shown = if own.is_empty() { &none } else { &own[..] };
        rows.extend(shown.iter().map(|name| {
            [
                printable(name),
                digest.clone(),
                image.layers.len().to_string(),
                human(output::size(&image)),
                time(image.created),
            ]
        }));
    }
    Ok((json, table(&rows)))
}

fn layers(store: &Store) -> Result<Listed> {
    let mut json = Vec::new();
    let mut rows = head(["LAYER", "SIZE", "FILES", "CREATED"]);
    for id in store.layers()? {
        json.push(output::layer(store, &id)?);
        let meta = store.layer(&id)?.meta()?;
        rows.push([
            id.to_string(),
            human(meta.changeset.size),
            meta.changeset.files.to_string(),
            time(meta.created),
        ]);
    }
    Ok((json, table(&rows)))
}

fn containers(store: &Store) -> Result<Listed> {
    let mut json = Vec::new();
    let mut rows = head(["KEY", "CHAIN", "CREATED", "MOUNTED", "BUNDLE"]);
    for container in store.containers()? {
        json.push(output::container(store, &container)?);
        let meta = container.meta();
        let mounted = store.live_mount_of(container.key())?;
        rows.push([
            container.key().to_string(),
            chain_text(meta.chain.as_ref()),
            time(meta.created),
            mounted.map_or_else(|| "-".to_owned(), |mount| path_text(&mount.target)),
            meta.bundle
                .as_ref()
                .map_or_else(|| "-".to_owned(), |bundle| path_text(bundle)),
        ]);
    }
    Ok((json, table(&rows)))
}

fn mounts(store: &Store) -> Result<Listed> {
    let mut json = Vec::new();
    let mut rows = head(["TARGET", "CONTAINER", "CHAIN", "MODE", "METHOD", "STATE"]);
    for mount in store.mounts()? {
        let is_live = mount.is_live()?;
        json.push(output::mount(&mount, is_live));
        let state = match (is_live, mount.is_here()) {
            (false, _) => "gone",
            (true, true) => "mounted",
            (true, false) => "elsewhere",
        };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        rows.push([
            path_text(&mount.target),
            or_dash(mount.key.as_ref().map(ToString::to_string)),
            chain_text(mount.chain.as_ref()),
            if mount.read_only { "ro" } else { "rw" }.to_owned(),
            or_dash(mount.method.map(|method| method.to_string())),
            state.to_owned(),
        ]);
    }
    Ok((json, table(&rows)))
}

fn chains(store: &Store) -> Result<Listed> {
    let mut json = Vec::new();
    let mut rows = head(["CHAIN", "LAYERS", "STACKED", "PATCH"]);
    for id in store.chains()? {
        // One that lacks a part is for `check` to tell.
        let Some(chain) = store.find_chain(id.as_ref())? else {
            continue;
        };
        json.push(output::chain(store, &chain)?);
        rows.push([
            chain_text(id.as_ref()),
            chain.diff_ids.len().to_string(),
            chain.layers.len().to_string(),
            chain.patch.to_string(),
        ]);
    }
    Ok((json, table(&rows)))
}

fn snapshots(store: &Store) -> Result<Listed> {
    let mut json = Vec::new();
    let mut rows = head(["NAME", "KIND", "PARENT", "CREATED"]);
    for info in store.snapshots()? {
        json.push(output::snapshot(&info));
        let parent = info.parent.as_deref();
        rows.push([
            printable(&info.name),
            info.kind.to_string(),
            parent.map_or_else(|| "-".to_owned(), printable),
            output::moment(info.created),
        ]);
    }
    Ok((json, table(&rows)))
}
