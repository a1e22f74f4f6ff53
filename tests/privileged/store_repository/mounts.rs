//! Mounts of layers: what is seen, what goes where, each kind of failure.

use std::fs;
use std::path::Path;

use oci_bundle::compat::repository::{Repository, RepositoryMount};
use oci_bundle::store::{MountOptions, Reason, Store, StoreOptions};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::{World, error, key, parent, reason};
use crate::machine::{Bounded, names_in};

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn the_topmost_layer_wins_in_a_mount_whatever_their_number() {
    let world = World::new();
    for count in [1, 2, 3, 5] {
        let layers = world.layers_of_their_own(count);
        let image = world
            .repository()
            .new_image(layers[count - 1].chain_id())
            .unwrap();
        assert_eq!(image.layers().0.len(), count);
        assert_eq!(image.directories().unwrap().0.len(), count + 1);
        let target = world.target(&format!("view-{count}"));
        let record = image.mount_read_only(&target).unwrap();
        assert!(record.is_live().unwrap());
        let text = fs::read_to_string(target.join("all")).unwrap();
        assert_eq!(text, format!("{count}:{}", count - 1));
        assert_eq!(names_in(&target).len(), count + 1);
        let written = fs::write(target.join("all"), "").unwrap_err();
        assert_eq!(written.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        image.unmount(&target).unwrap();
        assert_eq!(names_in(&target), [] as [String; 0]);
    }
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn changes_go_to_the_container_and_never_to_a_layer() {
    let world = World::new();
    let layers = world.layers(2);
    let image = world.repository().new_image(layers[1].chain_id()).unwrap();
    let target = world.target("merged");
    let mut mount = image.mount(&key("work"), &target).unwrap();
    assert!(mount.mounted().unwrap());
    fs::write(target.join("all"), "changed").unwrap();
    fs::write(target.join("new"), "new").unwrap();
    mount.close().unwrap();
    assert!(!mount.mounted().unwrap());
    mount.close().unwrap();
    assert_eq!(names_in(&target), [] as [String; 0]);
    let layer = layers[1].path().unwrap();
    assert_eq!(fs::read_to_string(layer.join("all")).unwrap(), "1");
    // They are there again with the container, and gone with it.
    let mut mount = image.mount(&key("work"), &target).unwrap();
    assert_eq!(fs::read_to_string(target.join("all")).unwrap(), "changed");
    mount.close().unwrap();
    world.store.remove_container(&key("work")).unwrap();
    let mut mount = image.mount(&key("work"), &target).unwrap();
    assert_eq!(fs::read_to_string(target.join("all")).unwrap(), "1");
    mount.close().unwrap();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_is_mounted_is_not_mounted_again_and_a_foreign_unmount_is_seen() {
    let world = World::new();
    let layers = world.layers(2);
    let image = world.repository().new_image(layers[1].chain_id()).unwrap();
    let (target, other) = (world.target("merged"), world.target("other"));
    let mut mount = image.mount(&key("work"), &target).unwrap();
    assert_eq!(
        reason(image.mount(&key("work"), &target)),
        Some(Reason::MountExists)
    );
    assert_eq!(
        reason(image.mount(&key("work"), &other)),
        Some(Reason::MountExists)
    );
    assert_eq!(
        reason(image.mount(&key("second"), &target)),
        Some(Reason::MountExists)
    );
    let made = world.store.container(&key("second"));
    assert_eq!(
        reason(made),
        Some(Reason::KeyUnknown),
        "it was made for nothing"
    );
    Bounded::new("umount", 10).arg(&target).succeed();
    assert!(!mount.mounted().unwrap());
    mount.close().unwrap();
    mount.open().unwrap();
    assert!(mount.mounted().unwrap());
    mount.close().unwrap();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn mounts_are_equal_if_they_say_the_same() {
    let world = World::new();
    let new = |name: &str, target: &str| {
        let options = MountOptions::default();
        RepositoryMount::new(&world.store, key(name), target.into(), options)
    };
    let mount = new("a", "/x");
    assert_eq!(mount, new("a", "/x"));
    assert_ne!(mount, new("b", "/x"));
    assert_ne!(mount, new("a", "/y"));
    let mut options = MountOptions::default();
    options.read_only = true;
    let other = RepositoryMount::new(&world.store, key("a"), "/x".into(), options);
    assert_ne!(mount, other);
    assert!(!mount.mounted().unwrap());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_a_mount_needs_beforehand_is_told() {
    let world = World::new();
    let layers = world.layers(2);
    let repository = world.repository();
    let image = repository.new_image(layers[1].chain_id()).unwrap();
    let missing = image.mount(&key("work"), &world.scratch.path("none"));
    assert_eq!(reason(missing), Some(Reason::MountPrecondition));
    repository
        .create_layer(&key("lower"), parent(Some(&layers[0])))
        .unwrap();
    let target = world.target("merged");
    let on_others = image.mount(&key("lower"), &target);
    assert_eq!(reason(on_others), Some(Reason::MountPrecondition));
    let mut unknown = RepositoryMount::new(
        &world.store,
        key("unknown"),
        target,
        MountOptions::default(),
    );
    assert_eq!(reason(unknown.open()), Some(Reason::KeyUnknown));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn what_the_kernel_refuses_is_told_and_leaves_nothing() {
    let world = World::new();
    let layers = world.layers(1);
    let image = world.repository().new_image(layers[0].chain_id()).unwrap();
    let (target, other) = (world.target("merged"), world.target("other"));
    let mut mount = image.mount(&key("work"), &target).unwrap();
    let mut options = StoreOptions::new(world.store.path());
    // The program for the other way would be run, and asks for capabilities of its own.
    options.mount_method = Some(oci_bundle::fs::mount::MountMethod::Fd);
    let chain = layers[0].chain_id().clone();
    let blobs = &world.blobs;
    let (mounted, unmounted) = std::thread::scope(|scope| {
        let refused = scope.spawn(|| {
            // Of this thread alone.
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(CapabilitySet::SYS_ADMIN);
            sets.permitted.remove(CapabilitySet::SYS_ADMIN);
            set_capabilities(None, sets).unwrap();
            let store = Store::open(options).unwrap();
            let repository = Repository::new(&store, blobs, Path::new("layout")).unwrap();
            let image = repository.new_image(&chain).unwrap();
            let mounted = reason(image.mount(&key("second"), &other));
            (mounted, reason(image.unmount(&target)))
        });
        refused.join().unwrap()
    });
    assert_eq!(mounted, Some(Reason::MountFailed));
    assert_eq!(unmounted, Some(Reason::UnmountFailed));
    assert_eq!(
        reason(world.store.container(&key("second"))),
        Some(Reason::KeyUnknown)
    );
    assert_eq!(world.store.mounts().unwrap().len(), 1);
    mount.close().unwrap();
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_mount_in_use_stays_unless_it_is_detached() {
    let world = World::new();
    let layers = world.layers(1);
    let image = world.repository().new_image(layers[0].chain_id()).unwrap();
    let target = world.target("merged");
    let mut mount = image.mount(&key("work"), &target).unwrap();
    let open = fs::File::open(target.join("all")).unwrap();
    let busy = error(mount.close());
    assert_eq!(Reason::of(&busy), Some(Reason::InUse));
    assert!(
        busy.chain().contains(&std::process::id().to_string()),
        "{busy:?}"
    );
    assert!(mount.mounted().unwrap());
    mount.detach().unwrap();
    assert!(!target.join("all").exists());
    drop(open);
}
