//! What every driver has to do.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use oci_bundle::compat::driver::{DiffDriver, Driver, GetOptions};
use oci_bundle::fs::quota::Limits;
use oci_bundle::store::Reason;

use super::{fill, inside, key, layer, lines, plain, read, stream, whole_seconds};
use crate::machine::{Bounded, Scratch, names_in};
use crate::tree::Tree;

contract! {
    an_empty_layer_is_empty
    what_is_committed_stays_and_cannot_be_written
    a_layer_on_another_shows_both
    a_copy_of_a_committed_layer_has_its_content
    a_copy_of_an_open_layer_is_its_own
    every_one_of_128_layers_is_read
    all_layers_are_listed
    the_last_user_unmounts
    a_layer_keeps_what_it_lies_on
    only_what_is_committed_is_laid_upon
    names_are_given_once
    a_quota_that_cannot_be_kept_is_refused
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn an_empty_layer_is_empty(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    let empty = key("empty");
    assert!(!driver.exists(&empty).unwrap());
    driver.create(&empty, None, &plain()).unwrap();
    assert!(driver.exists(&empty).unwrap());
    let path = inside(driver, &empty, |path| {
        assert_eq!((mode(path), names_in(path).len()), (0o755, 0));
        let root = fs::metadata(path).unwrap();
        assert_eq!((root.uid(), root.gid()), (0, 0));
        path.to_owned()
    });
    assert_eq!(driver.metadata(&empty).unwrap().merged, path);
    driver.commit(&empty).unwrap();
    inside(driver, &empty, |path| assert_eq!(names_in(path).len(), 0));
    assert_eq!(lines(driver, &empty, None), [""; 0]);
    driver.remove(&empty).unwrap();
    assert!(!driver.exists(&empty).unwrap());
    // Once more is fine.
    driver.remove(&empty).unwrap();
    let error = driver.get(&empty, &GetOptions::default()).unwrap_err();
    assert_eq!(Reason::of(&error), Some(Reason::KeyUnknown));
}

fn what_is_committed_stays_and_cannot_be_written(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    let mut written = None;
    let base = layer(driver, "base", None, |path| {
        fill(path);
        whole_seconds(path);
        written = Some(Tree::read(path));
    });
    inside(driver, &base, |path| {
        written
            .unwrap()
            .assert_same(&Tree::read(path), "written and committed");
        assert_eq!(mode(path), 0o711);
        let error = fs::write(path.join("new"), "").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    });
    let info = driver.info(&base).unwrap();
    assert_eq!(info.diff_id, Some(driver.commit(&base).unwrap()));
    let error = driver
        .apply(&base, None, &mut std::io::empty())
        .unwrap_err();
    assert_eq!(Reason::of(&error), Some(Reason::LayerExists));
    let paths = driver.metadata(&base).unwrap();
    assert!(paths.upper.is_none() && paths.work.is_none() && !paths.lower.is_empty());
}

fn a_layer_on_another_shows_both(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    let base = layer(driver, "base", None, fill);
    let top = key("top");
    driver
        .create_read_write(&top, Some(&base), &plain())
        .unwrap();
    inside(driver, &top, |path| {
        assert_eq!(
            (read(&path.join("file")), mode(path)),
            ("content".into(), 0o711)
        );
        fs::write(path.join("own"), "own").unwrap();
        fs::remove_file(path.join("file")).unwrap();
    });
    // What was written is still there, and only there.
    inside(driver, &top, |path| {
        assert_eq!(names_in(path), ["dir", "own"]);
    });
    inside(driver, &base, |path| {
        assert_eq!(names_in(path), ["dir", "file"]);
    });
    assert_eq!(driver.info(&top).unwrap().parent, Some(base));
}

fn a_copy_of_a_committed_layer_has_its_content(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    let base = layer(driver, "base", None, fill);
    let top = layer(driver, "top", Some(&base), |path| {
        fs::write(path.join("x"), "x").unwrap();
    });
    let (same, own) = (key("same"), key("own"));
    driver
        .create_from_template(&same, &top, &plain(), false)
        .unwrap();
    driver
        .create_from_template(&own, &top, &plain(), true)
        .unwrap();
    let tree = inside(driver, &top, Tree::read);
    for copy in [&same, &own] {
        inside(driver, copy, |path| {
            tree.assert_same(&Tree::read(path), "copy");
        });
        assert_eq!(lines(driver, copy, Some(&top)), [""; 0]);
    }
    let diff_id = |key| driver.info(key).unwrap().diff_id;
    assert_eq!(diff_id(&same), diff_id(&top));
    assert_eq!(lines(driver, &same, Some(&base)), ["A x"]);
    inside(driver, &own, |path| fs::write(path.join("y"), "y").unwrap());
    assert_eq!(lines(driver, &own, Some(&top)), ["A y"]);
}

fn a_copy_of_an_open_layer_is_its_own(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    let base = layer(driver, "base", None, fill);
    let open = key("open");
    driver
        .create_read_write(&open, Some(&base), &plain())
        .unwrap();
    inside(driver, &open, |path| {
        fs::remove_dir_all(path.join("dir")).unwrap();
        fs::create_dir(path.join("dir")).unwrap();
        fs::write(path.join("dir/new"), "new").unwrap();
        fs::remove_file(path.join("file")).unwrap();
        whole_seconds(path);
    });
    let tree = inside(driver, &open, Tree::read);
    for (name, read_write) in [("same", false), ("own", true)] {
        let copy = key(name);
        driver
            .create_from_template(&copy, &open, &plain(), read_write)
            .unwrap();
        inside(driver, &copy, |path| {
            tree.assert_same(&Tree::read(path), name);
        });
        assert_eq!(driver.info(&copy).unwrap().diff_id.is_none(), read_write);
    }
    inside(driver, &key("own"), |path| {
        fs::write(path.join("dir/new"), "other").unwrap();
    });
    inside(driver, &open, |path| {
        assert_eq!(read(&path.join("dir/new")), "new");
    });
}

fn every_one_of_128_layers_is_read(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    let mut below = None;
    for number in 0..128 {
        let next = layer(driver, &format!("layer-{number}"), below.as_ref(), |path| {
            fs::write(path.join("top"), number.to_string()).unwrap();
            fs::write(path.join(format!("own-{number}")), number.to_string()).unwrap();
        });
        below = Some(next);
    }
    let top = below.unwrap();
    inside(driver, &top, |path| {
        assert_eq!(read(&path.join("top")), "127");
        for number in 0..128 {
            assert_eq!(
                read(&path.join(format!("own-{number}"))),
                number.to_string()
            );
        }
    });
    assert_eq!(driver.metadata(&top).unwrap().lower.len(), 129);
}

fn all_layers_are_listed(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    assert_eq!(driver.list().unwrap(), []);
    for name in ["c", "a", "b"] {
        driver.create(&key(name), None, &plain()).unwrap();
    }
    assert_eq!(driver.list().unwrap(), ["a", "b", "c"].map(key));
    driver.remove(&key("b")).unwrap();
    assert_eq!(driver.list().unwrap(), ["a", "c"].map(key));
}

fn the_last_user_unmounts(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    let open = key("open");
    driver.create_read_write(&open, None, &plain()).unwrap();
    let options = GetOptions::default();
    let first = driver.get(&open, &options).unwrap();
    fs::write(first.path().join("file"), "").unwrap();
    let second = driver.get(&open, &options).unwrap();
    assert_eq!(first.path(), second.path());
    let mut other = GetOptions::default();
    other.mount.read_only = true;
    let error = driver.get(&open, &other).unwrap_err();
    assert_eq!(Reason::of(&error), Some(Reason::MountOptionsConflict));
    driver.put(&first).unwrap();
    assert_eq!(names_in(second.path()), ["file"]);
    let error = driver.put(&first).unwrap_err();
    assert_eq!(Reason::of(&error), Some(Reason::NotMounted));
    for refused in [driver.remove(&open), driver.commit(&open).map(drop)] {
        let error = refused.unwrap_err();
        assert_eq!(Reason::of(&error), Some(Reason::InUse));
        assert!(
            error.chain().contains(&std::process::id().to_string()),
            "{error:?}"
        );
    }
    assert_eq!(driver.cleanup().unwrap(), std::slice::from_ref(&open));
    // Somebody is in it: it stays, and so does the user.
    let busy = fs::File::open(second.path().join("file")).unwrap();
    let error = driver.put(&second).unwrap_err();
    assert_eq!(Reason::of(&error), Some(Reason::InUse), "{error:?}");
    drop(busy);
    driver.put(&second).unwrap();
    assert_eq!(names_in(second.path()), [""; 0]);
    // Nobody is left, so it may be mounted in another way.
    let third = driver.get(&open, &other).unwrap();
    assert!(fs::write(third.path().join("new"), "").is_err());
    driver.put(&third).unwrap();
    driver.remove(&open).unwrap();
}

fn a_layer_keeps_what_it_lies_on(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    let base = layer(driver, "base", None, fill);
    let top = layer(driver, "top", Some(&base), |path| {
        fs::write(path.join("top"), "top").unwrap();
    });
    let tree = inside(driver, &top, Tree::read);
    let tar = stream(driver, &top, Some(&base));
    driver.remove(&base).unwrap();
    driver.cleanup().unwrap();
    inside(driver, &top, |path| {
        tree.assert_same(&Tree::read(path), "without the parent");
    });
    // As long as nothing else has the name, the difference from the parent is told by what is known of it.
    if let Ok(changes) = driver.changes(&top, Some(&base)) {
        assert!(changes.iter().any(|change| change.path == b"top"));
        assert_eq!(stream(driver, &top, Some(&base)), tar);
    }
}

fn only_what_is_committed_is_laid_upon(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    driver
        .create_read_write(&key("open"), None, &plain())
        .unwrap();
    for (parent, reason) in [
        ("open", Reason::ParentNotCommitted),
        ("missing", Reason::KeyUnknown),
    ] {
        let parent = key(parent);
        for error in [
            driver
                .create(&key("new"), Some(&parent), &plain())
                .unwrap_err(),
            driver
                .create_read_write(&key("new"), Some(&parent), &plain())
                .unwrap_err(),
        ] {
            assert_eq!(Reason::of(&error), Some(reason), "{error:?}");
        }
    }
    let error = driver.create_from_template(&key("new"), &key("missing"), &plain(), true);
    assert_eq!(Reason::of(&error.unwrap_err()), Some(Reason::KeyUnknown));
    assert!(!driver.exists(&key("new")).unwrap());
}

fn names_are_given_once(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    let mut options = plain();
    options.labels.insert("of".into(), "the caller".into());
    driver.create(&key("once"), None, &options).unwrap();
    let error = driver
        .create_read_write(&key("once"), None, &plain())
        .unwrap_err();
    assert_eq!(Reason::of(&error), Some(Reason::KeyExists));
    driver.commit(&key("once")).unwrap();
    assert_eq!(driver.info(&key("once")).unwrap().labels, options.labels);
    options
        .labels
        .insert("bundle.driver.kind".into(), String::new());
    assert!(driver.create(&key("twice"), None, &options).is_err());
    assert!(!driver.exists(&key("twice")).unwrap());
}

fn a_quota_that_cannot_be_kept_is_refused(driver: &(impl Driver + DiffDriver), scratch: &Scratch) {
    let mut limited = plain();
    limited.quota = Limits {
        bytes: Some(4 << 20),
        inodes: None,
    };
    let error = driver.create(&key("layer"), None, &limited).unwrap_err();
    assert_eq!(Reason::of(&error), Some(Reason::QuotaUnsupported));
    let limited_layer = key("limited");
    match driver.create_read_write(&limited_layer, None, &limited) {
        Err(error) => {
            assert_eq!(
                Reason::of(&error),
                Some(Reason::QuotaUnsupported),
                "{error:?}"
            );
            assert!(!driver.exists(&limited_layer).unwrap());
        }
        Ok(()) => inside(driver, &limited_layer, |path| {
            let of = format!("of={}", path.join("file").display());
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
            let write = Bounded::new("dd", 60).args(&["if=/dev/zero", "bs=1M", "count=8", &of]);
            assert!(
                !write
                    .run_by_nobody(&scratch.home_of_nobody())
                    .output()
                    .status
                    .success()
            );
        }),
    }
}
