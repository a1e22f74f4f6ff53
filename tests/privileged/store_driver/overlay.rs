//! What only the overlay driver does.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use oci_bundle::ErrorKind;
use oci_bundle::compat::driver::{
    AdditionalLayers, DifferOutput, Driver, DriverOptions, FileSource, GetOptions, IdMapUpdater,
    OverlayDriver, StagedApply,
};
use oci_bundle::fs::quota::Limits;
use oci_bundle::fs::{Dir, IdMap, IdRange, InodeKind, MapOptions};
use oci_bundle::image::DiffId;
use oci_bundle::store::{GcOptions, Reason, Store, StoreOptions};

use super::{inside, key, layer, lines, open, overlay, plain, stream};
use crate::machine::{Bounded, Scratch, names_in};
use crate::tree::Tree;

/// Files, a directory of another owner's, a link.
pub fn fill(path: &Path) {
    fs::write(path.join("file"), "content").unwrap();
    fs::create_dir(path.join("dir")).unwrap();
    fs::write(path.join("dir/inner"), "inner").unwrap();
    std::os::unix::fs::chown(path.join("dir"), Some(1), Some(2)).unwrap();
    symlink("../file", path.join("dir/link")).unwrap();
}

/// What a differ brings.
pub fn one_file(dir: &Dir) -> oci_bundle::Result<DifferOutput> {
    drop(dir.create_file(b"staged", 0o644)?);
    Ok(DifferOutput::default())
}

