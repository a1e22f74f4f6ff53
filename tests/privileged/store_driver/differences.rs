//! What every driver has to do about the differences of layers.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use oci_bundle::compat::driver::{DiffDriver, Driver};

use super::{fill, inside, key, layer, lines, plain, read, stream};
use crate::machine::{Scratch, names_in};
use crate::tree::Tree;

contract! {
    a_stream_makes_the_same_tree_of_the_same_parent
    changes_are_told_by_kind_and_path
    what_is_deleted_and_made_again_in_each_layer_is_what_it_was_last
    attributes_survive_the_way_through_a_stream
    a_difference_from_another_layer_than_the_parent_is_whole
    hard_links_are_one_file_in_the_stream_too
    sizes_are_those_of_the_layer_alone
}

/// A base of many files, and a layer on it that changes, deletes and adds some.
fn many(driver: &impl Driver, count: u32) -> (oci_bundle::store::Key, oci_bundle::store::Key) {
    let base = layer(driver, "base", None, |path| {
        for number in 0..count {
            let dir = path.join(format!("dir-{}", number % 7));
            let _ = fs::create_dir(&dir);
            fs::write(dir.join(format!("file-{number}")), format!("{number}")).unwrap();
        }
    });
    let changed = layer(driver, "changed", Some(&base), |path| {
        for number in 0..count {
            let dir = path.join(format!("dir-{}", number % 7));
            let file = dir.join(format!("file-{number}"));
            match number % 5 {
                0 => fs::write(file, "changed").unwrap(),
                1 => fs::remove_file(file).unwrap(),
                2 => fs::write(dir.join(format!("new-{number}")), "new").unwrap(),
                _ => {}
            }
        }
        fs::remove_dir_all(path.join("dir-6")).unwrap();
        fs::write(path.join("dir-6"), "a file now").unwrap();
    });
    (base, changed)
}

fn a_stream_makes_the_same_tree_of_the_same_parent(
    driver: &(impl Driver + DiffDriver),
    _: &Scratch,
) {
    let (base, changed) = many(driver, 100);
    let tree = inside(driver, &changed, Tree::read);
    let tar = stream(driver, &changed, Some(&base));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    for (name, bytes) in [("plain", &tar), ("gzip", &gzip)] {
        let sibling = key(name);
        driver.create(&sibling, Some(&base), &plain()).unwrap();
        let applied = driver
            .apply(&sibling, Some(&base), &mut &bytes[..])
            .unwrap();
        let digest = sha2::Digest::finalize(sha2::Digest::chain_update(
            <sha2::Sha256 as sha2::Digest>::new(),
            &tar,
        ));
        assert_eq!(
            applied.diff_id.to_string(),
            format!("sha256:{}", hex::encode(digest))
        );
        assert_eq!(applied.stream_size, tar.len() as u64);
        inside(driver, &sibling, |path| {
            tree.assert_same(&Tree::read(path), name);
        });
        assert_eq!(lines(driver, &sibling, Some(&changed)), [""; 0], "{name}");
        assert_eq!(stream(driver, &sibling, Some(&base)), tar, "{name}");
    }
    // Onto something that is there: an open layer goes on to be open.
    let open = key("open");
    driver
        .create_read_write(&open, Some(&base), &plain())
        .unwrap();
    inside(driver, &open, |path| {
        fs::write(path.join("own"), "own").unwrap();
    });
    driver.apply(&open, Some(&base), &mut &tar[..]).unwrap();
    assert_eq!(lines(driver, &open, Some(&changed)), ["A own"]);
    assert_eq!(driver.info(&open).unwrap().diff_id, None);
    // What is no archive leaves an empty layer that can be filled.
    let broken = key("broken");
    driver.create(&broken, Some(&base), &plain()).unwrap();
    assert!(
        driver
            .apply(&broken, Some(&base), &mut &[7; 4096][..])
            .is_err()
    );
    assert_eq!(lines(driver, &broken, Some(&base)), [""; 0]);
    driver.apply(&broken, Some(&base), &mut &tar[..]).unwrap();
}

