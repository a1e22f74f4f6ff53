//! Layers in and out.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use oci_bundle::archive::Compression;
use oci_bundle::cas::{Algorithm, Digest, MemoryStore, StoreExt};
use oci_bundle::image::{ChainId, Descriptor, DiffId};
use oci_bundle::progress::Silent;
use oci_bundle::snapshots::{
    Applied, Applier, BlobApplier, BlobDiffer, BlobLayers, DiffOptions, LayerDesc, Mount,
    Snapshotter, StoreSnapshots, apply_layer, apply_layers, create_diff, init_rootfs,
};
use oci_bundle::store::{CommitOptions, ContainerMeta, GcOptions, Key, MountOptions, Reason};
use oci_bundle::{ErrorKind, Result};

use super::super::machine::{Bounded, Scratch, names_in};
use super::{Stage, open_store, plain, read, stage};

/// Makes a layer of a directory by tar, compressed or not.
fn layer(blobs: &MemoryStore, directory: &Path, compressed: bool) -> LayerDesc {
    let archive = directory.with_extension("tar");
    let tar = Bounded::new("tar", 60).args(&["--create", "--sort=name", "--mtime=@1000", "--file"]);
    tar.arg(&archive)
        .arg("--directory")
        .arg(directory)
        .arg(".")
        .succeed();
    let stream = fs::read(&archive).unwrap();
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let diff = Descriptor::new(
        tar,
        Digest::of(Algorithm::Sha256, &stream),
        stream.len() as u64,
    );
    let (bytes, suffix) = if compressed {
        Bounded::new("gzip", 60)
            .arg("--keep")
            .arg(&archive)
            .succeed();
        (
            fs::read(directory.with_extension("tar.gz")).unwrap(),
            "+gzip",
        )
    } else {
        (stream, "")
    };
    let digest = blobs.put(Algorithm::Sha256, &bytes).unwrap();
    let blob = Descriptor::new(&format!("{tar}{suffix}"), digest, bytes.len() as u64);
    LayerDesc { diff, blob }
}

/// Three layers: files, whiteouts and changes, and one more file.
fn image(blobs: &MemoryStore, directory: &Path) -> Vec<LayerDesc> {
    let path = |name: &str| directory.join(name);
    fs::create_dir_all(path("l1/etc/deep")).unwrap();
    for name in ["l1/etc/gone", "l1/etc/kept", "l1/etc/deep/file", "l1/top"] {
        fs::write(path(name), name).unwrap();
    }
    fs::create_dir_all(path("l2/etc/deep")).unwrap();
    fs::write(path("l2/etc/.wh.gone"), "").unwrap();
    fs::write(path("l2/etc/deep/.wh..wh..opq"), "").unwrap();
    fs::write(path("l2/etc/deep/new"), "new").unwrap();
    fs::create_dir(path("l3")).unwrap();
    fs::write(path("l3/top"), "changed").unwrap();
    ["l1", "l2", "l3"]
        .map(|name| layer(blobs, &path(name), name == "l2"))
        .into()
}

fn check_image(root: &Path) {
    assert!(!root.join("etc/gone").exists() && !root.join("etc/deep/file").exists());
    assert_eq!(read(root.join("etc/kept")), "l1/etc/kept");
    assert_eq!(read(root.join("etc/deep/new")), "new");
    assert_eq!(read(root.join("top")), "changed");
}

/// Counts what is applied.
struct Counting<'a>(BlobApplier<'a>, RefCell<usize>);

impl Applier for Counting<'_> {
    fn apply(&self, blob: &Descriptor, onto: &[Mount], algorithm: Algorithm) -> Result<Descriptor> {
        *self.1.borrow_mut() += 1;
        self.0.apply(blob, onto, algorithm)
    }
}

pub fn the_mounts_of_a_key_stay_the_same(stage: &Stage<'_>) {
    stage.layer("base", None, |root| {
        fs::write(root.join("file"), "x").unwrap();
    });
    let active = stage
        .snapshots
        .prepare("active", Some("base"), &plain())
        .unwrap();
    let view = stage
        .snapshots
        .view("view", Some("base"), &plain())
        .unwrap();
    assert_eq!(stage.snapshots.mounts("active").unwrap(), active);
    assert_eq!(stage.snapshots.mounts("view").unwrap(), view);
    assert!(active.iter().all(|mount| !mount.is_read_only()));
    assert!(view.iter().all(Mount::is_read_only));
}

