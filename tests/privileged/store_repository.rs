//! A repository, with real mounts: directories of the caller's own, layers and what they lie on, images mounted and
//! unmounted, each kind of failure, names, archives.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use oci_bundle::cas::{Algorithm, Digest, MemoryStore, Store as _};
use oci_bundle::image::{ChainId, DiffId};
use oci_bundle::store::archive::{AnyArchive, Combined, DockerArchive, Exporter, OciArchive};
use oci_bundle::store::asset::{DirAsset, LayerContent, TarAsset};
use oci_bundle::store::repository::{
    BottomFirst, Created, Parent, Repository, RepositoryLayer, RepositoryMount,
};
use oci_bundle::store::{GcOptions, Key, MountOptions, Reason, Store, StoreOptions};
use oci_bundle::{Error, ErrorKind};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::machine::{Bounded, Scratch, names_in};

const CONFIG: &[u8] = br#"{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":[]}}"#;

/// A store, and blobs in memory.
struct World {
    scratch: Scratch,
    store: Store,
    blobs: MemoryStore,
}

impl World {
    fn new() -> Self {
        let scratch = Scratch::new(&[]);
        let store = Store::open(StoreOptions::new(scratch.path("store"))).unwrap();
        let blobs = MemoryStore::new();
        Self {
            scratch,
            store,
            blobs,
        }
    }

    fn repository(&self) -> Repository<'_> {
        Repository::new(&self.store, &self.blobs, &self.scratch.path("layout")).unwrap()
    }

    /// So many layers, one on the other: each has a file `own-N`, and `all` that says N.
    fn layers(&self, count: usize) -> Vec<RepositoryLayer<'_>> {
        let mut layers: Vec<RepositoryLayer<'_>> = Vec::new();
        for number in 0..count {
            let stream = tar(&[(&format!("own-{number}"), ""), ("all", &number.to_string())]);
            let (layer, created) = self
                .repository()
                .unpack_layer(&mut stream.as_slice(), parent(layers.last()))
                .unwrap();
            assert_eq!(created, Created::New);
            layers.push(layer);
        }
        layers
    }

    fn target(&self, name: &str) -> PathBuf {
        let path = self.scratch.path(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

fn parent<'a>(layer: Option<&'a RepositoryLayer<'_>>) -> Parent<'a> {
    layer.map_or(Parent::Empty, |layer| Parent::Layer(layer.chain_id()))
}

/// A stream with these files.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_mtime(1_600_000_000);
        tar.append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn reason<T>(result: oci_bundle::Result<T>) -> Option<Reason> {
    Reason::of(&error(result))
}

fn error<T>(result: oci_bundle::Result<T>) -> Error {
    result.err().expect("it should fail")
}

fn diff_id_of_nothing() -> DiffId {
    DiffId(Digest::of(Algorithm::Sha256, b"no layer"))
}

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

impl World {
    /// As [`layers`](Self::layers), of content that other numbers of layers do not share.
    fn layers_of_their_own(&self, count: usize) -> Vec<RepositoryLayer<'_>> {
        let mut layers: Vec<RepositoryLayer<'_>> = Vec::new();
        for number in 0..count {
            let stream = tar(&[
                (&format!("own-{number}"), ""),
                ("all", &format!("{count}:{number}")),
            ]);
            let (layer, _) = self
                .repository()
                .unpack_layer(&mut stream.as_slice(), parent(layers.last()))
                .unwrap();
            layers.push(layer);
        }
        layers
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
        assert_eq!(failed, Some(Reason::ParentNotMounted));
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
