//! Layers come and go, of streams, directories and tar files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use oci_bundle::cas::{Algorithm, Digest, Store as _};
use oci_bundle::compat::asset::{DirAsset, LayerContent, TarAsset};
use oci_bundle::compat::repository::{BottomFirst, Created, Parent, Repository, RepositoryLayer};
use oci_bundle::image::{ChainId, DiffId};
use oci_bundle::store::{Reason, Store, StoreOptions};

use super::{CONFIG, World, diff_id_of_nothing, key, parent, reason, tar};
use crate::machine::names_in;

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_temporary_directory_is_in_the_store_and_goes_with_its_guard() {
    let world = World::new();
    let first = world.repository().temp_dir().unwrap();
    let second = world.repository().temp_dir().unwrap();
    assert!(first.path().starts_with(world.store.path()));
    assert_ne!(first.path(), second.path());
    fs::write(first.path().join("file"), "").unwrap();
    let path = first.path();
    drop(first);
    assert!(!path.exists() && second.path().exists());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_layer_is_what_its_stream_was() {
    let world = World::new();
    let stream = tar(&[("a", "A"), ("dir/b", "B")]);
    let (layer, created) = world
        .repository()
        .unpack_layer(&mut stream.as_slice(), Parent::Empty)
        .unwrap();
    assert_eq!(created, Created::New);
    let digest = Digest::of(Algorithm::Sha256, &stream);
    assert_eq!(layer.digest(), &DiffId(digest));
    assert_eq!(layer.chain_id(), &ChainId::bottom(layer.digest()));
    assert!(layer.exists().unwrap());
    assert!(world.store.has_layer(&layer.id()).unwrap());
    let content = layer.path().unwrap();
    assert_eq!(fs::read_to_string(content.join("dir/b")).unwrap(), "B");
    let mut packed = Vec::new();
    assert_eq!(layer.pack(&mut packed).unwrap(), stream.len() as u64);
    assert_eq!(packed, stream);
    // The same once more is no other layer.
    let again = world
        .repository()
        .unpack_layer(&mut stream.as_slice(), Parent::Empty);
    assert_eq!(again.unwrap().1, Created::Already);
    assert_eq!(world.store.layers().unwrap().len(), 1);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_second_handle_sees_the_layers_and_what_they_lie_on() {
    let world = World::new();
    let layers = world.layers(3);
    let store = Store::open(StoreOptions::new(world.store.path())).unwrap();
    let other = Repository::new(&store, &world.blobs, Path::new("layout")).unwrap();
    let top = other.layer(layers[2].chain_id()).unwrap();
    let BottomFirst(below) = top.restore_parent().unwrap();
    let found: Vec<_> = below.iter().map(|layer| layer.digest().clone()).collect();
    assert_eq!(
        found,
        [layers[0].digest().clone(), layers[1].digest().clone()]
    );
    assert_eq!(top.diff_ids().0.last(), Some(top.digest()));
    assert!(below[0].load_parent().unwrap().is_none());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn lost_records_of_parents_are_told_and_made_again() {
    let world = World::new();
    let layers = world.layers(3);
    let chains = world.store.path().join("chains");
    for layer in &layers[..2] {
        let name = layer.chain_id().to_string().replace(':', "-");
        fs::remove_file(chains.join(name + ".json")).unwrap();
    }
    let top = &layers[2];
    assert_eq!(reason(top.load_parent()), Some(Reason::InvalidLayer));
    assert_eq!(reason(top.restore_parent()), Some(Reason::InvalidLayer));
    let unknown = world.repository().layer(layers[0].chain_id());
    assert_eq!(reason(unknown), Some(Reason::LayerUnknown));
    let image = world.repository().new_image(top.chain_id()).unwrap();
    image.commit().unwrap();
    image.commit().unwrap();
    assert_eq!(top.restore_parent().unwrap().0.len(), 2);
    assert!(layers.iter().all(|layer| layer.exists().unwrap()));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn records_that_lead_in_a_circle_are_refused() {
    let world = World::new();
    let layers = world.layers(2);
    let chains = world.store.path().join("chains");
    let file = |layer: &RepositoryLayer<'_>| {
        chains.join(layer.chain_id().to_string().replace(':', "-") + ".json")
    };
    // The lower one says what the upper one says: that it lies on the lower one.
    fs::copy(file(&layers[1]), file(&layers[0])).unwrap();
    assert_eq!(reason(layers[1].load_parent()), Some(Reason::InvalidLayer));
    assert_eq!(
        reason(layers[1].restore_parent()),
        Some(Reason::InvalidLayer)
    );
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn nothing_is_laid_on_what_changes() {
    let world = World::new();
    let layers = world.layers(1);
    let repository = world.repository();
    repository
        .create_layer(&key("work"), parent(Some(&layers[0])))
        .unwrap();
    let work = key("work");
    let on_it = Parent::Container(&work);
    let stream = tar(&[("x", "")]);
    for failed in [
        reason(repository.create_layer(&key("other"), on_it)),
        reason(repository.unpack_layer(&mut stream.as_slice(), on_it)),
        reason(repository.add_layer(layers[0].digest(), on_it, false)),
    ] {
        assert_eq!(failed, Some(Reason::ParentNotCommitted));
    }
    let none = key("none");
    let unknown = repository.create_layer(&key("other"), Parent::Container(&none));
    assert_eq!(reason(unknown), Some(Reason::KeyUnknown));
    let exists = repository.create_layer(&work, Parent::Empty);
    assert_eq!(reason(exists), Some(Reason::KeyExists));
    assert!(
        repository
            .create_layer(&key("empty"), Parent::Empty)
            .is_ok()
    );
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_layer_is_laid_on_another_once_unless_it_is_asked_for_again() {
    let world = World::new();
    let layers = world.layers(2);
    let repository = world.repository();
    let digest = layers[1].digest();
    let exists = repository.add_layer(digest, parent(Some(&layers[0])), false);
    assert_eq!(reason(exists), Some(Reason::LayerExists));
    let again = repository.add_layer(digest, parent(Some(&layers[0])), true);
    assert_eq!(again.unwrap().chain_id(), layers[1].chain_id());
    let alone = repository.add_layer(digest, Parent::Empty, false).unwrap();
    assert_eq!(alone.chain_id(), &ChainId::bottom(digest));
    let unknown = repository.add_layer(&diff_id_of_nothing(), Parent::Empty, false);
    assert_eq!(reason(unknown), Some(Reason::LayerUnknown));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_layer_in_use_stays_and_one_that_is_not_goes_with_its_content() {
    let world = World::new();
    let layers = world.layers(3);
    let repository = world.repository();
    let remove = |place: usize| repository.remove_layer(layers[place].chain_id());
    assert_eq!(reason(remove(0)), Some(Reason::HasChildren));
    repository
        .create_layer(&key("work"), parent(Some(&layers[2])))
        .unwrap();
    assert_eq!(reason(remove(2)), Some(Reason::InUse));
    world.store.remove_container(&key("work")).unwrap();
    let stored = layers[2].save_config(CONFIG).unwrap();
    assert_eq!(reason(remove(2)), Some(Reason::InUse));
    world.store.remove_image(stored.digest()).unwrap();
    let target = world.target("view");
    let image = repository.new_image(layers[2].chain_id()).unwrap();
    image.mount_read_only(&target).unwrap();
    assert_eq!(reason(remove(2)), Some(Reason::InUse));
    image.unmount(&target).unwrap();

    // The middle one lies by itself, too.
    repository
        .add_layer(layers[1].digest(), Parent::Empty, false)
        .unwrap();
    layers[2].clone().remove().unwrap();
    assert!(!layers[2].exists().unwrap());
    assert!(!world.store.has_layer(&layers[2].id()).unwrap());
    assert_eq!(reason(layers[2].path()), Some(Reason::LayerUnknown));
    assert_eq!(reason(remove(2)), Some(Reason::LayerUnknown));
    remove(1).unwrap();
    assert!(world.store.has_layer(&layers[1].id()).unwrap());
    remove(0).unwrap();
    assert!(!world.store.has_layer(&layers[0].id()).unwrap());
    assert_eq!(
        names_in(&world.store.path().join("trash")),
        [] as [String; 0]
    );
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_layer_of_an_asset_has_the_digest_of_the_asset() {
    let world = World::new();
    let repository = world.repository();
    let stream = tar(&[("a", "A")]);
    let file = world.scratch.path("layer.tar");
    let mut asset = TarAsset::new(&file, Algorithm::Sha256);
    let digest = asset.unpack(&mut stream.as_slice()).unwrap();
    let (layer, created) = repository
        .create_layer_from_asset(&mut asset, Parent::Empty)
        .unwrap();
    assert_eq!((layer.digest(), created), (&DiffId(digest), Created::New));

    let tree = world.target("tree");
    fs::write(tree.join("b"), "B").unwrap();
    let mut asset = DirAsset::new(&tree, Algorithm::Sha256);
    let (over, _) = repository
        .create_layer_from_asset(&mut asset, parent(Some(&layer)))
        .unwrap();
    assert_eq!(asset.digest(), Some(&over.digest().0));
    let target = world.target("view");
    let image = repository.new_image(over.chain_id()).unwrap();
    image.mount_read_only(&target).unwrap();
    assert_eq!(names_in(&target), ["a", "b"]);
    image.unmount(&target).unwrap();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_is_no_asset_makes_no_layer() {
    let world = World::new();
    let (tree, file) = (world.target("tree"), world.scratch.path("file"));
    let link = world.scratch.path("link");
    fs::write(&file, tar(&[("a", "A")])).unwrap();
    symlink(&file, &link).unwrap();
    let tar_asset = |path: &Path| TarAsset::new(path, Algorithm::Sha256);
    let dir_asset = |path: &Path| DirAsset::new(path, Algorithm::Sha256);
    let assets: [Box<dyn LayerContent>; 6] = [
        Box::new(tar_asset(&link)),
        Box::new(tar_asset(&tree)),
        Box::new(tar_asset(&world.scratch.path("none"))),
        Box::new(dir_asset(&link)),
        Box::new(dir_asset(&file)),
        Box::new(dir_asset(&world.scratch.path("none"))),
    ];
    for mut asset in assets {
        let path = asset.path().to_owned();
        let made = world
            .repository()
            .create_layer_from_asset(asset.as_mut(), Parent::Empty);
        assert_eq!(reason(made), Some(Reason::InvalidAsset), "{path:?}");
    }
    assert_eq!(world.store.layers().unwrap(), []);
    assert_eq!(world.blobs.list().unwrap(), []);
    for name in ["", "..", "../x", "sha256/../x"] {
        let id = name.parse::<oci_bundle::store::LayerId>();
        assert_eq!(reason(id), Some(Reason::InvalidLayer), "{name:?}");
    }
}