pub fn layers_of_an_image_are_applied_once(stage: &Stage<'_>) {
    let blobs = MemoryStore::new();
    let layers = image(&blobs, &stage.directory);
    let blob_applier = BlobApplier {
        blobs: &blobs,
        mounter: &stage.mounter,
    };
    let applier = Counting(blob_applier, RefCell::new(0));
    let diff_ids: Vec<DiffId> = layers.iter().map(LayerDesc::diff_id).collect();
    let none = apply_layers(stage.snapshots, &applier, &[]).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidInput);
    // On a chain that is not there, nothing can be laid.
    let early = apply_layer(stage.snapshots, &applier, &layers[1], &diff_ids[..1]).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::NotFound);
    let first = apply_layer(stage.snapshots, &applier, &layers[0], &[]).unwrap();
    let again = apply_layer(stage.snapshots, &applier, &layers[0], &[]).unwrap();
    assert_eq!((first, again), (Applied::Unpacked, Applied::Existed));
    for _ in 0..2 {
        let top = apply_layers(stage.snapshots, &applier, &layers).unwrap();
        assert_eq!(Some(top), ChainId::of(&diff_ids));
    }
    assert_eq!(*applier.1.borrow(), 3);
    assert_eq!(stage.walked(&["kind!=committed"]), Vec::<String>::new());
    let top = ChainId::of(&diff_ids).unwrap().to_string();
    let info = stage.snapshots.stat(&top).unwrap();
    assert_eq!(
        info.parent,
        ChainId::of(&diff_ids[..2]).map(|id| id.to_string())
    );
    let label = &info.labels["containerd.io/snapshot/diff-id"];
    assert_eq!(*label, diff_ids[2].to_string());
    stage.look(&top, check_image);
}

pub fn a_wrong_diff_id_leaves_nothing(stage: &Stage<'_>) {
    let blobs = MemoryStore::new();
    let mut layers = image(&blobs, &stage.directory);
    let applier = BlobApplier {
        blobs: &blobs,
        mounter: &stage.mounter,
    };
    layers[1].diff = layers[2].diff.clone();
    let error = apply_layers(stage.snapshots, &applier, &layers).unwrap_err();
    assert_eq!(
        Reason::of(&error),
        Some(Reason::WrongDiffId),
        "{}",
        error.chain()
    );
    // The blob is not the one that was promised: that is what is said.
    layers[1].blob = Descriptor::new(
        layers[0].blob.media_type(),
        layers[0].blob.digest().clone(),
        layers[0].blob.size() - 512,
    );
    let error = apply_layers(stage.snapshots, &applier, &layers).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification, "{}", error.chain());
    layers[1].blob = Descriptor::new("text/plain", layers[0].blob.digest().clone(), 1);
    let error = apply_layers(stage.snapshots, &applier, &layers).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(stage.walked(&[]), [layers[0].diff_id().to_string()]);
}

pub fn a_diff_applied_again_is_the_same_content(stage: &Stage<'_>) {
    let blobs = MemoryStore::new();
    let layers = image(&blobs, &stage.directory);
    let applier = BlobApplier {
        blobs: &blobs,
        mounter: &stage.mounter,
    };
    let differ = BlobDiffer {
        blobs: &blobs,
        mounter: &stage.mounter,
    };
    let base = apply_layers(stage.snapshots, &applier, &layers[..1])
        .unwrap()
        .to_string();
    stage.edit("active", Some(&base), |root| {
        fs::remove_file(root.join("etc/gone")).unwrap();
        fs::remove_file(root.join("etc/deep/file")).unwrap();
        fs::write(root.join("etc/deep/new"), "new").unwrap();
        fs::write(root.join("top"), "changed").unwrap();
        drop(UnixListener::bind(root.join("socket")).unwrap());
    });
    let mut options = DiffOptions::default();
    options.compression = Compression::Zstd;
    options.source_date_epoch = Some(1_000_000);
    options.labels.insert("io.example/a".into(), "b".into());
    let active = create_diff(stage.snapshots, &differ, "active", &options).unwrap();
    assert_eq!(
        active.media_type(),
        "application/vnd.oci.image.layer.v1.tar+zstd"
    );
    assert_eq!(active.annotation("io.example/a"), Some("b"));
    // The same of what is committed, but for the compression.
    stage
        .snapshots
        .commit("committed", "active", &plain())
        .unwrap();
    options.compression = Compression::Gzip;
    let committed = create_diff(stage.snapshots, &differ, "committed", &options).unwrap();
    let stream = |blob: &Descriptor| {
        blob.annotation("containerd.io/uncompressed")
            .unwrap()
            .to_owned()
    };
    assert_eq!(stream(&active), stream(&committed));
    // No views are left, of the failed one neither.
    let missing = create_diff(stage.snapshots, &differ, "missing", &options).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert_eq!(stage.walked(&["kind==view"]), Vec::<String>::new());
    let diff = Descriptor::new("x", stream(&active).parse().unwrap(), 0);
    let again = LayerDesc {
        diff,
        blob: committed,
    };
    let outcome = apply_layer(stage.snapshots, &applier, &again, &[layers[0].diff_id()]).unwrap();
    assert_eq!(outcome, Applied::Unpacked);
    let chain = ChainId::of(&[layers[0].diff_id(), again.diff_id()]).unwrap();
    stage.look(&chain.to_string(), |root| {
        check_image(root);
        assert!(!root.join("socket").exists());
    });
}