fn changes_are_told_by_kind_and_path(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    let base = layer(driver, "base", None, |path| {
        for name in ["kept", "gone", "changed", "mode", "same"] {
            fs::write(path.join(name), name).unwrap();
        }
        fs::create_dir_all(path.join("dir/deep")).unwrap();
        fs::write(path.join("dir/deep/file"), "deep").unwrap();
        symlink("kept", path.join("link")).unwrap();
    });
    let top = key("top");
    driver
        .create_read_write(&top, Some(&base), &plain())
        .unwrap();
    inside(driver, &top, |path| {
        fs::remove_file(path.join("gone")).unwrap();
        fs::write(path.join("changed"), "CHANGED").unwrap();
        fs::set_permissions(path.join("mode"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(path.join("new"), "new").unwrap();
        fs::write(path.join("dir/deep/file"), "DEEP").unwrap();
        fs::remove_file(path.join("link")).unwrap();
        symlink("other", path.join("link")).unwrap();
        // Copied up, and nothing is different.
        drop(
            fs::OpenOptions::new()
                .write(true)
                .open(path.join("same"))
                .unwrap(),
        );
    });
    let expected = [
        "C changed",
        "C dir/deep/file",
        "D gone",
        "C link",
        "C mode",
        "A new",
    ];
    assert_eq!(lines(driver, &top, Some(&base)), expected);
    driver.commit(&top).unwrap();
    assert_eq!(lines(driver, &top, Some(&base)), expected);
    // The other way round.
    let back = [
        "C changed",
        "C dir/deep/file",
        "A gone",
        "C link",
        "C mode",
        "D new",
    ];
    assert_eq!(lines(driver, &base, Some(&top)), back);
}

fn what_is_deleted_and_made_again_in_each_layer_is_what_it_was_last(
    driver: &(impl Driver + DiffDriver),
    _: &Scratch,
) {
    let mut below = None;
    for depth in 0..12 {
        let next = layer(driver, &format!("echo-{depth}"), below.as_ref(), |path| {
            let thing = path.join("thing");
            if depth > 0 {
                fs::remove_dir_all(&thing)
                    .or_else(|_| fs::remove_file(&thing))
                    .unwrap();
            }
            if depth % 3 == 1 {
                fs::write(&thing, depth.to_string()).unwrap();
            } else {
                fs::create_dir(&thing).unwrap();
                fs::write(thing.join(format!("in-{depth}")), depth.to_string()).unwrap();
            }
        });
        let told = lines(driver, &next, below.as_ref());
        let mut expected = String::new();
        match (depth, depth % 3) {
            (0, _) => expected.push_str("A thing,A thing/in-0"),
            (_, 1) => write!(expected, "C thing,D thing/in-{}", depth - 1).unwrap(),
            (_, 2) => write!(expected, "C thing,A thing/in-{depth}").unwrap(),
            _ => write!(
                expected,
                "C thing,A thing/in-{depth},D thing/in-{}",
                depth - 1
            )
            .unwrap(),
        }
        let mut expected: Vec<&str> = expected.split(',').collect();
        expected.sort_by_key(|line| &line[2..]);
        assert_eq!(told, expected, "depth {depth}");
        inside(driver, &next, |path| {
            let thing = path.join("thing");
            if depth % 3 == 1 {
                assert_eq!(read(&thing), depth.to_string());
            } else {
                assert_eq!(names_in(&thing), [format!("in-{depth}")]);
            }
        });
        below = Some(next);
    }
}

fn attributes_survive_the_way_through_a_stream(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    let one = layer(driver, "one", None, |path| {
        fill(path);
        set(&path.join("file"), "user.text", b"text");
        set(
            &path.join("file"),
            "security.capability",
            &hex::decode("0100000200000000000000000000000000000000").unwrap(),
        );
        set(&path.join("dir"), "trusted.binary", &[0, 255, 10]);
        set(path, "user.root", b"root");
    });
    let tree = inside(driver, &one, Tree::read);
    let tar = stream(driver, &one, None);
    let two = key("two");
    driver.create(&two, None, &plain()).unwrap();
    driver.apply(&two, None, &mut &tar[..]).unwrap();
    inside(driver, &two, |path| {
        tree.assert_same(&Tree::read(path), "through a stream");
        let found = crate::tree::xattrs(&path.join("dir"));
        assert_eq!(found.get("trusted.binary").unwrap(), &[0, 255, 10]);
    });
}

fn a_difference_from_another_layer_than_the_parent_is_whole(
    driver: &(impl Driver + DiffDriver),
    _: &Scratch,
) {
    let base = layer(driver, "base", None, fill);
    let middle = layer(driver, "middle", Some(&base), |path| {
        fs::write(path.join("middle"), "middle").unwrap();
        fs::remove_file(path.join("dir/inner")).unwrap();
    });
    let top = layer(driver, "top", Some(&middle), |path| {
        fs::write(path.join("top"), "top").unwrap();
    });
    // The time of `dir` is another one, too.
    let expected = ["C dir", "D dir/inner", "A middle", "A top"];
    assert_eq!(lines(driver, &top, Some(&base)), expected);
    let everything = ["A dir", "A dir/link", "A file", "A middle", "A top"];
    assert_eq!(lines(driver, &top, None), everything);
    let tree = inside(driver, &top, Tree::read);
    for (name, parent) in [("on-base", Some(&base)), ("on-nothing", None)] {
        let tar = stream(driver, &top, parent);
        let copy = key(name);
        driver.create(&copy, parent, &plain()).unwrap();
        driver.apply(&copy, parent, &mut &tar[..]).unwrap();
        inside(driver, &copy, |path| {
            tree.assert_same(&Tree::read(path), name);
        });
    }
    // A stream that is not for the layer's own parent is laid on what is there all the same.
    let tar = stream(driver, &top, Some(&middle));
    let copy = key("wrong-parent");
    driver.create(&copy, Some(&base), &plain()).unwrap();
    driver.apply(&copy, Some(&middle), &mut &tar[..]).unwrap();
    assert_eq!(lines(driver, &copy, Some(&base)), ["A top"]);
    assert!(driver.info(&copy).unwrap().diff_id.is_some());
}

fn hard_links_are_one_file_in_the_stream_too(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    let base = layer(driver, "base", None, |path| {
        fs::write(path.join("a"), "linked").unwrap();
        fs::hard_link(path.join("a"), path.join("b")).unwrap();
    });
    let top = layer(driver, "top", Some(&base), |path| {
        fs::write(path.join("x"), "new").unwrap();
        fs::create_dir(path.join("d")).unwrap();
        fs::hard_link(path.join("x"), path.join("d/y")).unwrap();
    });
    inside(driver, &top, |path| {
        let inode = |name: &str| fs::metadata(path.join(name)).unwrap().ino();
        assert_eq!(inode("x"), inode("d/y"));
        assert_eq!(inode("a"), inode("b"));
    });
    let tar = stream(driver, &top, Some(&base));
    let mut archive = tar::Archive::new(&tar[..]);
    let entries = archive.entries().unwrap().map(Result::unwrap);
    let links = entries.filter(|entry| entry.header().entry_type().is_hard_link());
    assert_eq!(links.count(), 1);
}

fn sizes_are_those_of_the_layer_alone(driver: &(impl Driver + DiffDriver), _: &Scratch) {
    let base = layer(driver, "base", None, |path| {
        fs::write(path.join("big"), vec![1; 500_000]).unwrap();
    });
    let top = key("top");
    driver
        .create_read_write(&top, Some(&base), &plain())
        .unwrap();
    inside(driver, &top, |path| {
        fs::write(path.join("small"), vec![1; 1000]).unwrap();
        fs::hard_link(path.join("small"), path.join("again")).unwrap();
    });
    assert_eq!(driver.diff_size(&top, Some(&base)).unwrap(), 1000);
    assert_eq!(driver.diff_size(&top, None).unwrap(), 501_000);
    let usage = driver.usage(&top).unwrap();
    assert_eq!((usage.inodes, usage.apparent), (2, 1000));
    driver.commit(&top).unwrap();
    assert_eq!(driver.diff_size(&top, Some(&base)).unwrap(), 1000);
    assert_eq!(driver.usage(&top).unwrap().apparent, 1000);
    assert_eq!(driver.usage(&base).unwrap().apparent, 500_000);
}
