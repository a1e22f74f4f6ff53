//! Makes an image of two layers out of tar files, mounts it, changes it, and writes it as an archive that docker and podman
//! load:
//!
//! ```text
//! cargo run --example repository -- /tmp/store /tmp/layout base.tar app.tar image.tar
//! ```
//!
//! It needs root, or `bundle unshare -- COMMAND`.

use std::error::Error;
use std::fs::File;
use std::path::Path;

use oci_bundle::cas::Algorithm;
use oci_bundle::compat::asset::TarAsset;
use oci_bundle::compat::repository::{Parent, Repository};
use oci_bundle::layout::Layout;
use oci_bundle::store::{Key, Store, StoreOptions};
use oci_bundle::transfer::archive::Combined;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, layout, base, app, archive] = &arguments[..] else {
        return Err("usage: repository <store> <layout> <base.tar> <app.tar> <image.tar>".into());
    };
    let store = Store::open(StoreOptions::new(store))?;
    let path = Path::new(layout);
    let layout = Layout::open(path).or_else(|_| {
        Layout::create(path)?;
        Layout::open(path)
    })?;
    let repository = Repository::new(&store, layout.store(), path)?;

    let mut asset = TarAsset::new(base, Algorithm::Sha256);
    let (base, _) = repository.create_layer_from_asset(&mut asset, Parent::Empty)?;
    let mut asset = TarAsset::new(app, Algorithm::Sha256);
    let below = Parent::Layer(base.chain_id());
    let (app, _) = repository.create_layer_from_asset(&mut asset, below)?;
    let config =
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let stored = app.save_config(config)?;
    store.tag("example:latest", stored.digest())?;

    let image = repository.new_image(app.chain_id())?;
    let target = tempfile::tempdir()?;
    let key = Key::unique();
    let mut mount = image.mount(&key, target.path())?;
    std::fs::write(target.path().join("changed"), "only in the container")?;
    mount.close()?;
    for name in store.container(&key)?.upper()?.names()? {
        println!("changed: {}", String::from_utf8_lossy(&name));
    }
    store.remove_container(&key)?;

    let report = repository.export(&Combined, &[image], &mut File::create(archive)?)?;
    println!("{archive}: {} bytes", report.size);
    Ok(())
}
