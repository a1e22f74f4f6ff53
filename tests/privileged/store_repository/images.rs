//! Images of layers, their names, and archives.

use std::fs;

use oci_bundle::ErrorKind;
use oci_bundle::cas::Store as _;
use oci_bundle::store::{GcOptions, Reason};
use oci_bundle::transfer::archive::{AnyArchive, Combined, DockerArchive, Exporter, OciArchive};

use super::{CONFIG, World, diff_id_of_nothing, error, reason};
use crate::machine::names_in;

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_configuration_makes_an_image_of_layers() {
    let world = World::new();
    let layers = world.layers(2);
    let repository = world.repository();
    let bare = repository.new_image(layers[1].chain_id()).unwrap();
    assert!(bare.config().unwrap().is_none());
    let stored = layers[1].save_config(CONFIG).unwrap();
    assert_eq!(
        layers[1].save_config(CONFIG).unwrap().manifest,
        stored.manifest
    );
    let image = repository.new_image(layers[1].chain_id()).unwrap();
    let config = image.config().unwrap().unwrap();
    assert_eq!(config.cmd(), ["/bin/sh"]);
    assert_eq!(config.diff_ids(), image.layers().0);
    assert_eq!(
        reason(layers[1].save_config(b"[]")),
        Some(Reason::ImageCompose)
    );
    assert_eq!(
        reason(layers[1].save_config(b"{")),
        Some(Reason::ImageCompose)
    );

    world.blobs.remove(stored.config.digest()).unwrap();
    assert_eq!(reason(image.config()), Some(Reason::ImageCompose));
    world.blobs.remove(&layers[0].digest().0).unwrap();
    assert_eq!(
        reason(layers[1].save_config(CONFIG)),
        Some(Reason::ImageCompose)
    );
    assert_eq!(
        reason(layers[0].pack(&mut Vec::new())),
        Some(Reason::ImageCompose)
    );
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn names_lead_to_images_and_nowhere_else() {
    let world = World::new();
    let layers = world.layers(2);
    let store = &world.store;
    let first = layers[0].save_config(CONFIG).unwrap();
    let second = layers[1].save_config(CONFIG).unwrap();
    assert_eq!(reason(store.untag("name")), Some(Reason::TagNotFound));
    assert_eq!(reason(store.image("name")), Some(Reason::ImageUnknown));
    store.tag("name", first.digest()).unwrap();
    store.tag("../name", first.digest()).unwrap();
    assert_eq!(store.image("name").unwrap(), first);
    store.tag("name", second.digest()).unwrap();
    assert_eq!(store.image("name").unwrap(), second);
    store.untag("name").unwrap();
    assert_eq!(reason(store.untag("name")), Some(Reason::TagNotFound));
    assert_eq!(store.image("../name").unwrap(), first);
    for name in ["", "a\nb"] {
        let kind = error(store.tag(name, first.digest())).kind();
        assert_eq!(kind, ErrorKind::InvalidInput);
    }
    let nothing = diff_id_of_nothing().0;
    assert_eq!(
        reason(store.tag("name", &nothing)),
        Some(Reason::ImageUnknown)
    );
    // What has a name stays, and what it lies on.
    world.store.gc(GcOptions::default()).unwrap();
    assert!(layers[0].exists().unwrap() && layers[1].exists().unwrap());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn images_go_through_archives_and_stay_what_they_are() {
    let from = World::new();
    let layers = from.layers(5);
    let stored = layers[4].save_config(CONFIG).unwrap();
    from.store
        .tag("example.org/five:1", stored.digest())
        .unwrap();
    let image = from.repository().new_image(layers[4].chain_id()).unwrap();
    let exporters: [&dyn Exporter; 3] = [&Combined, &DockerArchive, &OciArchive];
    for exporter in exporters {
        let mut archive = Vec::new();
        from.repository()
            .export(exporter, std::slice::from_ref(&image), &mut archive)
            .unwrap();
        let to = World::new();
        let imported = to
            .repository()
            .import(&AnyArchive, &mut archive.as_slice())
            .unwrap();
        assert_eq!(imported.len(), 1);
        assert_eq!(imported[0].layers(), image.layers());
        let named = to.store.image("example.org/five:1").unwrap();
        assert_eq!(Some(&named), imported[0].stored());
        let ours = image.config().unwrap().unwrap();
        assert_eq!(imported[0].config().unwrap().unwrap().raw(), ours.raw());
        let target = to.target("view");
        imported[0].mount_read_only(&target).unwrap();
        assert_eq!(fs::read_to_string(target.join("all")).unwrap(), "4");
        assert_eq!(names_in(&target).len(), 6);
        imported[0].unmount(&target).unwrap();
    }
    let bare = from.repository().new_image(layers[0].chain_id()).unwrap();
    let export = from
        .repository()
        .export(&Combined, &[bare], &mut Vec::new());
    assert_eq!(reason(export), Some(Reason::ImageCompose));
}