/// Maps of all ids to some from this one on.
pub fn shifted(host: u32) -> MapOptions {
    let ids = IdMap(vec![IdRange {
        container: 0,
        host,
        size: 65536,
    }]);
    MapOptions {
        uid: ids.clone(),
        gid: ids,
        rootless: false,
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn the_status_has_the_keys_of_the_field_and_the_reason_for_each_no() {
    let scratch = Scratch::new(&[]);
    let driver = overlay(&scratch);
    let status = driver.status().unwrap();
    for key in [
        "Backing Filesystem",
        "Supports d_type",
        "Native Overlay Diff",
        "Using metacopy",
    ] {
        assert!(status.iter().any(|(name, _)| *name == key), "{status:?}");
    }
    let answer = |key: &str| &status.iter().find(|(name, _)| *name == key).unwrap().1;
    assert_eq!(answer("Native Overlay Diff"), "yes");
    let reflink = answer("Reflink");
    assert!(
        reflink == "yes" || reflink.len() > "no: ".len(),
        "{reflink}"
    );
    let found = OverlayDriver::supports_native(&scratch.path("")).unwrap();
    assert!(found.overlay.is_yes() && found.d_type.is_yes(), "{found:?}");
    assert_eq!(driver.name(), "overlay");
}

#[test]
#[ignore = "needs root: mounts"]
fn an_overlay_holds_no_store() {
    let scratch = Scratch::new(&[]);
    let driver = overlay(&scratch);
    driver
        .create_read_write(&key("open"), None, &plain())
        .unwrap();
    inside(&driver, &key("open"), |path| {
        let error = Store::open(StoreOptions::new(path.join("store"))).unwrap_err();
        assert_eq!(
            Reason::of(&error),
            Some(Reason::IncompatibleFs),
            "{error:?}"
        );
        assert!(error.chain().contains("overlayfs"), "{error:?}");
        assert_eq!(names_in(path), [""; 0]);
    });
}

#[test]
#[ignore = "needs root: mounts"]
fn a_name_holds_a_mount_from_one_process_to_the_next() {
    let scratch = Scratch::new(&[]);
    let driver = overlay(&scratch);
    let layer = key("layer");
    driver.create_read_write(&layer, None, &plain()).unwrap();
    let mut held = GetOptions::default();
    held.hold = Some("a build".into());
    let _ = driver.get(&layer, &held).unwrap();
    let _ = driver.get(&layer, &held).unwrap();
    let other = open(&scratch.path("store"));
    assert_eq!(other.users(&layer).unwrap(), 1);
    let error = other.remove(&layer).unwrap_err();
    assert!(error.chain().contains("a build"), "{error:?}");
    let handle = other.held(&layer, "a build").unwrap();
    fs::write(handle.path().join("file"), "").unwrap();
    other.put(&handle).unwrap();
    assert_eq!(names_in(handle.path()), [""; 0]);
}

/// Does something with the store in a process that ends at a point of it.
#[track_caller]
#[test]
#[ignore = "needs root: mounts"]
fn mounts_show_the_owners_that_maps_say() {
    let scratch = Scratch::new(&[]);
    for id_mapped in [true, false] {
        let mut options =
            StoreOptions::new(scratch.path(if id_mapped { "store" } else { "copies" }));
        options.id_mapped_mounts = id_mapped;
        let driver = OverlayDriver::open(DriverOptions::new(options)).unwrap();
        let shifting = driver.supports_shifting(Some(&shifted(500))).unwrap();
        assert!(id_mapped || !shifting.is_yes());
        let base = layer(&driver, "base", None, fill);
        let tar = stream(&driver, &base, None);
        let mut options = plain();
        options.maps = shifted(100_000);
        let open = key("open");
        driver
            .create_read_write(&open, Some(&base), &options)
            .unwrap();
        let owners = |expected: [u32; 3]| {
            inside(&driver, &open, |path| {
                let owner = |name: &str| fs::symlink_metadata(path.join(name)).unwrap();
                let found = [owner("").uid(), owner("dir").uid(), owner("dir").gid()];
                assert_eq!(found, expected, "{id_mapped}");
            });
        };
        owners([100_000, 100_001, 100_002]);
        inside(&driver, &open, |path| {
            fs::write(path.join("own"), "own").unwrap();
            std::os::unix::fs::chown(path.join("own"), Some(100_007), Some(100_000)).unwrap();
        });
        assert_eq!(lines(&driver, &open, Some(&base)), ["A own"]);
        driver.remap(&open, &shifted(200_000)).unwrap();
        owners([200_000, 200_001, 200_002]);
        let rootless = MapOptions {
            rootless: true,
            ..shifted(0)
        };
        assert!(driver.remap(&open, &rootless).is_err());
        let handle = driver.get(&open, &GetOptions::default()).unwrap();
        let error = driver.remap(&open, &shifted(0)).unwrap_err();
        assert_eq!(Reason::of(&error), Some(Reason::InUse));
        driver.put(&handle).unwrap();
        driver.commit(&open).unwrap();
        owners([200_000, 200_001, 200_002]);
        driver.remap(&open, &MapOptions::default()).unwrap();
        owners([0, 1, 2]);
        inside(&driver, &open, |path| {
            assert_eq!(fs::metadata(path.join("own")).unwrap().uid(), 7);
        });
        // The layer itself is what it was.
        assert_eq!(stream(&driver, &base, None), tar);
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn staged_content_becomes_a_layer_under_its_own_name() {
    let scratch = Scratch::new(&[]);
    let driver = overlay(&scratch);
    let base = layer(&driver, "base", None, |path| {
        fill(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o711)).unwrap();
    });
    let marks = driver.store().marks();
    let claimed = driver.info(&base).unwrap().diff_id.unwrap();
    let mut differ = |dir: &Dir| -> oci_bundle::Result<DifferOutput> {
        dir.create_whiteout(b"file")?;
        let opaque = dir.create_dir(b"dir", 0o700)?.unwrap();
        opaque.set_opaque(marks)?;
        opaque.create_node(b"pipe", InodeKind::Fifo, 0o600, (0, 0))?;
        Ok(DifferOutput {
            uncompressed_digest: Some(claimed.0.clone()),
            ..DifferOutput::default()
        })
    };
    let top = key("top");
    driver.create(&top, Some(&base), &plain()).unwrap();
    let staged = driver.stage(&mut differ).unwrap();
    assert_eq!(staged.output().uncompressed_digest, Some(claimed.0.clone()));
    assert_eq!(
        staged.dir().unwrap().names().unwrap(),
        [b"dir".to_vec(), b"file".to_vec()]
    );
    let diff_id = driver.commit_staged(&top, staged).unwrap();
    assert_ne!(diff_id, claimed);
    let told = lines(&driver, &top, Some(&base));
    assert_eq!(
        told,
        ["C dir", "D dir/inner", "D dir/link", "A dir/pipe", "D file"]
    );
    inside(&driver, &top, |path| {
        let root = fs::metadata(path).unwrap();
        assert_eq!(root.permissions().mode() & 0o7777, 0o711, "the parent's");
    });
    // Given up, refused, or failed: nothing stays.
    driver.abort(driver.stage(&mut one_file).unwrap()).unwrap();
    let error = driver
        .commit_staged(&top, driver.stage(&mut one_file).unwrap())
        .unwrap_err();
    assert_eq!(Reason::of(&error), Some(Reason::LayerExists));
    let mut failing = |dir: &Dir| -> oci_bundle::Result<DifferOutput> {
        one_file(dir)?;
        Err(oci_bundle::Error::new(ErrorKind::Io, "the source is gone"))
    };
    let error = driver.stage(&mut failing).unwrap_err();
    assert!(error.chain().ends_with("the source is gone"));
    assert_eq!(names_in(&scratch.path("store/staging")), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts"]
fn layers_of_other_stores_are_used_where_they_are() {
    let scratch = Scratch::new(&[]);
    let (diff_id, tree, other) = {
        let baked = open(&scratch.path("baked"));
        let base = layer(&baked, "base", None, fill);
        let tree = inside(&baked, &base, Tree::read);
        (
            baked.info(&base).unwrap().diff_id.unwrap(),
            tree,
            layer(&baked, "other", None, |_| {}),
        )
    };
    let mut options = StoreOptions::new(scratch.path("store"));
    options.additional = vec![scratch.path("baked")];
    let driver = OverlayDriver::open(DriverOptions::new(options)).unwrap();
    assert!(!driver.exists(&other).unwrap(), "keys are of one store");
    let unknown: DiffId = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    assert!(driver.lookup(&unknown).unwrap().is_none());
    let found = driver.lookup(&diff_id).unwrap().unwrap();
    assert!(found.layer().is_read_only());
    assert_eq!(found.info().unwrap().changeset.files, 5);
    assert!(
        found.blob().unwrap().is_none(),
        "it was not made of an image"
    );
    let (mine, top) = (key("mine"), key("top"));
    found.create_as(&mine, None, &plain()).unwrap();
    let error = found.create_as(&mine, None, &plain()).unwrap_err();
    assert_eq!(Reason::of(&error), Some(Reason::KeyExists));
    found.release();
    inside(&driver, &mine, |path| {
        tree.assert_same(&Tree::read(path), "from the other store");
    });
    assert_eq!(
        driver.lookup_by_key(&mine).unwrap().layer().id().diff_id(),
        Some(diff_id)
    );
    // Nothing was copied, and nothing is taken away there.
    assert_eq!(driver.store().layers().unwrap(), []);
    driver
        .create_read_write(&top, Some(&mine), &plain())
        .unwrap();
    inside(&driver, &top, |path| {
        fs::remove_file(path.join("file")).unwrap();
    });
    assert_eq!(lines(&driver, &top, Some(&mine)), ["D file"]);
    let error = driver.lookup_by_key(&top).unwrap_err();
    assert_eq!(Reason::of(&error), Some(Reason::LayerUnknown));
    driver.remove(&mine).unwrap();
    driver.store().gc(GcOptions::default()).unwrap();
    inside(&driver, &top, |path| assert_eq!(names_in(path), ["dir"]));
    inside(&open(&scratch.path("baked")), &key("base"), |path| {
        tree.assert_same(&Tree::read(path), "in the other store");
    });
}

#[test]
#[ignore = "needs root: mounts"]
fn files_are_found_by_path_in_the_layer_and_below() {
    let scratch = Scratch::new(&[]);
    let driver = overlay(&scratch);
    let base = layer(&driver, "base", None, fill);
    let top = key("top");
    driver
        .create_read_write(&top, Some(&base), &plain())
        .unwrap();
    inside(&driver, &top, |path| {
        fs::write(path.join("own"), "own").unwrap();
        fs::remove_file(path.join("file")).unwrap();
    });
    let read = |layer, path: &[u8]| {
        let mut buffer = [0; 16];
        let mut file = driver.files(layer).unwrap().open(path)?;
        file.read(&mut buffer).map(<[u8]>::to_vec)
    };
    assert_eq!(read(&base, b"file").unwrap(), b"content");
    assert_eq!(read(&top, b"own").unwrap(), b"own");
    assert_eq!(read(&top, b"dir/inner").unwrap(), b"inner");
    for (path, kind) in [
        (&b"file"[..], ErrorKind::NotFound),
        (b"missing/x", ErrorKind::NotFound),
        (b"../store.json", ErrorKind::InvalidInput),
        (b"/etc/passwd", ErrorKind::InvalidInput),
    ] {
        assert_eq!(read(&top, path).unwrap_err().kind(), kind);
    }
    for path in [&b"dir"[..], b"dir/link", b""] {
        assert!(read(&top, path).is_err());
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn gc_takes_what_no_layer_needs_any_more() {
    let scratch = Scratch::new(&[]);
    let driver = overlay(&scratch);
    let base = layer(&driver, "base", None, fill);
    let top = layer(&driver, "top", Some(&base), |path| {
        fs::write(path.join("x"), "x").unwrap();
    });
    let collected = || {
        driver
            .store()
            .gc(GcOptions::default())
            .unwrap()
            .layers
            .len()
    };
    driver.remove(&base).unwrap();
    assert_eq!(collected(), 0);
    inside(&driver, &top, |path| {
        assert_eq!(names_in(path), ["dir", "file", "x"]);
    });
    driver.remove(&top).unwrap();
    assert_eq!(collected(), 2);
    assert_eq!(driver.store().layers().unwrap(), []);
}

#[test]
#[ignore = "needs root: mounts"]
fn equal_files_share_their_blocks_or_the_reason_is_told() {
    let scratch = Scratch::new(&[]);
    let driver = overlay(&scratch);
    for name in ["one", "two"] {
        layer(&driver, name, None, |path| {
            fs::write(path.join("same"), vec![7; 100_000]).unwrap();
            fs::write(path.join("own"), name).unwrap();
        });
    }
    match driver.store().dedup(&[]) {
        Ok(report) => assert_eq!((report.files, report.shared, report.bytes), (2, 1, 100_000)),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
            assert!(!error.hints().is_empty());
        }
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn a_quota_stops_who_writes_more_where_the_file_system_has_them() {
    let scratch = Scratch::new(&["mkfs.ext4"]);
    let image = scratch.path("image");
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let make = Bounded::new("mkfs.ext4", 60).args(&["-q", "-O", "project,quota"]);
    make.arg(&image).succeed();
    let at = scratch.path("limited");
    fs::create_dir(&at).unwrap();
    let mount = Bounded::new("mount", 30).args(&["-o", "loop,prjquota"]);
    let has_quotas = mount.arg(&image).arg(&at).output().status.success();
    let unmount = || drop(Command::new("umount").arg(&at).status());
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut options = DriverOptions::new(StoreOptions::new(at.join("store")));
        options.quota = Limits {
            bytes: Some(4 << 20),
            inodes: None,
        };
        if !has_quotas {
            let error = OverlayDriver::open(options).unwrap_err();
            assert_eq!(
                Reason::of(&error),
                Some(Reason::QuotaUnsupported),
                "{error:?}"
            );
            return;
        }
        let driver = OverlayDriver::open(options).unwrap();
        let base = layer(&driver, "base", None, |path| {
            fs::write(path.join("large"), vec![1; 6 << 20]).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        });
        let home = scratch.home_of_nobody();
        for name in ["one", "two"] {
            driver
                .create_read_write(&key(name), Some(&base), &plain())
                .unwrap();
            inside(&driver, &key(name), |path| {
                let write = |name: &str, count: &str| {
                    let of = format!("of={}", path.join(name).display());
                    let write = Bounded::new("dd", 60).args(&["if=/dev/zero", "bs=1M", &of, count]);
                    write.run_by_nobody(&home).output().status.success()
                };
                assert!(write("small", "count=2"));
                assert!(!write("big", "count=8"));
            });
            let usage = driver.usage(&key(name)).unwrap();
            assert!((2 << 20..=4 << 20).contains(&usage.bytes), "{usage:?}");
        }
        driver.remove(&key("one")).unwrap();
        driver
            .create_read_write(&key("three"), Some(&base), &plain())
            .unwrap();
        assert!(driver.usage(&key("three")).unwrap().bytes < 1 << 20);
    }));
    if has_quotas {
        unmount();
    }
    if let Err(panic) = run {
        std::panic::resume_unwind(panic);
    }
}