pub fn a_root_is_made_ready_for_a_runtime(stage: &Stage<'_>) {
    stage.layer("base", None, |root| {
        std::os::unix::fs::chown(root, Some(7), Some(8)).unwrap();
        fs::create_dir_all(root.join("usr/etc")).unwrap();
        std::os::unix::fs::symlink("usr/etc", root.join("etc")).unwrap();
        fs::write(root.join("usr/etc/hosts"), "mine").unwrap();
    });
    let mounts = init_rootfs(stage.snapshots, "box", Some("base"), false, &stage.mounter).unwrap();
    {
        let root = &stage.mount(&mounts).target;
        for dir in ["dev/pts", "dev/shm", "proc", "sys"] {
            assert!(root.join(dir).is_dir(), "{dir}");
        }
        assert_eq!(read(root.join("usr/etc/hosts")), "mine");
        for file in ["dev/console", "etc/hostname", "etc/resolv.conf"] {
            assert_eq!(read(root.join(file)), "", "{file}");
        }
        let link = fs::read_link(root.join("usr/etc/mtab")).unwrap();
        assert_eq!(link, Path::new("/proc/mounts"));
        let console = fs::metadata(root.join("dev/console")).unwrap();
        assert_eq!((console.uid(), console.gid()), (7, 8));
    }
    let taken = init_rootfs(stage.snapshots, "box", Some("base"), true, &stage.mounter);
    assert_eq!(Reason::of(&taken.unwrap_err()), Some(Reason::KeyExists));
    // The second one uses the same base; what is only looked at is left as it is.
    init_rootfs(
        stage.snapshots,
        "second",
        Some("base"),
        false,
        &stage.mounter,
    )
    .unwrap();
    let view = init_rootfs(stage.snapshots, "view", Some("base"), true, &stage.mounter).unwrap();
    assert!(!stage.mount(&view).target.join("proc").exists());
    assert_eq!(
        stage.walked(&["parent==\"base linux-init\""]),
        ["box", "second"]
    );
    // A base that cannot be filled leaves nothing.
    stage.layer("odd", None, |root| {
        fs::write(root.join("dev"), "no directory").unwrap();
    });
    let odd = init_rootfs(
        stage.snapshots,
        "odd box",
        Some("odd"),
        false,
        &stage.mounter,
    );
    assert_eq!(odd.unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(stage.walked(&["parent==odd"]), Vec::<String>::new());
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn layers_unpacked_side_by_side_are_those_applied_in_their_order() {
    let scratch = Scratch::new(&["tar"]);
    let store = open_store(&scratch.path("store"));
    let snapshots = StoreSnapshots::new(&store).unwrap();
    let stage = stage(&scratch, &snapshots);
    let blobs = MemoryStore::new();
    let layers = image(&blobs, &stage.directory);
    let diff_ids: Vec<DiffId> = layers.iter().map(LayerDesc::diff_id).collect();
    let provider = BlobLayers {
        blobs: &blobs,
        layers: &layers,
    };
    for _ in 0..2 {
        let top = snapshots.unpack(&diff_ids, &provider, &Silent).unwrap();
        assert_eq!(Some(top), ChainId::of(&diff_ids));
    }
    assert_eq!(stage.walked(&["kind==committed"]).len(), 3);
    let top = ChainId::of(&diff_ids).unwrap().to_string();
    stage.look(&top, check_image);
    // Applying finds all of it there.
    let applier = BlobApplier {
        blobs: &blobs,
        mounter: &stage.mounter,
    };
    apply_layers(&snapshots, &applier, &layers).unwrap();
    // Without the snapshots, nothing needs the layers.
    store.gc(GcOptions::default()).unwrap();
    assert_eq!(store.layers().unwrap().len(), 3);
    for end in [3, 2, 1] {
        let name = ChainId::of(&diff_ids[..end]).unwrap().to_string();
        snapshots.remove(&name).unwrap();
    }
    store.gc(GcOptions::default()).unwrap();
    assert_eq!(store.layers().unwrap().len(), 0);
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_snapshot_that_the_store_has_mounted_is_not_removed() {
    let scratch = Scratch::new(&[]);
    let store = open_store(&scratch.path("store"));
    let snapshots = StoreSnapshots::new(&store).unwrap();
    let target = scratch.path("target");
    fs::create_dir(&target).unwrap();
    snapshots.prepare("key", None, &plain()).unwrap();
    snapshots.mount("key", &target).unwrap();
    fs::write(target.join("file"), "x").unwrap();
    let error = snapshots.remove("key").unwrap_err();
    assert_eq!(Reason::of(&error), Some(Reason::InUse));
    assert!(
        error.chain().contains(&target.display().to_string()),
        "{}",
        error.chain()
    );
    // It can be committed; what is mounted goes later.
    snapshots.commit("base", "key", &plain()).unwrap();
    assert_eq!(store.containers().unwrap().len(), 1);
    store.unmount(&target, false).unwrap();
    snapshots.cleanup().unwrap();
    assert_eq!(store.containers().unwrap().len(), 0);
    snapshots.view("view", Some("base"), &plain()).unwrap();
    snapshots.mount("view", &target).unwrap();
    assert_eq!(read(target.join("file")), "x");
    assert!(fs::write(target.join("file"), "y").is_err());
    store.unmount(&target, false).unwrap();
    let error = snapshots.mount("base", &target).unwrap_err();
    assert_eq!(Reason::of(&error), Some(Reason::Prerequisites));
}

#[test]
#[ignore = "needs root: run with -- --include-ignored"]
fn a_container_becomes_a_layer_on_its_chain() {
    let scratch = Scratch::new(&[]);
    let store = open_store(&scratch.path("store"));
    let snapshots = StoreSnapshots::new(&store).unwrap();
    let stage = stage(&scratch, &snapshots);
    stage.layer("base", None, |root| {
        for name in ["kept", "gone", "changed"] {
            fs::write(root.join(name), name).unwrap();
        }
    });
    let base = snapshots.chain("base").unwrap();
    let key = Key::new("box").unwrap();
    store
        .prepare(&key, &base, ContainerMeta::default())
        .unwrap();
    let target = scratch.path("target");
    fs::create_dir(&target).unwrap();
    let mounting = MountOptions::default();
    store.mount_container(&key, &target, &mounting).unwrap();
    fs::remove_file(target.join("gone")).unwrap();
    fs::write(target.join("changed"), "again").unwrap();
    fs::create_dir(target.join("cache")).unwrap();
    fs::write(target.join("cache/file"), "x").unwrap();
    // While it is mounted, and as often as one likes.
    let masks = [b"cache".to_vec()];
    let mut options = CommitOptions::default();
    options.masks = &masks;
    options.source_date_epoch = Some(1_000_000);
    let first = store.commit_container(&key, &options, &Silent).unwrap();
    let again = store.commit_container(&key, &options, &Silent).unwrap();
    assert_eq!(first, again);
    assert_eq!(
        first.chain.diff_ids,
        [&base.diff_ids[..], std::slice::from_ref(&first.diff_id)].concat()
    );
    assert!(store.has_layer(&first.layer).unwrap());
    // One that is to go must not be mounted, and stays.
    options.remove = true;
    let mounted = store.commit_container(&key, &options, &Silent).unwrap_err();
    assert_eq!(Reason::of(&mounted), Some(Reason::InUse));
    drop(UnixListener::bind(target.join("socket")).unwrap());
    store.unmount(&target, false).unwrap();
    let socket = store.commit_container(&key, &options, &Silent).unwrap_err();
    assert_eq!(socket.kind(), ErrorKind::Unsupported, "{}", socket.chain());
    options.skip_sockets = true;
    let last = store.commit_container(&key, &options, &Silent).unwrap();
    assert_eq!(last, first);
    let unknown = store.commit_container(&key, &options, &Silent).unwrap_err();
    assert_eq!(Reason::of(&unknown), Some(Reason::KeyUnknown));
    // What was committed is what was there, but for what was masked.
    let maps = oci_bundle::fs::MapOptions::default();
    store
        .mount_chain(last.chain.id.as_ref(), &maps, &target, &mounting)
        .unwrap();
    assert_eq!(names_in(&target), ["changed", "kept"]);
    assert_eq!(read(target.join("changed")), "again");
    let time = fs::metadata(target.join("changed")).unwrap().mtime();
    assert_eq!(time, 1_000_000);
    store.unmount(&target, false).unwrap();
    let view = ContainerMeta {
        view: true,
        ..ContainerMeta::default()
    };
    store.prepare(&key, &base, view).unwrap();
    let refused = store.commit_container(&key, &options, &Silent).unwrap_err();
    assert_eq!(Reason::of(&refused), Some(Reason::Prerequisites));
}
